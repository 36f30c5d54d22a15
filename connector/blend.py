"""Blend: a question mixed of words, pictures and stored points, each with its weight.

    words("a beach") + picture("mine.jpg") - 0.5 * words("people")

The rule: a part counts by its direction alone. Its vector has length 1 before the weight, whatever it was made of.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Words:
    """A text in any language; ``language`` is its tag, such as ``en``, where it is known."""

    text: str
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture: a path, an http(s) address, a file's bytes or a PIL image."""

    image: "str | Path | bytes | Image"


@dataclass(frozen=True, slots=True)
class Stored:
    """A point of the collection, by its id."""

    point_id: str


Part: TypeAlias = Words | Picture | Stored


@dataclass(frozen=True, slots=True)
class Weighted:
    """A part and how much it counts; below zero it pushes away."""

    part: Part
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Blend:
    """Weighted parts of one question; add, subtract and multiply them."""

    parts: tuple[Weighted, ...]

    def __add__(self, other: "Blend") -> "Blend":
        return Blend((*self.parts, *other.parts))

    def __sub__(self, other: "Blend") -> "Blend":
        return self + -1.0 * other

    def __mul__(self, factor: float) -> "Blend":
        return Blend(tuple(replace(one, weight=one.weight * factor) for one in self.parts))

    __rmul__ = __mul__

    def __neg__(self) -> "Blend":
        return self * -1.0


def words(text: str, *, language: str | None = None) -> Blend:
    """A text as a part of a blend; with its ``language``, such as ``en``, the tower that knows that one best speaks."""
    return Blend((Weighted(Words(text, language)),))


def picture(image: "str | Path | bytes | Image") -> Blend:
    """A picture as a part of a blend."""
    return Blend((Weighted(Picture(image)),))


def point(point_id: str) -> Blend:
    """A stored point as a part of a blend."""
    return Blend((Weighted(Stored(point_id)),))
