"""ContentDeduplicator: equal bytes are embedded once, however many places they lie in.

The rule: a content belongs to whoever claims it first. Whoever comes later waits here without its bytes, and is handed
back when the first has its outcome; what the collection holds already is nobody's work.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from qdrant_client import models

from connector.records import ALERT_FIELDS, Payload, Vector
from connector.store.engine import Engine
from workers.pipeline.metadata import CONTENT_FIELDS, Hashed, content_again

REMEMBERED = 4096
"""Contents kept after their outcome: more than can be on their way to the store, where they are found from then on."""
SCROLLED = 1024
"""Points read to find contents that are stored; one that lies in more places may be embedded again."""


@dataclass(frozen=True, slots=True)
class StoredContent:
    """The vectors of a content, one of each space, and what a payload says of the content itself.

    ``alerts`` are its marks where the collection held it before; empty for a content that is new.
    """

    vectors: tuple[Vector, ...]
    payload: Payload
    alerts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, vectors: tuple[Vector, ...], payload: Payload) -> "StoredContent":
        """Keep of a point's payload what every place of its content shares."""
        marks = {name: payload[name] for name in ALERT_FIELDS if name in payload}
        return cls(
            vectors, {name: payload[name] for name in CONTENT_FIELDS if name in payload}, {"alerts": [], **marks}
        )

    def read_again(self, data: bytes) -> "StoredContent":
        """The same, as the bytes themselves tell it."""
        return replace(self, payload=content_again(data, self.payload))


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An image whose content is known."""

    hashed: Hashed
    known: StoredContent


class ContentDeduplicator:
    """Who works on which content. Safe to use from many threads.

    With ``anew`` what the collection holds does not count: every content is somebody's work once. Of what it holds,
    only a payload counts for which ``usable`` is true, and a point that has a vector of each of the ``spaces``.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        anew: bool = False,
        usable: Callable[[Payload], bool] = lambda _: True,
        spaces: Sequence[str | None] = (None,),
    ) -> None:
        self._engine = engine
        self._anew = anew
        self._usable = usable
        self._spaces = spaces
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Hashed]] = {}
        self._settled: OrderedDict[str, StoredContent] = OrderedDict()

    def claim(self, images: Sequence[Hashed]) -> tuple[list[Hashed], list[Duplicate]]:
        """Split images into those that the caller is to work on, and those whose content is known.

        The rest wait until their content is settled or dropped; each claimed content must be one or the other.
        """
        claimed: list[Hashed] = []
        duplicates: list[Duplicate] = []
        with self._lock:
            for image in images:
                known = self._settled.get(image.content_hash)
                if known is not None:
                    duplicates.append(Duplicate(image, known))
                elif image.content_hash in self._waiting:
                    light = replace(image, blob=replace(image.blob, data=b""))
                    self._waiting[image.content_hash].append(light)
                else:
                    self._waiting[image.content_hash] = []
                    claimed.append(image)
        stored = self._stored([image.content_hash for image in claimed])
        for image in claimed:
            known = stored.get(image.content_hash)
            if known is not None:
                known = known.read_again(image.blob.data)
                duplicates += [Duplicate(one, known) for one in (image, *self.settle(image.content_hash, known))]
        return [image for image in claimed if image.content_hash not in stored], duplicates

    def settle(self, content_hash: str, known: StoredContent) -> list[Hashed]:
        """Say what a claimed content is; returns those that waited for it."""
        with self._lock:
            self._settled[content_hash] = known
            if len(self._settled) > REMEMBERED:
                self._settled.popitem(last=False)
            return self._waiting.pop(content_hash, [])

    def drop(self, content_hash: str) -> list[Hashed]:
        """Say that a claimed content was rejected; returns those that waited for it."""
        with self._lock:
            return self._waiting.pop(content_hash, [])

    def _stored(self, hashes: Sequence[str]) -> Mapping[str, StoredContent]:
        if not hashes or self._anew:
            return {}
        where = models.Filter(must=[models.FieldCondition(key="content_hash", match=models.MatchAny(any=[*hashes]))])
        found = self._engine.scroll(limit=SCROLLED, where=where, vectors=True, space=self._spaces[0]).points
        vectors: dict[str, tuple[Vector, ...]] = {p.id: (p.vector,) for p in found if p.vector is not None}
        for space in self._spaces[1:]:
            more = self._engine.retrieve([*vectors], fields=[], vectors=True, space=space)
            vectors = {each.id: (*vectors[each.id], each.vector) for each in more if each.vector is not None}
        return {
            str(point.payload["content_hash"]): StoredContent.of(vectors[point.id], point.payload)
            for point in found
            if point.id in vectors
            and point.fault is None  # what somebody changed is not copied on
            and self._usable(point.payload)
        }
