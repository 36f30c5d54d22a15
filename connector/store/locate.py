"""The names of places for images that are stored already: written from their coordinates, without reading an image.

The rule: what stands there is kept. Only points with a location and without a place are looked at, and whatever was
written stays written, so that an interrupted call goes on where it ended.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.places.gazetteer import names_at
from connector.store.engine import Engine

if TYPE_CHECKING:
    from qdrant_client.models import Filter

PAGE = 1_000
"""Points looked at together."""


@dataclass(frozen=True, slots=True)
class Located:
    """How many images have the names of their places now, and how many lie where none is near."""

    named: int
    nameless: int


def locate(engine: Engine) -> Located:
    """Write ``place`` wherever there is a ``location`` and no place yet."""
    named = nameless = 0
    start, where = None, _located_without_name()
    while True:
        page = engine.scroll(limit=PAGE, start=start, where=where, fields=["location"])
        ids: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for each in page.points:
            ids[tuple(_names_of(each.payload.get("location")))].append(each.id)
        nameless += len(ids.pop((), ()))
        for names, some in ids.items():
            engine.set_payload(some, {"place": [*names]})
            named += len(some)
        if (start := page.next) is None:
            return Located(named, nameless)


def _names_of(location: Any) -> list[str]:
    """The names of a place; none for what another program wrote there."""
    if not isinstance(location, Mapping):
        return []
    lat, lon = location.get("lat"), location.get("lon")
    if not isinstance(lat, int | float) or not isinstance(lon, int | float) or abs(lat) > 90 or abs(lon) > 180:
        return []
    return names_at(lat, lon)


def _located_without_name() -> "Filter":
    from qdrant_client.models import Filter, IsEmptyCondition, PayloadField

    place, location = (IsEmptyCondition(is_empty=PayloadField(key=name)) for name in ("place", "location"))
    return Filter(must=[place], must_not=[location])
