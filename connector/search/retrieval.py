"""Finding: vectors and conditions -> hits, with their relevance and, where it is wanted, diverse."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from connector.errors import InvalidQuery
from connector.filters.parse import as_filter
from connector.records import FacetCount, Hit, HitGroup, Payload, Vectors
from connector.search.diversity import diverse_order
from connector.search.encoder import named_points
from connector.search.options import Reach
from connector.search.query import Query
from connector.search.relevance import RelevanceModel
from connector.settings import FieldType
from connector.store.engine import Engine, NearestQuery

if TYPE_CHECKING:
    from qdrant_client.models import Filter


class Retriever:
    """Asks the store of one collection. Safe to use from many threads."""

    def __init__(self, engine: Engine, *, relevance: RelevanceModel) -> None:
        self._engine = engine
        self._relevance = relevance
        self._indexes: Mapping[str, FieldType] | None = None

    def condition(self, where: "str | Filter | None") -> "Filter | None":
        """The Qdrant filter of a question. Raises InvalidQuery for a field that the collection does not index."""
        if where is None:
            return None
        try:
            return as_filter(where, indexes=self._indexes or {})
        except InvalidQuery:  # the fields are asked for once, and again where one is missing: it may be new
            self._indexes, before = self._engine.info().schema.indexes, self._indexes
            if self._indexes == before:
                raise
            return as_filter(where, indexes=self._indexes)

    def others(self, query: Query, *, where: "Filter | None") -> "Filter | None":
        """The condition that also leaves out the points that the blend itself names."""
        named = named_points(query)
        if not named:
            return where
        from qdrant_client.models import Filter, HasIdCondition  # here: it takes a second to import

        return Filter(must=[where] if where else None, must_not=[HasIdCondition(has_id=list(named))])

    def nearest(
        self, vectors: Vectors, *, reach: Reach, where: "Sequence[Filter | None]", by: Sequence[str | None]
    ) -> list[list[Hit]]:
        """An answer to each vector under its own condition; ``by`` says what made each, for ``RelevanceModel``."""
        query = NearestQuery(
            np.empty(0, dtype=np.float32), limit=reach.limit, offset=reach.offset, min_score=reach.min_score
        )
        if reach.diversity:
            query = replace(query, limit=reach.candidates, offset=0)
        found = zip(vectors, by, self.answers(query, vectors, where=where), strict=True)
        answers = [
            self._relevance.with_relevance(hits, vector=vector, by=each, relevant=reach.relevant)
            for vector, each, hits in found
        ]
        return [self._diverse(hits, reach=reach) for hits in answers] if reach.diversity else answers

    def answers(self, query: NearestQuery, vectors: Vectors, *, where: "Sequence[Filter | None]") -> list[list[Hit]]:
        """What the store answers to ``query`` with each vector under its own condition."""
        if not len(vectors):
            return []
        pairs = zip(vectors, where, strict=True)
        return self._engine.query([replace(query, vector=vector, where=condition) for vector, condition in pairs])

    def _diverse(self, hits: list[Hit], *, reach: Reach) -> list[Hit]:
        stored = self._engine.retrieve([hit.id for hit in hits], fields=[], vectors=True)
        vectors = {each.id: each.vector for each in stored if each.vector is not None}
        there = [hit for hit in hits if hit.id in vectors]  # one may be deleted meanwhile
        if not there:
            return []
        order = diverse_order(
            np.stack([vectors[hit.id] for hit in there]),
            scores=np.array([hit.score for hit in there], dtype=np.float32),
            diversity=reach.diversity,
            count=reach.offset + reach.limit,
        )
        return [there[row] for row in order[reach.offset :]]


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
