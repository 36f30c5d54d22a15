"""Retriever: vectors and filters -> hits, with their relevance and, where it is wanted, diverse."""

import logging
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from connector.errors import InvalidQuery
from connector.filters.parse import as_filter
from connector.records import FacetCount, Hit, HitGroup, Payload, Vectors
from connector.search.encoder import check_words, named_points
from connector.search.hits import HitGroups, Hits
from connector.search.options import MAX_LIMIT, Mode, SearchOptions
from connector.search.query import Query
from connector.search.relevance import REFRESH_S, RelevanceModel
from connector.settings import FieldType
from connector.store.engine import Engine, NearestQuery
from connector.store.points import sent_id
from connector.store.schema import names_of

if TYPE_CHECKING:
    from qdrant_client.models import Filter

log = logging.getLogger(__name__)

CANDIDATES = 5
"""Nearest hits looked at for each one wanted, and ``LEAST`` at least."""
LEAST = 100
NO_WORDS = (
    "collection {!r} has no words, for it was made before they were indexed: it is searched by what is seen alone. "
    "`polyglance collection words` adds them, from what is stored."
)
QUICK = 500
"""Characters of a filter that is read in a moment, some tenths of a millisecond."""


class Retriever:
    """Asks the store of one collection. Safe to use from many threads."""

    def __init__(self, engine: Engine, *, relevance: RelevanceModel) -> None:
        self._engine = engine
        self._relevance = relevance
        self._indexes: Mapping[str, FieldType] | None = None
        self._has_words = False
        self._looked_at = -math.inf

    def has_words(self) -> bool:
        """Whether words of the collection's images can be asked for; a collection may get them at any time."""
        if not self._has_words and time.monotonic() - self._looked_at > REFRESH_S:
            self._has_words = self._engine.info().schema.words is not None
            if not self._has_words and self._looked_at < 0:
                log.warning("no_words %s", NO_WORDS.format(self._engine.collection))
            self._looked_at = time.monotonic()
        return self._has_words

    def check_mode(self, mode: Mode | None, *, queries: Sequence[Query]) -> None:
        """Raise InvalidQuery where the mode asks for words that the collection or a query does not have."""
        if mode in (None, "visual"):
            return
        if not self.has_words():
            raise InvalidQuery(NO_WORDS.format(self._engine.collection))
        for each in queries:
            check_words(each, mode=mode)

    def condition(self, where: "str | Filter | None") -> "Filter | None":
        """The Qdrant filter of a question. Raises InvalidQuery for a field that the collection does not index."""
        if where is None:
            return None
        known = self._indexes
        try:
            return as_filter(where, indexes=known or {})
        except InvalidQuery:  # the fields are asked for once, and again where one is missing: it may be new
            self._indexes = indexes = self._engine.info().schema.indexes
            if indexes == known:
                raise
            return as_filter(where, indexes=indexes)

    def is_quick(self, where: "str | Filter | None") -> bool:
        """Whether ``condition`` takes a filter at once: a short one, of fields that the store was asked for before."""
        if where is None or self._indexes is None or not isinstance(where, str) or len(where) > QUICK:
            return where is None
        try:
            as_filter(where, indexes=self._indexes)
        except InvalidQuery:  # the field may be new, which the store has to tell
            return False
        return True

    def excluding_parts(self, query: Query, *, where: "Filter | None") -> "Filter | None":
        """The condition that also leaves out the points that the query itself names."""
        named = named_points(query)
        if not named:
            return where
        from qdrant_client import models  # here: it takes a second to import

        return models.Filter(
            must=[where] if where else None, must_not=[models.HasIdCondition(has_id=[*map(sent_id, named)])]
        )

    def nearest(
        self,
        vectors: Vectors,
        *,
        options: SearchOptions,
        where: "Sequence[Filter | None]",
        calibrations: Sequence[str | None],
    ) -> list[Hits]:
        """An answer to each vector under its own condition, and by its own calibration of ``RelevanceModel``."""
        query = NearestQuery(
            np.empty(0, dtype=np.float32), limit=options.limit, offset=options.offset, min_score=options.min_score
        )
        if options.diversity:
            query = replace(query, limit=candidates(options), offset=0)
        found = zip(vectors, calibrations, self.answers(query, vectors, where=where), strict=True)
        answers = [
            self._relevance.with_relevance(hits, vector=vector, calibration=each, relevant=options.relevant)
            for vector, each, hits in found
        ]
        if not options.diversity:
            return [Hits(hits) for hits in answers]
        count = options.offset + options.limit
        diverse = (self.diverse(hits, diversity=options.diversity, count=count) for hits in answers)
        return [Hits(hits[options.offset :]) for hits in diverse]

    def newest(self, where: "Filter | None", *, options: SearchOptions) -> list[Hit]:
        """Images that match, the latest first, those without a date last; nothing is compared, so the score is 0."""
        start, limit = options.offset, options.limit
        found = self._engine.ordered("taken_at", descending=True, limit=limit, offset=start, where=where)
        if missing := limit - len(found):
            dated, undated = self.condition("exists(taken_at)"), self.condition("not exists(taken_at)")
            passed = max(0, start - self._engine.count(where=narrowed(where, dated)))
            found = [
                *found,
                *self._engine.scroll(limit=passed + missing, where=narrowed(where, undated)).points[passed:],
            ]
        return [Hit(each.id, 0.0, each.payload) for each in found]

    def answers(self, query: NearestQuery, vectors: Vectors, *, where: "Sequence[Filter | None]") -> list[list[Hit]]:
        """What the store answers to ``query`` with each vector under its own condition."""
        if not len(vectors):
            return []
        pairs = zip(vectors, where, strict=True)
        return self._engine.query([replace(query, vector=vector, where=condition) for vector, condition in pairs])

    def diverse(
        self, hits: Sequence[Hit], *, diversity: float, count: int, scores: Sequence[float] | None = None
    ) -> list[Hit]:
        """At most ``count`` of the hits, in an order in which they do not repeat one another.

        ``scores`` are what each is worth, from 0 to 1; by default its cosine.
        """
        worth = [hit.score for hit in hits] if scores is None else scores
        stored = self._engine.retrieve([hit.id for hit in hits], fields=[], vectors=True)
        vectors = {each.id: each.vector for each in stored if each.vector is not None}
        left = [
            (hit, share) for hit, share in zip(hits, worth, strict=True) if hit.id in vectors
        ]  # or deleted meanwhile
        if not left:
            return []
        order = diverse_order(
            np.stack([vectors[hit.id] for hit, _ in left]),
            scores=np.array([share for _, share in left], dtype=np.float32),
            diversity=diversity,
            count=count,
        )
        return [left[row][0] for row in order]


def narrowed(where: "Filter | None", by: "Filter | None") -> "Filter | None":
    """Both conditions together."""
    if where is None or by is None:
        return where or by
    from qdrant_client import models

    return models.Filter(must=[where, by])


def candidates(options: SearchOptions) -> int:
    """How many of the nearest are looked at to find diverse ones."""
    return min(MAX_LIMIT, max(LEAST, CANDIDATES * (options.offset + options.limit)))


Value: TypeAlias = str | int | bool


def grouped(hits: Sequence[Hit], *, by: str, size: int) -> HitGroups:
    """The hits by the values of a field, at most ``size`` in a group: the group with the best hit first."""
    groups: dict[Value, list[Hit]] = {}
    for hit in hits:
        for value in values_of(hit.payload, by):
            groups.setdefault(value, []).append(hit)
    return HitGroups(HitGroup(value, tuple(members[:size])) for value, members in groups.items())


def counted(hits: Sequence[Hit], *, field: str) -> list[FacetCount]:
    """The values among the hits, the most frequent first; equal counts in order of the value."""
    counts = Counter(value for hit in hits for value in values_of(hit.payload, field))
    ranked = sorted(counts.items(), key=lambda each: (-each[1], str(each[0])))
    return [FacetCount(value, count) for value, count in ranked]


def values_of(payload: Payload, field: str) -> list[Value]:
    """What a payload holds under a field's name, ``meta.price`` too; of a list every value once."""
    found = field_of(payload, field)
    several = found if isinstance(found, list) else [found]
    return [*dict.fromkeys(each for each in several if isinstance(each, str | int | bool))]


def field_of(payload: Payload, field: str) -> Any:
    """What a payload holds under a field's name, None where it has none."""
    found: Any = payload
    for name in names_of(field):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def diverse_order(vectors: Vectors, *, scores: NDArray[np.float32], diversity: float, count: int) -> list[int]:
    """The rows of ``vectors`` (n, dims) to show, best first, at most ``count``.

    Each next one is the row with the greatest ``(1 - diversity) * score - diversity * likeness``, the likeness being
    its cosine to the nearest row chosen before (Carbonell and Goldstein, 1998). 0 keeps the order of the scores.
    """
    left = list(range(len(vectors)))
    likeness = np.zeros(len(vectors), dtype=np.float32)
    chosen: list[int] = []
    while left and len(chosen) < count:
        worth = (1 - diversity) * scores[left] - diversity * likeness[left]
        best = left.pop(int(np.argmax(worth)))
        chosen.append(best)
        similar = vectors @ vectors[best]  # (n,)
        likeness = similar if len(chosen) == 1 else np.maximum(likeness, similar)
    return chosen
