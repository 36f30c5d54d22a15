# Every target sets up what it needs in .venv; both `make demo` and `make test` may be run again at any time.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# Neighbours stay in one process, which makes what they share once; whoever is done takes from whoever has most left.
PARALLEL := -n logical --maxprocesses 4 --dist worksteal
# Tests start hundreds of processes: where none of them may write byte code, each would compile the sources anew.
COMPILED := $(BIN)/python -m compileall -q -j 2 connector workers tests polyglance.py
# There are more threads than cores: those that wait for one another would keep the cores from those they wait for.
export OMP_WAIT_POLICY ?= PASSIVE

# PyTorch publishes its CPU build in an index of its own; on PyPI, Linux gets the CUDA build, with gigabytes of NVIDIA's
# libraries. So without an NVIDIA GPU that index is tried first. make TORCH_INDEX=URL takes another, TORCH_INDEX= pip's own.
TORCH_INDEX ?= $(shell nvidia-smi >/dev/null 2>&1 || echo https://download.pytorch.org/whl/cpu)
TORCH_WAIT_S := 20
REACHED := import signal, sys, urllib.request; signal.alarm($(TORCH_WAIT_S)); \
  urllib.request.urlopen(sys.argv[1].rstrip("/") + "/torch/", timeout=$(TORCH_WAIT_S))

.PHONY: help demo test test-all bare browser promtool exiftool fonts openapi lint setup bench bench-gpu performance mini-space clean

help: ## what can be made here
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: setup ## ingest the bundled images, ask in a dozen languages, write polyglance-demo.html
	$(BIN)/polyglance demo

test: lint browser promtool exiftool fonts ## lint, types and every quick test (under 10 minutes)
	@$(COMPILED)
	$(BIN)/pytest $(PARALLEL) -m "not slow"

test-all: lint browser promtool exiftool fonts openapi ## everything, the slow tests too
	@$(COMPILED)
	$(BIN)/pytest $(PARALLEL)

bare: setup ## build the wheel, install it without extras, run every command there
	$(BIN)/python -m tests.bare_install

# The gallery is tested in a real browser. Where none can be had, those tests are skipped and say so.
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && echo "== installing chromium for the gallery's tests" \
	  && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y chromium >/dev/null; } \
	  || echo "== no chromium: the gallery's tests will be skipped"

# The alert rules are tried with Prometheus' own tool. Where it cannot be had, those tests are skipped and say so.
promtool:
	@command -v promtool >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && echo "== installing prometheus for the tests of the alert rules" \
	  && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y prometheus >/dev/null; } \
	  || echo "== no promtool: the tests of the alert rules will be skipped"

# What we read of metadata is compared with exiftool's reading. Where there is none, that test is skipped and says so.
exiftool:
	@command -v exiftool >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && echo "== installing exiftool for the tests of metadata" \
	  && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y libimage-exiftool-perl >/dev/null; } \
	  || echo "== no exiftool: the comparison with it will be skipped"

# Images with text in twelve scripts are drawn with Noto's fonts, and Tesseract reads what rapidocr's models do not know.
# Where they cannot be had, those tests are skipped and say so.
fonts:
	@{ fc-list 2>/dev/null | grep -q NotoSansTamil && fc-list | grep -q NotoSansCJK && command -v tesseract >/dev/null; } \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && echo "== installing fonts and tesseract for the tests of reading text" \
	  && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y \
	    fontconfig fonts-noto-core fonts-noto-cjk tesseract-ocr tesseract-ocr-rus >/dev/null; } \
	  || echo "== no fonts or no tesseract: some tests of reading text will be skipped"

# A client is generated from the service's OpenAPI document. The tool has an environment of its own: it wants an older typer
# than ours. Where it cannot be had, that test is skipped and says so.
openapi: setup
	@test -x $(BIN)/../openapi-python-client/bin/openapi-python-client \
	  || { $(BIN)/python -m venv .venv/openapi-python-client \
	  && .venv/openapi-python-client/bin/python -m pip install --quiet 'openapi-python-client>=0.29,<0.30'; } \
	  || echo "== no openapi-python-client: the test of a generated client will be skipped"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "polyglance needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv .venv
	@index="$(TORCH_INDEX)"; \
	if [ -z "$$index" ]; then \
	  echo "== PyTorch comes from pip's own index: its CUDA build there brings several gigabytes of NVIDIA's libraries"; \
	elif $(BIN)/python -c '$(REACHED)' "$$index" 2>/dev/null; then \
	  echo "== PyTorch comes from $$index: the CPU build there is a wheel of about 190 MB"; \
	else \
	  echo "== $$index cannot be reached ($(TORCH_WAIT_S) s at most): PyTorch comes from pip's own index, where it may be"; \
	  echo "   the CUDA build with several gigabytes of libraries. Ctrl-C, then make TORCH_INDEX=URL names another index."; \
	  index=; \
	fi; \
	$(BIN)/python -m pip install --quiet $${index:+--index-url "$$index"} --constraint constraints.txt torch
	@echo "== everything else, with what development needs; .venv takes about 2.6 GB in the end"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

bench: setup ## compare this pipeline with a plain script; writes benchmarks/results
	$(BIN)/python -m benchmarks.bench_ingest

bench-gpu: setup ## what a GPU decides: its tests, the forward pass, end to end; under nine minutes, nothing fetched
	$(BIN)/python -m benchmarks.bench_gpu

performance: setup ## write docs/performance.md and its plots from benchmarks/results
	$(BIN)/python -m benchmarks.report

mini-space: setup ## make the bundled model and images again (fetches from npm, trains for about an hour)
	$(BIN)/python -m demo.make .cache/mini-space
	$(BIN)/python -m demo.photographs .cache/mini-space

clean: ## remove .venv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
