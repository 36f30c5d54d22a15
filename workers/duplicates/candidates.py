"""Candidates: the pairs of vectors that are near enough for a second look, without comparing all with all.

The rule: the work is bounded whatever the vectors are. They are shared out among about sqrt(n) cells, each to its
nearest two (an inverted file with spilling, as in Jégou et al., "Product Quantization for Nearest Neighbor Search",
IEEE TPAMI 2011, section IV); within a cell of at most ``CELL`` all are compared, and each keeps ``NEAREST`` of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

SPILL = 2
"""Cells that a vector lies in: the border between two is no border for pairs."""
CELL = 8_192
"""Vectors that are compared with one another; a larger cell is cut along its longest direction."""
NEAREST = 8
"""Candidates that a vector keeps in a cell, beside the first one that is near enough."""
CROWD = 1_024
"""Vectors near enough, in a cell, from which only the nearest one is kept beside the first: all are alike there."""
BLOCK = 2_048
"""Vectors that are multiplied at a time."""
SAMPLE = 32
"""Vectors a cell, of which the cells' middles are made."""
ROUNDS = 4
"""Rounds of k-means: the cells need not be good, only even."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of rows, ``first < second``, each once, the nearest first; ``cosine`` is that of their vectors."""

    first: NDArray[np.int64]  # (n,)
    second: NDArray[np.int64]  # (n,)
    cosine: NDArray[np.float32]  # (n,)


def near_pairs(
    vectors: NDArray[np.float16],
    *,
    least: float,
    cell: int = CELL,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Pairs:
    """The pairs of rows whose cosine is at least ``least``, as far as cells show them.

    ``vectors`` is (n, dims) float16, each row L2-normalised; it may be mapped from a file. At most ``cell`` of them are
    compared with one another. ``on_progress`` is called with how many were compared so far. Deterministic.
    """
    count = len(vectors)
    keys: list[NDArray[np.int64]] = []
    cosines: list[NDArray[np.float32]] = []
    done = 0
    for rows in _cells(vectors, cell=cell):
        for first, second, cosine in _within(vectors[rows].astype(np.float32), least=least):
            low, high = np.minimum(rows[first], rows[second]), np.maximum(rows[first], rows[second])
            keys.append(low * count + high)
            cosines.append(cosine)
        done += len(rows)
        on_progress(min(count, done // SPILL))
    if not keys:
        none = np.empty(0, dtype=np.int64)
        return Pairs(none, none, np.empty(0, dtype=np.float32))
    key, at = np.unique(np.concatenate(keys), return_index=True)
    cosine = np.concatenate(cosines)[at]
    order = np.argsort(-cosine, kind="stable")
    return Pairs(key[order] // count, key[order] % count, cosine[order])


def _cells(vectors: NDArray[np.float16], *, cell: int) -> Iterator[NDArray[np.int64]]:
    """The rows of each cell, in ascending order, at most ``cell`` of them."""
    count = len(vectors)
    if count <= cell:
        yield np.arange(count)
        return
    middles = _middles(vectors, cells=int(np.sqrt(count)))
    nearest = np.empty((count, SPILL), dtype=np.int32)
    for start in range(0, count, BLOCK):
        scores = vectors[start : start + BLOCK].astype(np.float32) @ middles.T
        nearest[start : start + BLOCK] = np.argpartition(-scores, SPILL, axis=1)[:, :SPILL]
    rows = np.repeat(np.arange(count), SPILL)
    order = np.argsort(nearest.reshape(-1), kind="stable")
    bounds = np.searchsorted(nearest.reshape(-1)[order], np.arange(len(middles) + 1))
    for start, stop in pairwise(bounds.tolist()):
        yield from _cut(vectors, rows[order[start:stop]], cell=cell)


def _middles(vectors: NDArray[np.float16], *, cells: int) -> NDArray[np.float32]:
    """(cells, dims) float32: k-means on the sphere over a sample."""
    chance = np.random.default_rng(0)
    picked = np.sort(chance.choice(len(vectors), size=min(len(vectors), cells * SAMPLE), replace=False))
    sample = vectors[picked].astype(np.float32)
    middles: NDArray[np.float32] = sample[chance.choice(len(sample), size=cells, replace=False)]
    for _ in range(ROUNDS):
        own = np.concatenate(
            [np.argmax(sample[at : at + BLOCK] @ middles.T, axis=1) for at in range(0, len(sample), BLOCK)]
        )
        order = np.argsort(own, kind="stable")
        filled, starts = np.unique(own[order], return_index=True)
        sums = np.add.reduceat(sample[order], starts, axis=0)
        middles[filled] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return middles


def _cut(vectors: NDArray[np.float16], rows: NDArray[np.int64], *, cell: int) -> Iterator[NDArray[np.int64]]:
    """A cell in parts of at most ``cell``, which overlap by a half: cut where its vectors differ most."""
    if len(rows) <= cell:
        if len(rows) > 1:
            yield rows
        return
    part = vectors[rows[:: max(1, len(rows) // BLOCK)]].astype(np.float32)
    _, _, directions = np.linalg.svd(part - part.mean(axis=0), full_matrices=False)
    along = np.concatenate(
        [vectors[rows[at : at + BLOCK]].astype(np.float32) @ directions[0] for at in range(0, len(rows), BLOCK)]
    )
    order = np.argsort(along, kind="stable")
    for start in range(0, len(rows), cell // 2):
        yield np.sort(rows[order[start : start + cell]])


def _within(
    vectors: NDArray[np.float32], *, least: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
    """Positions and cosine of the pairs of a cell: the nearest of each, and the first that is near enough.

    The latter ties many images that are all alike together by few pairs: each leads to the same one.
    """
    count = len(vectors)
    keep = min(NEAREST, count - 1)
    for start in range(0, count, BLOCK):
        scores = vectors[start : start + BLOCK] @ vectors.T  # (block, count) float32
        own = np.arange(start, start + len(scores))
        scores[np.arange(len(scores)), own] = -np.inf
        near = scores >= least
        some = np.flatnonzero(near.any(axis=1))
        if not some.size:
            continue
        crowded = near[some].sum(axis=1) > CROWD
        few, many = some[~crowded], some[crowded]
        best = np.argpartition(-scores[few], keep - 1, axis=1)[:, :keep]
        first = np.concatenate([some, many, np.repeat(few, keep)])
        second = np.concatenate([np.argmax(near[some], axis=1), np.argmax(scores[many], axis=1), best.reshape(-1)])
        cosine = scores[first, second]
        wanted = cosine >= least
        yield first[wanted] + start, second[wanted], cosine[wanted]
