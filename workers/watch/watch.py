"""Watch: keep a collection in step with a place, for as long as the process lives.

    feed ──► changes, once they settle ──► look there now ──► what is there comes in, what is not goes
    clock ─► full pass: list everything, bring it in, prune

The rule: a change is only a reason to look. Changes that are told twice, late or in no order do no harm, and those that
are not told at all wait for the next full pass.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from connector.errors import IngestError, PolyglanceError, SourceError
from connector.settings import Settings
from connector.store.open import open_engine
from workers.pipeline.counters import RunReport
from workers.records import Ref, Reject
from workers.run.ingestion import Ingestion, Show, Wait, manifest_of, optimize, prune_source
from workers.run.metrics import Metrics, WatchMetrics
from workers.run.prune import ListedIds, MissingPoints, Pruned
from workers.run.shards import RunFolder, exclusive
from workers.sources.source import Checkable, Source, locate
from workers.watch.changes import Change, Changes

log = logging.getLogger(__name__)

FEW = 100
"""Points that may go at once because somebody removed their images, whatever share they are: soon made again."""

LONGEST_BACKOFF_S = 60.0
"""Seconds between two tries of a pass that fails."""

UNWELL_S = 300.0
"""Seconds of failing passes after which the watcher calls itself unhealthy."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What there is at the addresses that were told: what to bring in, and which of them hold nothing any more."""

    items: Callable[[], Iterator[Ref | Reject]]
    gone: Sequence[str]


class Feed(Protocol):
    """Tells changes of one place, and looks after them."""

    def watch(self, changes: Changes, *, over: threading.Event) -> None:
        """Put changes down as they come, until ``over``; runs in a thread of its own. Raises IngestError.

        Sets ``changes.listening`` as soon as nothing can happen that will not be told.
        """

    def scan(self, uris: Sequence[str]) -> ScanResult:
        """Look at these addresses now."""

    def done(self, changes: Sequence[Change]) -> None:
        """Hear that these are in the collection."""


class Watcher:
    """Keeps one collection in step with ``source``. ``feed`` is None where nobody tells changes."""

    def __init__(
        self,
        source: Source,
        *,
        place: str,
        settings: Settings,
        feed: Feed | None,
        workers: Callable[[Show], AbstractContextManager[Ingestion]],
        wait: Wait,
    ) -> None:
        self._source = source
        self._place = place
        self._settings = settings
        self._feed = feed
        self._workers = workers
        self._wait = wait
        self.metrics = Metrics(settings.qdrant.path)
        self._numbers = WatchMetrics(registry=self.metrics.registry, source=source.root)
        self._changes = Changes(self._numbers)
        self._open = ExitStack()
        self._ingestion: Ingestion | None = None
        self._run_folder = RunFolder.of(source.root, settings=settings, apart="watch")
        self._next_full = time.monotonic()
        self._failing_since: float | None = None
        self._error: str | None = None
        self._last_pass: str | None = None
        self._feed_error: str | None = None

    def health(self) -> dict[str, object]:
        """How it goes, for ``/healthz``. ``lag_s`` is the age of the oldest change that was not brought in yet."""
        failing = 0.0 if self._failing_since is None else time.monotonic() - self._failing_since
        unlisted = _why_not_listed(self._source)
        return {
            "healthy": failing < UNWELL_S and self._feed_error is None and unlisted is None,
            "source": self._source.root,
            "last_pass": self._last_pass,
            "lag_s": round(self._changes.lag(), 3),
            "waiting": len(self._changes),
            "failing_s": round(failing, 3),
            "error": self._feed_error or unlisted or self._error,
        }

    def run(self) -> None:
        """Watch until ``stop`` or an interrupt. What goes wrong at first is raised, later it is tried again."""
        with self._fed(), self._open:
            self._changes.listening.wait()  # what happens from now on is told, and what happened before is listed
            if self._feed_error is not None:
                raise IngestError(self._feed_error)
            self._full_pass()
            while self._rest():
                self._try_pass()

    def stop(self) -> None:
        """Let ``run`` return after the pass that is under way; an interrupt also ends that."""
        self._changes.end()

    def _rest(self) -> bool:
        """Wait until a pass is due, False where none will be; send the workers home where that takes long."""
        idle_from = time.monotonic() + self._settings.watch.idle_s
        told = self._changes.told  # read first: what is told while it is worked out when to act is not slept through
        while (due := self._due()) > time.monotonic() and not self._changes.ended:
            if self._ingestion is not None and time.monotonic() >= idle_from:
                self._send_home()
            until = min(due, idle_from) if self._ingestion is not None else due
            self._changes.wait(max(0.0, until - time.monotonic()), since=told)
            told = self._changes.told
        return not self._changes.ended

    def _due(self) -> float:
        return min(self._next_full, self._changes.settled_at(self._settings.watch.settle_s))

    def _try_pass(self) -> None:
        """One pass; where it fails its changes wait again, each time longer."""
        began = time.monotonic()
        try:
            if self._changes.lost or self._next_full <= began:
                self._full_pass()
            else:
                self._pass_over(self._changes.take())
        except PolyglanceError as error:
            self._send_home()
            self._changes.put_back()
            self._failing_since = self._failing_since or began
            self._error = str(error)
            self._numbers.failed.inc()
            pause = min(LONGEST_BACKOFF_S, 1.0 + (time.monotonic() - self._failing_since) / 4)
            log.warning("watch_pass_failed again_in_s=%.0f: %s", pause, error)
            self._changes.pause(pause)
        else:
            self._failing_since = self._error = None

    def _full_pass(self) -> None:
        """List the place, bring in what is new or changed, remove what is gone."""
        began = self._next_full = time.monotonic()  # due until it has come to its end
        taken = self._changes.take()
        with ListedIds() as listed_ids:
            report = self._at_work().ingest(self._source, place=self._place, listed_ids=listed_ids).report
            pruned = prune_source(listed_ids, source=self._source, settings=self._settings, remove=True)
        if report.counts.stored or self._last_pass is None:
            optimize(self._settings, wait=self._wait)
        self._next_full = time.monotonic() + self._settings.watch.every_s
        self._numbers.last_pass.set_to_current_time()
        self._over("full", taken, report=report, pruned=pruned, seconds=time.monotonic() - began)

    def _pass_over(self, taken: Sequence[Change]) -> None:
        """Look at what was told, and bring in or remove what is there or not."""
        assert self._feed is not None
        began, since = time.monotonic(), datetime.now(UTC)
        scanned = self._feed.scan(sorted({change.uri for change in taken}))
        report = RunReport()
        if next(scanned.items(), None) is not None:
            report = self._bring_in(scanned)
        pruned = self._remove(scanned.gone, since=since) if scanned.gone else None
        self._over("changes", taken, report=report, pruned=pruned, seconds=time.monotonic() - began)

    def _bring_in(self, scanned: ScanResult) -> RunReport:
        """Bring in what is there, and correct the rejects of the source."""
        tried: set[str] = set()

        def noted() -> Iterator[Ref | Reject]:
            for item in scanned.items():
                tried.add(item.uri)
                yield item

        manifest = manifest_of(self._source.root, place=self._place, settings=self._settings)
        report = self._at_work().ingest_some(noted, manifest=manifest, folder=self._run_folder)
        run_folder = RunFolder.of(self._source.root, settings=self._settings)
        before = {reject.uri: reject for reject in run_folder.rejects()}
        failed = [
            replace(each, attempt=before[each.uri].attempt + 1) if each.uri in before else each
            for each in self._run_folder.rejects()
        ]
        if failed or tried & before.keys():
            run_folder.replace_rejects([*(each for uri, each in before.items() if uri not in tried), *failed])
        return report

    def _remove(self, uris: Sequence[str], *, since: datetime) -> Pruned:
        """Remove the points of images that are not there any more, within reason."""
        source, collection = self._source.root, self._settings.collection
        with (
            ListedIds(began=since) as listed_ids,
            exclusive(source, settings=self._settings),
            closing(open_engine(self._settings.qdrant, collection=collection)) as engine,
            closing(
                MissingPoints.at(engine, listed_ids, uris, source=source, locate=partial(locate, self._source))
            ) as gone,
        ):
            return gone.remove(engine, max_prune=self._settings.ingest.max_prune, few=FEW)

    def _over(
        self, kind: str, taken: Sequence[Change], *, report: RunReport, pruned: Pruned | None, seconds: float
    ) -> None:
        """Tell everybody that a pass came to its end."""
        if self._feed is not None:
            self._feed.done(taken)
        self._changes.forget_taken()
        self._last_pass = datetime.now(UTC).isoformat(timespec="seconds")
        self._numbers.passes.inc()
        removed = pruned.removed if pruned else 0
        self._numbers.removed.inc(removed)
        if pruned and pruned.refusal:
            log.warning("watch_removed_nothing source=%s: %s", pruned.source, pruned.refusal)
        if pruned and pruned.kept:
            log.warning("watch_kept source=%s points=%d: %s", pruned.source, pruned.kept, ", ".join(pruned.away))
        counts = report.counts
        log.info(
            "watch_pass kind=%s changes=%d stored=%d unchanged=%d rejected=%d removed=%d seconds=%.1f",
            *(kind, len(taken), counts.stored, counts.unchanged, counts.rejected, removed, seconds),
        )

    def _at_work(self) -> Ingestion:
        """The workers, started where they are at home."""
        if self._ingestion is None:
            self._ingestion = self._open.enter_context(self._workers(self.metrics.counted))
        return self._ingestion

    def _send_home(self) -> None:
        self._ingestion = None
        self._open.close()

    @contextmanager
    def _fed(self) -> Iterator[None]:
        """Let the feed tell its changes for as long as the block runs."""
        if self._feed is None:
            self._changes.listening.set()
            yield
            return
        feed, over = self._feed, threading.Event()

        def watch() -> None:
            try:
                feed.watch(self._changes, over=over)
            except Exception as error:
                self._feed_error = str(error)
                log.error("watch_feed_ended: %s", error, exc_info=None if isinstance(error, IngestError) else error)
                self._changes.listening.set()

        thread = threading.Thread(target=watch, name="feed", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            self._changes.end()
            thread.join()


def _why_not_listed(source: Source) -> str | None:
    """Why a place cannot be listed now: a folder that is away, a bucket that refuses. None where it can be."""
    if isinstance(source, Checkable):
        try:
            source.check()
        except SourceError as error:
            return str(error)
    return None
