"""Blends -> vectors: all words of many questions in one pass through the model, all stored points in one call."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from connector.asking import as_point_id, is_number, shown
from connector.blend import Blend, Part, Picture, Stored, Words
from connector.errors import InvalidQuery
from connector.qdrant.points import SHORTEST
from connector.records import Vector, Vectors

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

P = TypeVar("P", Words, Picture, Stored)


def mixed(
    blends: Sequence[Blend],
    *,
    said: Callable[[Sequence[Words]], Vectors],
    pictures: "Callable[[Sequence[str | Path | bytes | Image]], Vectors]",
    stored: Callable[[Sequence[str]], Vectors],
) -> Vectors:
    """One vector for each blend: (blends, dims) float32, L2-normalised. Raises InvalidQuery.

    The three callables make the vectors of the parts: (n, dims) for n of them.
    """
    if not blends:
        return said([])
    for blend in blends:
        _check(blend)
    parts = [one.part for blend in blends for one in blend.parts]
    vectors: dict[int, Vector] = {
        **_each(parts, Words, said),
        **_each(parts, Picture, lambda some: pictures([each.image for each in some])),
        **_each(parts, Stored, lambda some: stored([as_point_id(each.point_id) for each in some])),
    }
    start, rows = 0, []
    for blend in blends:
        end = start + len(blend.parts)
        rows.append(_sum(blend, np.stack([vectors[number] for number in range(start, end)])))
        start = end
    return np.stack(rows)


def named_points(blend: Blend) -> list[str]:
    """The ids of the stored points that a blend is made of."""
    return [as_point_id(one.part.point_id) for one in blend.parts if isinstance(one.part, Stored)]


def _check(blend: Blend) -> None:
    if not isinstance(blend, Blend):
        raise InvalidQuery(
            f"the question is {type(blend).__name__}; a text or a blend of words and pictures is wanted."
        )
    if not blend.parts:
        raise InvalidQuery("the blend has no parts; give words, a picture or a point.")
    for one in blend.parts:
        if not is_number(one.weight):
            raise InvalidQuery(f"a part of the blend has the weight {shown(one.weight)}; a finite number is wanted.")


def _each(parts: Sequence[Part], kind: type[P], embed: Callable[[Sequence[P]], Vectors]) -> dict[int, Vector]:
    """The vectors of the parts of one kind, by the parts' numbers."""
    chosen = [(number, part) for number, part in enumerate(parts) if isinstance(part, kind)]
    vectors: Iterable[Vector] = embed([part for _, part in chosen]) if chosen else ()
    return {number: vector for (number, _), vector in zip(chosen, vectors, strict=True)}


def _sum(blend: Blend, vectors: Vectors) -> Vector:
    """The weighted sum of a blend's parts, (parts, dims), at length 1."""
    weights = np.array([float(one.weight) for one in blend.parts])
    weights /= max(float(np.abs(weights).max()), np.finfo(float).tiny)  # only their ratios count; none overflows
    total = weights @ vectors.astype(np.float64)
    length = float(np.linalg.norm(total))
    if length < SHORTEST:
        raise InvalidQuery("the parts of the blend cancel one another out; change a weight.")
    return np.asarray(total / length, dtype=np.float32)
