"""Making a collection and changing it as such: what a server lets nobody do whose key may only write points."""

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from qdrant_client import models

from connector.errors import NotAllowed, StoreRefused
from connector.settings import QdrantSettings
from connector.store.schema import CollectionSchema
from connector.store.server import schema as server_schema
from connector.store.server.calls import Calls, results

log = logging.getLogger(__name__)

INDEXES_AT_ONCE = 6
"""Payload indexes that are asked for at the same time: each takes a server up to a third of a second."""


def collections_on(settings: QdrantSettings) -> list[str]:
    """The names of all collections on the server."""
    with closing(Calls(settings, collection="")) as calls:
        answer = calls.ask(lambda client: client.get_collections(), doing="listing the collections")
    return [each.name for each in answer.collections]


def make_collection(calls: Calls, schema: CollectionSchema, *, settings: QdrantSettings) -> None:
    """Make the collection, without its indexes."""
    calls.ask(
        lambda client: client.create_collection(
            calls.collection,
            vectors_config=server_schema.vectors_config(schema),
            sparse_vectors_config=server_schema.words_config(schema),
            hnsw_config=server_schema.graph_config(schema),
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
        meant = resolved(calls)
        results([pool.submit(_make_index, calls, *each, at=meant) for each in missing.items()])


def change_schema(calls: Calls, schema: CollectionSchema, *, was: CollectionSchema | None = None) -> None:
    """Write down the weights of the first tower, or new meta fields. Raises NotAllowed that says who may.

    Of a schema that ``was`` read before only what is another is written: somebody else may change the rest meanwhile.
    """
    before = {} if was is None else was.to_json()
    metadata = {name: value for name, value in schema.to_json().items() if name not in before or before[name] != value}
    try:
        change(calls, metadata=metadata, doing="changing the schema")
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
    config, meant = optimizers or models.OptimizersConfigDiff(), resolved(calls)
    calls.ask(
        lambda client: client.update_collection(meant, optimizers_config=config, metadata=metadata),
        doing=doing,
    )


def resolved(calls: Calls) -> str:
    """The collection that is meant: another one than ``calls.collection`` where that is an alias."""
    try:
        found = calls.ask(lambda client: client.get_aliases(), doing="resolving aliases").aliases
    except StoreRefused:  # a key for one collection alone
        return calls.collection
    return next((each.collection_name for each in found if each.alias_name == calls.collection), calls.collection)


def point_alias(calls: Calls, alias: str, *, at: str) -> None:
    """Let ``alias`` mean the collection ``at``, whatever it meant before, in one step."""
    steps: list[models.AliasOperations] = [
        models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)),
        models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=at, alias_name=alias)),
    ]
    calls.ask(lambda client: client.update_collection_aliases(steps), doing=f"pointing the alias {alias!r}")


def _make_index(calls: Calls, name: str, params: Any, *, at: str) -> None:
    calls.ask(
        lambda client: client.create_payload_index(at, name, field_schema=params, wait=True),
        doing=f"creating the index of {name}",
    )
