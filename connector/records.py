"""The values that travel between our modules: frozen, slotted, and free of behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float32]
"""One embedding: (dims,) float32, L2-normalised."""

Vectors: TypeAlias = NDArray[np.float32]
"""A batch of embeddings: (n, dims) float32, each row L2-normalised."""

Pixels: TypeAlias = NDArray[np.uint8]
"""One or many images ready for a tower: (size, size, 3) or (n, size, size, 3) uint8 RGB."""

Payload: TypeAlias = Mapping[str, Any]
"""What a point knows about its image: plain JSON values, documented in ``connector.store.schema``."""


@dataclass(frozen=True, slots=True)
class Point:
    """An image as the store keeps it."""

    id: str
    vector: Vector
    payload: Payload


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A point read back; ``vector`` is None unless it was asked for."""

    id: str
    payload: Payload
    vector: Vector | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer to a query, best first; ``score`` is the cosine between query and image.

    ``relevance`` says from 0 to 1 how sure it is that the image fits, alike in every language; from 0.5 it does
    rather than not. None in a collection of fewer than 32 images, or of images all alike, for there is nothing to
    tell a hit from; and where the question was a bare vector.
    """

    id: str
    score: float
    payload: Payload
    relevance: float | None = None

    @property
    def uri(self) -> str:
        """Where the image was ingested from, such as ``file:///photos/dog.jpg``."""
        return str(self.payload.get("uri", ""))


@dataclass(frozen=True, slots=True)
class HitGroup:
    """The best hits that share one value of a field."""

    value: str | int | float | bool
    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class FacetCount:
    """How many points have this value in the field that was asked for."""

    value: str | int | bool
    count: int
