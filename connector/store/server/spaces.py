"""Vectors of several spaces on a Qdrant server: added to a living collection, filled in, and taken away.

The rule: a vector is there before the metadata name it, and goes after they do not, so that no reader is sent to one
that is missing.
"""

import logging
from collections.abc import Sequence

from qdrant_client import models

from connector.errors import CollectionMissing, NotAllowed, StoreRefused
from connector.store.engine import NewVector
from connector.store.points import sent_id
from connector.store.schema import CollectionSchema
from connector.store.server import schema as server_schema
from connector.store.server.calls import Calls
from connector.store.server.management import change_schema, resolved

log = logging.getLogger(__name__)

OFTEN = 3
"""Times that a batch is sent while others delete points of it."""


def set_spaces(
    calls: Calls, wanted: CollectionSchema, *, was: CollectionSchema, info: models.CollectionInfo
) -> CollectionSchema:
    """Bring a collection to the spaces of a schema; the one that it has then.

    Raises CollectionMismatch, NotAllowed, and StoreRefused where the server cannot add a vector.
    """
    before = server_schema.read_schema(info, collection=calls.collection)
    schema = before.with_spaces_of(wanted, was=was, collection=calls.collection)
    there, at = server_schema.vectors_there(info), resolved(calls)
    for space in schema.dims.keys() - there:
        _add(calls, space, dims=schema.dims[space], at=at)
    change_schema(calls, schema)
    for space in there - schema.dims.keys():
        _remove(calls, space, at=at)
    return schema


def _remove(calls: Calls, space: str, *, at: str) -> None:
    calls.ask(lambda client: client.delete_vector_name(at, space), doing=f"removing vector {space}")


def _add(calls: Calls, space: str, *, dims: int, at: str) -> None:
    dense = models.DenseVectorConfig(
        size=dims, distance=models.Distance.COSINE, datatype=models.VectorStorageDatatype.FLOAT16
    )
    config = models.DenseVectorNameConfig(dense=dense)
    try:
        calls.ask(lambda client: client.create_vector_name(at, space, config), doing=f"adding vector {space}")
    except NotAllowed:
        raise
    except (CollectionMissing, StoreRefused) as error:
        raise StoreRefused(
            f"{error} Adding a vector to a living collection takes Qdrant 1.18 or newer. With an older one, ingest "
            f"into another collection with --space {space}, and let an alias mean that one afterwards."
        ) from error
    on_disk = {space: models.VectorParamsDiff(memory=models.Memory.COLD)}
    try:
        calls.ask(lambda client: client.update_collection(at, vectors_config=on_disk), doing="keeping it on disk")
    except StoreRefused as error:
        log.warning("vector_not_moved space=%s: the server keeps it where it likes: %s", space, error)


def write_vectors(calls: Calls, vectors: Sequence[NewVector], *, space: str) -> None:
    """Write vectors of points that are there with the content that was embedded."""
    for left in range(OFTEN, 0, -1):
        try:
            _write_there(calls, vectors, space=space)
            return
        except StoreRefused:  # a server refuses all of them for one that was deleted meanwhile
            if left == 1:
                raise


def _write_there(calls: Calls, vectors: Sequence[NewVector], *, space: str) -> None:
    name, ids = calls.collection, [sent_id(each.id) for each in vectors]
    found = calls.ask(
        lambda client: client.retrieve(name, ids, with_payload=False), doing=f"looking for {len(ids)} points"
    )
    there = {str(each.id) for each in found}
    known = [each for each in vectors if each.id in there]
    if not known:
        return
    made = [models.PointVectors(id=sent_id(each.id), vector={space: each.vector.tolist()}) for each in known]
    unchanged = models.Filter(should=[*map(_as_embedded, known)])
    calls.ask(
        lambda client: client.update_vectors(name, made, wait=True, update_filter=unchanged),
        doing=f"writing the vectors of {len(known)} points",
    )


def _as_embedded(vector: NewVector) -> models.Filter:
    must: list[models.Condition] = [models.HasIdCondition(has_id=[sent_id(vector.id)])]
    if vector.content_hash is not None:
        same = models.MatchValue(value=vector.content_hash)
        must.append(models.FieldCondition(key="content_hash", match=same))
    return models.Filter(must=must)
