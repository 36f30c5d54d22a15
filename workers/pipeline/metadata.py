"""What a point knows about its image: from its address, its bytes, its EXIF and the user's own metadata.

The one rule: everything that leaves here is plain JSON that any store takes, and no EXIF, however broken, costs
the image or raises. What cannot be understood is left out.
"""

import contextlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from PIL.ExifTags import GPS, IFD, Base
from PIL.TiffImagePlugin import IFDRational

from workers.plain_json import clean, plain_text
from workers.records import Blob

if TYPE_CHECKING:
    from PIL.Image import Exif

    from connector.images.decode import Decoded

MAX_EXIF_TEXT = 200
"""Characters kept of one string of EXIF: a camera's name, not an essay."""

CONTENT_FIELDS = (
    "format",
    "width",
    "height",
    "bytes",
    "content_hash",
    "taken_at",
    "camera",
    "lens",
    "exposure",
    "location",
)
"""What the bytes alone decide: equal bytes have equal values."""

Known = TypeVar("Known")


def describe(blob: Blob, decoded: "Decoded", *, content_hash: str, now: datetime) -> dict[str, Any]:
    """The payload of an image's point: the fields of ``connector.store.schema`` that are known, plain JSON.

    ``now`` is the time of writing, with its time zone. The user's ``tags``, when they are a list of words, become the
    field of that name; the rest of the user's metadata stays together under ``meta``.
    """
    content = {
        "format": decoded.format,
        "width": decoded.width,
        "height": decoded.height,
        "bytes": len(blob.data),
        "content_hash": content_hash,
        **read_exif(decoded.exif),
    }
    return _payload(blob, content, now=now)


def describe_duplicate(blob: Blob, known: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
    """The payload of an image whose very bytes another point has; ``known`` are that point's ``CONTENT_FIELDS``.

    The blob's own bytes are not looked at.
    """
    return _payload(blob, known, now=now)


def _payload(blob: Blob, content: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
    ref = blob.ref
    meta = clean(blob.meta)
    tags = meta.get("tags")
    if isinstance(tags, list) and all(isinstance(tag, str) for tag in tags):
        del meta["tags"]
    else:
        tags = None
    payload = {
        "uri": ref.uri,
        "object_key": clean(ref.object_key),
        "source": ref.source,
        "folder": clean(ref.folder),
        "filename": clean(ref.filename),
        "version": str(blob.version),
        **content,
        "tags": tags,
        "ingested_at": now.isoformat(),
        "meta": meta,
    }
    return {name: value for name, value in payload.items() if value not in (None, [], {})}


def read_exif(exif: "Exif") -> dict[str, Any]:
    """``taken_at``, ``camera``, ``lens``, ``exposure`` and ``location`` of an image, None where not recorded."""
    photo = _attempt(lambda: exif.get_ifd(IFD.Exif)) or {}
    place = _attempt(lambda: exif.get_ifd(IFD.GPSInfo)) or {}
    return {
        "taken_at": _attempt(lambda: _taken_at(photo)),
        "camera": _attempt(lambda: _camera(exif)),
        "lens": _attempt(lambda: _text(photo.get(Base.LensModel))),
        "exposure": _attempt(lambda: _exposure(photo)),
        "location": _attempt(lambda: _location(place)),
    }


def _attempt(read: Callable[[], Known]) -> Known | None:
    """What ``read`` makes of the EXIF, or None where that is broken. Pillow parses late, so any access may raise."""
    try:
        return read()
    except Exception:  # noqa: BLE001  (whatever broken metadata raises costs the metadata, never the image)
        return None


# ---- when


_MOMENT = re.compile(r"(\d{4})[:/.-](\d\d?)[:/.-](\d\d?)[ T](\d\d?):(\d\d?):(\d\d?)", re.ASCII)
_OFFSET = re.compile(r"[+-](0\d|1[0-4]):?([0-5]\d)", re.ASCII)


def _taken_at(photo: Mapping[int, Any]) -> str | None:
    """RFC 3339, with the offset where it is recorded; else the camera's own clock, which Qdrant takes as UTC.

    The time of digitization stands in for a scan's missing original; the time of the last change never does.
    """
    for moment_tag, offset_tag in (
        (Base.DateTimeOriginal, Base.OffsetTimeOriginal),
        (Base.DateTimeDigitized, Base.OffsetTimeDigitized),
    ):
        moment = _moment(photo.get(moment_tag))
        if moment is not None:
            return moment + _offset(photo.get(offset_tag) or photo.get(Base.OffsetTime))
    return None


def _moment(value: object) -> str | None:
    match = _MOMENT.match(_text(value) or "")
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        return datetime(year, month, day, hour, minute, second).isoformat()
    except ValueError:
        return None


def _offset(value: object) -> str:
    text = _text(value) or ""
    if text == "Z":
        return "+00:00"
    match = _OFFSET.fullmatch(text)
    return f"{text[0]}{match[1]}:{match[2]}" if match else ""


# ---- with what


def _camera(exif: "Exif") -> str | None:
    """Maker and model, the maker once: ``NIKON CORPORATION``, ``NIKON D750`` is a ``NIKON D750``."""
    make, model = _text(exif.get(Base.Make)), _text(exif.get(Base.Model))
    if make is None or model is None:
        return make or model
    if make.split()[0].casefold() == model.split()[0].casefold():
        return model
    return f"{make} {model}"


def _exposure(photo: Mapping[int, Any]) -> dict[str, float] | None:
    """Time in seconds, f-number, ISO and focal length in millimetres, those that are positive numbers."""
    values = {
        "time_s": _number(photo.get(Base.ExposureTime)),
        "f_number": _number(photo.get(Base.FNumber)),
        "iso": _number(photo.get(Base.ISOSpeedRatings)),
        "focal_length_mm": _number(photo.get(Base.FocalLength)),
    }
    return {name: value for name, value in values.items() if value is not None and value > 0} or None


# ---- where


def _location(place: Mapping[int, Any]) -> dict[str, float] | None:
    """Latitude and longitude in degrees. A missing hemisphere or a value off the globe gives None.

    So does exactly 0, 0: that is what a receiver without a fix writes.
    """
    lat = _degrees(place.get(GPS.GPSLatitude), _text(place.get(GPS.GPSLatitudeRef)), "NS", limit=90)
    lon = _degrees(place.get(GPS.GPSLongitude), _text(place.get(GPS.GPSLongitudeRef)), "EW", limit=180)
    if lat is None or lon is None or (lat == 0 and lon == 0):
        return None
    return {"lat": lat, "lon": lon}


def _degrees(value: object, hemisphere: str | None, known: str, *, limit: float) -> float | None:
    """Degrees, minutes and seconds as one signed number; negative on the second side of ``known``."""
    if hemisphere is None or hemisphere[0].upper() not in known:
        return None
    parts = [_number(part) for part in (value if isinstance(value, Sequence) else [value])][:3]
    if not parts or any(part is None or part < 0 for part in parts):
        return None
    size: float = sum(part / 60.0**power for power, part in enumerate(parts) if part is not None)
    if size > limit:
        return None
    return round(-size if hemisphere[0].upper() == known[1] else size, 7)


# ---- values


def _text(value: object) -> str | None:
    """EXIF text without padding; UTF-8 that Pillow has read as Latin-1 is put right."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return None
    with contextlib.suppress(UnicodeError):  # it was what it seemed
        value = value.encode("latin-1").decode("utf-8")
    text: str = plain_text(value.partition("\0")[0]).strip()
    return text[:MAX_EXIF_TEXT].strip() or None


def _number(value: object) -> float | None:
    """A finite number as int or float; the first one of several."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        value = value[0] if value else None
    if not isinstance(value, int | float | IFDRational):
        return None
    size = float(value)
    if not math.isfinite(size) or abs(size) >= 1e12:
        return None
    return int(size) if isinstance(value, int) else size
