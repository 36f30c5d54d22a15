"""A real ``polyglance serve`` in a process of its own, over the bundled images."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from tenacity import retry, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from connector import Settings
from connector.store.edge.holes import copy_data
from tests.scratch import scratch_folder

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[3]


@contextmanager
def serving(noto: Settings, **settings: str) -> Iterator[str]:
    """The address of a service that is ready; it ends with the block."""
    environment: Mapping[str, str] = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "POLYGLANCE_QDRANT__PATH": str(noto.qdrant.path),
        "POLYGLANCE_SERVE__THUMBNAIL_FOLDER": str(noto.qdrant.path.parent / "thumbnails"),
        "POLYGLANCE_SERVE__TIMEOUT_S": "240",  # a busy machine loads a tower for longer than a caller likes to wait
        **{f"POLYGLANCE_SERVE__{name.upper()}": value for name, value in settings.items()},
    }
    command = [sys.executable, "-m", "polyglance", "serve", "--space", "mini", "--port", "0"]
    log = noto.qdrant.path.parent / "service.log"  # a file: nobody would empty a pipe, and a full one stops the service
    with (
        log.open("w") as out,
        subprocess.Popen(command, env=environment, stderr=out, cwd=noto.qdrant.path.parent) as process,
    ):
        try:
            url = address_in(log)
            assert ready(url) == 200
            yield url
        finally:
            process.terminate()
        assert process.wait() in (0, -signal.SIGTERM)  # uvicorn, once it is done, dies of the signal it was sent


@retry(retry=retry_if_exception_type(StopIteration), stop=stop_after_delay(150), wait=wait_fixed(0.1), reraise=True)
def address_in(log: Path) -> str:
    return next(found[0] for line in log.read_text().splitlines() if (found := re.search(r"http://[\d.]+:\d+", line)))


@retry(retry=retry_if_result(lambda status: status != 200), stop=stop_after_delay(150), wait=wait_fixed(0.1))
def ready(url: str) -> int:
    try:
        return httpx.get(f"{url}/readyz", timeout=240).status_code
    except httpx.ConnectError:  # of several processes none listens before it is warm
        return 0


@contextmanager
def copied(noto: Settings) -> Iterator[Settings]:
    """Settings of a copy of a collection: the embedded engine's data is open in one place at a time."""
    with scratch_folder() as folder:
        copy = folder / "data"
        shutil.copytree(noto.qdrant.path, copy, copy_function=copy_data)
        yield noto.model_copy(update={"qdrant": noto.qdrant.model_copy(update={"path": copy})})


@pytest.fixture(scope="session")
def service(noto: Settings) -> Iterator[str]:
    """The address of a service without keys."""
    with copied(noto) as settings, serving(settings, max_body_bytes="3000000") as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A real Chromium; of a module, as Playwright's loop would run beside every later test of the process."""
    from tests.connector.service.chromium import launched  # here: most tests need no browser

    with launched() as opened:
        yield opened
