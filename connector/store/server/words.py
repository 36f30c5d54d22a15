"""Words on a Qdrant server: the sparse vector added to a living collection, and words computed anew in place.

The rule: a payload is written first and read back before its words are computed, so that of two writers the later one
sees what both wrote.
"""

from collections.abc import Sequence
from typing import Any

from qdrant_client import models

from connector.store.points import TEXTS, sent_id
from connector.store.schema import CollectionSchema
from connector.store.server import schema as server_schema
from connector.store.server.calls import Calls
from connector.store.server.management import change_schema, make_indexes, resolved
from connector.store.server.points import batches, sparse
from connector.store.words import WORDS, Wording


def set_words(calls: Calls, schema: CollectionSchema, *, info: models.CollectionInfo) -> None:
    """Give a collection the sparse vector where it lacks it, then write down that it has words. Raises NotAllowed."""
    if not server_schema.has_words(info):
        sparse_config = models.SparseVectorConfig(
            modifier=models.Modifier.IDF, datatype=models.VectorStorageDatatype.FLOAT16
        )
        meant, config = resolved(calls), models.SparseVectorNameConfig(sparse=sparse_config)
        calls.ask(lambda client: client.create_vector_name(meant, WORDS, config), doing="adding the vector of words")
    make_indexes(calls, schema, info=info)
    change_schema(calls, schema)


def index_words(calls: Calls, ids: Sequence[str], *, wording: Wording) -> int:
    """Compute the words of stored points from their payloads; how many had others or none."""
    return sum(_index_batch(calls, batch, wording=wording) for batch in batches(ids))


def _index_batch(calls: Calls, ids: Sequence[str], *, wording: Wording) -> int:
    name, fields = calls.collection, [*wording.fields, TEXTS]
    records = calls.ask(
        lambda client: client.retrieve(name, [*map(sent_id, ids)], with_payload=fields, with_vectors=[WORDS]),
        doing=f"reading the texts of {len(ids)} points",
    )
    changes = wording.changes((each.id, each.payload or {}, _words_of(each)) for each in records)
    operations: list[models.UpdateOperation] = [
        models.SetPayloadOperation(set_payload=models.SetPayload(payload={TEXTS: dict(of_point)}, points=[point_id]))
        for point_id, of_point in changes.texts.items()
    ]
    if changes.vectors:
        vectors = [
            models.PointVectors(id=each, vector={WORDS: sparse(words)}) for each, words in changes.vectors.items()
        ]
        operations.append(models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=vectors)))
    if changes.emptied:
        emptying = models.DeleteVectors(points=changes.emptied, vector=[WORDS])
        operations.append(models.DeleteVectorsOperation(delete_vectors=emptying))
    if operations:
        calls.ask(
            lambda client: client.batch_update_points(name, operations, wait=True),
            doing=f"writing the words of {len(ids)} points",
        )
    return len(changes)


def _words_of(record: models.Record) -> Any:
    return (record.vector if isinstance(record.vector, dict) else {}).get(WORDS)
