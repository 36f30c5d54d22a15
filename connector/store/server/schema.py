"""How a collection's schema looks on a Qdrant server: what is asked for at creation, and how it is read back.

The schema travels in the collection's own metadata, so that any client can tell which space built the vectors.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeAlias

from qdrant_client import models

from connector.errors import CollectionMismatch
from connector.settings import FieldType
from connector.store.links import scanned_kilobytes
from connector.store.schema import TENANT_FIELD, CollectionSchema
from connector.store.stored_schema import schema_from_json
from connector.store.words import WORDS, stored_indexes

QUANTIZATION = models.TurboQuantization(
    turbo=models.TurboQuantQuantizationConfig(bits=models.TurboQuantBitSize.BITS4, memory=models.Memory.PINNED)
)
"""4 bits a dimension in memory; queries rescore with the float16 vectors, which 4 bits do not do by default."""

MAX_QUERY_LIMIT = 10_000
"""The most points one query or one page of a scroll may ask for."""

STRICT_MODE = models.StrictModeConfig(
    enabled=True,
    unindexed_filtering_retrieve=False,
    unindexed_filtering_update=False,
    max_query_limit=MAX_QUERY_LIMIT,
)
"""A filter without an index is refused by the server instead of scanning every payload."""

BULK_LOAD = "bulk_load"
"""Metadata key that is there while indexing is put off; it holds the indexing threshold to go back to."""

IndexParams: TypeAlias = (
    models.KeywordIndexParams
    | models.IntegerIndexParams
    | models.FloatIndexParams
    | models.BoolIndexParams
    | models.GeoIndexParams
    | models.DatetimeIndexParams
    | models.TextIndexParams
)

COLD = models.Memory.COLD
"""Indexes are read from disk, and cached, as they are needed. Pinned, the server's default, they would take 2 to 5 KB
of memory an image, several times what its vector does (docs/planning.md)."""

DERIVED_TEXT = models.TextIndexParams(
    type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WHITESPACE, phrase_matching=True, memory=COLD
)
"""Of texts that ``connector.store.texts`` derived: tokens parted by spaces, and their order."""

_INDEXES: Mapping[FieldType, tuple[Callable[..., IndexParams], Enum]] = MappingProxyType(
    {
        "integer": (models.IntegerIndexParams, models.IntegerIndexType.INTEGER),
        "float": (models.FloatIndexParams, models.FloatIndexType.FLOAT),
        "bool": (models.BoolIndexParams, models.BoolIndexType.BOOL),
        "geo": (models.GeoIndexParams, models.GeoIndexType.GEO),
        "datetime": (models.DatetimeIndexParams, models.DatetimeIndexType.DATETIME),
        "text": (models.TextIndexParams, models.TextIndexType.TEXT),
    }
)


def graph_config(schema: CollectionSchema) -> models.HnswConfigDiff:
    """The search graph, and how many matches of a filter are looked at without it."""
    scanned = scanned_kilobytes(schema)
    return models.HnswConfigDiff(m=16, ef_construct=100, full_scan_threshold=scanned, memory=models.Memory.CACHED)


def vectors_config(schema: CollectionSchema) -> dict[str, models.VectorParams]:
    """A named vector of each space: float16 on disk, compared by cosine."""
    return {
        space: models.VectorParams(
            size=dims, distance=models.Distance.COSINE, datatype=models.Datatype.FLOAT16, memory=models.Memory.COLD
        )
        for space, dims in schema.dims.items()
    }


def vectors_there(info: models.CollectionInfo) -> set[str]:
    """The names of the dense vectors that the collection has."""
    vectors = info.config.params.vectors
    return {*vectors} if isinstance(vectors, dict) else set()


def words_config(schema: CollectionSchema) -> dict[str, models.SparseVectorParams] | None:
    """The sparse vector of words, weighted by inverse document frequency; None for a collection without words."""
    if schema.words is None:
        return None
    index = models.SparseIndexParams(memory=COLD, datatype=models.Datatype.FLOAT16)
    return {WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF, index=index)}


def has_words(info: models.CollectionInfo) -> bool:
    """Whether the collection has the sparse vector of words."""
    return WORDS in (info.config.params.sparse_vectors or {})


def index_params(name: str, kind: FieldType, *, linked: bool) -> IndexParams:
    """What to ask of the server for one payload index; ``linked``: whether the graph gets links along its values.

    Keywords can be matched by their beginning (``startswith``); points of one ``tenant`` are stored together.
    """
    if kind != "keyword":
        make, named = _INDEXES[kind]
        return make(type=named, memory=COLD, enable_hnsw=linked)
    return models.KeywordIndexParams(
        type=models.KeywordIndexType.KEYWORD,
        prefix=True,
        is_tenant=True if name == TENANT_FIELD else None,
        memory=COLD,
        enable_hnsw=linked,
    )


def missing_indexes(schema: CollectionSchema, info: models.CollectionInfo) -> dict[str, IndexParams]:
    """The indexes of the schema that the collection lacks: new meta fields, or a creation that was interrupted."""
    return {
        name: DERIVED_TEXT if kind == "derived" else index_params(name, kind, linked=schema.is_linked(name))
        for name, kind in stored_indexes(schema).items()
        if name not in info.payload_schema
    }


def read_schema(info: models.CollectionInfo, *, collection: str) -> CollectionSchema:
    """The schema that a collection carries in its metadata. Raises CollectionMismatch where it carries none."""
    metadata: dict[str, Any] = info.config.metadata or {}
    try:
        return schema_from_json(metadata)
    except ValueError as error:
        what = (
            "was made by another version of polyglance" if "fingerprint" in metadata else "was not made by polyglance"
        )
        raise CollectionMismatch(
            f"collection {collection!r} {what}: its metadata hold no fingerprint that can be read "
            f"(keys: {', '.join(sorted(metadata)) or 'none'}; {error}). Name another collection."
        ) from error


def join_schema(asked: CollectionSchema, info: models.CollectionInfo, *, collection: str) -> CollectionSchema:
    """The schema of the existing collection once it also serves ``asked``. Raises CollectionMismatch otherwise."""
    stored = read_schema(info, collection=collection)
    joined = stored.joined(asked, collection=collection, points=info.points_count or 0)
    differences = [*_vector_differences(joined, info), *_index_differences(joined, info)]
    if differences:
        raise CollectionMismatch(
            f"collection {collection!r} was changed since polyglance made it: {'; '.join(differences)}. "
            "Name another collection, or ingest again with --recreate."
        )
    return joined


def bulk_load_of(info: models.CollectionInfo) -> dict[str, Any]:
    """What the collection remembers of a bulk load that has not ended; empty when there is none."""
    return (info.config.metadata or {}).get(BULK_LOAD) or {}


def still_optimizing(info: models.CollectionInfo) -> bool:
    """Whether the search graph does not cover everything yet."""
    return info.status in (models.CollectionStatus.YELLOW, models.CollectionStatus.GREY)


def progress(info: models.CollectionInfo) -> str:
    """How far the search graph is, for a sentence."""
    return f"with {info.indexed_vectors_count or 0} of {info.points_count or 0} vectors in the graph"


def optimizer_error(info: models.CollectionInfo) -> str:
    """What the optimizers failed on, in the server's words."""
    status = info.optimizer_status
    return status.error if isinstance(status, models.OptimizersStatusOneOf1) else "the server gives no reason"


def _vector_differences(wanted: CollectionSchema, info: models.CollectionInfo) -> list[str]:
    vectors = info.config.params.vectors
    if not isinstance(vectors, dict):
        return ["vector: named here, unnamed there"]
    params = vectors.get(wanted.vector_name)
    if params is None:
        return [f"vector: {wanted.vector_name} here, {', '.join(sorted(vectors)) or 'none'} there"]
    pairs = (
        ("vector size", wanted.fingerprint.dims, params.size),
        ("distance", models.Distance.COSINE.value, params.distance.value),
    )
    return [f"{name}: {ours} here, {theirs} there" for name, ours, theirs in pairs if ours != theirs]


def _index_differences(wanted: CollectionSchema, info: models.CollectionInfo) -> list[str]:
    stored = {name: index.data_type.value for name, index in info.payload_schema.items()}
    return [
        f"index of {name}: {kind} here, {stored[name]} there"
        for name, kind in wanted.indexes.items()
        if stored.get(name, kind) != kind
    ]
