"""What Google Photos writes beside an image that is taken out of it: when, where, and what somebody said of it.

The rule: the rest of the file stays metadata like that of any JSON sidecar.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def read_takeout(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the payload, and ``instant`` in seconds; empty for what is no file of Google's."""
    taken = values.get("photoTakenTime")
    if not isinstance(taken, Mapping) or "timestamp" not in taken:
        return {}
    places = [place for name in ("geoData", "geoDataExif") if isinstance(place := values.get(name), Mapping)]
    location, altitude = next(filter(None, map(_place, places)), (None, None))
    description = values.get("description")
    found = {
        "instant": _instant(taken["timestamp"]),
        "location": location,
        "altitude": altitude,
        "description": description.strip() if isinstance(description, str) else None,
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _instant(value: object) -> int | None:
    try:
        seconds = int(str(value)[:20])
        datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return seconds


def _place(place: Mapping[str, Any]) -> tuple[dict[str, float], float | None] | None:
    lat, lon, altitude = (_number(place.get(name)) for name in ("latitude", "longitude", "altitude"))
    if lat is None or lon is None or abs(lat) > 90 or abs(lon) > 180 or (lat == 0 and lon == 0):
        return None
    return {"lat": round(lat, 7), "lon": round(lon, 7)}, altitude or None


def _number(value: object) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None  # type: ignore[arg-type]  # a number, by the line above
