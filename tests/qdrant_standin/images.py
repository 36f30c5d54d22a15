"""Points that look like images, for tests of a store: vectors with structure, payloads with every kind of field."""

import uuid

import numpy as np

from connector.records import Point, Vectors
from connector.store.schema import CollectionSchema, Fingerprint

DIMS = 128
SCHEMA = CollectionSchema(Fingerprint(space="mini", dims=DIMS, image_size=64), meta_fields={"price": "float"})


def vectors(count: int, *, seed: int = 0) -> Vectors:
    """(count, DIMS) float32: low rank plus noise, each row of length one."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, 8)) @ rng.standard_normal((8, DIMS)) + rng.standard_normal((count, DIMS)) * 0.3
    unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def points(count: int, *, seed: int = 0) -> list[Point]:
    """Images 0 to ``count``; the same ones for the same seed."""
    return [
        Point(
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"file:///photos/{number}.jpg")),
            vector=vector,
            payload={
                "uri": f"file:///photos/{number}.jpg",
                "object_key": f"photos/{number}.jpg",
                "folder": ("holiday", "work")[number % 2],
                "width": 640 + number,
                "location": {"lat": 48.1, "lon": 11.6},
                "taken_at": "2026-05-04T10:00:00Z",
                "tags": ["dog", "snow"],
                "meta": {"price": number / 2},
            },
        )
        for number, vector in enumerate(vectors(count, seed=seed))
    ]
