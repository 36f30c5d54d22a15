"""EXIF: when, where and with what an image was taken, and what Windows lets people write about it.

The one rule: no EXIF, however broken, costs the image or raises. What cannot be understood is left out.
"""

import contextlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from PIL.ExifTags import GPS, IFD, Base
from PIL.TiffImagePlugin import IFDRational

from workers.metadata.moments import Moment, read_moment
from workers.plain_json import plain_text

if TYPE_CHECKING:
    from PIL.Image import Exif

MAX_EXIF_TEXT = 200
"""Characters kept of one string of EXIF: a camera's name, not an essay."""
MAX_TEXT = 10_000
"""Characters kept of what people wrote."""

_RATING, _XP_TITLE, _XP_COMMENT, _XP_AUTHOR, _XP_KEYWORDS = 0x4746, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E
_NO_DESCRIPTION = re.compile(
    r"(?:(?:\w+ )*digital camera|sony dsc|samsung camera pictures|dcim\W.*|default|untitled|<[^>]*>)", re.IGNORECASE
)

Known = TypeVar("Known")


def read_exif(exif: "Exif") -> dict[str, Any]:
    """What an image's EXIF says, as fields of the payload, and ``moment``; empty where nothing is recorded."""
    photo = _attempt(lambda: exif.get_ifd(IFD.Exif)) or {}
    place = _attempt(lambda: exif.get_ifd(IFD.GPSInfo)) or {}
    found = {
        "moment": _attempt(lambda: _moment(photo)),
        "camera": _attempt(lambda: _camera(exif)),
        "lens": _attempt(lambda: _lens(exif, photo)),
        "exposure": _attempt(lambda: _exposure(photo)),
        "location": _attempt(lambda: _location(place)),
        "altitude": _attempt(lambda: _altitude(place)),
        "rating": _attempt(lambda: _rating(exif.get(_RATING))),
        "title": _attempt(lambda: _wide(exif.get(_XP_TITLE))),
        "description": _attempt(lambda: _description(exif)),
        "creator": _attempt(lambda: _several(_text(exif.get(Base.Artist)) or _wide(exif.get(_XP_AUTHOR)))),
        "tags": _attempt(lambda: _several(_wide(exif.get(_XP_KEYWORDS)))),
    }
    return {name: value for name, value in found.items() if value not in (None, [], {})}


def _attempt(read: Callable[[], Known]) -> Known | None:
    """What ``read`` makes of the EXIF, or None where that is broken. Pillow parses late, so any access may raise."""
    try:
        return read()
    except Exception:  # noqa: BLE001  (whatever broken metadata raises costs the metadata, never the image)
        return None


# ---- when


def _moment(photo: Mapping[int, Any]) -> Moment | None:
    """The time of digitization stands in for a scan's missing original; the time of the last change never does."""
    for moment_tag, offset_tag, fraction_tag in (
        (Base.DateTimeOriginal, Base.OffsetTimeOriginal, Base.SubsecTimeOriginal),
        (Base.DateTimeDigitized, Base.OffsetTimeDigitized, Base.SubsecTimeDigitized),
    ):
        offset = _text(photo.get(offset_tag)) or _text(photo.get(Base.OffsetTime))
        moment = read_moment(_text(photo.get(moment_tag)), offset=offset, fraction=_text(photo.get(fraction_tag)))
        if moment is not None and moment.timed:
            return moment
    return None


# ---- with what


def _camera(exif: "Exif") -> str | None:
    """Maker and model, the maker once: ``NIKON CORPORATION``, ``NIKON D750`` is a ``NIKON D750``."""
    make, model = _text(exif.get(Base.Make)), _text(exif.get(Base.Model))
    if make is None or model is None:
        return make or model
    if make.split()[0].casefold() == model.split()[0].casefold():
        return model
    return f"{make} {model}"


def _lens(exif: "Exif", photo: Mapping[int, Any]) -> str | None:
    """The lens's own name; a placeholder of dashes is none."""
    lens = _text(photo.get(Base.LensModel)) or _text(exif.get(Base.LensModel))
    return lens if lens and any(letter.isalnum() for letter in lens) else None


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
    sound = parts[:2] if parts[2:] == [None] else parts  # seconds of 0/0 cost the seconds, minutes the place
    if not sound or any(part is None or part < 0 for part in sound):
        return None
    size: float = sum(part / 60.0**power for power, part in enumerate(sound) if part is not None)
    if size > limit:
        return None
    return round(-size if hemisphere[0].upper() == known[1] else size, 7)


def _altitude(place: Mapping[int, Any]) -> float | None:
    """Metres above the sea, below it negative."""
    metres = _number(place.get(GPS.GPSAltitude))
    reference = place.get(GPS.GPSAltitudeRef)
    below = reference in (1, b"\x01", "1")
    return None if metres is None or abs(metres) > 100_000 else round(float(-metres if below else metres), 3)


# ---- what somebody wrote


def _description(exif: "Exif") -> str | None:
    """The image's description, but none that the camera writes into every image."""
    text = _text(exif.get(Base.ImageDescription), most=MAX_TEXT)
    if text is None or _NO_DESCRIPTION.fullmatch(text):
        return _wide(exif.get(_XP_COMMENT))
    return text


def _rating(value: object) -> int | None:
    rating = _number(value)
    return int(rating) if rating is not None and 1 <= rating <= 5 else None


def _wide(value: object) -> str | None:
    """Text in UTF-16, as Windows writes it; bytes, or a tuple of them."""
    if isinstance(value, tuple) and all(isinstance(each, int) and 0 <= each < 256 for each in value):
        value = bytes(value)
    if not isinstance(value, bytes):
        return None
    return plain_text(value.decode("utf-16-le", "ignore").partition("\0")[0]).strip()[:MAX_TEXT] or None


def _several(text: str | None) -> list[str]:
    """What stands between semicolons."""
    return [part for each in (text or "").split(";") if (part := each.strip())]


# ---- values


def _text(value: object, *, most: int = MAX_EXIF_TEXT) -> str | None:
    """EXIF text without padding; UTF-8 that Pillow has read as Latin-1 is put right."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return None
    with contextlib.suppress(UnicodeError):  # it was what it seemed
        value = value.encode("latin-1").decode("utf-8")
    text: str = plain_text(value.partition("\0")[0]).strip()
    return text[:most].strip() or None


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
