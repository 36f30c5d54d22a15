"""START READING HERE: how one shard of pictures becomes points.

    read ──► decode ──► embed ──► upsert
        blobs    pictures    points           (bounded channels; several threads a stage)

All stages work at once. One bad picture is a ``Reject`` and stops nothing; whatever else goes wrong stops every
thread and is raised. Memory is bounded by the settings: no channel grows with the number of pictures.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import torch

from connector.errors import ModelError, UnreadableImage
from connector.qdrant.engine import Engine
from connector.qdrant.points import SHORTEST
from connector.records import Pixels, Point, Vector
from connector.settings import LimitsSettings
from connector.spaces.image_tower import ImageTower
from connector.spaces.pixels import decode
from workers.channel import Channel, Crew
from workers.content import Alike, Hashed, Known, SameContent, hash_of
from workers.errors import ItemsLost, StageFailed
from workers.machine import usable_cores
from workers.metadata import describe, describe_alike
from workers.meter import Meter, Report
from workers.patience import Patience, Reading
from workers.records import Blob, Ref, Reject, Stage, Unchanged
from workers.settings import IngestSettings
from workers.sources.source import Source

WAITING_CHUNKS = 4
"""Chunks of read pictures that may wait for each decoder: more would only take memory until it is their turn."""

UPSERT_POINTS = 1024
"""Points in one call at most; the server engine sends them in several batches at a time."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture on its way to the tower."""

    ref: Ref
    pixels: Pixels  # (size, size, 3) uint8
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Lanes:
    """One shard on its way: its source, the channels between the stages, and who watches them."""

    source: Source
    same: SameContent
    patience: Patience
    refs: Channel[Ref]
    blobs: Channel[Hashed]
    pictures: Channel[Picture]
    points: Channel[Point]
    meter: Meter


def _now() -> datetime:
    return datetime.now(UTC)


class Pipeline:
    """Brings shards into a collection. Tower and engine live on between shards."""

    def __init__(
        self,
        *,
        tower: ImageTower,
        engine: Engine,
        settings: IngestSettings,
        limits: LimitsSettings,
        batch_size: int,
        public_url: str | None = None,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.tower = tower
        self.engine = engine
        self._settings = settings
        self._limits = limits
        self._batch_size = tower.prepare(batch_size)
        self._thumbnails = None if public_url is None else f"{public_url.rstrip('/')}/thumbnails"
        self._clock = clock
        cores = usable_cores()
        self.threads: dict[Stage, int] = {
            "read": settings.readers,
            "decode": settings.decoders or cores,
            "embed": tower.callers(cores=cores),
            "upsert": 1,
        }

    def run(self, shard: Sequence[Ref], *, source: Source, meter: Meter) -> Report:
        """Ingest one shard of ``source``; returns when every picture of it has an outcome.

        Raises ItemsLost when one has none, StageFailed, SourceError or StoreError when the run as a whole is broken,
        and lets KeyboardInterrupt through once every thread is home.
        """
        crew: Crew

        def lost(reading: Reading, reject: Reject) -> None:
            meter.rejected(reject)
            crew.replace(reading.thread, "read", partial(self._read, lanes, reading.rest))

        lanes = _Lanes(
            source=source,
            same=SameContent(self.engine),
            patience=Patience(self._settings.read_timeout_s, lost=lost),
            refs=Channel(len(shard)),
            blobs=Channel(self._settings.buffer_bytes, weigh=self._share_of_buffer),
            pictures=Channel(2 * self._batch_size * self.threads["embed"], least=self._batch_size),
            points=Channel(2 * UPSERT_POINTS),
            meter=meter,
        )
        lanes.refs.put(shard)
        lanes.refs.close()
        meter.listed(len(shard))
        meter.watch({"blobs": lanes.blobs, "pictures": lanes.pictures, "points": lanes.points})
        stages: tuple[tuple[Stage, Callable[[_Lanes], None], Channel[Any] | None], ...] = (
            ("read", self._read, lanes.blobs),
            ("decode", self._decode, lanes.pictures),
            ("embed", self._embed, lanes.points),
            ("upsert", self._upsert, None),
        )
        with _torch_threads_kept(), Crew([lanes.refs, lanes.blobs, lanes.pictures, lanes.points]) as crew:
            for name, work, output in stages:
                crew.start(name, partial(work, lanes), count=self.threads[name], output=output)
            crew.start("patience", lanes.patience.watch, count=1, output=None)
            crew.wait()
        report = meter.report()
        if not report.tally.balanced:
            raise ItemsLost(f"the books of this shard do not balance: {report.tally}. This is a defect: report it.")
        return report

    def _share_of_buffer(self, one: Hashed) -> int:
        """Bytes that a read picture counts for: its own, and at least its share of the buffer by number."""
        pictures = WAITING_CHUNKS * self._settings.chunk * self.threads["decode"]
        return max(len(one.blob.data), self._settings.buffer_bytes // pictures)

    def _read(self, lanes: _Lanes, rest: Sequence[Ref] = ()) -> None:
        if rest:  # what a reader left that hangs
            self._read_chunk(rest, lanes)
        while refs := lanes.refs.get(self._settings.chunk):
            with lanes.meter.busy("read"):
                fresh = self._without_stored(refs, lanes.meter)
            if fresh:
                self._read_chunk(fresh, lanes)

    def _read_chunk(self, refs: Sequence[Ref], lanes: _Lanes) -> None:
        with lanes.patience.reading(refs) as reading:
            for bundle in self._bundles(reading, lanes):
                with lanes.meter.busy("read"):
                    claimed, alike = lanes.same.claim([Hashed(blob, hash_of(blob)) for blob in bundle])
                reading.handed_on()
                lanes.blobs.put(claimed)
                lanes.points.put(self._copies(alike, lanes.meter))

    def _without_stored(self, refs: Sequence[Ref], meter: Meter) -> list[Ref]:
        """The refs whose picture the collection does not hold in this version; each learns the stored version."""
        found = self.engine.retrieve([ref.point_id for ref in refs], fields=["version"])
        versions = {point.id: point.payload.get("version") for point in found}
        fresh = [replace(ref, stored_version=versions.get(ref.point_id)) for ref in refs]
        fresh = [ref for ref in fresh if ref.version is None or ref.version != ref.stored_version]
        meter.unchanged(len(refs) - len(fresh))
        return fresh

    def _bundles(self, reading: Reading, lanes: _Lanes) -> Iterator[list[Blob]]:
        """Gather what is read into bundles, small enough that a few of them never outweigh the buffer."""
        outcomes = lanes.source.read([*reading.left])
        bundle: list[Blob] = []
        weight = 0
        while True:
            with lanes.meter.busy("read"):
                outcome = lanes.patience.next(reading, outcomes)
            match outcome:
                case None:
                    yield bundle
                    return
                case Unchanged():
                    reading.settled()
                    lanes.meter.unchanged(1)
                case Reject():
                    lanes.meter.rejected(replace(outcome, ref=reading.kept[-1]))
                    reading.settled()
                case Blob():
                    bundle.append(outcome)
                    weight += len(outcome.data)
            if weight >= self._settings.buffer_bytes // (8 * self.threads["read"]):
                yield bundle
                bundle, weight = [], 0

    def _copies(self, alike: Sequence[Alike], meter: Meter) -> list[Point]:
        """Points of pictures whose content is known."""
        meter.copied(len(alike))
        now = self._clock()
        return [
            self._point(
                one.hashed.blob.ref, one.known.vector, describe_alike(one.hashed.blob, one.known.payload, now=now)
            )
            for one in alike
        ]

    def _point(self, ref: Ref, vector: Vector, payload: dict[str, Any]) -> Point:
        if self._thumbnails is not None:
            payload = {**payload, "thumbnail_url": f"{self._thumbnails}/{ref.point_id}.webp"}
        return Point(ref.point_id, vector, payload)

    def _decode(self, lanes: _Lanes) -> None:
        torch.set_num_threads(1)
        while blobs := lanes.blobs.get(self._settings.chunk // 4 or 1):
            with lanes.meter.busy("decode"):
                outcomes = [(one.content_hash, self._picture(one)) for one in blobs]
            del blobs
            for content_hash, outcome in outcomes:
                if isinstance(outcome, Reject):
                    self._reject(outcome, content_hash, lanes=lanes)
            lanes.pictures.put([outcome for _, outcome in outcomes if isinstance(outcome, Picture)])

    def _picture(self, hashed: Hashed) -> Picture | Reject:
        blob = hashed.blob
        try:
            decoded = decode(blob.data, size=self.tower.space.image_size, max_pixels=self._limits.max_pixels)
        except UnreadableImage as error:
            return Reject(blob.ref.uri, stage="decode", reason=error.reason, detail=str(error), ref=blob.ref)
        payload = describe(blob, decoded, content_hash=hashed.content_hash, now=self._clock())
        return Picture(blob.ref, decoded.pixels, payload)

    def _reject(self, reject: Reject, content_hash: str, *, lanes: _Lanes) -> None:
        """Reject a picture, and all that have the same content, for the same reason."""
        lanes.meter.rejected(reject)
        for one in lanes.same.drop(content_hash):
            lanes.meter.rejected(replace(reject, uri=one.blob.ref.uri, ref=one.blob.ref))

    def _embed(self, lanes: _Lanes) -> None:
        if self.tower.device == "cpu":
            torch.set_num_threads(1)
        slot = self.tower.slot(self._batch_size)
        while pictures := lanes.pictures.get(self._batch_size):
            with lanes.meter.busy("embed"):
                np.stack([picture.pixels for picture in pictures], out=slot[: len(pictures)])
                points = self._points(pictures, slot[: len(pictures)], lanes=lanes)
            lanes.points.put(points)

    def _points(self, pictures: Sequence[Picture], pixels: Pixels, *, lanes: _Lanes) -> list[Point]:
        try:
            vectors = self.tower.embed(pixels)
        except ModelError as error:
            raise StageFailed(f"the image tower failed: {error}", stage="embed") from error
        points = []
        for picture, vector in zip(pictures, vectors, strict=True):
            content_hash = picture.payload["content_hash"]
            length = float(np.linalg.norm(vector))
            if SHORTEST <= length < math.inf:
                known = Known.of(vector, picture.payload)
                waited = [Alike(one, known) for one in lanes.same.settle(content_hash, known)]
                points += [
                    self._point(picture.ref, vector, picture.payload),
                    *self._copies(waited, lanes.meter),
                ]
                continue
            reason = "zero_vector" if length < SHORTEST else "not_finite"
            detail = f"the tower ({self.tower.precision} on {self.tower.device}) gave a vector of length {length}"
            reject = Reject(picture.ref.uri, stage="embed", reason=reason, detail=detail, ref=picture.ref)
            self._reject(reject, content_hash, lanes=lanes)
        return points

    def _upsert(self, lanes: _Lanes) -> None:
        with lanes.patience.until_end():
            while points := lanes.points.get(UPSERT_POINTS):
                with lanes.meter.busy("upsert"):
                    self.engine.upsert(points)
                lanes.meter.stored(len(points))


@contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """Undo what the stages' ``torch.set_num_threads`` did to the rest of the process."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
