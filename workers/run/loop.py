"""One run: list a place, hand its shards to an executor, retry what dies, remember what is done: once, for all engines.

    listing ──► shards ──► executor ──► futures ──► run files
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

from connector.errors import ItemsLost, PolyglanceError, RunIncomplete, WorkerDied
from workers.executors.executor import Executor
from workers.executors.slots import died_before_work
from workers.pipeline.counters import Heartbeat, RunReport, ShardReport
from workers.records import Counts, Ref, Reject, Shard, Stage
from workers.run.shards import Listing, Manifest, RunFolder

log = logging.getLogger(__name__)

TRIES = 3
"""Times a piece is tried that failed with an error which may pass."""
DEATHS_AT_START = 3
"""Workers that may die one after the other before they began to work, until the run as a whole is broken."""
DEATHS_IN_A_ROW = 40
"""Workers that may die with no piece coming to its end in between. Finding one image among 10,000 takes 17 deaths."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands. ``total`` is what has been listed so far, final once ``listed_all``.

    ``earlier`` is the part of the counts that an earlier attempt at this run wrote; ``shards_done`` and ``deaths``
    count the shards that came to their end, and the workers that died, in this attempt. ``waiting`` and
    ``device_bytes`` are those of the last heartbeats, over all workers.
    """

    report: RunReport
    total: int
    listed_all: bool
    earlier: RunReport = field(default_factory=RunReport)
    shards_done: int = 0
    deaths: int = 0
    in_flight: int = 0
    waiting: Mapping[str, int] = field(default_factory=dict)
    device_bytes: int | None = None

    @property
    def done(self) -> int:
        """Images that have their outcome."""
        return self.report.counts.done

    @property
    def rate(self) -> float:
        """Images a second, of this attempt."""
        return self.report.rate

    @property
    def eta_s(self) -> float | None:
        """Seconds until the end at this rate; None while nobody knows how much there is."""
        return (self.total - self.done) / self.rate if self.listed_all and self.rate else None


@dataclass(frozen=True, slots=True, eq=False)
class ShardPart:
    """A shard, or a part of one that is tried on its own. ``deaths`` are the workers that it has cost.

    ``suspect`` is part of what killed its worker again and again: it is halved at its first death.
    """

    shard: Shard
    deaths: int = 0
    tries: int = 0
    suspect: bool = False


@dataclass(slots=True)
class _OpenShard:
    """What is known of a shard while pieces of it are under way."""

    parts: int
    report: RunReport = field(default_factory=RunReport)
    rejects: list[Reject] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Written:
    number: int


@dataclass(frozen=True, slots=True)
class _ListingEnded:
    failure: BaseException | None


@dataclass(frozen=True, slots=True)
class _Returned:
    part: ShardPart
    answer: "Future[ShardReport]"


class Run:
    """One place on its way into one collection. ``progress`` may be asked from any thread.

    ``items`` lists the place. Where the folder holds this run with a complete listing, it goes on there instead.
    ``passed_over`` tells what the listing left out, by suffix, ``throttled`` how many of its requests S3 refused.
    ``place`` names the place to the workers: the manifest's name of it leaves a signature out.
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
        self.place = manifest.place
        self._items = items
        self._manifest = manifest
        self._folder = folder
        self._executor = executor
        self._threads = threads
        self._shard_size = shard_size
        self._attempts = attempts
        self.passed_over: Callable[[], Mapping[str, int]] = dict
        self.throttled: Callable[[], int] = int
        self._events: queue.SimpleQueue[_Written | _ListingEnded | _Returned] = queue.SimpleQueue()
        self._lock = threading.Lock()  # a piece moves from its beats to what is done in one step
        self._done = RunReport()
        self._listed = RunReport()
        self._total = 0
        self._listed_all = False
        self._earlier = RunReport()
        self._shards_done = 0
        self._deaths = 0
        self._heartbeats: dict[ShardPart, Heartbeat] = {}
        self._noted: dict[ShardPart, list[Reject]] = {}
        self._open_shards: dict[int, _OpenShard] = {}
        self._waiting: deque[ShardPart] = deque()
        self._written: deque[int] = deque()
        self._listing: Listing | None = None
        self._deaths_at_start = 0
        self._deaths_in_a_row = 0
        self._started = time.monotonic()

    def progress(self) -> Progress:
        """The run as it stands."""
        with self._lock:
            heartbeats = list(self._heartbeats.values())
            report = sum((heartbeat.report for heartbeat in heartbeats), self._done)
        if self._listing is not None:
            self._listed = _of_listing(self._listing.rejects, busy=self._listing.busy)
            self._total, self._listed_all = self._listing.count, self._listing.complete
        report += self._listed
        report = replace(report, passed_over=self.passed_over(), throttled=report.throttled + self.throttled())
        waiting: Counter[str] = Counter()
        for heartbeat in heartbeats:
            waiting.update(heartbeat.waiting)
        devices = [heartbeat.device_bytes for heartbeat in heartbeats if heartbeat.device_bytes is not None]
        threads = {stage: count * self._executor.workers for stage, count in self._threads.items()}
        return Progress(
            replace(report, seconds=time.monotonic() - self._started, threads={**threads, "list": 1}),
            total=self._total,
            listed_all=self._listed_all,
            earlier=self._earlier,
            shards_done=self._shards_done,
            deaths=self._deaths,
            in_flight=len(heartbeats),
            waiting=waiting,
            device_bytes=sum(devices) if devices else None,
        )

    def execute(self) -> RunReport:
        """Do it; returns when every listed image has its outcome, and raises ItemsLost when one has none.

        What breaks the run is raised as it is, KeyboardInterrupt too; what is stored stays stored, and the same run
        can be gone on with.
        """
        self._started = time.monotonic()
        if self._can_resume():
            self._resume()
            self._drive()
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
                self._drive()
        report = self.progress().report
        if report.counts.listed != self._total or not report.counts.balanced:
            raise ItemsLost(
                f"{self._manifest.source} listed {self._total} images, but the counts of the run are "
                f"{report.counts}. This is a defect: report it."
            )
        self._folder.finish()
        return report

    def _can_resume(self) -> bool:
        return self._folder.manifest() == self._manifest and self._folder.listed() is not None

    def _resume(self) -> None:
        """Go on where an earlier attempt at this run left off."""
        listed, done = self._folder.listed(), self._folder.done()
        assert listed is not None
        before = sum(done.values(), RunReport())
        self._done = replace(before, busy={}, seconds=0.0, earlier=before.counts.done + listed.rejected)
        self._listed = RunReport(
            counts=Counts(listed=listed.rejected, rejected=listed.rejected),
            reasons=Counter(each.reason for each in self._folder.rejects() if each.stage == "list"),
        )
        self._total, self._listed_all = listed.count, True
        self._earlier = self._done + self._listed
        self._written.extend(number for number in range(listed.shards) if number not in done)

    def _drive(self) -> None:
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
        return not (listing or self._open_shards or self._waiting or self._written or not self._events.empty())

    def _hand_out(self) -> None:
        """Give the executor what it can take, pieces that were tried before first."""
        while len(self._heartbeats) < self._executor.wants:
            if not self._waiting:
                if not self._written:
                    break
                self._open(self._written.popleft())
            self._submit(self._waiting.popleft())
        if self._listing is not None and len(self._heartbeats) < self._executor.workers:
            self._listing.starved.set()

    def _open(self, number: int) -> None:
        """Read a shard back, of which nothing is done."""
        refs, verify = self._folder.read_shard(number), self._manifest.verify
        shard = Shard(number, place=self.place, refs=refs, verify=verify)
        self._open_shards[number] = _OpenShard(parts=1)
        self._waiting.append(ShardPart(shard))
        if self._listing is not None:
            self._listing.taken()

    def _submit(self, part: ShardPart) -> None:
        with self._lock:
            self._heartbeats[part] = Heartbeat(RunReport())
            self._noted[part] = []
        answer = self._executor.submit(part.shard, on_heartbeat=partial(self._on_heartbeat, part))
        answer.add_done_callback(lambda done: self._events.put(_Returned(part, done)))

    def _on_heartbeat(self, part: ShardPart, heartbeat: Heartbeat) -> None:
        with self._lock:
            if part in self._heartbeats:  # else it came after the end
                self._heartbeats[part] = heartbeat
                self._noted[part] += heartbeat.rejects

    def _act(self, event: _Written | _ListingEnded | _Returned) -> None:
        match event:
            case _Written(number):
                self._written.append(number)
            case _ListingEnded(failure):
                if failure is not None:
                    raise failure
            case _Returned(part, answer):
                failure = answer.exception()
                if failure is None:
                    self._keep(part, answer.result())
                else:
                    self._forget(part)
                    self._on_failure(part, failure)

    def _keep(self, part: ShardPart, done: ShardReport) -> None:
        """Enter what became of a piece into the counts, and close those of its shard after its last piece."""
        self._deaths_at_start = self._deaths_in_a_row = 0
        open_shard = self._open_shards[part.shard.number]
        open_shard.report += done.report
        open_shard.rejects += done.rejects
        open_shard.parts -= 1
        with self._lock:
            self._heartbeats.pop(part, None)
            self._noted.pop(part, None)
            self._done += done.report
        if open_shard.parts == 0:
            del self._open_shards[part.shard.number]
            self._close(part.shard.number, ShardReport(open_shard.report, tuple(open_shard.rejects)))

    def _close(self, number: int, done: ShardReport) -> None:
        if not done.report.counts.balanced:
            raise ItemsLost(f"the counts of shard {number} do not balance: {done.report.counts}. Report this defect.")
        self._folder.end_shard(number, done)
        self._shards_done += 1
        counts = done.report.counts
        log.info(
            "shard_done shard=%d listed=%d stored=%d unchanged=%d rejected=%d seconds=%.1f bottleneck=%s",
            number,
            counts.listed,
            counts.stored,
            counts.unchanged,
            counts.rejected,
            done.report.seconds,
            done.report.bottleneck,
        )

    def _forget(self, part: ShardPart) -> None:
        with self._lock:
            self._heartbeats.pop(part, None)
            self._noted.pop(part, None)

    def _on_failure(self, part: ShardPart, failure: BaseException) -> None:
        """Try a piece again, in halves where it kills its worker, or give the run up."""
        self._deaths += isinstance(failure, WorkerDied)
        match failure:
            case WorkerDied(working=False):
                self._deaths_at_start += 1
                if self._deaths_at_start >= DEATHS_AT_START:
                    raise RunIncomplete(
                        died_before_work(f"{DEATHS_AT_START} workers in a row died before they began", failure)
                    ) from failure
                self._waiting.append(part)
            case WorkerDied():
                self._on_worker_death(replace(part, deaths=part.deaths + 1), failure)
            case PolyglanceError(retryable=True) if part.tries + 1 < TRIES:
                log.warning("shard_again shard=%d tries=%d: %s", part.shard.number, part.tries + 1, failure)
                self._waiting.append(replace(part, tries=part.tries + 1))
            case _:
                raise failure

    def _on_worker_death(self, part: ShardPart, death: WorkerDied) -> None:
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row >= DEATHS_IN_A_ROW:
            raise RunIncomplete(
                f"{DEATHS_IN_A_ROW} workers in a row died at work; the last one: {death}. This is no image's fault. "
                "Look after the machine's memory and disk; then give the same command again."
            ) from death
        refs = part.shard.refs
        log.warning("worker_died shard=%d images=%d deaths=%d: %s", part.shard.number, len(refs), part.deaths, death)
        if part.deaths < (1 if part.suspect and len(refs) > 1 else self._attempts):
            self._waiting.append(part)
        elif len(refs) == 1:
            self._keep(part, _kills_worker(refs[0], deaths=part.deaths, death=death))
        else:
            self._open_shards[part.shard.number].parts += 1
            for half in (refs[: len(refs) // 2], refs[len(refs) // 2 :]):
                self._waiting.append(ShardPart(replace(part.shard, refs=half), suspect=True))

    def _note_rejects(self) -> None:
        """Write down which images are known to be bad, of shards that will be done again."""
        if self._listing is not None and not self._listing.complete:
            self._folder.note_listing_rejects(self._listing.rejects)
        with self._lock:
            noted = {part: tuple(rejects) for part, rejects in self._noted.items()}
        for number, open_shard in self._open_shards.items():
            known = [*open_shard.rejects]
            for part, rejects in noted.items():
                if part.shard.number == number:
                    known += rejects
            if known:
                self._folder.note_rejects(number, known)


def _kills_worker(ref: Ref, *, deaths: int, death: WorkerDied) -> ShardReport:
    """The counts of an image that kills whoever works on it."""
    detail = f"{deaths} workers died while they worked on this image alone; the last one: {death}"
    reject = Reject(ref.uri, stage="worker", reason="kills_worker", detail=detail, ref=ref)
    return ShardReport(RunReport(counts=Counts(listed=1, rejected=1), reasons={reject.reason: 1}), (reject,))


def _of_listing(rejects: tuple[Reject, ...], *, busy: float) -> RunReport:
    """The listing's own share of the counts: its rejects, and the time it took."""
    return RunReport(
        counts=Counts(listed=len(rejects), rejected=len(rejects)),
        reasons=Counter(reject.reason for reject in rejects),
        busy={"list": busy},
    )
