# syntax=docker/dockerfile:1
# Two targets, `cpu` and `cuda`; they differ in the build of torch and in nothing else.

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE NOTICE polyglance.py ./
COPY connector connector
COPY workers workers
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim AS base
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin polyglance \
    && install -d -m 0700 -o polyglance -g polyglance /data /models
ENV PYTHONUNBUFFERED=1 \
    XDG_DATA_HOME=/data \
    XDG_CACHE_HOME=/models/cache \
    TORCHINDUCTOR_CACHE_DIR=/models/cache/inductor \
    TRITON_CACHE_DIR=/models/cache/triton \
    HF_HOME=/models
COPY constraints.txt /tmp/constraints.txt
WORKDIR /data
ENTRYPOINT ["polyglance"]
CMD ["--help"]
# the service; what has no service to ask switches this off
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=6 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]

FROM base AS cpu
# PyTorch publishes its CPU-only wheels in an index of their own. Without it this image holds the CUDA libraries too:
# it works, and is some gigabytes larger.
ARG TORCH_INDEX=""
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -c /tmp/constraints.txt torch
RUN --mount=from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir -c /tmp/constraints.txt "$(echo /wheels/*.whl)[heic,jxl,obstore,serve,speed]"
USER polyglance

FROM base AS cuda
RUN pip install --no-cache-dir -c /tmp/constraints.txt torch
RUN --mount=from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir -c /tmp/constraints.txt "$(echo /wheels/*.whl)[heic,jxl,obstore,serve,speed]"
USER polyglance
