"""What goes over the wire: requests and answers of the REST interface, as documented in its OpenAPI page."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from connector.asking import MAX_LIMIT, MAX_TEXT
from connector.records import Hit, StoredPoint

Scalar = str | int | float | bool


class Said(BaseModel):
    """A request's part: an unknown name in it is an error."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Options(Said):
    """Which part of the answer is wanted."""

    where: str | None = Field(default=None, examples=["width >= 64"])
    """A filter expression; docs/filters.md has the language."""
    limit: int = Field(default=10, ge=1, le=MAX_LIMIT)
    """How many hits."""
    offset: int = Field(default=0, ge=0, le=MAX_LIMIT)
    """How many to pass over."""
    min_score: float | None = Field(default=None, ge=-1, le=1)
    """Leave out hits below this cosine."""
    diversity: float = Field(default=0.0, ge=0, le=1)
    """Above 0: hits that do not repeat one another."""


class Part(Said):
    """A weighted part of a blend: either a text or a stored point."""

    weight: float = Field(default=1.0, ge=-1000, le=1000)
    """How much it counts; below zero it leads away."""
    text: str | None = Field(default=None, max_length=MAX_TEXT)
    """Words in any language."""
    like: str | None = None
    """The id of a point."""


class Search(Options):
    """A question: exactly one of ``text``, ``like`` and ``blend``."""

    text: str | None = Field(default=None, max_length=MAX_TEXT, examples=["ein Hund im Schnee"])
    """Words in any language."""
    like: str | None = None
    """The id of a point whose picture to go by."""
    blend: list[Part] | None = Field(default=None, min_length=1, max_length=64)
    """Several of these, mixed by weight."""
    group_by: str | None = None
    """Group the hits by this field; ``limit`` then counts groups."""
    group_size: int = Field(default=3, ge=1, le=1000)
    """Hits in one group at most."""


class PointAnswer(BaseModel):
    """A stored picture and where its bytes are."""

    id: str
    uri: str
    payload: dict[str, Any]
    image_url: str
    thumbnail_url: str

    @classmethod
    def of(cls, found: StoredPoint) -> "PointAnswer":
        """The answer for a point."""
        return cls(
            id=found.id,
            uri=str(found.payload.get("uri", "")),
            payload=dict(found.payload),
            image_url=f"/images/{found.id}",
            thumbnail_url=f"/thumbnails/{found.id}.webp",
        )


class HitAnswer(PointAnswer):
    """A hit; ``score`` is the cosine between question and picture."""

    score: float

    @classmethod
    def of_hit(cls, hit: Hit) -> "HitAnswer":
        """The answer for a hit."""
        point = PointAnswer.of(StoredPoint(hit.id, hit.payload))
        return cls(**point.model_dump(), score=hit.score)


class GroupAnswer(BaseModel):
    """The best hits of one value."""

    value: Scalar
    hits: list[HitAnswer]


class SearchAnswer(BaseModel):
    """Hits, best first; or groups, where they were asked for."""

    hits: list[HitAnswer]
    groups: list[GroupAnswer] | None = None
    took_ms: float


class CountAnswer(BaseModel):
    """A value and how many pictures have it."""

    value: Scalar
    count: int


class FacetAnswer(BaseModel):
    """A field's most frequent values."""

    field: str
    counts: list[CountAnswer]


class CollectionAnswer(BaseModel):
    """The collection that is served; ``fields`` are those a filter may use, with their index types."""

    name: str
    space: str
    points: int
    current: bool
    fields: dict[str, str]


class CollectionsAnswer(BaseModel):
    """The collections that can be asked here."""

    collections: list[CollectionAnswer]


class Problem(BaseModel):
    """What went wrong: a word for programs, a sentence for people."""

    code: str
    message: str
    request_id: str
    position: int | None = None


class ProblemAnswer(BaseModel):
    """The one shape of every error."""

    error: Problem


class Health(BaseModel):
    """Whether the service lives, or is ready."""

    status: Literal["ok", "starting"]
