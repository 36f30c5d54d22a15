"""Copy a collection from one store to another: from the embedded engine to a server, usually.

The rule: a push may be stopped and begun again at any time; points that are there already in the same version are not
sent twice, and it ends only when counts and sampled vectors agree.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from connector.errors import StoreRefused
from connector.records import Point, StoredPoint, Vector
from connector.store.engine import Engine, pages
from connector.store.in_space import in_space

log = logging.getLogger(__name__)

PAGE = 256
"""Points read and written at a time."""
SAMPLED = 256
"""Vectors compared at the end, spread over the collection."""
LEAST_COSINE = 0.999
"""How near a copied vector must be to its origin; both stores round to float16."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did: ``sent`` points, ``present`` ones that were there already, ``compared`` vectors that agree.

    ``left_out`` points have no vector in the origin, so nothing finds them: they are named in the log.
    """

    sent: int
    present: int
    compared: int
    left_out: int


def push(origin: Engine, target: Engine, *, on_progress: Callable[[int], None] = lambda _: None) -> Pushed:
    """Copy every point of ``origin`` into ``target``, which is created where it is missing.

    Copied are the vectors of the space that answers when it begins, whatever the origin is switched to meanwhile; a
    second space is not.

    ``on_progress`` is called with the number of points done. Raises CollectionMismatch when the target was built by
    another space, StoreRefused when the two do not agree at the end.
    """
    schema = origin.info().schema.with_one_space()
    target.create(schema)
    origin = in_space(origin, schema.fingerprint.space)
    sent = present = left_out = 0
    kept: list[StoredPoint] = []
    every = max(1, origin.info().points // SAMPLED)
    for read in filter(None, pages(origin, limit=PAGE, vectors=True)):
        page = [point for point in read if point.vector is not None]
        for point in read:
            if point.vector is None:
                log.warning("point_left_out id=%s collection=%s: it has no vector", point.id, origin.collection)
        left_out += len(read) - len(page)
        missing = _missing(page, target=target)
        space = schema.fingerprint.space
        target.upsert([Point(point.id, _vector(point), point.payload, space=space) for point in missing])
        sent, present = sent + len(missing), present + len(page) - len(missing)
        kept.extend(page[-(sent + present) % every :: every])
        on_progress(sent + present + left_out)
    _verify(kept, origin=origin, target=target, copied=sent + present)
    return Pushed(sent=sent, present=present, compared=len(kept), left_out=left_out)


def _missing(page: Sequence[StoredPoint], *, target: Engine) -> list[StoredPoint]:
    """The points that the target lacks, or holds in another version."""
    written = ("version", "ingested_at")
    there = {point.id: point.payload for point in target.retrieve([p.id for p in page], fields=written)}
    return [
        point
        for point in page
        if point.id not in there or any(point.payload.get(name) != there[point.id].get(name) for name in written)
    ]


def _verify(sample: Sequence[StoredPoint], *, origin: Engine, target: Engine, copied: int) -> None:
    count = target.count()
    if count < copied:
        raise StoreRefused(
            f"{copied} points of {origin.collection!r} were copied, but {target.collection!r} counts {count}. "
            "Push again; what is there is not sent twice."
        )
    there = {point.id: point for point in target.retrieve([p.id for p in sample], fields=[], vectors=True)}
    for point in sample:
        cosine = float(_vector(point) @ _vector(there[point.id])) if point.id in there else 0.0
        if cosine < LEAST_COSINE:
            raise StoreRefused(
                f"point {point.id} of {target.collection!r} has cosine {cosine:.4f} to its origin, less than "
                f"{LEAST_COSINE}. Delete the target collection and push again."
            )


def _vector(point: StoredPoint) -> Vector:
    if point.vector is None:
        raise StoreRefused(f"the store gave no vector for point {point.id}, though it was asked for one.")
    return np.asarray(point.vector, dtype=np.float32)
