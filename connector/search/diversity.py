"""Hits that do not repeat one another: maximal marginal relevance.

The one place for both engines: a server knows the method too, but not how to page through what it gives.
"""

import numpy as np
from numpy.typing import NDArray

from connector.records import Vectors

CANDIDATES = 5
"""Nearest hits looked at for each one wanted, and ``LEAST`` at least."""
LEAST = 100


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
        duplicates = vectors @ vectors[best]  # (n,)
        likeness = duplicates if len(chosen) == 1 else np.maximum(likeness, duplicates)
    return chosen
