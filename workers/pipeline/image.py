"""An image between its source and the tower: its bytes with their hash, then its pixels with its payload.

The one rule: no model is needed up to here, so whatever is no image is known without one.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from connector.errors import UnreadableImage
from connector.images.decode import decode
from connector.images.faults import one_image
from connector.models.declaration import Space
from connector.records import Payload, Pixels
from workers.pipeline.metadata import content_of, describe
from workers.records import Blob, Ref, Reject


@dataclass(frozen=True, slots=True)
class Hashed:
    """An image's bytes, their hash, and what its payload is to say of the text in it."""

    blob: Blob
    content_hash: str
    text: Payload = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Image:
    """A decoded image on its way to the tower."""

    ref: Ref
    pixels: Pixels  # (size, size, 3) uint8
    payload: dict[str, Any]
    content: dict[str, Any]


def hash_of(data: bytes) -> str:
    """BLAKE2b-128 of an image's bytes, in hex."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def decoded_image(hashed: Hashed, *, space: Space, max_pixels: int, now: datetime) -> Image | Reject:
    """The pixels that a space's tower takes, and the payload; or why there are none."""
    blob = hashed.blob
    try:
        decoded = decode(blob.data, size=space.image_size, max_pixels=max_pixels, resizing=space.image.resizing)
        with one_image(decoded.format, b""):
            content = {**content_of(blob.data, decoded, content_hash=hashed.content_hash), **hashed.text}
            payload = describe(blob, content, now=now)
    except UnreadableImage as error:
        return Reject(blob.ref.uri, stage="decode", reason=error.reason, detail=str(error), ref=blob.ref)
    return Image(blob.ref, decoded.pixels, payload, content)
