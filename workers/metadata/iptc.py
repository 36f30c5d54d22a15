"""IPTC (IIM): keywords, title, caption and byline in a JPEG's Photoshop segment or a TIFF's tag. Raises nothing."""

from typing import Any

from connector.images.decode import Iptc
from workers.plain_json import plain_text

MOST_VALUES = 1_000
"""Values that are kept of one kind."""

_UTF8 = b"\x1b%G"
_CHARSET, _NAME, _KEYWORDS, _DATE, _TIME, _BYLINE, _CITY, _STATE, _COUNTRY, _CAPTION = (
    (1, 90),
    (2, 5),
    (2, 25),
    (2, 55),
    (2, 60),
    (2, 80),
    (2, 90),
    (2, 95),
    (2, 101),
    (2, 120),
)


def read_iptc(values: Iptc | None) -> dict[str, Any]:
    """What its values say, as fields of the payload, and ``taken`` as text."""
    utf8 = (values or {}).get(_CHARSET) == _UTF8

    def texts(kind: tuple[int, int]) -> list[str]:
        found = (values or {}).get(kind, [])
        several = found if isinstance(found, list) else [found]
        return [text for data in several[:MOST_VALUES] if (text := _text(data, utf8=utf8))]

    def first(kind: tuple[int, int]) -> str | None:
        return next(iter(texts(kind)), None)

    found = {
        "tags": texts(_KEYWORDS),
        "title": first(_NAME),
        "description": first(_CAPTION),
        "creator": texts(_BYLINE),
        "place": [*dict.fromkeys([*texts(_CITY), *texts(_STATE), *texts(_COUNTRY)])],
        "taken": _taken(first(_DATE), first(_TIME)),
    }
    return {name: value for name, value in found.items() if value}


def _text(data: bytes, *, utf8: bool) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace") if utf8 else data.decode("cp1252", "replace")
    return plain_text(text).strip()


def _taken(date: str | None, time: str | None) -> str | None:
    """``20240502`` and ``070000+0900``, as XMP writes it."""
    if not date or len(date) != 8 or not date.isdigit():
        return None
    day = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    if not time or len(time) < 6 or not time[:6].isdigit():
        return day
    return f"{day}T{time[:2]}:{time[2:4]}:{time[4:6]}{time[6:]}"
