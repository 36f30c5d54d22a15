"""Making a collection and changing it as such: what a server lets nobody do whose key may only write points."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from qdrant_client import models

from connector.errors import NotAllowed
from connector.settings import FieldType, QdrantSettings
from connector.store.schema import CollectionSchema
from connector.store.server import schema as server_schema
from connector.store.server.calls import Calls, results

log = logging.getLogger(__name__)

INDEXES_AT_ONCE = 6
"""Payload indexes that are asked for at the same time: each takes a server up to a third of a second."""


def make_collection(calls: Calls, schema: CollectionSchema, *, settings: QdrantSettings) -> None:
    """Make the collection, without its indexes."""
    calls.ask(
        lambda client: client.create_collection(
            calls.collection,
            vectors_config=server_schema.vectors_config(schema),
            hnsw_config=server_schema.HNSW,
            quantization_config=server_schema.QUANTIZATION,
            strict_mode_config=server_schema.STRICT_MODE,
            shard_number=settings.shards,
            replication_factor=settings.replicas,
            metadata=schema.to_json(),
        ),
        doing="creating the collection",
    )


def make_indexes(calls: Calls, schema: CollectionSchema, *, info: models.CollectionInfo) -> None:
    """Make the indexes that are missing, several at a time; writing points is right enough for this."""
    missing = server_schema.missing_indexes(schema, info)
    if not missing:
        return
    log.info("creating_indexes collection=%s indexes=%d", calls.collection, len(missing))
    with ThreadPoolExecutor(min(INDEXES_AT_ONCE, len(missing)), thread_name_prefix="index") as pool:
        results([pool.submit(_make_index, calls, name, kind) for name, kind in missing.items()])


def change_schema(calls: Calls, schema: CollectionSchema) -> None:
    """Write down the weights of the first tower, or new meta fields. Raises NotAllowed that says who may."""
    try:
        change(calls, metadata=schema.to_json(), doing="changing the schema")
    except NotAllowed as error:
        raise NotAllowed(
            f"{error} What is new (the fingerprint of the weights, or a meta field) takes a key that may manage "
            "collections: let `polyglance collection create` write it once with such a key and the same settings."
        ) from error


def put_off_indexing(calls: Calls, info: models.CollectionInfo) -> None:
    """Let points arrive without being indexed; harmless where that is so. Raises NotAllowed that says who may."""
    if server_schema.bulk_load_of(info):
        return
    threshold = info.config.optimizer_config.indexing_threshold
    try:
        change(
            calls,
            models.OptimizersConfigDiff(indexing_threshold=0),
            metadata={server_schema.BULK_LOAD: {"indexing_threshold": threshold}},
            doing="putting off indexing",
        )
    except NotAllowed as error:
        raise NotAllowed(
            f"{error} Putting off indexing (--bulk) takes a key that may manage collections; without it the same "
            "images are ingested, and indexed meanwhile."
        ) from error


def end_bulk_load(calls: Calls, info: models.CollectionInfo) -> None:
    """Switch indexing back on where it was put off, here or by a process that was killed."""
    put_off = server_schema.bulk_load_of(info)
    if put_off:
        change(
            calls,
            models.OptimizersConfigDiff(indexing_threshold=put_off.get("indexing_threshold")),
            metadata={server_schema.BULK_LOAD: None},
            doing="switching indexing back on",
        )


def change(
    calls: Calls,
    optimizers: models.OptimizersConfigDiff | None = None,
    *,
    metadata: dict[str, Any] | None = None,
    doing: str,
) -> None:
    """Change the collection's optimizers and metadata; nothing of both is a change too."""
    config = optimizers or models.OptimizersConfigDiff()
    calls.ask(
        lambda client: client.update_collection(calls.collection, optimizers_config=config, metadata=metadata),
        doing=doing,
    )


def _make_index(calls: Calls, name: str, kind: FieldType) -> None:
    params: Any = server_schema.index_params(name, kind)
    calls.ask(
        lambda client: client.create_payload_index(calls.collection, name, field_schema=params, wait=True),
        doing=f"creating the index of {name}",
    )
