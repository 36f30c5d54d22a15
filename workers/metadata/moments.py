"""When an image was taken: the instant for order, and the date and time on the wall there for people's questions.

The rule: what the camera's clock showed is local already. An offset turns it into an instant: the one that is written
down, else that of the time zone of its place, else none, and Qdrant takes it for UTC.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

FIELDS = ("taken_at", "taken_local", "taken_on", "taken_month", "taken_weekday", "taken_hour")
"""The payload's fields that say when."""
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_MOMENT = re.compile(
    r"(?P<year>\d{4})[:/.-](?P<month>\d\d?)[:/.-](?P<day>\d\d?)"
    r"(?:[ T]+(?P<hour>\d\d?):(?P<minute>\d\d?)(?::(?P<second>\d\d?)(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"\s*(?P<offset>Z|[+-]\d\d?:?\d\d)?)?",
    re.ASCII,
)
_OFFSET = re.compile(r"([+-])(0?\d|1[0-4]):?([0-5]\d)", re.ASCII)
_LARGEST_OFFSET = timedelta(hours=14, minutes=45)
_STEP = timedelta(minutes=15)
"""Offsets of the world's time zones are multiples of this."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Date and time on the wall, and the offset from UTC there, None where nobody wrote it down.

    ``timed`` is False where only the day is known; ``fraction`` are the digits of a second's part.
    """

    wall: datetime
    offset: timedelta | None = None
    timed: bool = True
    fraction: str = ""

    @property
    def instant(self) -> datetime | None:
        """The instant in UTC, None without an offset."""
        return None if self.offset is None else (self.wall - self.offset).replace(tzinfo=UTC)


def read_moment(text: str | None, *, offset: str | None = None, fraction: str | None = None) -> Moment | None:
    """The moment in EXIF's or XMP's way of writing; an offset in the text itself counts before another one.

    None for what is no date.
    """
    match = _MOMENT.match(text.strip()) if text else None
    if match is None:
        return None
    found = match.groupdict()
    numbers = [int(found[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")]
    try:
        wall = datetime(*numbers)  # type: ignore[arg-type]  # six numbers
    except ValueError:
        return None
    digits = (found["fraction"] or (fraction or "").strip())[:6].rstrip("0")
    return Moment(
        wall,
        offset=read_offset(found["offset"] or offset),
        timed=found["hour"] is not None,
        fraction=digits if digits.isascii() and digits.isdigit() else "",
    )


def read_offset(text: str | None) -> timedelta | None:
    """``+09:00``, ``-0330`` or ``Z``; None for anything else."""
    if text is None:
        return None
    if text.strip().upper() == "Z":
        return timedelta(0)
    match = _OFFSET.fullmatch(text.strip())
    if match is None:
        return None
    size = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return -size if match[1] == "-" else size


def agreed(camera: Moment | None, other: Moment | None) -> Moment | None:
    """The camera's moment, with the offset that another record of the same time knows; else the other."""
    if camera is None or other is None:
        return camera or other
    if camera.offset is None and other.offset is not None and other.wall == camera.wall:
        return replace(camera, offset=other.offset)
    return camera


def moment_at(instant: datetime, *, camera: Moment | None, location: Mapping[str, float] | None) -> Moment:
    """The moment of a known instant. The camera's clock gives the offset, where it fits; else the place does."""
    plain = instant.astimezone(UTC).replace(tzinfo=None)
    if camera is not None and camera.timed:
        if camera.instant is not None and abs(camera.instant - instant) < timedelta(minutes=1):
            return camera
        offset = round((camera.wall - plain) / _STEP) * _STEP
        if camera.offset is None and abs(offset) <= _LARGEST_OFFSET and abs(camera.wall - plain - offset).seconds < 5:
            return replace(camera, offset=offset)
    zone = zone_offset(plain, location, utc=True)
    return Moment(plain + (zone or timedelta(0)), offset=zone or timedelta(0))


def taken_fields(moment: Moment | None, *, location: Mapping[str, float] | None) -> dict[str, Any]:
    """The fields of the payload that say when; none where nobody knows."""
    if moment is None:
        return {}
    day = moment.wall.date().isoformat()
    fields: dict[str, Any] = {
        "taken_on": day,
        "taken_month": moment.wall.month,
        "taken_weekday": WEEKDAYS[moment.wall.weekday()],
    }
    if not moment.timed:
        return {"taken_at": day, "taken_local": day, **fields}
    local = moment.wall.isoformat() + (f".{moment.fraction}" if moment.fraction else "")
    offset = moment.offset if moment.offset is not None else zone_offset(moment.wall, location)
    at = local if offset is None else local + _written(offset)
    return {"taken_at": at, "taken_local": local, **fields, "taken_hour": moment.wall.hour}


def zone_offset(wall: datetime, location: Mapping[str, float] | None, *, utc: bool = False) -> timedelta | None:
    """The offset of the time zone at a place at that time on the wall, or in UTC; None where nobody knows it."""
    if location is None:
        return None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from tzfpy import get_tz  # 35 MB, and only for images that have a place and no offset

    try:
        zone = ZoneInfo(get_tz(location["lon"], location["lat"]))
        local = wall.replace(tzinfo=UTC).astimezone(zone) if utc else wall.replace(tzinfo=zone)
        return local.utcoffset()
    except (ZoneInfoNotFoundError, ValueError, OverflowError):
        return None


def _written(offset: timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
