"""Fusion: several ranked lists of one question -> one order, and what may move an image in it.

The rule: pure functions of ranks, scores and weights. docs/decisions/0013-words.md says which of them holds, and what
each was measured to do.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from connector.records import Vectors

RANK_CONSTANT = 60
"""``k`` of reciprocal rank fusion, as in its source: how little the first ranks differ."""
YEAR_S = 365.25 * 86400
RECENT = 0.25
"""How much further up what was taken today comes; half as much a year ago, a quarter two years ago."""
PREFERRED = 0.25
"""How much further up what matches ``prefer`` comes: from among the first 16 to the first place."""


def weighted_rrf(
    ranks: Sequence[Mapping[str, int]], *, weights: Sequence[Mapping[str, float] | float], constant: int = RANK_CONSTANT
) -> dict[str, float]:
    """Reciprocal rank fusion: the score of an image is the sum over the lists of weight / (constant + rank).

    ``ranks`` are the places by id in each list, from 1; ``weights`` those of each list, of all or by id. Source:
    Cormack, Clarke and Büttcher, *Reciprocal rank fusion outperforms Condorcet and individual rank learning methods*,
    SIGIR 2009, where every weight is 1.
    """
    fused: dict[str, float] = {}
    for places, weight in zip(ranks, weights, strict=True):
        for point, rank in places.items():
            share = weight if isinstance(weight, float | int) else weight.get(point, 0.0)
            fused[point] = fused.get(point, 0.0) + share / (constant + rank)
    return fused


def dbsf(scores: Sequence[Mapping[str, float]], *, weights: Sequence[float]) -> dict[str, float]:
    """Distribution-based score fusion: the weighted sum of the scores, each list's brought to 0 to 1 by its own spread.

    A list's mean less three deviations becomes 0, its mean and three 1; what is not in a list has 0 there. Source:
    Mazzeschi, *Distribution-based score fusion (DBSF), a new approach to vector search ranking*, 2023; Qdrant has the
    same.
    """
    fused: dict[str, float] = {}
    for found, weight in zip(scores, weights, strict=True):
        values = np.fromiter(found.values(), dtype=np.float64)
        mean, spread = (float(values.mean()), 6 * float(values.std())) if len(values) else (0.0, 0.0)
        for point, score in found.items():
            share = 0.5 if spread < 1e-9 else (score - mean) / spread + 0.5
            fused[point] = fused.get(point, 0.0) + weight * min(max(share, 0.0), 1.0)
    return fused


def ranks_of(scores: Sequence[tuple[str, float]]) -> dict[str, int]:
    """The places of a list that is sorted by its scores, from 1; what scores alike shares the first of its places."""
    ranks = {scores[0][0]: 1} if scores else {}
    for number, ((above, more), (point, score)) in enumerate(pairwise(scores), 2):
        ranks[point] = ranks[above] if more - score < 1e-6 else number
    return ranks


def recency(taken_at: object, *, now: datetime) -> float:
    """From 0 to 1, how lately an image was taken: 1 now, 1/2 a year ago, 1/4 two years ago; 0 where nothing says so."""
    try:
        taken = datetime.fromisoformat(taken_at)  # type: ignore[arg-type]  # what is no text is no date either
        age = (now - (taken if taken.tzinfo else taken.replace(tzinfo=UTC))).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return float(0.5 ** (max(age, 0.0) / YEAR_S))


def diverse_order(vectors: Vectors, *, scores: NDArray[np.float32], diversity: float, count: int) -> list[int]:
    """The rows of ``vectors`` (n, dims) to show, best first, at most ``count``.

    Each next one is the row with the greatest ``(1 - diversity) * score - diversity * likeness``, the likeness being
    its cosine to the nearest row chosen before (Carbonell and Goldstein, 1998). 0 keeps the order of the scores.
    """
    left = list(range(len(vectors)))
    likeness = np.zeros(len(vectors), dtype=np.float32)
    chosen: list[int] = []
    while left and len(chosen) < count:
        worth = (1 - diversity) * scores[left] - diversity * likeness[left]
        best = left.pop(int(np.argmax(worth)))
        chosen.append(best)
        similar = vectors @ vectors[best]  # (n,)
        likeness = similar if len(chosen) == 1 else np.maximum(likeness, similar)
    return chosen
