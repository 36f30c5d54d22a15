"""A large collection in the embedded engine: writing, building the graph, asking, memory, disk, opening it again.

    python -m benchmarks.bench_scale [--points 100000] [--keep]

Vectors are low rank plus noise (benchmarks/structured.py), payloads those of ordinary photographs. Asking happens in a
process of its own, after opening the collection anew. Disk is what the file system has given, by kind of data; bytes
for each point are what `polyglance plan` is held against.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import write
from benchmarks.structured import structured_blocks, structured_vectors
from connector.filters.parse import parse_filter
from connector.records import Payload, Point, Vectors
from connector.store.edge.engine import EmbeddedEngine
from connector.store.engine import NearestQuery
from connector.store.schema import CollectionSchema, Fingerprint
from workers.sizing.plan import Collection, point_bytes

SCHEMA = CollectionSchema(Fingerprint("clip-vit-b-32", dims=512, image_size=224))
UPSERT = 1024
QUERIES = 300
EXACT = 50
NAME = "scale"
KEPT = Path(".cache/bench_scale")
FILTER = "width >= 1000 and camera == 'Nikon Z6'"
"""What a fifth of the points match."""
PARTS = {
    "payload_index": "indexes",
    "payload_storage": "payload",
    "vector_index": "graph",
    "quantized": "codes",
    "vector_storage": "vectors",
    "wal": "log",
}
"""Kinds of data by the names of folders and files; the first that fits counts, the rest are ids and the like."""


def main() -> None:
    """Measure and write ``results/scale-POINTS.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--keep", action="store_true", help=f"leave the collection in {KEPT}")
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        print(json.dumps(_asked(options.ask)))
        return
    if options.keep:
        work = kept(options.points)
        shutil.rmtree(work, ignore_errors=True)
        results = _measured(work, options.points)
    else:
        with tempfile.TemporaryDirectory(prefix="polyglance-bench-") as scratch:
            results = _measured(Path(scratch), options.points)
    print(json.dumps(results, indent=1))
    print(write(f"scale-{options.points}", results))


def kept(points: int) -> Path:
    """Where a collection of so many points, named ``NAME``, is left."""
    return KEPT / f"points-{points}"


def _measured(work: Path, points: int) -> dict[str, Any]:
    results = {"points": points, **_built(work, points)}
    print(json.dumps(results), flush=True)
    results["disk_bytes_per_point"] = _disk(work, points)
    plan = point_bytes(Collection(schema=SCHEMA, payload_bytes=_payload_bytes()))
    results["planned_bytes_per_point"] = {"memory": plan.memory, "disk": plan.disk}
    command = [sys.executable, "-m", "benchmarks.bench_scale", "--ask", str(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {**results, "asked": json.loads(done.stdout.splitlines()[-1])}


def _built(folder: Path, count: int) -> dict[str, Any]:
    """Write all points and build the graph."""
    with closing(EmbeddedEngine.open(folder, collection=NAME)) as engine:
        engine.create(SCHEMA)
        started = time.perf_counter()
        for batch in batches(count):
            engine.upsert(batch)
        written = time.perf_counter() - started
        started = time.perf_counter()
        engine.optimize()
        built = time.perf_counter() - started
        assert engine.info().points == count, "every point is there"
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "points_per_second": round(count / written, 1),
        "optimize_seconds": round(built, 2),
        "peak_mib_writing": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "peak_mib_optimizing": round(children / 1024, 1),
    }


def batches(count: int) -> Iterator[list[Point]]:
    """So many points in batches of ``UPSERT``, the same ones each time."""
    first = 0
    for block in structured_blocks(count, seed=0):
        for start in range(0, len(block), UPSERT):
            vectors = block[start : start + UPSERT]
            yield list(_points(vectors, first=first))
            first += len(vectors)


def _points(vectors: Vectors, *, first: int) -> Iterator[Point]:
    for number, vector in enumerate(vectors, start=first):
        yield Point(str(uuid.UUID(int=number)), vector, _payload(number))


def _payload(number: int) -> Payload:
    """What an ordinary photograph's point holds."""
    path = f"/home/anna/Pictures/{2000 + number % 25}/holiday-{number % 997}/IMG_{number:08d}.jpg"
    return {
        "uri": f"file://{path}",
        "object_key": path,
        "source": "file:///home/anna/Pictures",
        "folder": f"{2000 + number % 25}/holiday-{number % 997}",
        "filename": f"IMG_{number:08d}.jpg",
        "version": f"{50_000 + number % 9973}-{1_600_000_000_000_000_000 + number}",
        "format": "jpeg",
        "width": 400 + number * 7919 % 1556,  # spread evenly over 400 to 1955
        "height": (375, 1080, 3000)[number % 3],
        "bytes": 50_000 + number % 9973,
        "content_hash": f"{number * 0x9E3779B97F4A7C15 % 2**128:032x}",
        "taken_at": f"{2000 + number % 25}-06-{1 + number % 28:02d}T12:00:00",
        "camera": ("Canon EOS 5D", "Apple iPhone 15", "Nikon Z6")[number % 3],
        "ingested_at": "2026-11-24T22:00:00+00:00",
    }


def _payload_bytes() -> int:
    return len(json.dumps(_payload(1234)))


def _disk(folder: Path, count: int) -> dict[str, float]:
    """Bytes on disk for each point, by kind."""
    taken: Counter[str] = Counter()
    for path in folder.rglob("*"):
        if path.is_file():
            name = str(path.relative_to(folder))
            kind = next((kind for part, kind in PARTS.items() if part in name), "other")
            taken[kind] += path.stat().st_blocks * 512
    total = {"all": sum(taken.values()), **taken}
    return {kind: round(size / count, 1) for kind, size in total.items()}


def _asked(folder: Path) -> dict[str, Any]:
    """Open the collection anew and ask it."""
    before = _memory()
    started = time.perf_counter()
    with closing(EmbeddedEngine.open(folder, collection=NAME)) as engine:
        questions = structured_vectors(QUERIES, seed=1)
        engine.query([NearestQuery(questions[0])])
        opened = time.perf_counter() - started
        plain = [_timed(engine, NearestQuery(question)) for question in questions]
        where = parse_filter(FILTER, indexes=SCHEMA.indexes)
        filtered = [_timed(engine, NearestQuery(question, where=where)) for question in questions]
        recall = np.mean([_recall(engine, question) for question in questions[:EXACT]])
        after = _memory()
    return {
        "first_answer_seconds": round(opened, 3),
        "query_ms": _percentiles(plain),
        "filtered_query_ms": _percentiles(filtered),
        "recall_at_10": round(float(recall), 4),
        "memory_mib": {kind: round(after[kind] - before[kind], 1) for kind in after},
    }


def _timed(engine: EmbeddedEngine, query: NearestQuery) -> float:
    started = time.perf_counter()
    engine.query([query])
    return (time.perf_counter() - started) * 1000


def _recall(engine: EmbeddedEngine, question: Any) -> float:
    found, exact = engine.query([NearestQuery(question), NearestQuery(question, exact=True)])
    return len({hit.id for hit in found} & {hit.id for hit in exact}) / len(exact)


def _percentiles(samples: list[float]) -> dict[str, float]:
    return {f"p{share}": round(float(np.percentile(samples, share)), 3) for share in (50, 95, 99)}


def _memory() -> dict[str, float]:
    """Resident memory in MiB: the process's own, and pages of files that the system may take back."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return {name: int(lines[key].split()[0]) / 1024 for name, key in (("own", "RssAnon"), ("of_files", "RssFile"))}


if __name__ == "__main__":
    main()
