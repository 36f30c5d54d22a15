"""Query: a question made of texts, images and stored points, each with its weight.

    text("a beach") + image("mine.jpg") - 0.5 * text("people")

The rule: a part counts by its direction alone. Its vector has length 1 before the weight, whatever it was made of.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from connector.records import masked_uri

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class TextPart:
    """A text in any language; ``language`` is its tag, such as ``en``, where it is known."""

    text: str
    language: str | None = None


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image: a path, an http(s) address, a file's bytes or a PIL image."""

    image: "str | Path | bytes | Image"

    def __repr__(self) -> str:
        if isinstance(self.image, bytes):
            return f"ImagePart(<{len(self.image):,} bytes>)"
        return f"ImagePart({masked_uri(self.image)!r})" if isinstance(self.image, str) else f"ImagePart({self.image!r})"


@dataclass(frozen=True, slots=True)
class PointPart:
    """A point of the collection, by its id."""

    point_id: str


Part: TypeAlias = TextPart | ImagePart | PointPart


@dataclass(frozen=True, slots=True)
class WeightedPart:
    """A part and how much it counts; below zero it pushes away."""

    part: Part
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Query:
    """Weighted parts of one question; add, subtract and multiply them."""

    parts: tuple[WeightedPart, ...]

    def __add__(self, other: "Query") -> "Query":
        return Query((*self.parts, *other.parts))

    def __sub__(self, other: "Query") -> "Query":
        return self + -1.0 * other

    def __mul__(self, factor: float) -> "Query":
        return Query(tuple(replace(one, weight=one.weight * factor) for one in self.parts))

    __rmul__ = __mul__

    def __neg__(self) -> "Query":
        return self * -1.0


def text(text: str, *, language: str | None = None) -> Query:
    """A query by a text; with its ``language``, such as ``en``, the tower that knows that one best encodes it."""
    return Query((WeightedPart(TextPart(text, language)),))


def image(image: "str | Path | bytes | Image") -> Query:
    """A query by an image: a path, an http(s) address, a file's bytes or a PIL image."""
    return Query((WeightedPart(ImagePart(image)),))


def point(point_id: str) -> Query:
    """A query by a stored point."""
    return Query((WeightedPart(PointPart(point_id)),))


@dataclass(frozen=True, slots=True)
class QueryWords:
    """The words of a query: its texts that it is to be like, ``against`` those that it is to be unlike.

    ``share`` is how much of the whole query the former are, from 0 to 1: what else there is only eyes can judge.
    """

    text: str
    share: float = 1.0
    language: str | None = None
    against: str = ""


def words_of_query(query: Query) -> QueryWords:
    """The words of a query; ``text`` is empty where it has none."""
    texts = [(one.part, one.weight) for one in query.parts if isinstance(one.part, TextPart) and one.weight > 0]
    share = sum(weight for _, weight in texts) / (sum(abs(one.weight) for one in query.parts) or 1.0)
    language = next((part.language for part, _ in texts if part.language), None)
    against = " ".join(one.part.text for one in query.parts if one.weight < 0 and isinstance(one.part, TextPart))
    return QueryWords(" ".join(part.text for part, _ in texts), share, language, against)


def feedback(query: Query | None, *, more: Sequence[str] = (), less: Sequence[str] = ()) -> Query:
    """The query, or none, more like some stored images and less like others, by the ids of their points.

    The query counts 1, the mean of ``more`` 1, the mean of ``less`` -0.5: at -1 the answer runs from what is disliked
    instead of towards what is asked. Source: Rocchio, *Relevance feedback in information retrieval*, 1971.
    """
    liked = tuple(WeightedPart(PointPart(each), 1.0 / len(more)) for each in more)
    disliked = tuple(WeightedPart(PointPart(each), -0.5 / len(less)) for each in less)
    return Query((*(query.parts if query is not None else ()), *liked, *disliked))


def as_query(query: "Query | str", *, language: str | None = None) -> Query:
    """A text stands for ``text(query)``; ``language`` is that of the texts that name none."""
    made = text(query) if isinstance(query, str) else query
    if language is None or not isinstance(made, Query):  # what is no query is told where queries are checked
        return made
    return Query(tuple(replace(one, part=_in_language(one.part, language)) for one in made.parts))


def _in_language(part: Part, language: str) -> Part:
    return replace(part, language=language) if isinstance(part, TextPart) and part.language is None else part
