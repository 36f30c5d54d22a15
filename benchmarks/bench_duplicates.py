"""Duplicates: how sure "the same image" is on drawn scenes, and how long candidates of many vectors take.

    python -m benchmarks.bench_duplicates pixels 40
    python -m benchmarks.bench_duplicates vectors 100000

``pixels`` holds a scene against its own forms, and against other exposures of it; vectors play no part. ``vectors``
makes a collection, reads it, and looks for pairs; every tenth vector has a twin.
"""

import sys
import time
from collections import Counter
from typing import Any

import numpy as np

from benchmarks import scenes
from benchmarks.record import write
from connector.process import usable_cores
from connector.records import Point, id_of
from connector.settings import Settings
from connector.store.open import open_scratch
from connector.store.schema import CollectionSchema, Fingerprint
from workers.duplicates.candidates import near_pairs
from workers.duplicates.look import Look, look_at
from workers.duplicates.same import compare
from workers.duplicates.scan import scanned

DIMS = 512
LEAST = 0.85
TWIN_NOISE = 0.3
"""Length of what tells a twin's vector apart: a cosine of about 0.96."""
MAX_PIXELS = 10**8


def pixels(count: int) -> dict[str, Any]:
    """Precision and recall of "the same image" on so many scenes, by form and by what differs."""
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    looks: list[Look] = []
    spent = compared = 0.0
    for scene in range(count):
        image = scenes.draw(scene, scenes.Exposure())
        looks.append(origin := look_at(scenes.encoded(image), max_pixels=MAX_PIXELS))
        same = [(name, look_at(data, max_pixels=MAX_PIXELS)) for name, data in scenes.forms(image, seed=scene)]
        other = [(name, look_at(scenes.encoded(each), max_pixels=MAX_PIXELS)) for name, each in scenes.others(scene)]
        if scene:
            other.append(("another scene", looks[scene - 1]))
        for name, look in same:
            began = time.perf_counter()
            right[name] += compare(origin, look).same
            spent, compared = spent + time.perf_counter() - began, compared + 1
        for name, look in other:
            began = time.perf_counter()
            wrong[name] += compare(origin, look).same
            spent, compared = spent + time.perf_counter() - began, compared + 1
    hits, false = right.total(), wrong.total()
    return {
        "scenes": count,
        "same": {name: f"{found} of {count}" for name, found in right.items()},
        "other exposures called the same": dict(wrong),
        "pairs": int(compared),
        "recall": round(hits / (count * len(right)), 4),
        "precision": round(hits / max(1, hits + false), 4),
        "ms_per_pair": round(1000 * spent / compared, 1),
    }


def vectors(count: int) -> dict[str, Any]:
    """Seconds to read a collection of so many vectors and to find its pairs, and how many twins are found."""
    settings = Settings.load({"model.space": "mini"})
    schema = CollectionSchema(Fingerprint("bench", DIMS, 224))
    made = _vectors(count)
    with open_scratch(settings.qdrant, collection="bench-duplicates") as engine:
        engine.create(schema)
        for start in range(0, count, 1_000):
            rows = range(start, min(count, start + 1_000))
            engine.upsert([Point(id_of(f"bench:{row}"), made[row], {"uri": f"file:///{row}.jpg"}) for row in rows])
        began = time.perf_counter()
        with scanned(engine) as scan:
            read = time.perf_counter() - began
            rows_of = {scan.id_of(row): row for row in range(len(scan))}
            began = time.perf_counter()
            found = near_pairs(scan.vectors, least=LEAST)
            paired = time.perf_counter() - began
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    twins = [
        sorted((rows_of[id_of(f"bench:{row}")], rows_of[id_of(f"bench:{row + 1}")])) for row in range(0, count, 10)
    ]
    return {
        "vectors": count,
        "dims": DIMS,
        "cores": usable_cores(),
        "read_s": round(read, 1),
        "pairs_s": round(paired, 1),
        "pairs": len(pairs),
        "twins_found": round(sum((first, second) in pairs for first, second in twins) / len(twins), 4),
    }


def _vectors(count: int) -> Any:
    """(count, DIMS) float32: clusters as a library has them, and a twin behind every tenth."""
    chance = np.random.default_rng(5)
    middles = chance.normal(size=(max(16, count // 400), DIMS)).astype(np.float32)
    made = middles[chance.integers(0, len(middles), count)]
    made += chance.normal(size=made.shape).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    noise = chance.normal(size=(len(made[1::10]), DIMS)).astype(np.float32) * np.float32(TWIN_NOISE / DIMS**0.5)
    made[1::10] = made[::10][: len(noise)] + noise
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def main() -> None:
    """Run what the command line names."""
    kind, count = sys.argv[1], int(sys.argv[2])
    results = pixels(count) if kind == "pixels" else vectors(count)
    print(write(f"duplicates-{kind}-{count}", results))
    print(results)


if __name__ == "__main__":
    main()
