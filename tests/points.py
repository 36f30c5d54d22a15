"""Small points for tests of engines: numbered, with unit vectors that any process makes alike."""

import uuid

import numpy as np

from connector.records import Point

DIMS = 16


def points(count: int, *, first: int = 0) -> list[Point]:
    """So many points, from number ``first`` on."""
    random = np.random.default_rng(first)
    rows = random.normal(size=(count, DIMS)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return [Point(str(uuid.UUID(int=first + n)), row, {"width": first + n}) for n, row in enumerate(rows)]
