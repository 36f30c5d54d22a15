"""Filling: every stored image that has no vector of a further space gets one, from its original or its thumbnail.

    points without it ─► read ─► decode ─► embed ─► write_vectors        (a chunk of points in a thread, many at once)

The rule: what lacks the vector is what is left, so a call that is stopped, or killed, is given again and goes on. Only
this one vector is written: payload, words and the vector that answers stay as they are.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from connector.errors import ItemsLost, OriginalError, Overloaded, UnreadableImage
from connector.models.image_tower import ImageTower
from connector.process import usable_cores
from connector.records import Pixels, StoredPoint, Vector
from connector.service.originals import Originals
from connector.service.thumbnails import BoundedFolder, thumbnail_name
from connector.settings import Settings
from connector.store.engine import FOLLOW_S, Engine, NewVector, pages
from workers.migrate.steps import without
from workers.pipeline.metadata import hash_of, seen_in, vector_fault
from workers.records import Reject

CHUNK = 32
"""Points that one thread reads, embeds and writes together."""
PAGE = 512
"""Points looked at together."""
FIELDS = ("uri", "version", "bytes", "content_hash")

From = Literal["sources", "thumbnails"]
"""What images are embedded from first; where an original is gone or another by now, its kept thumbnail is taken."""
Outcome = Literal["originals", "thumbnails", "copied", "rejected", "gone"]
OnProgress = Callable[["Filled"], None]


@dataclass(frozen=True, slots=True)
class Filled:
    """What a call did of the ``listed`` images that had no vector: by original, by thumbnail, as a copy, or not.

    ``missing`` had none when it began.

    ``gone``: deleted, or changed and embedded by somebody else meanwhile. ``rejects`` name what was not embedded and
    why, with the point's id by each. ``stopped``: it was interrupted.
    """

    missing: int = 0
    listed: int = 0
    originals: int = 0
    thumbnails: int = 0
    copied: int = 0
    gone: int = 0
    rejects: Mapping[str, Reject] = field(default_factory=dict)
    seconds: float = 0.0
    stopped: bool = False

    @property
    def written(self) -> int:
        """Images that have their vector by this call."""
        return self.originals + self.thumbnails + self.copied

    @property
    def settled(self) -> int:
        """Images whose outcome is known."""
        return self.written + self.gone + len(self.rejects)


class Pace:
    """Lets no more than so many images a second begin; ``rate`` 0 lets all."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._next = time.monotonic()

    def wait(self, images: int, *, stopped: threading.Event) -> None:
        """Wait until so many may begin."""
        if self._rate:
            stopped.wait(max(0.0, self._next - time.monotonic()))
            self._next = max(self._next, time.monotonic()) + images / self._rate


class Filling:
    """Fills one space of one collection by one image tower. Belongs to one thread; it has others work for it."""

    def __init__(
        self, engine: Engine, *, tower: ImageTower, settings: Settings, rate: float = 0.0, first: From = "sources"
    ) -> None:
        self._engine = engine
        self._tower = tower
        self._space = tower.space.name
        self._settings = settings
        self._pace = Pace(rate)
        self._first = first
        self._thumbnails = BoundedFolder(settings.serve.thumbnail_folder, max_bytes=settings.serve.thumbnail_disk_bytes)
        self._embedding = threading.Semaphore(tower.callers(cores=usable_cores()))
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._counts: Counter[Outcome] = Counter()
        self._rejects: dict[str, Reject] = {}
        self._listed = 0
        self._missing = 0
        self._began = time.monotonic()

    def run(self, *, on_progress: OnProgress = lambda _: None) -> Filled:
        """Fill until no image is left but the rejects; an interrupt ends it after the images under way.

        Raises StoreError, ModelError, and ItemsLost where the counts do not balance.
        """
        self._missing = self._engine.count(where=without(self._space))
        threads = max(self._settings.ingest.readers, usable_cores())
        with (
            closing(Originals(self._settings)) as originals,
            ThreadPoolExecutor(threads, thread_name_prefix="migrate") as pool,
        ):
            try:
                self._rounds(pool, originals=originals, threads=threads, on_progress=on_progress)
            except KeyboardInterrupt:
                self._stopped.set()
            except BaseException:
                self._stopped.set()
                raise
        done = self.so_far()
        on_progress(done)
        if not done.stopped and done.listed != done.settled:
            raise ItemsLost(f"the counts of this migration do not balance: {done}. This is a defect: report it.")
        return done

    def so_far(self) -> Filled:
        """What was done until now."""
        with self._lock:
            counts, rejects = dict(self._counts), dict(self._rejects)
        return Filled(
            missing=self._missing,
            listed=self._listed,
            originals=counts.get("originals", 0),
            thumbnails=counts.get("thumbnails", 0),
            copied=counts.get("copied", 0),
            gone=counts.get("gone", 0),
            rejects=rejects,
            seconds=time.monotonic() - self._began,
            stopped=self._stopped.is_set(),
        )

    def _rounds(self, pool: ThreadPoolExecutor, *, originals: Originals, threads: int, on_progress: OnProgress) -> None:
        """Look again until a look finds nothing new that was begun after all writers had noticed the space."""
        noticed = time.monotonic() + (0.0 if self._engine.capabilities.in_process else 2 * FOLLOW_S)
        while True:
            began, before = time.monotonic(), self._listed
            under_way: set[Future[None]] = set()
            for chunk in self._chunks():
                self._pace.wait(len(chunk), stopped=self._stopped)
                under_way.add(pool.submit(self._fill, chunk, originals))
                under_way = self._settled(under_way, most=2 * threads - 1, on_progress=on_progress)
            self._settled(under_way, most=0, on_progress=on_progress)
            if self._listed == before and began >= noticed:
                return
            if self._listed == before:
                self._stopped.wait(noticed - time.monotonic())

    def _settled(self, under_way: set[Future[None]], *, most: int, on_progress: OnProgress) -> set[Future[None]]:
        """Look at those that are done, and wait for others until no more than so many are left; these."""
        left = under_way
        while len(left) > most or any(each.done() for each in left):
            done, left = wait(left, return_when=FIRST_COMPLETED)
            for each in done:
                each.result()
            on_progress(self.so_far())
        return left

    def _chunks(self) -> Iterator[Sequence[StoredPoint]]:
        """The points without the vector, but those that were rejected before."""
        for page in pages(self._engine, limit=PAGE, where=without(self._space), fields=FIELDS):
            new = [each for each in page if each.id not in self._rejects]
            for start in range(0, len(new), CHUNK):
                self._listed += len(new[start : start + CHUNK])
                yield new[start : start + CHUNK]

    def _fill(self, points: Sequence[StoredPoint], originals: Originals) -> None:
        if self._stopped.is_set():
            return
        if self._tower.device == "cpu":
            torch.set_num_threads(1)
        contents: dict[str, list[StoredPoint]] = {}
        for point in points:
            contents.setdefault(str(point.payload.get("content_hash") or point.id), []).append(point)
        read = {content: self._pixels(same[0], originals) for content, same in contents.items()}
        usable = {content: found for content, found in read.items() if not isinstance(found, Reject)}
        vectors = dict(zip(usable, self._embedded([pixels for pixels, _ in usable.values()]), strict=True))
        made: list[NewVector] = []
        for content, same in contents.items():
            vector = self._checked(vectors.get(content), read[content], of=same[0])
            if isinstance(vector, Reject):
                self._reject(vector, same)
            else:
                made += [NewVector(each.id, vector, each.payload.get("content_hash")) for each in same]
        if made:
            self._engine.write_vectors(made, space=self._space)
            self._count(
                made, ways={same[0].id: usable[content][1] for content, same in contents.items() if content in usable}
            )

    def _embedded(self, pixels: Sequence[Pixels]) -> Sequence[Vector]:
        if not pixels:
            return []
        with self._embedding:
            return [*self._tower.embed(np.stack(pixels))]

    def _checked(
        self, vector: Vector | None, read: "tuple[Pixels, Outcome] | Reject", *, of: StoredPoint
    ) -> Vector | Reject:
        if isinstance(read, Reject):
            return read
        assert vector is not None
        fault = vector_fault([vector], towers=[self._tower])
        return vector if fault is None else Reject(of.uri, stage="embed", reason=fault[0], detail=fault[1])

    def _count(self, made: Sequence[NewVector], *, ways: Mapping[str, Outcome]) -> None:
        """Count what has its vector now; the rest is gone, or was changed by somebody meanwhile."""
        still = {each.id for each in self._engine.retrieve([each.id for each in made], fields=["uri"])}
        with self._lock:
            for each in made:
                way = ways.get(each.id, "copied")
                self._counts[way if each.id in still else "gone"] += 1

    def _reject(self, reject: Reject, points: Sequence[StoredPoint]) -> None:
        with self._lock:
            for each in points:
                self._rejects[each.id] = Reject(
                    each.uri, stage=reject.stage, reason=reject.reason, detail=reject.detail
                )

    def _pixels(self, point: StoredPoint, originals: Originals) -> tuple[Pixels, Outcome] | Reject:
        """What the tower sees of an image, and what it was read from."""
        if self._first == "thumbnails" and (kept := self._thumbnail(point)) is not None:
            return kept, "thumbnails"
        found = self._original(point, originals)
        if not isinstance(found, Reject):
            return found, "originals"
        kept = self._thumbnail(point)
        return found if kept is None else (kept, "thumbnails")

    def _original(self, point: StoredPoint, originals: Originals) -> Pixels | Reject:
        try:
            data = originals.find(point.payload).whole()
        except (OriginalError, Overloaded, ValueError) as error:
            return Reject(point.uri, stage="read", reason="missing", detail=str(error))
        if point.payload.get("content_hash") not in (None, hash_of(data)):
            detail = "the file is another one than was ingested; ingest it again"
            return Reject(point.uri, stage="read", reason="changed", detail=detail)
        try:
            return self._decoded(data)
        except UnreadableImage as error:
            return Reject(point.uri, stage="decode", reason=error.reason, detail=str(error))

    def _thumbnail(self, point: StoredPoint) -> Pixels | None:
        """The kept thumbnail of this very content, where there is one that can be read."""
        data = self._thumbnails.get(thumbnail_name(point.id, point.payload, size=self._settings.serve.thumbnail_px))
        if data is None:
            return None
        try:
            return self._decoded(data)
        except UnreadableImage:
            return None

    def _decoded(self, data: bytes) -> Pixels:
        return seen_in([self._tower.space], data, max_pixels=self._settings.limits.max_pixels).pixels[0]
