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

SCANNED = 20_000
"""Matches that are looked at one by one, without the graph: it takes about twice as long as an unfiltered question."""
ACORN_UP_TO = 0.4
"""Share of the points from which on a walk without detours finds what ACORN finds, for a third of the time."""
ONE_EF = 256
"""Candidates in the graph for a filter on one field."""
SEVERAL_EF = 384
"""The same where conditions on several fields meet: each cuts the graph anew."""
ACORN_EF = 128
"""The same with ACORN, which looks at neighbours of neighbours for each candidate."""


@dataclass(frozen=True, slots=True)
class Walk:
    """What a filter asks of the graph: ``linked`` along every field that it names, and how many fields these are."""

    linked: bool
    fields: int

    @property
    def ef(self) -> int:
        """Candidates for a walk without detours."""
        return SEVERAL_EF if self.fields > 1 else ONE_EF


def walk_of(where: "Filter", *, schema: CollectionSchema) -> Walk:
    """How a filter is walked with. Conditions on ids alone name no field."""
    names = {*_fields(where)}
    return Walk(linked=all(map(schema.is_linked, names)), fields=len(names))


def scanned_kilobytes(schema: CollectionSchema) -> int:
    """``SCANNED`` as Qdrant's ``full_scan_threshold`` has it: kilobytes of float16 vectors."""
    return max(1, SCANNED * schema.fingerprint.dims * 2 // 1024)


def _fields(condition: Any) -> Iterator[str]:
    """The payload fields that a condition names, at any depth."""
    clauses = ("must", "should", "must_not")
    for clause in (getattr(condition, name, None) for name in clauses):
        for each in clause if isinstance(clause, list | tuple) else [clause] if clause is not None else []:
            yield from _fields(each)
    if (least := getattr(condition, "min_should", None)) is not None:
        for each in least.conditions:
            yield from _fields(each)
    for holder in (condition, *(getattr(condition, name, None) for name in ("is_empty", "is_null", "nested"))):
        if isinstance(key := getattr(holder, "key", None), str):
            yield key
