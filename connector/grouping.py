"""Hits by the values of a field: in groups, or counted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from connector.records import FacetCount, Hit, HitGroup, Payload

Value: TypeAlias = str | int | bool


def grouped(hits: Sequence[Hit], *, by: str, limit: int, size: int) -> list[HitGroup]:
    """At most ``limit`` groups of at most ``size`` hits, the group with the best hit first."""
    groups: dict[Value, list[Hit]] = {}
    for hit in hits:
        for value in values_of(hit.payload, by):
            groups.setdefault(value, []).append(hit)
    return [HitGroup(value, tuple(members[:size])) for value, members in [*groups.items()][:limit]]


def counted(hits: Sequence[Hit], *, field: str, limit: int) -> list[FacetCount]:
    """The most frequent values among the hits, largest first; equal counts in order of the value."""
    counts = Counter(value for hit in hits for value in values_of(hit.payload, field))
    ranked = sorted(counts.items(), key=lambda each: (-each[1], str(each[0])))
    return [FacetCount(value, count) for value, count in ranked[:limit]]


def values_of(payload: Payload, field: str) -> list[Value]:
    """What a payload holds under a field's name, ``meta.price`` too; of a list every value once."""
    found = field_of(payload, field)
    several = found if isinstance(found, list) else [found]
    return [*dict.fromkeys(each for each in several if isinstance(each, str | int | bool))]


def field_of(payload: Payload, field: str) -> Any:
    """What a payload holds under a field's name, None where it has none."""
    found: Any = payload
    for name in field.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
