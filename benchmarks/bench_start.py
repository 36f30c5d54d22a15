"""Cold starts: what a process costs until it has answered, beside another checkout in the same run.

    python -m benchmarks.bench_start --baseline PATH [--rounds 5]

Both checkouts take turns with the same interpreter. Each ingests some bundled images into data of its own first; the
files have then been read once, as on a machine in use. Wall-clock seconds count the others' work on a shared machine,
so seconds of processor time stand beside them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.record import spread, write

HERE = Path(__file__).parents[1]
IMAGES = Path("workers/demo/images/animals-nature")
FRONT = "import sys, polyglance; polyglance.main(sys.argv[1:])"
PORT = 18_431
PATIENCE_S = 120.0


class Cost(NamedTuple):
    """What one start took."""

    wall_s: float
    processor_s: float


class Checkout:
    """One tree, run by this interpreter over data of its own."""

    def __init__(self, tree: Path, *, data: Path) -> None:
        self._tree = tree
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(tree),
            "POLYGLANCE_QDRANT__PATH": str(data),
            "POLYGLANCE_INGEST__WORKERS": "0",
            "POLYGLANCE_MODEL__SPACE": "mini",
        }
        self._folder = data.parent

    def ingest(self) -> None:
        """Fill the collection."""
        self._finished("ingest", str(HERE / IMAGES))

    def help(self) -> Cost:
        """``polyglance --help``."""
        return self._finished("--help")

    def search(self) -> Cost:
        """A text question to the bundled space."""
        return self._finished("search", "ein Hund im Schnee")

    def serve(self) -> Cost:
        """The service until ``/readyz`` says yes."""
        started = time.perf_counter()
        child = self._start("serve", "--port", str(PORT))
        while not _is_ready():
            if child.poll() is not None or time.perf_counter() - started > PATIENCE_S:
                raise RuntimeError(f"the service of {self._tree.name} did not get ready")
            time.sleep(0.02)
        wall = time.perf_counter() - started
        child.terminate()
        return Cost(wall, _waited(child))

    def _finished(self, *arguments: str) -> Cost:
        started = time.perf_counter()
        child = self._start(*arguments)
        processor = _waited(child)
        if child.returncode:
            raise RuntimeError(f"polyglance {' '.join(arguments)} ended with {child.returncode}")
        return Cost(time.perf_counter() - started, processor)

    def _start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-P", "-c", FRONT, *arguments],
            env=self._environment,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def _waited(child: "subprocess.Popen[bytes]") -> float:
    """Wait for a child; the seconds of processor time that it took."""
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime


def _is_ready() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


STARTS: Mapping[str, Callable[[Checkout], Cost]] = {
    "polyglance --help": Checkout.help,
    "polyglance search TEXT, space mini": Checkout.search,
    "polyglance serve until /readyz, space mini": Checkout.serve,
}


def measure(baseline: Checkout, here: Checkout, *, rounds: int) -> dict[str, Any]:
    """Every start in turns, the baseline's and ours."""
    results: dict[str, Any] = {}
    for name, start in STARTS.items():
        costs: dict[str, list[Cost]] = {"baseline": [], "here": []}
        for each in (baseline, here):
            start(each)  # files are read and byte code is written
        for _ in range(rounds):
            costs["baseline"].append(start(baseline))
            costs["here"].append(start(here))
        results[name] = {
            who: {
                "wall_s": spread([cost.wall_s for cost in some]),
                "processor_s": spread([cost.processor_s for cost in some]),
            }
            for who, some in costs.items()
        }
        before, now = (results[name][who]["wall_s"]["median"] for who in ("baseline", "here"))
        results[name]["ratio"] = round(before / now, 2)
        print(f"{name}: {before:.2f} s -> {now:.2f} s")
    return results


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_start", description="Measure cold starts.")
    parser.add_argument("--baseline", type=Path, required=True, help="another checkout")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    sys.argv = ["PATH" if each == str(options.baseline) else each for each in sys.argv]
    with tempfile.TemporaryDirectory() as scratch:
        both = []
        for name, tree in (("baseline", options.baseline.resolve()), ("here", HERE)):
            (Path(scratch) / name).mkdir()
            both.append(Checkout(tree, data=Path(scratch) / name / "data"))
            both[-1].ingest()
        print(write("start", measure(*both, rounds=options.rounds)))


if __name__ == "__main__":
    main()
