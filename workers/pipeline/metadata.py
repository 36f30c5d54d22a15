"""What a point knows about its image: from its address, its bytes, its metadata and the user's own.

The one rule: everything that leaves here is plain JSON that any store takes, and no metadata, however broken, costs
the image or raises. What cannot be understood is left out.
"""

import hashlib
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from connector.errors import UnreadableImage
from connector.images.decode import Decoded, decode, embedded_in
from connector.images.faults import one_image
from connector.models.declaration import Space
from connector.records import OCR_FIELDS, Payload, Pixels, Vector
from connector.store.points import SHORTEST
from connector.version import Version
from workers.metadata.embedded import EMBEDDED, metadata_fields, read_embedded
from workers.plain_json import clean
from workers.records import Blob, Places, Ref, Reject

if TYPE_CHECKING:
    from connector.models.image_tower import ImageTower

FILE_FIELDS = ("format", "width", "height", "bytes", "content_hash")
CONTENT_FIELDS = (*FILE_FIELDS, *OCR_FIELDS, *EMBEDDED)
"""What the bytes alone decide where no sidecar has the word: equal bytes have equal values."""


def content_of(data: bytes, decoded: Decoded, *, content_hash: str) -> dict[str, Any]:
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
    pixels: tuple[Pixels, ...]  # (size, size, 3) uint8 for each tower
    payload: dict[str, Any]
    content: dict[str, Any]


def hash_of(data: bytes) -> str:
    """BLAKE2b-128 of an image's bytes, in hex."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def decoded_image(hashed: Hashed, *, spaces: Sequence[Space], max_pixels: int, now: datetime) -> Image | Reject:
    """The pixels that the towers of spaces take, and the payload; or why there are none."""
    blob = hashed.blob
    try:
        seen = seen_in(spaces, blob.data, max_pixels=max_pixels)
        decoded = seen.decoded
        with one_image(decoded.format, b""):
            content = {**content_of(blob.data, decoded, content_hash=hashed.content_hash), **hashed.text}
            payload = describe(blob, content, now=now)
    except UnreadableImage as error:
        return Reject(blob.ref.uri, stage="decode", reason=error.reason, detail=str(error), ref=blob.ref)
    return Image(blob.ref, seen.pixels, payload, content)


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was decoded for the first tower, and its pixels for each: (size, size, 3) uint8."""

    decoded: Decoded
    pixels: tuple[Pixels, ...]


def seen_in(spaces: Sequence[Space], data: bytes, *, max_pixels: int) -> Seen:
    """Decode a file's bytes for the tower of each space. Raises UnreadableImage."""
    made = [decode(data, size=each.image_size, max_pixels=max_pixels, resizing=each.image.resizing) for each in spaces]
    return Seen(made[0], tuple(each.pixels for each in made))


def vector_fault(vectors: Sequence[Vector], *, towers: "Sequence[ImageTower]") -> tuple[str, str] | None:
    """Reason and detail, where one of an image's vectors points nowhere; None where all are sound."""
    import numpy as np

    for vector, tower in zip(vectors, towers, strict=True):
        length = float(np.linalg.norm(vector))
        if not SHORTEST <= length < math.inf:
            reason = "zero_vector" if length < SHORTEST else "not_finite"
            return reason, f"the tower ({tower.precision} on {tower.device}) gave a vector of length {length}"
    return None
