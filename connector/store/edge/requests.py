"""Questions as Qdrant Edge takes them, how many candidates it looks at, and what it found as our records.

A filter that many points match is not taken along into the search graph: the nearest points of all are looked up, and
those of them that match are the answer, once there are enough (docs/decisions/0006).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import qdrant_edge as edge

from connector.records import FacetCount, Hit, Payload, StoredPoint, Vector
from connector.store.engine import NearestQuery
from connector.store.links import ACORN_EF, ACORN_UP_TO, SCANNED, WIDE_EF, walk_of
from connector.store.points import as_read, payload_selector, sent_id
from connector.store.schema import CollectionSchema
from connector.store.words import WORDS, held_terms

if TYPE_CHECKING:
    from qdrant_client.models import Filter

CANDIDATES = 100
"""Points that are ranked again by their float16 vectors, at least: 4-bit codes alone mistake near neighbours."""
OF_SCANNED = 40
"""The same where all matches of a filter are scanned."""
HNSW_EF = 256
"""Candidates in the graph: on 50,000 structured vectors recall@10 is .998, against .988 with 128, for a tenth of a
millisecond more."""
LEAST, WIDEST = 400, 4096
"""Candidates of the graph among which matches are looked for."""
LEAST_SCANNED = 100
"""The same among the matches of one condition: the scan that finds them misses none."""
SURE, RANKED, LIKELY = 1.2, 3, 2.0
"""Matches among the candidates for each point wanted: so many must be there, since they come in the order of the codes,
which is rough; so many are ranked by their vectors; so many are planned for, since chance may leave fewer."""
WALKED, IN_MEMORY, CANDIDATE, CHECKED, DETOURS = 5.0, 2.2, 64, 45, 200_000
"""What things cost, where a point found by the only condition costs 1, some 0.05 microseconds: one for which others are
checked too, and the same where their indexes are in memory; a candidate found in the graph and checked; one that is
only checked; a walk with ACORN."""

_ACORN = edge.AcornSearchParams(enable=True, max_selectivity=1.0)
_EXACT = edge.SearchParams(exact=True, quantization=edge.QuantizationSearchParams(ignore=True))
_BY_CODES = edge.QuantizationSearchParams(ignore=False, rescore=False)
RAISED = 8.0
"""What a match's score is raised by: twice the distance between any two cosines, and their third digit is left."""


@dataclass(frozen=True, slots=True)
class _Pool:
    """Points of which the nearest are looked up and checked for the filter: all, or the matches of one condition.

    ``least`` candidates are looked up; finding any costs ``cost``, and each of them ``each``.
    """

    where: edge.Filter | None
    points: int
    least: int
    cost: int
    each: int

    def candidates(self, wanted: int, *, share: float) -> int:
        """How many to look up for so many matches, where this share of the pool matches."""
        return max(self.least, math.ceil(LIKELY * wanted / max(share, 1 / WIDEST)))

    def price(self, wanted: int, *, share: float) -> float:
        """What they cost; without end where they are too many."""
        candidates = self.candidates(wanted, share=share)
        return self.cost + self.each * candidates if candidates <= WIDEST else math.inf

    def share(self, matches: int) -> float:
        """So many matches of its points."""
        return matches / max(1, self.points)


def among_nearest(query: NearestQuery, *, shard: edge.EdgeShard, schema: CollectionSchema) -> list[Hit] | None:
    """The answer to a filtered question out of the nearest points of a pool; None where another way costs less.

    No match beyond the candidates is nearer than one among them, whatever the filter has to do with the vectors.
    """
    if query.exact or (where := edge_condition(query.where, schema=schema)) is None:
        return None
    wanted, matches = query.offset + query.limit, _estimated(shard, where)
    every = _Pool(None, _estimated(shard, None), least=LEAST, cost=0, each=CANDIDATE)
    rarest = _rarest(where, shard=shard, matches=matches, points=every.points)
    otherwise: float = matches
    if rarest is not None:
        otherwise = rarest.points * (IN_MEMORY if _in_memory(query, schema=schema) else WALKED)
    if matches > SCANNED:
        otherwise = DETOURS
    narrower = rarest is not None and rarest.where is not None and rarest.points <= SCANNED
    pools = [every, rarest] if rarest is not None and narrower else [every]
    pool = min(pools, key=lambda each: each.price(wanted, share=each.share(matches)))
    share = pool.share(matches)
    for _ in range(2):
        if pool.price(wanted, share=share) > otherwise:
            return None
        candidates = pool.candidates(wanted, share=share)
        name = query.space or schema.vector_name
        found = shard.query(_matching(query, where=where, pool=pool, among=candidates, name=name))
        if len(found) >= min(SURE * wanted, matches):
            return _hits(found[query.offset : wanted], query=query, shard=shard)
        share = len(found) / candidates
    return None


def _rarest(where: edge.Filter, *, shard: edge.EdgeShard, matches: int, points: int) -> _Pool | None:
    """The matches of the rarest condition of several, which a scan walks; None where there is one condition only."""
    must = [edge.Filter(must=[each]) for each in where.must or ()]
    if len(must) == 1 and not (where.should or where.must_not or where.min_should):
        return None
    counted = [(_estimated(shard, each), each) for each in must]
    walked, rarest = min(counted, key=itemgetter(0), default=(matches if where.should else points, None))
    return _Pool(rarest, walked, least=LEAST_SCANNED, cost=walked, each=CHECKED)


def _in_memory(query: NearestQuery, *, schema: CollectionSchema) -> bool:
    return query.where is not None and walk_of(query.where, schema=schema).in_memory


def _matching(query: NearestQuery, *, where: edge.Filter, pool: _Pool, among: int, name: str) -> edge.QueryRequest:
    """The nearest that match, among so many of a pool by their codes: a match's score is raised over any cosine."""
    near, limit = edge.Query.Nearest(query.vector.tolist(), name), RANKED * (query.offset + query.limit)
    params = edge.SearchParams(hnsw_ef=among, quantization=_BY_CODES)
    raised = edge.Expression.Mult([edge.Expression.Constant(RAISED), edge.Expression.Condition(where)])
    matching = edge.Prefetch(
        limit=limit,
        prefetches=[edge.Prefetch(limit=among, query=near, params=params, filter=pool.where)],
        query=edge.Formula(edge.Expression.Sum([edge.Expression.Variable("$score"), raised])),
        score_threshold=RAISED / 2,
    )
    return edge.QueryRequest(limit=limit, query=near, prefetches=[matching], params=_EXACT)


def _estimated(shard: edge.EdgeShard, where: edge.Filter | None) -> int:
    return shard.count(edge.CountRequest(exact=False, filter=where))  # in 0.02 ms


def _hits(found: Sequence[edge.ScoredPoint], *, query: NearestQuery, shard: edge.EdgeShard) -> list[Hit]:
    near = [point for point in found if query.min_score is None or point.score >= query.min_score]
    records = shard.retrieve([point.id for point in near], payload_selector(query.fields), False)
    payloads = {record.id: payload_of(record) for record in records}
    return [Hit(str(point.id), point.score, payloads[point.id]) for point in near]


def hits_of(found: Sequence[edge.ScoredPoint]) -> list[Hit]:
    """What was found with its payload."""
    return [Hit(str(point.id), point.score, payload_of(point)) for point in found]


def nearest_request(query: NearestQuery, *, shard: edge.EdgeShard, schema: CollectionSchema) -> edge.QueryRequest:
    """A nearest-neighbour question as Edge takes it; ``shard`` is asked how many points a filter leaves."""
    where = edge_condition(query.where, schema=schema)
    return edge.QueryRequest(
        limit=query.limit,
        offset=query.offset,
        query=edge.Query.Nearest(query.vector.tolist(), query.space or schema.vector_name),
        with_payload=payload_selector(query.fields),
        with_vector=False,
        filter=where,
        score_threshold=query.min_score,
        params=_EXACT if query.exact else _approximate(query, where=where, shard=shard, schema=schema),
    )


def _approximate(
    query: NearestQuery, *, where: edge.Filter | None, shard: edge.EdgeShard, schema: CollectionSchema
) -> edge.SearchParams:
    rescored = _ranked_again(query, least=CANDIDATES)
    if query.where is None:
        return edge.SearchParams(hnsw_ef=HNSW_EF, quantization=rescored)
    walk, matches = walk_of(query.where, schema=schema), _estimated(shard, where)
    if matches <= SCANNED:
        return edge.SearchParams(hnsw_ef=WIDE_EF, quantization=_ranked_again(query, least=OF_SCANNED))
    if walk.linked:
        return edge.SearchParams(hnsw_ef=walk.ef(0.0), quantization=rescored)
    share = matches / max(1, _estimated(shard, None))
    if share < ACORN_UP_TO:  # a few are scanned, whatever is asked for
        return edge.SearchParams(hnsw_ef=ACORN_EF, quantization=rescored, acorn=_ACORN)
    return edge.SearchParams(hnsw_ef=walk.ef(share), quantization=rescored)


def _ranked_again(query: NearestQuery, *, least: int) -> edge.QuantizationSearchParams:
    oversampling = max(2.0, least / max(query.limit + query.offset, 1))
    return edge.QuantizationSearchParams(ignore=False, rescore=True, oversampling=oversampling)


def scroll_request(
    *,
    limit: int,
    start: str | None,
    where: "Filter | None",
    fields: Sequence[str] | None,
    vector: str | None,
    schema: CollectionSchema,
) -> edge.ScrollRequest:
    """A page of a walk in id order as Edge takes it."""
    return edge.ScrollRequest(
        offset=None if start is None else sent_id(start),
        limit=limit,
        filter=edge_condition(where, schema=schema),
        with_payload=payload_selector(fields),
        with_vector=[vector] if vector else False,
    )


def picked(
    query: edge.OrderBy | edge.Sample,
    *,
    shard: edge.EdgeShard,
    limit: int,
    offset: int = 0,
    where: "Filter | None",
    schema: CollectionSchema,
) -> list[StoredPoint]:
    """Points in the order of a field, or at random."""
    condition = edge_condition(where, schema=schema)
    request = edge.QueryRequest(limit=limit, offset=offset, query=query, filter=condition, with_payload=True)
    return [StoredPoint(str(point.id), payload_of(point)) for point in shard.query(request)]


def counts_of(
    key: str, *, shard: edge.EdgeShard, where: "Filter | None", limit: int, schema: CollectionSchema
) -> list[FacetCount]:
    """The field's most frequent values and their exact counts."""
    condition = edge_condition(where, schema=schema)
    answer = shard.facet(edge.FacetRequest(key, limit=limit, exact=True, filter=condition))
    counts = (FacetCount(value=hit.value, count=hit.count) for hit in answer.hits)
    return sorted(counts, key=lambda each: (-each.count, each.value))


def edge_condition(where: "Filter | None", *, schema: CollectionSchema) -> edge.Filter | None:
    """A filter as Edge takes it, what it asks of prose asked of the derived texts."""
    if where is None:
        return None
    from connector.store.edge.filters import edge_filter  # both here: qdrant_client takes a second to import
    from connector.store.texts import as_derived

    return edge_filter(as_derived(where, schema=schema) or where)


def payload_of(point: edge.ScoredPoint | edge.Record) -> Payload:
    """The payload of what Edge found."""
    payload = point.payload  # Edge makes it anew each time it is asked
    return as_read(payload) if payload else {}


def retrieved(
    shard: edge.EdgeShard,
    ids: Sequence[str],
    *,
    fields: Sequence[str] | None,
    vector: str | None,
    terms: Sequence[int],
) -> list[StoredPoint]:
    """The points of these ids that exist, with their ``vector`` of this name."""
    wanted = [*([] if vector is None else [vector]), *[WORDS] * bool(terms)]
    records = shard.retrieve([*map(sent_id, ids)], payload_selector(fields), wanted or False)
    asked = frozenset(terms)
    return [stored_point(record, vector=vector, terms=asked) for record in records]


def stored_point(record: edge.Record, *, vector: str | None, terms: frozenset[int] = frozenset()) -> StoredPoint:
    """A point as it was found, with its ``vector`` of this name and those of the terms that its words hold."""
    stored: Any = record.vector  # by name, as asked; Edge makes it anew each time
    held = (stored or {}).get(WORDS) if terms else None
    return StoredPoint(
        id=str(record.id),
        payload=payload_of(record),
        vector=vector_of(stored, name=vector),
        terms=() if held is None else held_terms(held, terms),
    )


def vector_of(stored: Any, *, name: str | None) -> Vector | None:
    """Edge gives {name: list of floats}, or None where the vector was not asked for; a point may have lost its own."""
    values = (stored or {}).get(name)
    if values is None:
        return None
    import numpy as np

    return np.asarray(values, dtype=np.float32)
