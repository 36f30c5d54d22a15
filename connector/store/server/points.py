"""Points and queries on their way to a Qdrant server and back, in qdrant-client's models."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from qdrant_client import QdrantClient, models

from connector.records import Point, StoredPoint, Vector
from connector.store.engine import NearestQuery, WordsQuery
from connector.store.geo import sound
from connector.store.links import ACORN_EF, ACORN_UP_TO, walk_of
from connector.store.points import as_read, as_stored, check_queries, named_vectors, payload_selector, sent_id
from connector.store.schema import CollectionSchema
from connector.store.texts import as_derived
from connector.store.words import WORDS, Wording, asked_words, held_terms, no_words
from connector.words.index import WordVector

T = TypeVar("T")

BATCH = 256
"""Points in one upsert, ids in one retrieve or delete."""
HNSW_EF = 128
RESCORED = models.QuantizationSearchParams(rescore=True, oversampling=2.0)
"""Twice as many candidates by 4-bit codes, ranked again by the float16 vectors."""
ACORN = models.AcornSearchParams(enable=True, max_selectivity=1.0)
"""Along fields without links, neighbours of neighbours are looked at too, where few points match."""


def batches(items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """At most ``size`` at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def struct(point: Point, *, schema: CollectionSchema, wording: Wording | None) -> models.PointStruct:
    """A point as the server takes it, with its words where the collection has any."""
    vectors: dict[str, Any] = {**named_vectors(point, schema=schema)}
    payload, words = (as_stored(point.payload), None) if wording is None else wording.written(point.payload)
    if words is not None:
        vectors[WORDS] = sparse(words)
    return models.PointStruct(id=sent_id(point.id), vector=vectors, payload=payload)


def meant(where: models.Filter | None, *, schema: CollectionSchema) -> models.Filter | None:
    """A filter as a server's indexes understand it: boxes at the limits of the globe, prose by its derived texts."""
    return sound(as_derived(where, schema=schema))


def sparse(words: WordVector) -> models.SparseVector:
    """Words as the server takes them."""
    return models.SparseVector(indices=words.indices, values=words.values)


def words_request(query: WordsQuery, *, schema: CollectionSchema) -> models.QueryRequest | None:
    """A question by words as the server takes it; None for one without a word."""
    words = asked_words(query.text)
    if not words.indices:
        return None
    return models.QueryRequest(
        query=models.NearestQuery(nearest=sparse(words)),
        using=WORDS,
        filter=meant(query.where, schema=schema),
        limit=query.limit,
        offset=query.offset or None,
        with_payload=payload_selector(query.fields),
    )


def requests_of(
    queries: Sequence[NearestQuery | WordsQuery],
    *,
    schema: CollectionSchema,
    collection: str,
    share: Callable[[models.Filter | None], float],
) -> list[models.QueryRequest | None]:
    """Queries as the server takes them; None for one by words that holds no word.

    ``share`` estimates which part of the points matches a filter.
    """
    seen = [query for query in queries if isinstance(query, NearestQuery)]
    check_queries(seen, schema=schema, collection=collection)
    if schema.words is None and len(seen) < len(queries):
        raise no_words(collection)
    filters = {id(query.where): query.where for query in seen}  # those of a batch usually share theirs
    shares = {each: share(where) for each, where in filters.items()}
    return [
        request(query, schema=schema, share=shares[id(query.where)])
        if isinstance(query, NearestQuery)
        else words_request(query, schema=schema)
        for query in queries
    ]


def request(query: NearestQuery, *, schema: CollectionSchema, share: float) -> models.QueryRequest:
    """A nearest-neighbour query as the server takes it, rescored unless it is exact anyway.

    ``share`` of the points match its filter, as far as the server's indexes tell.
    """
    walk = None if query.where is None else walk_of(query.where, schema=schema)
    detours = walk is not None and not walk.linked and share < ACORN_UP_TO
    return models.QueryRequest(
        query=models.NearestQuery(nearest=query.vector.tolist()),
        using=query.space or schema.vector_name,
        filter=meant(query.where, schema=schema),
        limit=query.limit,
        offset=query.offset or None,
        score_threshold=query.min_score,
        params=models.SearchParams(
            hnsw_ef=HNSW_EF if walk is None else ACORN_EF if detours else walk.ef(share),
            exact=query.exact,
            quantization=RESCORED,
            acorn=ACORN if detours else None,
        ),
        with_payload=payload_selector(query.fields),
    )


def reading(
    collection: str, ids: Sequence[str], *, fields: Sequence[str] | None, vectors: Sequence[str]
) -> Callable[[QdrantClient], list[models.Record]]:
    """The call that reads points by their ids."""
    return lambda client: client.retrieve(
        collection, [*map(sent_id, ids)], with_payload=payload_selector(fields), with_vectors=[*vectors] or False
    )


def stored(record: models.Record, *, vector_name: str | None, terms: frozenset[int] = frozenset()) -> StoredPoint:
    """A point as the server gives it back, with its vector of this name and those of the terms that its words hold."""
    vectors = record.vector if isinstance(record.vector, dict) else {}
    values, words = None if vector_name is None else vectors.get(vector_name), vectors.get(WORDS)
    held = held_terms(words, terms) if isinstance(words, models.SparseVector) else ()
    vector: Vector | None = None if values is None else np.asarray(values, dtype=np.float32)
    return StoredPoint(id=str(record.id), payload=as_read(record.payload or {}), vector=vector, terms=held)
