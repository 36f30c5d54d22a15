"""What goes over the wire where the collection is written to: requests and answers, as OpenAPI documents them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from connector.service.answers import RequestModel
from workers.collection.client import AddStatus
from workers.service.jobs import State

MOST = 100
"""Images in one request."""
MOST_IDS = 200
"""Ids in one address: 16 KiB of headers hold no more."""
_ID = "1f0b6d53-5f0c-5f7e-9d0e-0a4d5e1c2b3a"
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
