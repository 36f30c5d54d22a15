"""Words in Qdrant Edge: points with their sparse vector, questions by words, and words computed anew in place."""

from collections.abc import Sequence
from typing import Any

import qdrant_edge as edge

from connector.records import Hit, Point
from connector.store.edge.config import add_indexes
from connector.store.edge.requests import among_nearest, edge_condition, hits_of, nearest_request
from connector.store.engine import NearestQuery, WordsQuery
from connector.store.points import TEXTS, as_stored, check_queries, named_vectors, payload_selector, sent_id
from connector.store.schema import CollectionSchema
from connector.store.words import WORDS, Wording, asked_words, no_words
from connector.words.index import WordVector


def edge_points(points: Sequence[Point], *, schema: CollectionSchema, wording: Wording | None) -> list[edge.Point]:
    """Points as Edge takes them, with their words where the collection has any."""
    return [_edge_point(point, schema=schema, wording=wording) for point in points]


def _edge_point(point: Point, *, schema: CollectionSchema, wording: Wording | None) -> edge.Point:
    vectors: dict[str, list[float] | edge.SparseVector | list[list[float]]] = {
        space: vector.tolist() for space, vector in named_vectors(point, schema=schema).items()
    }
    payload, words = (as_stored(point.payload), None) if wording is None else wording.written(point.payload)
    if words is not None:
        vectors[WORDS] = _sparse(words)
    return edge.Point(sent_id(point.id), vectors, payload)


def answers_of(
    queries: Sequence[NearestQuery | WordsQuery], *, shard: edge.EdgeShard, schema: CollectionSchema, collection: str
) -> list[list[Hit]]:
    """The hits of each question, those that are asked as they are in one planned batch.

    Raises InvalidQuery, StoreRefused.
    """
    seen = [query for query in queries if isinstance(query, NearestQuery)]
    check_queries(seen, schema=schema, collection=collection)
    if schema.words is None and len(seen) < len(queries):
        raise no_words(collection)
    answers: dict[int, list[Hit]] = {}
    requests: dict[int, edge.QueryRequest] = {}
    for at, query in enumerate(queries):
        if isinstance(query, WordsQuery):
            request = _words_request(query, schema=schema)
            answers[at] = []
        elif (hits := among_nearest(query, shard=shard, schema=schema)) is not None:
            request = None
            answers[at] = hits
        else:
            request = nearest_request(query, shard=shard, schema=schema)
        if request is not None:
            requests[at] = request
    found = shard.query_batch(edge.QueryBatchRequest([*requests.values()])) if requests else []
    answers.update(zip(requests, map(hits_of, found), strict=True))
    return [answers[at] for at in range(len(queries))]


def _words_request(query: WordsQuery, *, schema: CollectionSchema) -> edge.QueryRequest | None:
    words = asked_words(query.text)
    if not words.indices:
        return None
    return edge.QueryRequest(
        limit=query.limit,
        offset=query.offset,
        query=edge.Query.Nearest(_sparse(words), WORDS),
        with_payload=payload_selector(query.fields),
        with_vector=False,
        filter=edge_condition(query.where, schema=schema),
    )


def add_words(shard: edge.EdgeShard, schema: CollectionSchema) -> None:
    """Give a shard the sparse vector, empty, and the indexes of a schema with words; harmless where they are there."""
    try:
        shard.count(edge.CountRequest(exact=False, filter=edge.Filter(must=[edge.HasVectorCondition(WORDS)])))
        probe = edge.Query.Nearest(edge.SparseVector([0], [1.0]), WORDS)
        shard.query(edge.QueryRequest(limit=1, query=probe))
    except Exception as error:
        if "vector name" not in str(error):
            raise
        shard.update(
            edge.UpdateOperation.create_sparse_vector(WORDS, edge.Modifier.Idf, edge.VectorStorageDatatype.Float16)
        )
    add_indexes(shard, schema)
    shard.flush()


def index_words(shard: edge.EdgeShard, ids: Sequence[str], *, wording: Wording) -> int:
    """Compute the words of stored points from their payloads; how many had others or none."""
    records = shard.retrieve([*map(sent_id, ids)], [*wording.fields, TEXTS], [WORDS])
    changes = wording.changes((each.id, each.payload or {}, _words_of(each)) for each in records)
    if changes.vectors:
        vectors = [edge.PointVectors(each, {WORDS: _sparse(words)}) for each, words in changes.vectors.items()]
        shard.update(edge.UpdateOperation.update_vectors(vectors))
    if changes.emptied:
        shard.update(edge.UpdateOperation.delete_vectors(changes.emptied, [WORDS]))
    for point_id, of_point in changes.texts.items():
        shard.update(edge.UpdateOperation.set_payload([point_id], {TEXTS: of_point}))
    return len(changes)


def _words_of(record: edge.Record) -> Any:
    return (record.vector or {}).get(WORDS)  # type: ignore[union-attr]  # by name, for it was named


def _sparse(words: WordVector) -> edge.SparseVector:
    return edge.SparseVector(words.indices, words.values)


def points_with_words(shard: edge.EdgeShard, *, schema: CollectionSchema) -> int:
    """How many points have words, by what Edge knows of its segments: to look at every point would take 6 ms for 10⁵.

    It counts their sparse vectors among those that are indexed.
    """
    if schema.words is None:
        return 0
    there = edge.Filter(must=[edge.HasVectorCondition(WORDS)])
    return shard.count(edge.CountRequest(exact=False, filter=there))
