"""Vectors of several spaces in one shard of Qdrant Edge: added to a living shard, filled in, and taken away.

The rule: the schema says which there are. A shard that a crash left with others is brought to them when it is opened.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from connector.errors import StoreRefused
from connector.store.engine import NewVector
from connector.store.points import sent_id
from connector.store.schema import CollectionSchema


def vectors_in(shard: Path) -> set[str]:
    """The names of the dense vectors that a closed shard has."""
    config = json.loads((shard / "edge_config.json").read_text(encoding="utf-8"))
    return {*config["vectors"]}


def match_vectors(shard: edge.EdgeShard, there: set[str], *, wanted: Mapping[str, int]) -> None:
    """Add the vectors that are wanted, by name and dims, and take away the others, on every point."""
    for name in there - wanted.keys():
        shard.update(edge.UpdateOperation.delete_vector_name(name))
    for name in wanted.keys() - there:
        kept = edge.VectorStorageDatatype.Float16
        shard.update(
            edge.UpdateOperation.create_dense_vector(name, wanted[name], edge.Distance.Cosine, None, datatype=kept)
        )
    shard.flush()


def repair_vectors(shard: Path, *, schema: CollectionSchema) -> None:
    """Bring a closed shard to the vectors of its schema; nothing is done where it has them."""
    there = vectors_in(shard)
    if there == schema.dims.keys():
        return
    if not there & schema.dims.keys():  # whatever is wrong here, no vector goes for it
        raise StoreRefused(
            f"{shard} has vectors of {', '.join(sorted(there))}, and {shard.parent / 'collection.json'} names "
            f"{', '.join(schema.dims)}: one of the two is of another collection. Restore a backup."
        )
    opened = edge.EdgeShard.load(str(shard), None)
    try:
        match_vectors(opened, there, wanted=schema.dims)
    finally:
        opened.close()


def write_vectors(shard: edge.EdgeShard, vectors: Sequence[NewVector], *, space: str) -> int:
    """Write vectors of points that are there with the content that was embedded; to how many it was tried."""
    there = {str(each.id) for each in shard.retrieve([sent_id(each.id) for each in vectors], False, False)}
    known = [each for each in vectors if each.id in there]  # Edge refuses all of them for one that is gone
    if known:
        made = [edge.PointVectors(sent_id(each.id), {space: each.vector.tolist()}) for each in known]
        unchanged = edge.Filter(should=[*map(_as_embedded, known)])
        shard.update(edge.UpdateOperation.update_vectors(made, unchanged))
    return len(known)


def _as_embedded(vector: NewVector) -> edge.Filter:
    must: list[Any] = [edge.HasIdCondition({sent_id(vector.id)})]
    if vector.content_hash is not None:
        must.append(edge.FieldCondition("content_hash", match=edge.MatchValue(vector.content_hash)))
    return edge.Filter(must=must)


def points_in(shard: edge.EdgeShard, space: str) -> int:
    """How many points have a vector of a space."""
    return shard.count(edge.CountRequest(exact=True, filter=edge.Filter(must=[edge.HasVectorCondition(space)])))
