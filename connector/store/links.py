"""How a filtered question is asked of the search graph: which links it may count on, and how wide it looks.

A filter cuts the graph into pieces. Up to ``SCANNED`` matches are looked at one by one, so nothing is cut; above that,
links along a field's values (``CollectionSchema.linked_fields``) keep the pieces together, ACORN walks around what does
not match, and where most points match neither is needed (docs/decisions/0006 has the measurements).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.store.schema import CollectionSchema

if TYPE_CHECKING:
    from qdrant_client.models import Filter

SCANNED = 35_000
"""Matches that are looked at one by one, without the graph: about twice the time of an unfiltered question where one
condition finds them, and nothing is missed."""
ACORN_UP_TO = 0.3
"""Share of the points from which on a wide walk without detours finds what ACORN finds, for a third of the time."""
LINKED_EF = 256
"""Candidates in the graph along links of one field."""
HALF = 0.5
HALF_EF = 384
"""The same where half of the points match or more by one field, or links of several fields meet."""
WIDE_EF = 512
"""The same where fewer match, or conditions on several fields meet: each cuts the graph anew."""
ACORN_EF = 128
"""The same with ACORN, which looks at neighbours of neighbours for each candidate."""


@dataclass(frozen=True, slots=True)
class Walk:
    """What a filter asks of the graph. ``linked``: links run along all that it wants; ``fields`` it names so many.

    ``in_memory``: the indexes of all of them are.
    """

    linked: bool
    fields: int
    in_memory: bool

    def ef(self, share: float) -> int:
        """Candidates for a walk without detours, where this share of the points matches."""
        if self.linked:
            return LINKED_EF if self.fields == 1 else HALF_EF
        return HALF_EF if share >= HALF and self.fields == 1 else WIDE_EF


def walk_of(where: "Filter", *, schema: CollectionSchema) -> Walk:
    """How a filter is walked with. Conditions on ids alone name no field.

    Links run along single values: a range takes in several of them, between which there are none.
    """
    conditions = [*_conditions(where)]
    return Walk(
        linked=all(schema.is_linked(key) and by_value for key, by_value in conditions),
        fields=len({key for key, _ in conditions}),
        in_memory=all(schema.is_linked(key) for key, _ in conditions),
    )


def scanned_kilobytes(schema: CollectionSchema) -> int:
    """``SCANNED`` as Qdrant's ``full_scan_threshold`` has it: kilobytes of float16 vectors."""
    return max(1, SCANNED * schema.fingerprint.dims * 2 // 1024)


def _conditions(condition: Any) -> Iterator[tuple[str, bool]]:
    """The payload fields that a condition names, at any depth, each with whether values of it are wanted."""
    clauses = ("must", "should", "must_not")
    for clause in (getattr(condition, name, None) for name in clauses):
        for each in clause if isinstance(clause, list | tuple) else [clause] if clause is not None else []:
            yield from _conditions(each)
    if (least := getattr(condition, "min_should", None)) is not None:
        for each in least.conditions:
            yield from _conditions(each)
    for holder in (condition, *(getattr(condition, name, None) for name in ("is_empty", "is_null", "nested"))):
        if isinstance(key := getattr(holder, "key", None), str):
            yield key, getattr(holder, "match", None) is not None
