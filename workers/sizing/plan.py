"""How large a Qdrant cluster a library needs: memory, disk, shards, nodes, GPU hours, from the collection's schema.

The rule: every number is a formula over the schema or a constant with its source beside it; docs/planning.md writes
them out, and bench_scale holds the bytes of a point against what the embedded engine really takes.
"""

import math
from dataclasses import dataclass, replace
from types import MappingProxyType

from connector.store.schema import CollectionSchema

M = 16
"""Edges of a point in the graph's upper layers; the lowest has twice as many (``server_schema.graph_config``)."""
LINK_BYTES = 4
VECTOR_BYTES = 2
"""A dimension on disk, in float16."""
CODE_BITS = 4
"""A dimension in memory (``server_schema.QUANTIZATION``)."""
CODE_EXTRA = 8
"""Bytes beside the code of a vector: its length and correction."""
ID_BYTES = 64
"""A point in the id tracker's memory: a UUID of 16 bytes in both directions, offsets, versions; half of it on disk."""
PAYLOAD_PACKED = 0.8
"""What the payload takes on disk of its JSON, which is packed; measured by bench_scale."""
INDEX_BYTES = MappingProxyType(
    {"keyword": 90, "integer": 60, "float": 60, "bool": 8, "geo": 60, "datetime": 60, "text": 400}
)
"""One indexed field of one point on disk, measured by bench_scale on photographs' payloads."""
OPTIMIZING = 1.5
"""Disk while segments are rebuilt: the old and the new of the largest are there at once."""
WORKING = 1.2
"""Memory over what must stay resident: the server itself, segments that are still small, questions under way."""
LOG_BYTES = 64 * 1024 * 1024
"""Write-ahead log of a shard: two segments of 32 MB."""
POINTS_PER_SHARD = 50_000_000
"""At most, so that one shard is moved or rebuilt in hours, not days."""
MOST_CACHE = 0.1
"""Share of the vectors and indexes that the system should be able to cache, for rescoring and filters."""
PUBLISHED_RATE, PUBLISHED_GFLOP = 2500.0, 8.8
"""Images a second from end to end on one A100, the best that clip-retrieval's documentation names, and the work of one
image there, in ViT-B/32."""


WORDS = 25
"""Terms of an image with a short caption (``connector.words.terms``); name, folder and two tags alone have 13."""
WORD_BYTES = 26
"""One term of one point on disk: 10 in its sparse vector, 16 in the inverted index, measured over 50,000 points."""


@dataclass(frozen=True, slots=True)
class Collection:
    """What decides a point's size; ``payload_bytes`` is the payload as JSON, ``words`` how many an image has."""

    schema: CollectionSchema
    payload_bytes: int = 600
    words: int = WORDS


@dataclass(frozen=True, slots=True)
class PointBytes:
    """Bytes of one point by kind: resident in memory, and on disk."""

    memory: dict[str, float]
    disk: dict[str, float]


@dataclass(frozen=True, slots=True)
class Node:
    """What one node of the cluster has for Qdrant."""

    memory_bytes: float
    disk_bytes: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``images`` images need, all copies together."""

    images: int
    replicas: int
    memory_bytes: float
    disk_bytes: float
    shards: int
    nodes: int
    limit: str
    gpu_hours: float
    point: PointBytes


@dataclass(frozen=True, slots=True)
class Migration:
    """What a second space takes beside the first until one of them is dropped, all copies together.

    ``after_memory_bytes`` and ``after_disk_bytes`` are those of the whole collection once the first is dropped.
    """

    to: str
    memory_bytes: float
    disk_bytes: float
    after_memory_bytes: float
    after_disk_bytes: float
    gpu_hours: float


def plan_migration(
    images: int, *, collection: Collection, to: CollectionSchema, replicas: int, rate: float
) -> Migration:
    """What bringing so many images to the space of another schema takes: ``rate`` is images a second of one GPU."""
    new = replace(collection, schema=to)
    vectors, after = _vector_bytes(to.fingerprint.dims), point_bytes(new)
    copies = images * replicas
    return Migration(
        to=to.fingerprint.space,
        memory_bytes=copies * sum(vectors.memory.values()) * WORKING,
        disk_bytes=copies * sum(vectors.disk.values()) * OPTIMIZING,
        after_memory_bytes=copies * sum(after.memory.values()) * WORKING,
        after_disk_bytes=copies * sum(after.disk.values()) * OPTIMIZING,
        gpu_hours=images / rate / 3600,
    )


def _vector_bytes(dims: int) -> PointBytes:
    """What one vector of a point takes: its code and its links in memory, and what is cached of it."""
    graph = LINK_BYTES * (2 * M + M / (M - 1))
    codes, vectors = dims * CODE_BITS / 8 + CODE_EXTRA, float(dims * VECTOR_BYTES)
    return PointBytes(
        memory={"codes": codes, "graph": graph, "cache": MOST_CACHE * vectors},
        disk={"vectors": vectors, "codes": codes, "graph": graph},
    )


def point_bytes(collection: Collection) -> PointBytes:
    """What one point takes, once everything is optimized."""
    vector = _vector_bytes(collection.schema.fingerprint.dims)
    indexes = float(sum(INDEX_BYTES[kind] for kind in collection.schema.indexes.values()))
    words = 0.0 if collection.schema.words is None else float(collection.words * WORD_BYTES)
    cache = vector.memory["cache"] + MOST_CACHE * (indexes + words)
    return PointBytes(
        memory={**vector.memory, "ids": float(ID_BYTES), "cache": cache},
        disk={
            **vector.disk,
            "ids": ID_BYTES / 2,
            "payload": collection.payload_bytes * PAYLOAD_PACKED,
            "indexes": indexes,
            "words": words,
        },
    )


def plan(images: int, *, collection: Collection, node: Node, replicas: int, rate: float) -> Plan:
    """The cluster for so many images: ``rate`` is images a second of one GPU, from end to end."""
    point = point_bytes(collection)
    shards = max(1, math.ceil(images / POINTS_PER_SHARD))
    memory = images * replicas * sum(point.memory.values()) * WORKING
    disk = images * replicas * sum(point.disk.values()) * OPTIMIZING + shards * replicas * LOG_BYTES
    needed = {
        "memory": math.ceil(memory / node.memory_bytes),
        "disk": math.ceil(disk / node.disk_bytes),
        "replicas": replicas,
    }
    limit = max(needed, key=lambda kind: needed[kind])
    nodes = needed[limit]
    return Plan(
        images=images,
        replicas=replicas,
        memory_bytes=memory,
        disk_bytes=disk,
        shards=_spread(shards, nodes=nodes, replicas=replicas),
        nodes=nodes,
        limit=limit,
        gpu_hours=images / rate / 3600,
        point=point,
    )


def published_rate(gflop: float) -> float:
    """The published rate for a tower that computes so much for an image; a smaller one is not taken for quicker."""
    return PUBLISHED_RATE * min(1.0, PUBLISHED_GFLOP / gflop)


def _spread(shards: int, *, nodes: int, replicas: int) -> int:
    """Shards whose copies lie evenly on the nodes: their number is fixed once the collection is made."""
    step = nodes // math.gcd(nodes, replicas)
    return step * math.ceil(shards / step)
