"""One run: list a place, hand its shards to an executor, retry what dies, remember what is done: once, for all engines.

    listing ──► shards ──► executor ──► futures ──► books
                  ▲                        │
                  └── again, or in halves ─┘

The rule: everything that happens arrives as an event in one queue, and one thread, the caller's, acts on it.
"""

import logging
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial

from connector.errors import PolyglanceError
from workers.engines.executor import Executor, WorkerDied
from workers.errors import ItemsLost, RunIncomplete
from workers.meter import Beat, Report, ShardReport
from workers.records import Ref, Reject, Shard, Stage, Tally
from workers.shards import Listing, Manifest, RunFolder

log = logging.getLogger(__name__)

TRIES = 3
"""Times a piece is tried that failed with an error which may pass."""
DEATHS_AT_START = 3
"""Workers that may die one after the other before they began to work, until the run as a whole is broken."""
DEATHS_IN_A_ROW = 40
"""Workers that may die with no piece coming to its end in between. Finding one picture among 10,000 takes 17 deaths."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands. ``total`` is what has been listed so far, final once ``listed_all``.

    ``earlier`` is the part of the books that an earlier attempt at this run wrote; ``shards_done`` and ``deaths`` count
    the shards that came to their end, and the workers that died, in this attempt. ``waiting`` and ``device_bytes`` are
    those of the last beats, over all workers.
    """

    report: Report
    total: int
    listed_all: bool
    earlier: Report = field(default_factory=Report)
    shards_done: int = 0
    deaths: int = 0
    in_flight: int = 0
    waiting: Mapping[str, int] = field(default_factory=dict)
    device_bytes: int | None = None

    @property
    def done(self) -> int:
        """Pictures that have their outcome."""
        return self.report.tally.done

    @property
    def rate(self) -> float:
        """Pictures a second, of this attempt."""
        return self.report.rate

    @property
    def eta_s(self) -> float | None:
        """Seconds until the end at this rate; None while nobody knows how much there is."""
        return (self.total - self.done) / self.rate if self.listed_all and self.rate else None


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A shard, or a part of one that is tried on its own. ``deaths`` are the workers that it has cost.

    ``suspect`` is part of what killed its worker again and again: it is halved at its first death.
    """

    shard: Shard
    deaths: int = 0
    tries: int = 0
    suspect: bool = False


@dataclass(slots=True)
class _Books:
    """What is known of a shard while pieces of it are under way."""

    pieces: int
    report: Report = field(default_factory=Report)
    rejects: list[Reject] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Written:
    number: int


@dataclass(frozen=True, slots=True)
class _ListingEnded:
    failure: BaseException | None


@dataclass(frozen=True, slots=True)
class _Returned:
    piece: Piece
    answer: "Future[ShardReport]"


class Run:
    """One place on its way into one collection. ``progress`` may be asked from any thread.

    ``items`` lists the place. Where the folder holds this run with a complete listing, it goes on there instead.
    """

    def __init__(
        self,
        items: Callable[[], Iterator[Ref | Reject]],
        *,
        manifest: Manifest,
        folder: RunFolder,
        executor: Executor,
        threads: Mapping[Stage, int],
        shard_size: int,
        attempts: int = 2,
    ) -> None:
        self._items = items
        self._manifest = manifest
        self._folder = folder
        self._executor = executor
        self._threads = threads
        self._shard_size = shard_size
        self._attempts = attempts
        self._events: queue.SimpleQueue[_Written | _ListingEnded | _Returned] = queue.SimpleQueue()
        self._lock = threading.Lock()  # a piece moves from its beats to what is done in one step
        self._done = Report()
        self._listed = Report()
        self._total = 0
        self._listed_all = False
        self._earlier = Report()
        self._shards_done = 0
        self._deaths = 0
        self._beats: dict[Piece, Beat] = {}
        self._noted: dict[Piece, list[Reject]] = {}
        self._books: dict[int, _Books] = {}
        self._waiting: deque[Piece] = deque()
        self._written: deque[int] = deque()
        self._listing: Listing | None = None
        self._deaths_at_start = 0
        self._deaths_in_a_row = 0
        self._started = time.monotonic()

    def progress(self) -> Progress:
        """The run as it stands."""
        with self._lock:
            beats = list(self._beats.values())
            report = sum((beat.report for beat in beats), self._done)
        if self._listing is not None:
            self._listed = _of_listing(self._listing.rejects, busy=self._listing.busy)
            self._total, self._listed_all = self._listing.count, self._listing.complete
        report = report + self._listed
        waiting: Counter[str] = Counter()
        for beat in beats:
            waiting.update(beat.waiting)
        devices = [beat.device_bytes for beat in beats if beat.device_bytes is not None]
        threads = {stage: count * self._executor.workers for stage, count in self._threads.items()}
        return Progress(
            replace(report, seconds=time.monotonic() - self._started, threads={**threads, "list": 1}),
            total=self._total,
            listed_all=self._listed_all,
            earlier=self._earlier,
            shards_done=self._shards_done,
            deaths=self._deaths,
            in_flight=len(beats),
            waiting=waiting,
            device_bytes=sum(devices) if devices else None,
        )

    def go(self) -> Report:
        """Do it; returns when every listed picture has its outcome, and raises ItemsLost when one has none.

        What breaks the run is raised as it is, KeyboardInterrupt too; what is stored stays stored, and the same run
        can be gone on with.
        """
        self._started = time.monotonic()
        if self._goes_on():
            self._take_up()
            self._work_off()
        else:
            self._folder.begin(self._manifest)
            self._listing = Listing(
                self._items,
                folder=self._folder,
                shard_size=self._shard_size,
                on_shard=lambda number: self._events.put(_Written(number)),
                on_end=lambda failure: self._events.put(_ListingEnded(failure)),
            )
            with self._listing:
                self._work_off()
        report = self.progress().report
        if report.tally.listed != self._total or not report.tally.balanced:
            raise ItemsLost(
                f"{self._manifest.source} listed {self._total} pictures, but the books of the run are "
                f"{report.tally}. This is a defect: report it."
            )
        self._folder.finish()
        return report

    def _goes_on(self) -> bool:
        return self._folder.manifest() == self._manifest and self._folder.listed() is not None

    def _take_up(self) -> None:
        """Go on where an earlier attempt at this run left off."""
        listed, done = self._folder.listed(), self._folder.done()
        assert listed is not None
        before = sum(done.values(), Report())
        self._done = replace(before, busy={}, seconds=0.0, earlier=before.tally.done + listed.rejected)
        self._listed = Report(
            tally=Tally(listed=listed.rejected, rejected=listed.rejected),
            reasons=Counter(each.reason for each in self._folder.rejects() if each.stage == "list"),
        )
        self._total, self._listed_all = listed.count, True
        self._earlier = self._done + self._listed
        self._written.extend(number for number in range(listed.shards) if number not in done)

    def _work_off(self) -> None:
        """Hand out, listen, remember, until nothing is left."""
        try:
            while True:
                self._hand_out()
                if self._is_over():
                    return
                self._act(self._events.get())
        except BaseException:
            self._note_rejects()
            raise

    def _is_over(self) -> bool:
        listing = self._listing is not None and not self._listing.complete
        return not (listing or self._books or self._waiting or self._written or not self._events.empty())

    def _hand_out(self) -> None:
        """Give the executor what it can take, pieces that were tried before first."""
        while len(self._beats) < self._executor.wants:
            if not self._waiting:
                if not self._written:
                    break
                self._open(self._written.popleft())
            self._submit(self._waiting.popleft())
        if self._listing is not None and len(self._beats) < self._executor.workers:
            self._listing.hungry.set()

    def _open(self, number: int) -> None:
        """Read a shard back, of which nothing is done."""
        shard = Shard(number, place=self._manifest.place, refs=self._folder.read_shard(number))
        self._books[number] = _Books(pieces=1)
        self._waiting.append(Piece(shard))
        if self._listing is not None:
            self._listing.taken()

    def _submit(self, piece: Piece) -> None:
        with self._lock:
            self._beats[piece] = Beat(Report())
            self._noted[piece] = []
        answer = self._executor.submit(piece.shard, hear=partial(self._hear, piece))
        answer.add_done_callback(lambda done: self._events.put(_Returned(piece, done)))

    def _hear(self, piece: Piece, beat: Beat) -> None:
        with self._lock:
            if piece in self._beats:  # else it came after the end
                self._beats[piece] = beat
                self._noted[piece] += beat.rejects

    def _act(self, event: _Written | _ListingEnded | _Returned) -> None:
        match event:
            case _Written(number):
                self._written.append(number)
            case _ListingEnded(failure):
                if failure is not None:
                    raise failure
            case _Returned(piece, answer):
                failure = answer.exception()
                if failure is None:
                    self._keep(piece, answer.result())
                else:
                    self._forget(piece)
                    self._face(piece, failure)

    def _keep(self, piece: Piece, done: ShardReport) -> None:
        """Enter what became of a piece into the books, and close those of its shard after its last piece."""
        self._deaths_at_start = self._deaths_in_a_row = 0
        books = self._books[piece.shard.number]
        books.report += done.report
        books.rejects += done.rejects
        books.pieces -= 1
        with self._lock:
            self._beats.pop(piece, None)
            self._noted.pop(piece, None)
            self._done += done.report
        if books.pieces == 0:
            del self._books[piece.shard.number]
            self._close(piece.shard.number, ShardReport(books.report, tuple(books.rejects)))

    def _close(self, number: int, done: ShardReport) -> None:
        if not done.report.tally.balanced:
            raise ItemsLost(f"the books of shard {number} do not balance: {done.report.tally}. Report this defect.")
        self._folder.end_shard(number, done)
        self._shards_done += 1
        tally = done.report.tally
        log.info(
            "shard_done shard=%d listed=%d stored=%d unchanged=%d rejected=%d seconds=%.1f bottleneck=%s",
            number,
            tally.listed,
            tally.stored,
            tally.unchanged,
            tally.rejected,
            done.report.seconds,
            done.report.bottleneck,
        )

    def _forget(self, piece: Piece) -> None:
        with self._lock:
            self._beats.pop(piece, None)
            self._noted.pop(piece, None)

    def _face(self, piece: Piece, failure: BaseException) -> None:
        """Try a piece again, in halves where it kills its worker, or give the run up."""
        self._deaths += isinstance(failure, WorkerDied)
        match failure:
            case WorkerDied(working=False):
                self._deaths_at_start += 1
                if self._deaths_at_start >= DEATHS_AT_START:
                    raise RunIncomplete(
                        f"{DEATHS_AT_START} workers in a row died before they began to work; the last one: {failure}. "
                        "Give them more memory, or fewer workers (ingest.workers); then give the same command again."
                    ) from failure
                self._waiting.append(piece)
            case WorkerDied():
                self._face_death(replace(piece, deaths=piece.deaths + 1), failure)
            case PolyglanceError(retryable=True) if piece.tries + 1 < TRIES:
                log.warning("shard_again shard=%d tries=%d: %s", piece.shard.number, piece.tries + 1, failure)
                self._waiting.append(replace(piece, tries=piece.tries + 1))
            case _:
                raise failure

    def _face_death(self, piece: Piece, death: WorkerDied) -> None:
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row >= DEATHS_IN_A_ROW:
            raise RunIncomplete(
                f"{DEATHS_IN_A_ROW} workers in a row died at work; the last one: {death}. This is no picture's fault. "
                "Look after the machine's memory and disk; then give the same command again."
            ) from death
        refs = piece.shard.refs
        log.warning(
            "worker_died shard=%d pictures=%d deaths=%d: %s", piece.shard.number, len(refs), piece.deaths, death
        )
        if piece.deaths < (1 if piece.suspect and len(refs) > 1 else self._attempts):
            self._waiting.append(piece)
        elif len(refs) == 1:
            self._keep(piece, _killer(refs[0], deaths=piece.deaths, death=death))
        else:
            self._books[piece.shard.number].pieces += 1
            for half in (refs[: len(refs) // 2], refs[len(refs) // 2 :]):
                self._waiting.append(Piece(replace(piece.shard, refs=half), suspect=True))

    def _note_rejects(self) -> None:
        """Write down which pictures are known to be bad, of shards that will be done again."""
        if self._listing is not None and not self._listing.complete:
            self._folder.note_listing_rejects(self._listing.rejects)
        with self._lock:
            noted = {piece: tuple(rejects) for piece, rejects in self._noted.items()}
        for number, books in self._books.items():
            known = [*books.rejects]
            for piece, rejects in noted.items():
                if piece.shard.number == number:
                    known += rejects
            if known:
                self._folder.note_rejects(number, known)


def _killer(ref: Ref, *, deaths: int, death: WorkerDied) -> ShardReport:
    """The books of a picture that kills whoever works on it."""
    detail = f"{deaths} workers died while they worked on this picture alone; the last one: {death}"
    reject = Reject(ref.uri, stage="worker", reason="kills_worker", detail=detail, ref=ref)
    return ShardReport(Report(tally=Tally(listed=1, rejected=1), reasons={reject.reason: 1}), (reject,))


def _of_listing(rejects: tuple[Reject, ...], *, busy: float) -> Report:
    """The listing's own share of the books: its rejects, and the time it took."""
    return Report(
        tally=Tally(listed=len(rejects), rejected=len(rejects)),
        reasons=Counter(reject.reason for reject in rejects),
        busy={"list": busy},
    )
