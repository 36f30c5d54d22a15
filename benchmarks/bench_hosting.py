"""Many processes on one embedded collection: answers while another process writes, and files found after they close.

    python -m benchmarks.bench_hosting --points 20000 --seconds 20

Prints one JSON object and writes ``benchmarks/results/hosting.json``. ``alone`` and ``beside`` are milliseconds of
a question to the collection that a second process hosts, while it does nothing and while a third one writes batches of
256 points with their words as fast as it can: in ``ROUNDS`` turns, so that both meet the same machine; ``ratio`` is
that of their p95. ``local`` is the same question in the process that has the collection open. ``add`` is
milliseconds of ``Collection.add`` of one image, warm. ``fresh`` is seconds from closing a file in a watched folder to
finding it by its own vector, in space mini, where the collection has as many points besides.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import write
from benchmarks.structured import structured_vectors
from connector.errors import StoreError
from connector.records import Point
from connector.settings import QdrantSettings, Settings
from connector.store.engine import NearestQuery
from connector.store.open import open_engine
from connector.store.schema import Fingerprint, schema_for

SCHEMA = schema_for(Fingerprint("clip-vit-b-32", dims=512, image_size=224), Settings())
ROOT = Path(__file__).parents[1]
BATCH = 256
ROUNDS = 5


def main() -> None:
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--files", type=int, default=30)
    parser.add_argument("--note", help="what else ran on the machine")
    parser.add_argument("--as", dest="role", choices=("host", "writer"))
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.role is not None:
        serve(given.role, given.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "points": given.points,
            "load": os.getloadavg()[0],
            **({} if given.note is None else {"note": given.note}),
            **questions(Path(folder) / "q", points=given.points, seconds=given.seconds),
            **fresh(Path(folder) / "w", files=given.files, points=given.points),
        }
    print(json.dumps(found, indent=2))
    write("hosting", found)


def serve(role: str, folder: Path) -> None:
    """One of the other processes, until its standard input ends."""
    with closing(open_engine(QdrantSettings(path=folder), collection="images")) as engine:
        engine.count()
        print("ready", flush=True)
        if role == "host":
            sys.stdin.read()
            return
        vectors = structured_vectors(BATCH, seed=1)
        while True:
            engine.upsert([Point(str(uuid.uuid4()), vector, _payload(n)) for n, vector in enumerate(vectors)])


def questions(folder: Path, *, points: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of a question, in this process and through another, alone and beside a writer."""
    vectors = structured_vectors(points, seed=0)
    settings = QdrantSettings(path=folder)
    found: dict[str, Any] = {}
    with closing(open_engine(settings, collection="images")) as engine:
        engine.create(SCHEMA)
        for first in range(0, points, BATCH):
            some = vectors[first : first + BATCH]
            engine.upsert([Point(str(uuid.uuid4()), vector, _payload(n)) for n, vector in enumerate(some)])
        engine.optimize()
        asked = iter(np.tile(vectors[:500], (1_000, 1)))
        found["local_ms"] = _spread(_taken(lambda: engine.query([NearestQuery(next(asked))]), seconds=seconds / 4))
    with other("host", folder), closing(open_engine(settings, collection="images")) as engine:
        alone, beside, before, wrote_s = [], [], engine.count(), 0.0
        writer = other("writer", folder)
        with writer:
            for _ in range(ROUNDS):
                writer.pause()
                alone += _taken(lambda: engine.query([NearestQuery(next(asked))]), seconds=seconds / ROUNDS)
                writer.go_on()
                began = time.perf_counter()
                beside += _taken(lambda: engine.query([NearestQuery(next(asked))]), seconds=seconds / ROUNDS)
                wrote_s += time.perf_counter() - began
            found["written_per_s"] = round((engine.count() - before) / wrote_s)
    found["alone_ms"], found["beside_ms"] = _spread(alone), _spread(beside)
    found["ratio"] = round(found["beside_ms"]["p95"] / found["alone_ms"]["p95"], 2)
    return found


def fresh(folder: Path, *, files: int, points: int) -> dict[str, Any]:
    """Milliseconds of adding an image, and seconds until a watcher's new file is found."""
    from PIL import Image

    from workers.collection.client import Collection

    settings = Settings.load({"model.space": "mini", "qdrant.path": str(folder / "data")})
    random = np.random.default_rng(0)
    place = folder / "album"
    place.mkdir(parents=True)
    with Collection.open(settings=settings) as photos:
        photos.add(_noise(random))
        _fill(settings, points=points)
        adding = [_timed(lambda: photos.add(_noise(random))) * 1e3 for _ in range(files)]
        code = "import sys, polyglance; polyglance.main(sys.argv[1:])"
        flags = ["--space", "mini", "--set", f"qdrant.path={folder / 'data'}"]
        command = [sys.executable, "-P", "-c", code, "watch", str(place), *flags]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        watcher = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            lags = []
            for number in range(files + 1):
                pixels = _noise(random)
                path = place / f"{number}.png"
                Image.fromarray(pixels).save(path)
                closed = time.perf_counter()
                while not photos.search.image(path, limit=1, where=f'uri == "{path.as_uri()}"'):
                    time.sleep(0.01)
                lags.append(time.perf_counter() - closed)
        finally:
            watcher.terminate()
            watcher.wait()
    return {"add_ms": _spread(adding), "fresh_s": _spread(lags[1:])}  # the first one waits for the watcher to start


def _fill(settings: Settings, *, points: int) -> None:
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        vectors = structured_vectors(points, seed=1, dims=engine.info().schema.fingerprint.dims)
        for first in range(0, points, BATCH):
            some = vectors[first : first + BATCH]
            engine.upsert([Point(str(uuid.uuid4()), vector, _payload(n)) for n, vector in enumerate(some)])
        engine.optimize()


def other(role: str, folder: Path) -> "Other":
    """Another process in this role."""
    return Other([sys.executable, "-m", "benchmarks.bench_hosting", "--as", role, "--folder", str(folder)])


class Other:
    """A process that is ready when the block begins and gone when it ends."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise StoreError("the other process did not begin")

    def pause(self) -> None:
        """Stop it, and let its call under way come to its end."""
        self._process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)

    def go_on(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def _payload(number: int) -> dict[str, Any]:
    return {
        "uri": f"file:///photos/{number}.jpg",
        "folder": f"{number % 50}",
        "filename": f"IMG_{number}.jpg",
        "tags": ["beach", "snow", "city", "dog"][: number % 4],
        "description": f"a description with a few words, such as a person writes one, of image {number}",
        "format": "jpeg",
        "width": number % 4000,
    }


def _noise(random: np.random.Generator) -> Any:
    return random.integers(0, 255, (64, 64, 3), np.uint8)


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _taken(call: Callable[[], object], *, seconds: float) -> list[float]:
    """Milliseconds of each call, one after the other for so long."""
    until = time.perf_counter() + seconds
    taken = []
    while time.perf_counter() < until:
        taken.append(_timed(call) * 1e3)
    return taken


def _spread(taken: list[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(taken, [50, 95, 99])
    return {
        "n": len(taken),
        "p50": round(p50, 3),
        "p95": round(p95, 3),
        "p99": round(p99, 3),
        "max": round(max(taken), 3),
    }


if __name__ == "__main__":
    main()
