"""What goes over the wire where the collection is written to: requests and answers, as OpenAPI documents them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from connector.service.answers import RequestModel
from workers.collection.client import AddStatus
from workers.duplicates.groups import KINDS, NEAR, DuplicateKind
from workers.service.jobs import State

MOST = 100
"""Images in one request."""
MOST_IDS = 200
"""Ids in one address: 16 KiB of headers hold no more."""
_ID = "1f0b6d53-5f0c-5f7e-9d0e-0a4d5e1c2b3a"
_OTHER = "7c1a3b0e-2f94-5d0c-8f53-5a3a9a1f4e21"
_SEARCH: dict[str, Any] = {
    "id": "0b4f0c9d8e8b4c6f9a1e2d3c4b5a6978",
    "kinds": [*KINDS],
    "where": None,
    "near": NEAR,
    "state": "done",
    "started_at": "2026-05-01T10:00:00.000+00:00",
    "updated_at": "2026-05-01T10:00:21.250+00:00",
    "stage": "looking at images",
    "done": 118,
    "total": 118,
    "images": 8120,
    "distinct": 8071,
    "compared": 118,
    "featureless": 3,
    "unread": 0,
    "groups": {"identical": 41, "same_image": 17, "same_moment": 9, "look_alikes": 30},
    "error": None,
}
_GROUP: dict[str, Any] = {
    "id": "same_image-6f1c2a9b0d3e4f55",
    "kind": "same_image",
    "size": 2,
    "best": _ID,
    "reason": "the most pixels",
    "images": [
        {
            "id": _ID,
            "uri": "file:///photos/beach.jpg",
            "width": 4000,
            "height": 3000,
            "bytes": 3_100_000,
            "format": "jpeg",
            "evidence": None,
            "image_url": f"/images/{_ID}",
            "thumbnail_url": f"/thumbnails/{_ID}.webp",
        },
        {
            "id": _OTHER,
            "uri": "file:///photos/mail/beach-small.webp",
            "width": 800,
            "height": 600,
            "bytes": 90_000,
            "format": "webp",
            "evidence": {"of": _ID, "cosine": 0.991, "pixels": None, "seconds": None},
            "image_url": f"/images/{_OTHER}",
            "thumbnail_url": f"/thumbnails/{_OTHER}.webp",
        },
    ],
}
Identity = Annotated[str, Field(min_length=1, max_length=500)]


class ImageOptions(RequestModel):
    """What is said of one image that is added."""

    id: Identity | None = Field(default=None, examples=["sku-1"])
    """What identifies it, in place of its bytes or its address: a UUID is its id, of another text one is made."""
    meta: dict[str, Any] = Field(default_factory=dict, max_length=1000, examples=[{"album": "Norderney"}])
    """The user's own metadata; its ``tags`` become the field of that name."""


class UploadOptions(RequestModel):
    """What is said of the images that are sent along, in their order; nothing where there is no list."""

    images: list[ImageOptions] | None = Field(default=None, max_length=MOST)


class AddressRequest(ImageOptions):
    """An image by its address."""

    uri: str = Field(min_length=1, max_length=8192, examples=["file:///photos/beach.jpg"])
    """``https:``, ``http:``, ``s3:`` or ``file:``; the last two in places that the service may read."""


class AddressesRequest(RequestModel):
    """Images by their addresses."""

    images: list[AddressRequest] = Field(min_length=1, max_length=MOST)


class RejectReason(BaseModel):
    """Why an image could not be taken."""

    stage: str
    reason: str
    detail: str


class AddedImage(BaseModel):
    """What became of one image."""

    id: str | None
    """The id of its point; null for a reject."""
    status: AddStatus
    reject: RejectReason | None = None
    image_url: str | None = None
    thumbnail_url: str | None = None


class AddAnswer(BaseModel):
    """What became of the images, in their order."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "images": [
                    {
                        "id": _ID,
                        "status": "added",
                        "reject": None,
                        "image_url": f"/images/{_ID}",
                        "thumbnail_url": f"/thumbnails/{_ID}.webp",
                    },
                    {
                        "id": None,
                        "status": "rejected",
                        "reject": {"stage": "decode", "reason": "not_an_image", "detail": "the bytes are no image"},
                        "image_url": None,
                        "thumbnail_url": None,
                    },
                ]
            }
        }
    )

    images: list[AddedImage]


class DeleteRequest(RequestModel):
    """Which images are to be removed: those of ``ids``, or all that match ``where``."""

    ids: list[str] | None = Field(default=None, min_length=1, max_length=MOST_IDS, examples=[[_ID]])
    """The ids, each as a parameter of its own."""
    where: str | None = Field(default=None, min_length=1, examples=['folder == "drafts"'])
    """A filter; ``width > 0`` takes all."""


class DeleteAnswer(BaseModel):
    """How many images were removed."""

    model_config = ConfigDict(json_schema_extra={"example": {"deleted": 3}})

    deleted: int


class IngestionRequest(RequestModel):
    """Places to bring in."""

    places: list[Annotated[str, Field(min_length=1, max_length=4096)]] = Field(
        min_length=1, max_length=20, examples=[["/photos/2026"]]
    )
    """Folders, files, ``s3://bucket/prefix``, lists, tables and tars, as ``polyglance ingest`` takes them."""
    prune: bool = False
    """Whether the images go whose file is gone."""


class DuplicatesRequest(RequestModel):
    """What to look for, and among which images."""

    kinds: list[DuplicateKind] = Field(default=[*KINDS], min_length=1, max_length=len(KINDS), examples=[["same_image"]])
    """The lists that are wanted; all four by default."""
    where: str | None = Field(default=None, min_length=1, max_length=10_000, examples=["width >= 16"])
    """A filter; all images without it."""
    near: float = Field(default=NEAR, ge=-1, le=1)
    """The cosine from which two images are compared by their pixels."""


class DuplicatesJobAnswer(BaseModel):
    """A search for duplicates. ``done`` of ``total`` tells how far its ``stage`` is; times are UTC in ISO 8601.

    ``groups`` counts what was found of each kind once it is done; ``unread`` images could not be looked at.
    """

    model_config = ConfigDict(json_schema_extra={"example": _SEARCH})

    id: str
    kinds: list[DuplicateKind]
    where: str | None
    near: float
    state: State
    started_at: str
    updated_at: str
    stage: str
    done: int
    total: int
    images: int
    distinct: int
    compared: int
    featureless: int
    unread: int
    groups: dict[str, int]
    error: str | None


class DuplicatesAnswer(BaseModel):
    """The last searches, the latest first."""

    model_config = ConfigDict(json_schema_extra={"example": {"searches": [_SEARCH]}})

    searches: list[DuplicatesJobAnswer]


class DuplicateGroupsRequest(RequestModel):
    """Which groups of a search."""

    kind: DuplicateKind = "same_image"
    limit: int = Field(default=20, ge=1, le=100)
    offset: int = Field(default=0, ge=0, le=10_000_000)


class PixelsAnswer(BaseModel):
    """What a second look at the pixels of two images found.

    ``turns`` are quarter turns counter-clockwise, ``overlap`` the share of the larger view that both show,
    ``agreement`` the share of tiles that agree, ``changed`` the share of pixels that differ, ``overlay`` which of both
    has a watermark, the image (first) or ``of`` (second), and ``hash_distance`` the bits of 64 by which the perceptual
    hashes differ.
    """

    same: bool
    turns: int
    overlap: float
    agreement: float
    changed: float
    overlay: Literal["first", "second"] | None
    hash_distance: int


class EvidenceAnswer(BaseModel):
    """Why an image stands in a group: what was found between it and ``of``."""

    of: str
    cosine: float | None
    pixels: PixelsAnswer | None
    seconds: float | None


class DuplicateAnswer(BaseModel):
    """An image of a group; ``evidence`` is null for the one that the others were held against."""

    id: str
    uri: str
    width: int | None
    height: int | None
    bytes: int | None
    format: str | None
    evidence: EvidenceAnswer | None
    image_url: str
    thumbnail_url: str


class DuplicateGroupAnswer(BaseModel):
    """Images of one kind of likeness; ``best`` is proposed to be kept, for ``reason``. ``images`` are 50 at most."""

    id: str
    kind: DuplicateKind
    size: int
    best: str
    reason: str
    images: list[DuplicateAnswer]


class DuplicateGroupsAnswer(BaseModel):
    """A page of groups; ``next`` is the offset of the following one."""

    model_config = ConfigDict(json_schema_extra={"example": {"groups": [_GROUP], "next": 20}})

    groups: list[DuplicateGroupAnswer]
    next: int | None


class NotSameRequest(RequestModel):
    """An image, and those that it is not the same as."""

    id: str = Field(min_length=1, examples=[_ID])
    others: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, max_length=MOST, examples=[[_OTHER]])


class NotSameAnswer(BaseModel):
    """What is remembered."""

    model_config = ConfigDict(json_schema_extra={"example": {"id": _ID, "others": [_OTHER]}})

    id: str
    others: list[str]


class JobAnswer(BaseModel):
    """An ingestion that was begun by a request. ``rate`` is images a second; times are UTC in ISO 8601."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "5f3c0c9d8e8b4c6f9a1e2d3c4b5a6978",
                "places": ["/photos/2026"],
                "prune": False,
                "state": "running",
                "started_at": "2026-05-01T10:00:00.000+00:00",
                "updated_at": "2026-05-01T10:00:07.250+00:00",
                "listed": 812,
                "listed_all": True,
                "stored": 640,
                "unchanged": 0,
                "rejected": 2,
                "pruned": 0,
                "rate": 91.5,
                "error": None,
            }
        }
    )

    id: str
    places: list[str]
    prune: bool
    state: State
    started_at: str
    updated_at: str
    listed: int
    listed_all: bool
    stored: int
    unchanged: int
    rejected: int
    pruned: int
    rate: float
    error: str | None
