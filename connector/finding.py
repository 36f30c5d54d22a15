"""Finding: vectors and conditions -> hits, with their relevance and, where it is wanted, diverse."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from connector.asking import Reach
from connector.blend import Blend
from connector.diversity import diverse_order
from connector.errors import InvalidQuery
from connector.filters import as_filter
from connector.mixing import named_points
from connector.qdrant.engine import Engine, NearestQuery
from connector.qdrant.schema import FieldType
from connector.records import Hit, Vectors
from connector.weighing import Weighing

if TYPE_CHECKING:
    from qdrant_client.models import Filter


class Finding:
    """Asks the store of one collection. Safe to use from many threads."""

    def __init__(self, engine: Engine, *, weighing: Weighing) -> None:
        self._engine = engine
        self._weighing = weighing
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

    def others(self, blend: Blend, *, where: "Filter | None") -> "Filter | None":
        """The condition that also leaves out the points that the blend itself names."""
        from qdrant_client.models import Filter, HasIdCondition

        named = named_points(blend)
        if not named:
            return where
        return Filter(must=[where] if where else None, must_not=[HasIdCondition(has_id=list(named))])

    def nearest(
        self, vectors: Vectors, *, reach: Reach, where: "Sequence[Filter | None]", by: Sequence[str | None]
    ) -> list[list[Hit]]:
        """An answer to each vector under its own condition; ``by`` says what made each, for ``Weighing``."""
        query = NearestQuery(
            np.empty(0, dtype=np.float32), limit=reach.limit, offset=reach.offset, min_score=reach.min_score
        )
        if reach.diversity:
            query = replace(query, limit=reach.candidates, offset=0)
        found = zip(vectors, by, self.answers(query, vectors, where=where), strict=True)
        answers = [
            self._weighing.weighed(hits, vector=vector, by=each, relevant=reach.relevant)
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
