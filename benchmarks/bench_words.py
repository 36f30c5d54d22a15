"""What words cost: processor time of a point written, bytes on disk, and the time of questions, with and without them.

    python -m benchmarks.bench_words [--points 20000] [--rounds 3]

The embedded engine, in turns within one run: a collection without words, one whose images have names, folders and
tags, and one whose images have captions too. Vectors are low rank plus noise, as embeddings are.
"""

import argparse
import json
import random
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.record import spread, write
from benchmarks.structured import structured_vectors
from connector.records import Point
from connector.store.edge.engine import EmbeddedEngine
from connector.store.engine import NearestQuery, WordsQuery
from connector.store.schema import CollectionSchema, Fingerprint, Words
from connector.store.words import Wording
from connector.words.settings import WordsSettings

WITHOUT = CollectionSchema(Fingerprint("clip-vit-b-32", dims=512, image_size=224))
WITH = replace(WITHOUT, words=Words(WordsSettings().all_weights))
BATCH = 256
QUESTIONS = 200
NOUNS = (
    *("beach", "dog", "cat", "street", "mountain", "lake", "forest", "car", "train", "bridge"),
    *("tower", "market", "child", "boat", "snow", "flower", "bird", "house"),
)
PLACES = (
    "Berlin",
    "Rom",
    "Tokyo",
    "Paris",
    "Wien",
    "Oslo",
    "Kyoto",
    "Madrid",
    "Warszawa",
    "Athen",
    "Hamburg",
    "Lisboa",
)


def main() -> None:
    """Measure and write ``results/words.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    arms: dict[str, tuple[CollectionSchema, list[Point]]] = {
        "none": (WITHOUT, make_points(given.points, captions=False)),
        "names": (WITH, make_points(given.points, captions=False)),
        "captions": (WITH, make_points(given.points, captions=True)),
        "captions, none": (WITHOUT, make_points(given.points, captions=True)),
    }
    written: dict[str, list[float]] = {name: [] for name in arms}
    results: dict[str, Any] = {"points": given.points}
    with tempfile.TemporaryDirectory(prefix="polyglance-bench-") as work:
        for turn in range(given.rounds):
            for name, (schema, points) in arms.items():
                last = turn == given.rounds - 1
                with closing(EmbeddedEngine.open(Path(work), collection=f"{name}-{turn}")) as engine:
                    engine.create(schema)
                    written[name].append(_write(engine, points))
                    if last:
                        results[name] = _asked(engine, schema, points)
                    engine.drop()
    for name, rates in written.items():
        results[name]["microseconds_a_point_written"] = spread(rates)
    results["microseconds_a_point_for_words"] = {name: _computed(arms[name][1]) for name in ("names", "captions")}
    print(json.dumps(results, indent=1))
    print(write("words", results))


def make_points(count: int, *, captions: bool) -> list[Point]:
    """Points with the payload of photographs: a camera's names, folders by year and place, two tags of each."""
    chosen = random.Random(1)
    points = []
    for number, vector in enumerate(structured_vectors(count, seed=0)):
        place, year = chosen.choice(PLACES), chosen.randrange(2005, 2026)
        words = chosen.sample(NOUNS, 4)
        folder, name = f"{year}/{place}", f"IMG_{number:06d}.jpg"
        payload: dict[str, Any] = {
            **{"uri": f"file:///photos/{folder}/{name}", "object_key": f"photos/{folder}/{name}"},
            **{"source": ["file:///photos"], "folder": [folder], "filename": name, "format": "jpeg"},
            **{"width": 4000, "height": 3000, "bytes": 3_000_000 + number, "version": f"55000-{number}"},
            **{"camera": "Canon EOS 80D", "taken_at": f"{year}-05-04T10:00:00Z", "tags": words[:2]},
        }
        if captions:
            seen = f"A {words[0]} and a {words[1]} by the {words[2]}"
            payload["description"] = f"{seen} in {place}, {year}, seen from a {words[3]}"
        points.append(Point(str(uuid.UUID(int=number)), vector, payload))
    return points


def _write(engine: EmbeddedEngine, points: list[Point]) -> float:
    """Microseconds of processor time a point: others may work beside."""
    began = time.process_time()
    for first in range(0, len(points), BATCH):
        engine.upsert(points[first : first + BATCH])
    return 1e6 * (time.process_time() - began) / len(points)


def _computed(points: list[Point]) -> float:
    """Microseconds of processor time a point that its words alone take."""
    wording = Wording(WITH)
    began = time.process_time()
    for point in points:
        wording.of(point.payload)
    return 1e6 * (time.process_time() - began) / len(points)


def _asked(engine: EmbeddedEngine, schema: CollectionSchema, points: list[Point]) -> dict[str, Any]:
    """Size on disk and times of questions, once the graph is built."""
    engine.optimize()
    found: dict[str, Any] = {"bytes_a_point": engine._folder.size() / len(points)}
    found["visual_ms"] = _milliseconds(lambda number: engine.query([NearestQuery(points[number].vector)]))
    if schema.words is not None:
        texts = [f"{noun} {place} {2010 + at}" for noun in NOUNS for at, place in enumerate(PLACES)]
        found["words_ms"] = _milliseconds(lambda number: engine.query([WordsQuery(texts[number % len(texts)])]))
        found["both_ms"] = _milliseconds(
            lambda number: engine.query([NearestQuery(points[number].vector), WordsQuery(texts[number % len(texts)])])
        )
    return found


def _milliseconds(ask: Callable[[int], object]) -> dict[str, float]:
    return spread([1000 * _seconds(lambda: ask(number)) for number in range(QUESTIONS)])  # noqa: B023


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
