"""START READING HERE: how one shard of images becomes points.

    read ──► (ocr) ──► decode ──► embed ──► upsert
        blobs    read     images    points  (bounded channels; several threads a stage)

All stages work at once. One bad image is a ``Reject`` and stops nothing; whatever else goes wrong stops every
thread and is raised. Memory is bounded by the settings: no channel grows with the number of images.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from connector.errors import ItemsLost, ModelError, StageFailed
from connector.models.image_tower import ImageTower
from connector.process import usable_cores
from connector.records import ALERT_FIELDS, OCR_FIELDS, Payload, Pixels, Point, SpaceVector, Vector
from connector.settings import IngestSettings, LimitsSettings
from connector.store.engine import Engine
from workers.pipeline.channel import Channel, ThreadGroup
from workers.pipeline.counters import Counters, RunReport
from workers.pipeline.deduplication import ContentDeduplicator, Duplicate, StoredContent
from workers.pipeline.item_retry import ItemRetry, Reading
from workers.pipeline.metadata import Hashed, Image, decoded_image, describe, hash_of, places_of, vector_fault
from workers.records import Blob, Places, Ref, Reject, Stage, Stored, Unchanged, Verify
from workers.sources.source import Source, throttled

if TYPE_CHECKING:
    from workers.ocr.texts import TextStage

WAITING_CHUNKS = 4
"""Chunks of read images that may wait for each decoder: more would only take memory until it is their turn."""

UPSERT_POINTS = 1024
"""Points in one call at most; the server engine sends them in several batches at a time."""


Judge: TypeAlias = Callable[[Sequence[Point]], list[Point]]
"""Marks points with the alerts that they fit, before they are written; what is not new says so already."""


@dataclass(frozen=True, slots=True)
class StageQueues:
    """One shard on its way: its source, the channels between the stages, and who watches them.

    ``stored`` is, by point, what the collection holds of the images that are not plainly unchanged.
    """

    source: Source
    verify: Verify
    stored: dict[str, Stored]
    deduplicator: ContentDeduplicator
    item_retry: ItemRetry
    refs: Channel[Ref]
    blobs: Channel[Hashed]
    read: Channel[Hashed]  # those whose text was read; the same channel where none is
    images: Channel[Image]
    points: Channel[Point]
    counters: Counters

    def known_text(self, one: Hashed) -> Payload:
        """What the collection holds of the text in these very bytes."""
        there = self.stored.get(one.blob.ref.point_id)
        return there.text if there is not None and there.content_hash == one.content_hash else {}


def _now() -> datetime:
    return datetime.now(UTC)


class Pipeline:
    """Brings shards into a collection. Tower and engine live on between shards."""

    def __init__(  # noqa: PLR0913  (the parts that it is put together of)
        self,
        *,
        tower: ImageTower,
        second: ImageTower | None = None,
        engine: Engine,
        settings: IngestSettings,
        limits: LimitsSettings,
        batch_size: int,
        thumbnail_address: Callable[[str], str] | None = None,
        texts: "TextStage | None" = None,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.tower = tower
        self.towers = (tower,) if second is None else (tower, second)
        self._declared = [each.space for each in self.towers]
        self.engine = engine
        self._settings = settings
        self._limits = limits
        self._batch_size = min(each.prepare(batch_size) for each in self.towers)
        self._thumbnail_address = thumbnail_address
        self._texts = texts
        self._clock = clock
        self.judge: Judge | None = None
        cores = usable_cores()
        self.threads: dict[Stage, int] = {
            "read": settings.readers,
            **({} if texts is None else {"ocr": texts.threads}),
            "decode": settings.decoders or cores,
            "embed": tower.callers(cores=cores),
            "upsert": 1,
        }

    def run(self, shard: Sequence[Ref], *, source: Source, counters: Counters, verify: Verify = "version") -> RunReport:
        """Ingest one shard of ``source``; returns when every image of it has an outcome.

        ``verify`` says what shows that an image is still as it is stored.

        Raises ItemsLost when one has none, StageFailed, SourceError or StoreError when the run as a whole is broken,
        and lets KeyboardInterrupt through once every thread is home.
        """
        group: ThreadGroup

        def lost(reading: Reading, reject: Reject) -> None:
            counters.rejected(reject)
            group.replace(reading.thread, "read", partial(self._read, queues, reading.rest))

        def left(stuck: threading.Thread) -> None:
            group.leave(stuck)

        blobs = self._channel_of_bytes(1)
        queues = StageQueues(
            source=source,
            verify=verify,
            stored={},
            deduplicator=ContentDeduplicator(
                self.engine, anew=verify == "nothing", usable=self._has_text, spaces=self.spaces
            ),
            item_retry=ItemRetry(self._settings.read_timeout_s, lost=lost, left=left),
            refs=Channel(len(shard)),
            blobs=blobs,
            read=blobs if self._texts is None else self._channel_of_bytes(4),
            images=Channel(2 * self._batch_size * self.threads["embed"], least=self._batch_size),
            points=Channel(2 * UPSERT_POINTS),
            counters=counters,
        )
        queues.refs.put(shard)
        queues.refs.close()
        counters.listed(len(shard))
        counters.watch_throttling(partial(throttled, source))
        counters.watch({"blobs": queues.blobs, "images": queues.images, "points": queues.points})
        stages: tuple[tuple[Stage, Callable[[StageQueues], None], Channel[Any] | None], ...] = (
            ("read", self._read, queues.blobs),
            *(() if self._texts is None else (("ocr", partial(self._ocr, self._texts), queues.read),)),
            ("decode", self._decode, queues.images),
            ("embed", self._embed, queues.points),
            ("upsert", self._upsert, None),
        )
        with (
            _torch_threads_kept(),
            ThreadGroup([queues.refs, queues.blobs, queues.read, queues.images, queues.points]) as group,
        ):
            for name, work, output in stages:
                group.start(name, partial(work, queues), count=self.threads[name], output=output)
            group.start("patience", queues.item_retry.watch, count=1, output=None)
            group.wait()
        report = counters.report()
        if not report.counts.balanced:
            raise ItemsLost(f"the counts of this shard do not balance: {report.counts}. This is a defect: report it.")
        return report

    @property
    def spaces(self) -> tuple[str, ...]:
        """The spaces that points get vectors of: the one that answers, and the second one where there is one."""
        return tuple(each.space.name for each in self.towers)

    def _has_text(self, stored: Payload) -> bool:
        """Whether a stored payload says what this run is to say of the text in the image."""
        return self._texts is None or self._texts.known(stored) is not None

    def _channel_of_bytes(self, part: int) -> Channel[Hashed]:
        """For read images: it holds one of so many parts of the buffer."""
        return Channel(self._settings.buffer_bytes // part, weigh=self._share_of_buffer)

    def _share_of_buffer(self, one: Hashed) -> int:
        """Bytes that a read image counts for: its own, and at least its share of the buffer by number."""
        images = WAITING_CHUNKS * self._settings.chunk * self.threads["decode"]
        return max(len(one.blob.data), self._settings.buffer_bytes // images)

    def _read(self, queues: StageQueues, rest: Sequence[Ref] = ()) -> None:
        if rest:  # what a reader left that hangs
            self._read_chunk(rest, queues)
        while refs := queues.refs.get(self._settings.chunk):
            with queues.counters.busy("read"):
                fresh = self._without_stored(refs, queues)
            if fresh:
                self._read_chunk(fresh, queues)

    def _read_chunk(self, refs: Sequence[Ref], queues: StageQueues) -> None:
        with queues.item_retry.reading(refs) as reading:
            for bundle in self._bundles(reading, queues):
                with queues.counters.busy("read"):
                    changed = self._without_verified([Hashed(blob, hash_of(blob.data)) for blob in bundle], queues)
                    claimed, duplicates = queues.deduplicator.claim(changed)
                reading.handed_on()
                queues.blobs.put(claimed)
                queues.points.put(self._copies(duplicates, queues))

    def _without_stored(self, refs: Sequence[Ref], queues: StageQueues) -> list[Ref]:
        """The refs whose image the collection does not hold in this version; each learns the stored version."""
        fields = ["version", "content_hash", *OCR_FIELDS, *ALERT_FIELDS, *Places.FIELDS]
        found = self.engine.retrieve([ref.point_id for ref in refs], fields=fields)
        known = {point.id: Stored.of(point.payload) for point in found}
        fresh: list[Ref] = []
        unchanged: list[tuple[Ref, Stored]] = []
        for ref in refs:
            there = known.get(ref.point_id)
            if there is None:
                fresh.append(ref)
            elif queues.verify == "version" and ref.version is not None and ref.version == there.version:
                unchanged.append((ref, there))
            else:
                queues.stored[ref.point_id] = there
                asked = there.version if queues.verify == "version" else None  # else a source might not read at all
                fresh.append(replace(ref, stored_version=asked))
        self._unchanged(unchanged, queues)
        return fresh

    def _without_verified(self, read: Sequence[Hashed], queues: StageQueues) -> list[Hashed]:
        """Those that are not stored with these very bytes in this version, where the bytes were to show it."""
        if queues.verify != "content":
            return [*read]
        changed: list[Hashed] = []
        for one in read:
            there = queues.stored.get(one.blob.ref.point_id)
            if there and there.content_hash == one.content_hash and there.version == one.blob.version:
                self._unchanged([(one.blob.ref, there)], queues)
            else:
                changed.append(one)
        return changed

    def _unchanged(self, images: Sequence[tuple[Ref, Stored]], queues: StageQueues) -> None:
        """Count images that are stored as they are; to those that lie in a place anew, only the payload says so."""
        joining: dict[str, tuple[Places, list[str]]] = {}
        for ref, there in images:
            here = places_of(ref)
            if not here.items() <= there.places.items():
                places = Places({**there.places, **here})
                joining.setdefault(repr(places), (places, []))[1].append(ref.point_id)
        for places, ids in joining.values():
            self.engine.set_payload(ids, {**places.payload()})
            queues.counters.joined(len(ids))
        queues.counters.unchanged(len(images))

    def _bundles(self, reading: Reading, queues: StageQueues) -> Iterator[list[Blob]]:
        """Gather what is read into bundles, small enough that a few of them never outweigh the buffer."""
        outcomes = queues.source.read([*reading.left])
        bundle: list[Blob] = []
        weight = 0
        while True:
            with queues.counters.busy("read"):
                outcome = queues.item_retry.next(reading, outcomes)
            match outcome:
                case None:
                    yield bundle
                    return
                case Unchanged():
                    reading.settled()
                    self._unchanged([(outcome.ref, queues.stored[outcome.ref.point_id])], queues)
                case Reject():
                    queues.counters.rejected(replace(outcome, ref=reading.kept[-1]))
                    reading.settled()
                case Blob():
                    bundle.append(outcome)
                    weight += len(outcome.data)
            if weight >= self._settings.buffer_bytes // (8 * self.threads["read"]):
                yield bundle
                bundle, weight = [], 0

    def _copies(self, duplicates: Sequence[Duplicate], queues: StageQueues) -> list[Point]:
        """Points of images whose content is known."""
        queues.counters.copied(len(duplicates))
        now = self._clock()
        return [
            self._point(
                one.hashed.blob.ref,
                one.known.vectors,
                describe(one.hashed.blob, one.known.payload, now=now)
                | ({} if self.judge is None else one.known.alerts),
                queues=queues,
            )
            for one in duplicates
        ]

    def _point(self, ref: Ref, vectors: Sequence[Vector], payload: dict[str, Any], *, queues: StageQueues) -> Point:
        if (there := queues.stored.get(ref.point_id)) is not None:  # it stays in the places that it has
            payload |= Places({**there.places, **Places.of(payload)}).payload()
            if there.content_hash == payload["content_hash"] and "ocr" not in payload:
                payload |= there.text
            if self.judge is not None and there.content_hash == payload["content_hash"]:
                payload |= {"alerts": [], **there.alerts}
        if self._thumbnail_address is not None:
            payload = {**payload, "thumbnail_url": self._thumbnail_address(ref.point_id)}
        first, *others = map(SpaceVector, self.spaces, vectors)
        assert first.vector is not None
        return Point(ref.point_id, first.vector, payload, space=first.space, others=others)

    def _ocr(self, texts: "TextStage", queues: StageQueues) -> None:
        with texts.reading() as process:
            while blobs := queues.blobs.get(1):
                with queues.counters.busy("ocr"):
                    known = queues.known_text(blobs[0])
                    outcome, text = texts.of(blobs[0].blob.data, known=known, process=process)
                queues.counters.looked_for_text(outcome)
                queues.read.put([replace(blobs[0], text=text)])

    def _decode(self, queues: StageQueues) -> None:
        torch.set_num_threads(1)
        while blobs := queues.read.get(self._settings.chunk // 4 or 1):
            with queues.counters.busy("decode"):
                outcomes = [(one.content_hash, self._image(one)) for one in blobs]
            del blobs
            for content_hash, outcome in outcomes:
                if isinstance(outcome, Reject):
                    self._reject(outcome, content_hash, queues=queues)
            queues.images.put([outcome for _, outcome in outcomes if isinstance(outcome, Image)])

    def _image(self, hashed: Hashed) -> Image | Reject:
        max_pixels = self._limits.max_pixels
        return decoded_image(hashed, spaces=self._declared, max_pixels=max_pixels, now=self._clock())

    def _reject(self, reject: Reject, content_hash: str, *, queues: StageQueues) -> None:
        """Reject an image, and all that have the same content, for the same reason."""
        queues.counters.rejected(reject)
        for one in queues.deduplicator.drop(content_hash):
            queues.counters.rejected(replace(reject, uri=one.blob.ref.uri, ref=one.blob.ref))

    def _embed(self, queues: StageQueues) -> None:
        if self.tower.device == "cpu":
            torch.set_num_threads(1)
        slots = [each.slot(self._batch_size) for each in self.towers]
        while images := queues.images.get(self._batch_size):
            with queues.counters.busy("embed"):
                for number, slot in enumerate(slots):
                    np.stack([image.pixels[number] for image in images], out=slot[: len(images)])
                points = self._points(images, [slot[: len(images)] for slot in slots], queues=queues)
            queues.points.put(points)

    def _points(self, images: Sequence[Image], pixels: Sequence[Pixels], *, queues: StageQueues) -> list[Point]:
        """Points of images, their pixels (n, size, size, 3) uint8 for each tower."""
        try:
            made = [tower.embed(each) for tower, each in zip(self.towers, pixels, strict=True)]
        except ModelError as error:
            raise StageFailed(f"the image tower failed: {error}", stage="embed") from error
        points = []
        for image, *vectors in zip(images, *made, strict=True):
            content_hash = image.payload["content_hash"]
            fault = vector_fault(vectors, towers=self.towers)
            if fault is None:
                known = StoredContent(tuple(vectors), image.content)
                waited = [Duplicate(one, known) for one in queues.deduplicator.settle(content_hash, known)]
                points += [
                    self._point(image.ref, vectors, image.payload, queues=queues),
                    *self._copies(waited, queues),
                ]
                continue
            reason, detail = fault
            reject = Reject(image.ref.uri, stage="embed", reason=reason, detail=detail, ref=image.ref)
            self._reject(reject, content_hash, queues=queues)
        return points

    def _upsert(self, queues: StageQueues) -> None:
        with queues.item_retry.until_end():
            while points := queues.points.get(UPSERT_POINTS):
                with queues.counters.busy("upsert"):
                    if self.judge is not None:
                        points = self.judge(points)
                    self.engine.upsert(points)
                queues.counters.stored(len(points))


@contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """Undo what the stages' ``torch.set_num_threads`` did to the rest of the process."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
