"""What a filter costs and keeps: recall@10 and time against an unfiltered question, by the share that matches.

    python -m benchmarks.bench_filters [--points 100000] [--questions 100] [--keep FOLDER]

Conditions on fields that the graph is linked along and on others, on values drawn at random and on values that go with
the vectors, alone and two together. Every question is asked without a filter and with each, in turn; ratios are of
processor time, since other work on the machine does not count in it.
"""

import argparse
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from benchmarks.record import write
from benchmarks.structured import structured_vectors
from connector.records import Point, Vector, Vectors
from connector.store.edge.engine import EmbeddedEngine
from connector.store.engine import NearestQuery
from connector.store.schema import CollectionSchema, Fingerprint

DIMS = 512
LEVELS = 1000
FIELDS = ("linked_random", "linked_like", "random", "like")
"""Whole numbers from 0 to 999; those of ``like`` go with the vectors."""
SHARES = (0.001, 0.01, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
PAIRS = (("linked_random", "linked_like"), ("random", "like"), ("linked_random", "like"))
PAIR_SHARES = (
    (0.1, 0.01),
    (0.1, 0.1),
    (0.3, 0.1),
    (0.2, 0.2),
    (0.9, 0.1),
    (0.5, 0.2),
    (0.5, 0.4),
    (0.7, 0.5),
    (0.9, 0.9),
)
SCHEMA = CollectionSchema(
    Fingerprint("clip-vit-b-32", dims=DIMS, image_size=224),
    meta_fields=dict.fromkeys(FIELDS, "integer"),
    linked_fields=("meta.linked_random", "meta.linked_like"),
)


def main() -> None:
    """Measure and write ``results/filters-COUNT.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--keep", type=Path, help="make the collection there, or measure the one that is there")
    given = parser.parse_args()
    sys.argv = ["FOLDER" if each == str(given.keep) else each for each in sys.argv]
    with (
        tempfile.TemporaryDirectory(prefix="polyglance-bench-") as work,
        closing(EmbeddedEngine.open(given.keep or Path(work), collection="filters")) as engine,
    ):
        there = given.keep is not None and (given.keep / "filters").is_dir()
        graph_s = None if there else fill(engine, count=given.points)
        rows = measure(engine, questions=structured_vectors(given.questions, dims=DIMS, seed=1))
    results = {"points": given.points, "dims": DIMS, "graph_s": graph_s, "filters": rows}
    print(json.dumps(results, indent=1))
    print(write(f"filters-{given.points}", results))


def fill(engine: EmbeddedEngine, *, count: int) -> float:
    """Write the points and build the graph; the seconds that the graph took."""
    vectors = structured_vectors(count, dims=DIMS, seed=0)
    values = dict(zip(FIELDS, _values(vectors), strict=True))
    engine.create(SCHEMA)
    for start in range(0, count, 1000):
        numbers = range(start, min(count, start + 1000))
        engine.upsert(
            [
                Point(
                    str(uuid.UUID(int=number)),
                    vectors[number],
                    {"meta": {name: int(each[number]) for name, each in values.items()}},
                )
                for number in numbers
            ]
        )
    started = time.perf_counter()
    engine.optimize()
    return round(time.perf_counter() - started, 1)


def _values(vectors: Vectors) -> Iterator[NDArray[np.int64]]:
    generator = np.random.default_rng(5)
    for likes in (None, vectors[0], None, vectors[1]):
        if likes is None:
            yield generator.integers(0, LEVELS, len(vectors))
            continue
        score = vectors @ likes + generator.normal(scale=0.05, size=len(vectors))
        yield np.argsort(np.argsort(score)) * LEVELS // len(vectors)


def measure(engine: EmbeddedEngine, *, questions: Vectors) -> list[dict[str, Any]]:
    """A row for each filter, the unfiltered question first."""
    filters = dict(_filters())
    samples: dict[str, list[tuple[float, float, float]]] = {name: [] for name in filters}
    exact = [{name: _exact(engine, vector, where) for name, where in filters.items()} for vector in questions]
    for vector, right in zip(questions, exact, strict=True):  # apart: an exact scan leaves nothing in the caches
        for name, where in filters.items():
            wall, cpu, found = _asked(engine, vector, where)
            samples[name].append((wall, cpu, len(found & right[name]) / max(1, len(right[name]))))
    unfiltered = float(np.median([cpu for _, cpu, _ in samples["none"]]))
    matches = {name: engine.count(where=where) for name, where in filters.items()}
    return [_row(name, each, matches=matches, unfiltered=unfiltered) for name, each in samples.items()]


def _filters() -> Iterator[tuple[str, models.Filter | None]]:
    yield "none", None
    for field in FIELDS:
        for share in SHARES:
            yield f"{field} {share:g}", models.Filter(must=[_range(field, share=share)])
    for one, two in PAIRS:
        for first, second in PAIR_SHARES:
            both = models.Filter(must=[_range(one, share=first), _range(two, share=second)])
            yield f"{one} {first:g} and {two} {second:g}", both


def _range(field: str, *, share: float) -> models.FieldCondition:
    return models.FieldCondition(key=f"meta.{field}", range=models.Range(gte=50, lt=50 + share * LEVELS))


def _asked(engine: EmbeddedEngine, vector: Vector, where: models.Filter | None) -> tuple[float, float, set[str]]:
    """Milliseconds of the clock and of the processor, and what was found."""
    wall, cpu = time.perf_counter(), time.process_time()
    (hits,) = engine.query([NearestQuery(vector, where=where)])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall * 1000, cpu * 1000, {hit.id for hit in hits}


def _exact(engine: EmbeddedEngine, vector: Vector, where: models.Filter | None) -> set[str]:
    (hits,) = engine.query([NearestQuery(vector, where=where, exact=True)])
    return {hit.id for hit in hits}


def _row(
    name: str, samples: list[tuple[float, float, float]], *, matches: Mapping[str, int], unfiltered: float
) -> dict[str, Any]:
    wall, cpu, kept = (np.array(each) for each in zip(*samples, strict=True))
    return {
        "filter": name,
        "matches": matches[name],
        "recall_10": round(float(kept.mean()), 4),
        "p50_ms": round(float(np.median(wall)), 2),
        "processor_p50_ms": round(float(np.median(cpu)), 2),
        "times_unfiltered": round(float(np.median(cpu)) / unfiltered, 2),
    }


if __name__ == "__main__":
    main()
