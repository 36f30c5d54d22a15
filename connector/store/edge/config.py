"""How Qdrant Edge keeps a collection: vectors, words, search graph and payload indexes, as its schema says.

The one rule: what is sealed lies on disk and is read as it is needed; only 4-bit codes of the vectors stay in memory.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import qdrant_edge as edge

from connector.settings import FieldType
from connector.store.links import scanned_kilobytes
from connector.store.schema import TENANT_FIELD, CollectionSchema
from connector.store.words import WORDS, stored_indexes

ANY_SIZE = 1
"""KB of vectors from which optimizing turns to a segment; Edge's own 20 MB would leave 40,000 small vectors be."""


def shard_config(schema: CollectionSchema) -> edge.EdgeConfig:
    """How Edge keeps the vectors: float16 on disk, 4-bit TurboQuant in memory to search by, HNSW over it.

    The figures behind it: recall@10 of .944 from the 4-bit codes alone, 1.0 when rescored from float16 with twofold
    oversampling (Qdrant's published LAION figures, and our own on low-rank data). float16 turns a cosine by 5e-5.
    """
    scanned = scanned_kilobytes(schema)
    graph = edge.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=scanned, memory=edge.Memory.Cached)
    return _config(schema, graph=graph, optimizers=edge.EdgeOptimizersConfig(indexing_threshold=ANY_SIZE))


def sealing_config(schema: CollectionSchema) -> edge.EdgeConfig:
    """The same, but optimizing only moves what was written last into a segment of its own, on disk.

    No graph is built, which would take as long again, and no segments are merged: a large collection adds no more
    than the opening of its segments.
    """
    no_graph = edge.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=scanned_kilobytes(schema))
    apart = edge.EdgeOptimizersConfig(indexing_threshold=ANY_SIZE, default_segment_number=10_000)
    return _config(schema, graph=no_graph, optimizers=apart)


def _config(
    schema: CollectionSchema, *, graph: edge.HnswIndexConfig, optimizers: edge.EdgeOptimizersConfig
) -> edge.EdgeConfig:
    return edge.EdgeConfig(
        vectors={
            space: edge.EdgeVectorParams(
                size=dims,
                distance=edge.Distance.Cosine,
                datatype=edge.VectorStorageDatatype.Float16,
                memory=edge.Memory.Cold,
            )
            for space, dims in schema.dims.items()
        },
        sparse_vectors=None if schema.words is None else {WORDS: WORDS_PARAMS},
        hnsw_config=graph,
        quantization_config=edge.TurboQuantQuantizationConfig(
            bits=edge.TurboQuantBitSize.Bits4, memory=edge.Memory.Pinned
        ),
        wal_enabled=True,  # without it a crash loses points, and the folder loses its lock
        optimizers=optimizers,
    )


WORDS_PARAMS = edge.EdgeSparseVectorParams(
    modifier=edge.Modifier.Idf, datatype=edge.VectorStorageDatatype.Float16, memory=edge.Memory.Cold
)


def add_indexes(shard: edge.EdgeShard, schema: CollectionSchema, *, before: Callable[[], None] = lambda: None) -> None:
    """Create the payload indexes that the shard lacks: those of linked fields in memory, some 100 bytes an image each.

    There a condition is checked in a third of the time. Of all others a sealed segment reads from disk what it needs:
    in memory they would take 2 to 5 KB an image. ``before`` is called where the shard lacks some.
    """
    there = shard.info().payload_schema
    missing = {key: kind for key, kind in stored_indexes(schema).items() if key not in there}
    if not missing:
        return
    before()
    for key, kind in missing.items():
        params = DERIVED_TEXT if kind == "derived" else _index_params(key, kind, linked=schema.is_linked(key))
        shard.update(edge.UpdateOperation.create_field_index(key, params))
    shard.flush()


def _index_params(key: str, kind: FieldType, *, linked: bool) -> "IndexParams":
    memory = edge.Memory.Pinned if linked else edge.Memory.Cold
    if kind == "keyword":
        tenant = True if key == TENANT_FIELD else None
        return edge.KeywordIndexParams(prefix=True, is_tenant=tenant, memory=memory, enable_hnsw=linked)
    return _OTHER_INDEXES[kind](memory=memory, enable_hnsw=linked)


DERIVED_TEXT = edge.TextIndexParams(
    tokenizer=edge.TokenizerType.Whitespace, phrase_matching=True, memory=edge.Memory.Cold
)
"""Of texts that ``connector.store.texts`` derived: tokens parted by spaces, and their order."""

IndexParams: TypeAlias = (
    edge.KeywordIndexParams
    | edge.IntegerIndexParams
    | edge.FloatIndexParams
    | edge.BoolIndexParams
    | edge.GeoIndexParams
    | edge.DatetimeIndexParams
    | edge.TextIndexParams
)

_OTHER_INDEXES: "Mapping[FieldType, Callable[..., IndexParams]]" = {
    "integer": edge.IntegerIndexParams,
    "float": edge.FloatIndexParams,
    "bool": edge.BoolIndexParams,
    "geo": edge.GeoIndexParams,
    "datetime": edge.DatetimeIndexParams,
    "text": edge.TextIndexParams,
}
