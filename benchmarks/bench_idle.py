"""What it costs to find nothing new: an ingestion of a place that is stored already, and an idle pass of the watcher.

    python -m benchmarks.bench_idle [--rounds 5] [--passes 40]

Seconds of processor time, of the process and its children: they count no other work on the machine. The watcher's are
its own between two looks at its metrics, for each full pass between them. Places: a folder; the same with a file in it
that is no image; and a table of their addresses on a server of this machine, which are asked for conditionally.
"""

import argparse
import http.server
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks.record import spread, write

HERE = Path(__file__).parents[1]
IMAGES = HERE / "workers/demo/images/animals-nature"
PATIENCE_S = 120.0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_idle", description="Measure finding nothing new.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--passes", type=int, default=40, help="full passes of the watcher in a round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        environment = {**os.environ, "PYTHONPATH": str(HERE), "POLYGLANCE_QDRANT__PATH": f"{scratch}/data"}
        environment |= {"POLYGLANCE_MODEL__SPACE": "mini", "POLYGLANCE_WEB__ALLOW_NETWORKS": '["127.0.0.1/32"]'}
        broken = shutil.copytree(IMAGES, Path(scratch) / "broken")
        (broken / "none.png").write_bytes(b"no image")
        with _served(IMAGES) as url:
            table = Path(scratch) / "table.csv"
            table.write_text("url\n" + "".join(f"{url}/{path.name}\n" for path in IMAGES.glob("*.png")))
            places = {"a folder": IMAGES, "a folder, one file no image": broken, "a table of addresses": table}
            starts = {}
            for name, place in places.items():
                _ingest(environment, place)  # stores them
                _ingest(environment, place)  # writes byte code
                starts[name] = [_ingest(environment, place) for _ in range(options.rounds)]
        passes = [_watch(environment, passes=options.passes) for _ in range(options.rounds)]
    results: dict[str, Any] = {
        "images": sum(1 for _ in IMAGES.glob("*.png")),
        "ingest": {name: {"processor_s": spread(each)} for name, each in starts.items()},
        "watch pass": {"processor_ms": spread([1000 * each for each in passes]), "passes": options.passes},
    }
    print(write("idle", results))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Files by conditional requests, unlogged."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The address of a server of a folder's files."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def _ingest(environment: dict[str, str], place: Path) -> float:
    """Processor seconds of one ``polyglance ingest``."""
    child = _start("ingest", str(place), environment=environment)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"polyglance ingest ended with {child.returncode}")
    return used.ru_utime + used.ru_stime


def _watch(environment: dict[str, str], *, passes: int) -> float:
    """Processor seconds of one full pass of ``polyglance watch`` in a folder where nothing happens."""
    child = _start("watch", str(IMAGES), "--every", "0.05", "--metrics-port", "0", environment=environment)
    assert child.stderr is not None
    try:
        said = child.stderr.readline() + child.stderr.readline()
        (url,) = re.findall(r"metrics on (http\S+/metrics)", said)
        process = psutil.Process(child.pid)
        _wait(url, passes=5)
        before, spent = _passes(url), _spent(process)
        _wait(url, passes=before + passes)
        return (_spent(process) - spent) / (_passes(url) - before)
    finally:
        child.terminate()
        child.wait(PATIENCE_S)


def _start(*arguments: str, environment: dict[str, str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-m", "polyglance", *arguments]
    quiet = subprocess.PIPE if arguments[0] == "watch" else subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=quiet, text=True)


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def _passes(url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith("polyglance_watch_passes_total")))


def _wait(url: str, *, passes: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while _passes(url) < passes:
        if time.monotonic() > end:
            raise RuntimeError(f"the watcher made fewer than {passes} passes in {PATIENCE_S:.0f} s")
        time.sleep(0.5)


if __name__ == "__main__":
    main()
