"""What goes over the wire: requests and answers of the REST interface, as documented in its OpenAPI page."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from connector.records import Hit, StoredPoint
from connector.search.options import MAX_TEXT, SearchOptions
from connector.search.pages import LONGEST, MOST
from connector.service.keys import Addresses
from connector.understand.question import Chip, ChipKind

Scalar = str | int | float | bool
AddressesOf = Callable[[str], Addresses]
"""Tells where the image of a point is, by its id."""
_ID = "1f0b6d53-5f0c-5f7e-9d0e-0a4d5e1c2b3a"
_POINT = {
    "id": _ID,
    "uri": "file:///photos/2024/dog.jpg",
    "payload": {"folder": ["2024"], "filename": "dog.jpg", "format": "jpeg", "width": 1920, "height": 1080},
    "image_url": f"/images/{_ID}",
    "thumbnail_url": f"/thumbnails/{_ID}.webp",
}


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"example": example})


class RequestModel(BaseModel):
    """A request's part: an unknown name in it is an error."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class WeightedPartRequest(RequestModel):
    """A weighted part of a query: either a text or a stored point."""

    weight: float = Field(default=1.0, ge=-1000, le=1000)
    """How much it counts; below zero it pushes away."""
    text: str | None = Field(default=None, max_length=MAX_TEXT)
    """A text in any language."""
    language: str | None = Field(default=None, max_length=35)
    """The language of this text, where it is not that of the others."""
    point: str | None = Field(default=None, max_length=100)
    """The id of a stored point."""


class TagsRequest(RequestModel):
    """Labels of an image."""

    tags: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(max_length=100, examples=[["dog", "beach"]])
    """The tags, in place of those it has."""


class ChangeRequest(RequestModel):
    """What is to be changed of an image; its vector stays."""

    meta: dict[str, Any] | None = Field(default=None, max_length=1000, examples=[{"album": "Norderney", "draft": None}])
    """The user's own metadata, key by key; null takes a key away."""
    tags: list[Annotated[str, Field(min_length=1, max_length=200)]] | None = Field(
        default=None, max_length=100, examples=[["dog", "beach"]]
    )
    """The tags, in place of those it has."""


class ClassifyRequest(RequestModel):
    """Labels to choose from."""

    labels: list[Annotated[str, Field(max_length=MAX_TEXT)]] = Field(
        min_length=2, max_length=1000, examples=[["Hund", "Katze", "Strand"]]
    )
    """Texts in any language; one alone would always fit."""
    language: str | None = Field(default=None, max_length=35, examples=["de"])
    """Code of the labels' language, to put them into a few sentences of it; none takes the labels alone."""
    templates: list[Annotated[str, Field(max_length=MAX_TEXT)]] | None = Field(
        default=None, min_length=1, max_length=20, examples=[["ein Foto: {}"]]
    )
    """Sentences of your own, each with one {} where the label goes."""


class ClassifyStoredRequest(ClassifyRequest):
    """Stored images, and labels to choose from."""

    ids: list[str] = Field(min_length=1, max_length=100, examples=[[_ID]])
    """The ids of the images' points."""


class FilterRequest(RequestModel):
    """Which images are meant."""

    where: str | None = Field(default=None, examples=["width >= 64"])
    """Filter, such as ``width >= 1024 and folder == "holiday"``."""


class SampleRequest(FilterRequest):
    """Images at random."""

    limit: int = Field(default=10, ge=1, le=MOST)
    """How many."""


class ListingRequest(FilterRequest):
    """A page of the collection."""

    order_by: str | None = Field(default=None, max_length=200, examples=["-ingested_at"])
    """A field that holds a number or a date, with a minus the largest first; images without it are left out. Without
    it, all images in the order of their ids."""
    fields: list[Annotated[str, Field(min_length=1, max_length=200)]] | None = Field(
        default=None, max_length=100, examples=[["width", "height"]]
    )
    """The fields of the payload that are wanted, each as a parameter of its own; none gives all."""
    limit: int = Field(default=60, ge=1, le=MOST)
    """How many images at most."""
    cursor: str | None = Field(default=None, max_length=LONGEST)
    """``next`` of the page before; none begins at the beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest(SearchOptions):
    """A question, exactly one of ``text``, ``like`` and ``query``, and what is wanted of its answer."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    text: Annotated[str | None, Field(max_length=MAX_TEXT, examples=["ein Hund im Schnee"])] = None
    """A text in any language."""
    like: str | None = None
    """The id of a stored point to find the nearest of."""
    query: Annotated[list[WeightedPartRequest] | None, Field(min_length=1, max_length=64)] = None
    """Texts and stored points, mixed by weight."""
    more_like: Annotated[list[str] | None, Field(max_length=64)] = None
    """The ids of stored images that the answer is to be more like."""
    less_like: Annotated[list[str] | None, Field(max_length=64)] = None
    """The ids of stored images that the answer is to be less like."""
    group_by: Annotated[str | None, Field(max_length=200, examples=["folder"])] = None
    """Group the hits by this field; ``limit`` then counts groups."""
    group_size: Annotated[int, Field(ge=1, le=1000)] = 3
    """Hits in one group at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSearchRequest(SearchOptions):
    """What is wanted of the answer to an image that is sent along."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")


class PointAnswer(BaseModel):
    """A stored image and where its bytes are."""

    model_config = _example(_POINT)

    id: str
    uri: str
    """Where the image was ingested from; empty where the point does not say."""
    fault: str | None = None
    """What is wrong with the point, where another program cleared or changed it; null for one of an ingestion."""
    payload: dict[str, Any]
    image_url: str
    thumbnail_url: str

    @classmethod
    def of(cls, stored: StoredPoint, *, addresses: AddressesOf) -> "PointAnswer":
        """The answer for a point."""
        return cls(
            id=stored.id,
            uri=stored.uri,
            fault=stored.fault,
            payload=dict(stored.payload),
            **addresses(stored.id),
        )


class ListingAnswer(BaseModel):
    """A page of the collection."""

    model_config = _example({"images": [_POINT], "next": "WyItdGFrZW5fYXQiLCIyMDI0LTA1LTAxIiwiMWYiXQ"})

    images: list[PointAnswer]
    next: str | None
    """The cursor of the following page; null at the end."""


class SampleAnswer(BaseModel):
    """Images of the collection, picked at random."""

    model_config = _example({"images": [_POINT]})

    images: list[PointAnswer]


class NumberAnswer(BaseModel):
    """How many images there are."""

    model_config = _example({"count": 812})

    count: int


class ReasonAnswer(BaseModel):
    """Why an image is a hit: the field that words were found in, and these words as they are written there."""

    field: str
    """``seen`` where what the image shows fits; else a field, such as ``tags``, ``ocr`` or ``caption``."""
    words: list[str]


class HitAnswer(PointAnswer):
    """A hit; ``score`` is the cosine between question and image, or, where words alone answer, their BM25."""

    model_config = _example({**_POINT, "score": 0.31, "reasons": [{"field": "tags", "words": ["dog"]}]})

    score: float
    relevance: float | None
    """How sure it is that the image fits, from 0 to 1; null in a collection too small to tell by."""
    reasons: list[ReasonAnswer]
    """Why it is a hit, where words took part in the answer; empty where they did not."""

    @classmethod
    def of_hit(cls, hit: Hit, *, addresses: AddressesOf) -> "HitAnswer":
        """The answer for a hit."""
        point = PointAnswer.of(StoredPoint(hit.id, hit.payload), addresses=addresses)
        reasons = [ReasonAnswer(field=each.field, words=[*each.words]) for each in hit.reasons]
        return cls(**point.model_dump(), score=hit.score, relevance=hit.relevance, reasons=reasons)


class GroupAnswer(BaseModel):
    """The best hits of one value."""

    value: Scalar
    hits: list[HitAnswer]


class ChipAnswer(BaseModel):
    """A date or a place that was read in the text: its words and where they stand, how it is shown, its filter."""

    kind: ChipKind
    words: str
    start: int
    end: int
    shown: str
    where: str

    @classmethod
    def of(cls, chip: Chip) -> "ChipAnswer":
        """The answer for a chip."""
        return cls(**asdict(chip))


class SearchAnswer(BaseModel):
    """Hits, best first; or groups, where they were asked for."""

    hits: list[HitAnswer]
    groups: list[GroupAnswer] | None = None
    understood: list[ChipAnswer] = []
    """What of the text became a filter; its words given as ``literal`` take it back."""
    took_ms: float


class CountAnswer(BaseModel):
    """A value and how many images have it."""

    value: Scalar
    count: int


class FacetAnswer(BaseModel):
    """A field's most frequent values."""

    model_config = _example({"field": "folder", "counts": [{"value": "2024", "count": 812}]})

    field: str
    counts: list[CountAnswer]


class LabelAnswer(BaseModel):
    """A label, its probability among those given, and its cosine."""

    name: str
    probability: float
    score: float


class Classification(BaseModel):
    """An image's labels, best first; ``id`` is None for one that was sent along."""

    id: str | None
    labels: list[LabelAnswer]


class ClassifyAnswer(BaseModel):
    """The images in the order they were asked for."""

    model_config = _example({"images": [{"id": _ID, "labels": [{"name": "Hund", "probability": 0.97, "score": 0.29}]}]})

    images: list[Classification]


class IngestionAnswer(BaseModel):
    """Where an ingestion stands. ``rate`` is images per second; ``busy`` the share of time each stage worked."""

    id: str
    source: str
    state: Literal["running", "done", "stopped", "failed", "broken"]
    started_at: str
    updated_at: str
    listed: int
    listed_all: bool
    stored: int
    unchanged: int
    rejected: int
    reasons: dict[str, int]
    rate: float
    eta_s: float | None
    busy: dict[str, float]
    bottleneck: str | None
    error: str | None


class IngestionsAnswer(BaseModel):
    """The last ingestion of every source, newest first."""

    collection: str
    ingestions: list[IngestionAnswer]


class RejectAnswer(BaseModel):
    """An image that could not be taken, and why; not every one has a thumbnail that can be made."""

    uri: str
    stage: str
    reason: str
    detail: str
    attempt: int
    thumbnail_url: str


class RejectsAnswer(BaseModel):
    """Rejects, and how many there are by reason."""

    reasons: dict[str, int]
    rejects: list[RejectAnswer]


class CollectionAnswer(BaseModel):
    """The collection that is served; ``fields`` are those a filter may use, with their index types.

    ``space`` answers; ``next`` is being filled to answer one day, ``previous`` answered before and can again.
    """

    name: str
    space: str
    next: str | None
    previous: str | None
    points: int
    current: bool
    fields: dict[str, str]


class CollectionsAnswer(BaseModel):
    """The collections that can be asked here."""

    collections: list[CollectionAnswer]
    may_write: bool
    """Whether this caller's key may add, change and remove images."""


class Problem(BaseModel):
    """What went wrong: a code for programs, a sentence for people."""

    code: str
    message: str
    request_id: str
    position: int | None = None


class ProblemAnswer(BaseModel):
    """The one shape of every error."""

    model_config = _example(
        {
            "error": {
                "code": "invalid_query",
                "message": "field 'widht' is unknown. The nearest one is 'width'. (column 1 of the filter)",
                "request_id": "5f3c0c9d8e8b4c6f9a1e2d3c4b5a6978",
                "position": 1,
            }
        }
    )

    error: Problem


class Health(BaseModel):
    """Whether the service lives, or is ready."""

    status: Literal["ok", "starting"]
