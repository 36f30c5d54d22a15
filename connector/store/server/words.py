"""Words on a Qdrant server: the sparse vector added to a living collection, and words computed anew in place.

The rule: a payload is written first and read back before its words are computed, so that of two writers the later one
sees what both wrote.
"""

from collections.abc import Sequence
from typing import Any

from qdrant_client import models

from connector.store.points import as_read, sent_id
from connector.store.schema import CollectionSchema
from connector.store.server import schema as server_schema
from connector.store.server.calls import Calls
from connector.store.server.management import change_schema, resolved
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
    change_schema(calls, schema)


def index_words(calls: Calls, ids: Sequence[str], *, wording: Wording) -> int:
    """Compute the words of stored points from their payloads; how many had others or none."""
    return sum(_index_batch(calls, batch, wording=wording) for batch in batches(ids))


def _index_batch(calls: Calls, ids: Sequence[str], *, wording: Wording) -> int:
    name = calls.collection
    records = calls.ask(
        lambda client: client.retrieve(name, [*map(sent_id, ids)], with_payload=wording.fields, with_vectors=[WORDS]),
        doing=f"reading the texts of {len(ids)} points",
    )
    changed: list[models.PointVectors] = []
    emptied: list[models.ExtendedPointId] = []
    for record in records:
        words = wording.vector_of(as_read(record.payload or {}))
        there: Any = (record.vector if isinstance(record.vector, dict) else {}).get(WORDS)
        stored = dict(zip(there.indices, there.values, strict=True)) if there else {}
        if words is None:
            emptied += [record.id] if stored else []
        elif not words.equals(stored):
            changed.append(models.PointVectors(id=record.id, vector={WORDS: sparse(words)}))
    if changed:
        calls.ask(
            lambda client: client.update_vectors(name, changed, wait=True),
            doing=f"writing the words of {len(changed)} points",
        )
    if emptied:
        calls.ask(
            lambda client: client.delete_vectors(name, [WORDS], models.PointIdsList(points=emptied), wait=True),
            doing=f"removing the words of {len(emptied)} points",
        )
    return len(changed) + len(emptied)
