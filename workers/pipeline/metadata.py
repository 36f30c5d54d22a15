"""What a point knows about its image: from its address, its bytes, its metadata and the user's own.

The one rule: everything that leaves here is plain JSON that any store takes, and no metadata, however broken, costs
the image or raises. What cannot be understood is left out.
"""

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from connector.errors import UnreadableImage
from connector.images.decode import decode, embedded_in
from connector.images.faults import one_image
from connector.models.declaration import Space
from connector.records import OCR_FIELDS, Payload, Pixels
from connector.version import Version
from workers.metadata.embedded import EMBEDDED, metadata_fields, read_embedded
from workers.plain_json import clean
from workers.records import Blob, Places, Ref, Reject

if TYPE_CHECKING:
    from connector.images.decode import Decoded

FILE_FIELDS = ("format", "width", "height", "bytes", "content_hash")
CONTENT_FIELDS = (*FILE_FIELDS, *OCR_FIELDS, *EMBEDDED)
"""What the bytes alone decide where no sidecar has the word: equal bytes have equal values."""


def content_of(data: bytes, decoded: "Decoded", *, content_hash: str) -> dict[str, Any]:
    """What the bytes say: ``FILE_FIELDS``, and what ``read_embedded`` finds in them."""
    return {
        "format": decoded.format,
        "width": decoded.width,
        "height": decoded.height,
        "bytes": len(data),
        "content_hash": content_hash,
        **read_embedded(decoded.exif, xmp=decoded.xmp, iptc=decoded.iptc),
    }


def content_again(data: bytes, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The same of bytes that a stored point was made of: its metadata may be its sidecars', so they are read anew."""
    found = embedded_in(data)
    if found is None:
        return dict(stored)
    file = {name: stored[name] for name in (*FILE_FIELDS, *OCR_FIELDS) if name in stored}
    return {**file, **read_embedded(found.exif, xmp=found.xmp, iptc=found.iptc)}


def describe(blob: Blob, content: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
    """The payload of an image's point: the fields of ``connector.store.schema`` that are known, plain JSON.

    ``content`` is what its bytes say. ``now`` is the time of writing, with its time zone. The user's ``tags``, when
    they are a list of words, go before those of the file; the rest of the user's metadata stays together under
    ``meta``. Names and tags are kept with their accents composed (NFC), addresses as they are.
    """
    ref = blob.ref
    meta = clean(blob.meta)
    tags = meta.get("tags")
    if isinstance(tags, list) and all(isinstance(tag, str) for tag in tags):
        del meta["tags"]
    else:
        tags = []
    fields = metadata_fields(content, blob.fields)
    payload = {
        **address_fields(ref, version=blob.version, now=now),
        **{name: content[name] for name in (*FILE_FIELDS, *OCR_FIELDS) if name in content},
        **fields,
        "tags": [*dict.fromkeys(map(_composed, [*tags, *fields.get("tags", ())]))],
        "meta": meta,
    }
    return {name: value for name, value in payload.items() if value not in (None, [], {})}


def address_fields(ref: Ref, *, version: Version, now: datetime) -> dict[str, Any]:
    """What a payload says of where its image is, and when that was written down."""
    return {
        "uri": ref.uri,
        "object_key": clean(ref.object_key),
        **places_of(ref).payload(),
        "filename": _composed(clean(ref.filename)),
        "version": str(version),
        "ingested_at": now.isoformat(),
    }


def places_of(ref: Ref) -> Places:
    """The place that lists an image, and its folder there."""
    return Places({ref.source: _composed(clean(ref.folder))})


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


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
