"""Backfill: words and names of places for images that are stored already, from their payloads alone.

The rule: no image is read and nothing embedded. A call may be stopped and given again at any time: what was written
stays written, and is not written twice.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from connector.places.gazetteer import names_at
from connector.store.engine import Engine, pages
from connector.store.schema import Words

if TYPE_CHECKING:
    from qdrant_client.models import Filter

WORDED = 256
"""Points whose words are computed at a time."""
LOCATED = 1_000
"""Points whose coordinates are looked at together."""


@dataclass(frozen=True, slots=True)
class WordsAdded:
    """What was done: of ``points`` that were looked at, ``changed`` had other words or none."""

    points: int
    changed: int


def add_words(engine: Engine, words: Words, *, on_progress: Callable[[int], None] = lambda _: None) -> WordsAdded:
    """Compute the words of every point anew, by ``words``; ``on_progress`` is called with the number of points done.

    Meanwhile others search and ingest: what they write has its words from the beginning. Raises CollectionMissing.
    """
    if engine.info().schema.words != words:
        engine.set_words(replace(words, complete=False))
    points = changed = 0
    for page in pages(engine, limit=WORDED, fields=[]):
        changed += engine.index_words([point.id for point in page]) if page else 0
        points += len(page)
        on_progress(points)
    engine.set_words(words)
    return WordsAdded(points=points, changed=changed)


@dataclass(frozen=True, slots=True)
class Located:
    """How many images have the names of their places now, and how many lie where none is near."""

    named: int
    nameless: int


def locate(engine: Engine) -> Located:
    """Write ``place`` wherever there is a ``location`` and no place yet: what stands there is kept."""
    named = nameless = 0
    for page in pages(engine, limit=LOCATED, where=_located_without_name(), fields=["location"]):
        ids: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for each in page:
            ids[tuple(_names_of(each.payload.get("location")))].append(each.id)
        nameless += len(ids.pop((), ()))
        for names, some in ids.items():
            engine.set_payload(some, {"place": [*names]})
            named += len(some)
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
    from qdrant_client import models

    place, location = (
        models.IsEmptyCondition(is_empty=models.PayloadField(key=name)) for name in ("place", "location")
    )
    return models.Filter(must=[place], must_not=[location])
