"""Metrics: what the runs of this process do, as Prometheus reads it.

The rule: a counter never goes down. A worker that dies takes the signs of life of its shard along; what was counted of
it stays counted until the shard's second attempt has come as far.
"""

import collections
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from connector.errors import IMAGE_FAULTS, READ_FAULTS
from connector.files import disk_of
from workers.alerts.tally import TALLY
from workers.run.loop import Progress

Key = tuple[str, str]
"""A counter's name and the value of its label, empty where it has none."""

COUNTERS: dict[str, tuple[str, str]] = {
    "images": ("outcome", "Images that came to their end: stored, unchanged or rejected."),
    "listed_images": ("", "Images that were listed."),
    "rejected_images": ("reason", "Images that were rejected, by reason."),
    "copied_images": ("", "Stored images of known content, which were not embedded again."),
    "ocr_images": ("outcome", "Images whose text was read, or why it was not."),
    "throttled_requests": ("", "Requests that S3 refused because they were too many, and that were sent again."),
    "stage_seconds": ("stage", "Seconds that the threads of a stage worked; waiting is left out."),
    "shards": ("", "Shards that came to their end."),
    "worker_deaths": ("", "Workers that died."),
    "runs": ("state", "Runs that ended: done, stopped or failed."),
}
"""Each counter's label and meaning, by its name after polyglance_ingest_."""

OTHER_FAULTS = ("zero_vector", "not_finite", "kills_worker")
"""Reasons of rejects beside those of reading and of decoding."""

FROM_ZERO: tuple[Key, ...] = (
    *(("images", outcome) for outcome in ("stored", "unchanged", "rejected")),
    *(("runs", state) for state in ("done", "stopped", "failed")),
    *(("rejected_images", reason) for reason in (*READ_FAULTS, *IMAGE_FAULTS, *OTHER_FAULTS)),
    *((name, "") for name, (label, _) in COUNTERS.items() if not label),
)
"""Counters that are there before anything happened, so that their first step is seen."""

PREFIX = "polyglance_ingest_"


class Metrics(Collector):
    """All runs of this process together, and the disk under ``folder``. ``registry`` is what to serve."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._past: collections.Counter[Key] = collections.Counter(dict.fromkeys(FROM_ZERO, 0))
        self._running: dict[int, _Seen] = {}
        self._numbers = iter(range(1 << 62))
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def also(
        self, show: Callable[[Callable[[], Progress]], AbstractContextManager[None]]
    ) -> Callable[[Callable[[], Progress]], AbstractContextManager[None]]:
        """Show a run as ``show`` does, and count it."""

        @contextmanager
        def both(progress: Callable[[], Progress]) -> Iterator[None]:
            with self.counted(progress), show(progress):
                yield

        return both

    @contextmanager
    def counted(self, progress: Callable[[], Progress]) -> Iterator[None]:
        """Count a run for as long as the block runs, and what it came to afterwards."""
        seen = _Seen(progress)
        with self._lock:
            number = next(self._numbers)
            self._running[number] = seen
        state = "failed"
        try:
            yield
            state = "done"
        except KeyboardInterrupt:
            state = "stopped"
            raise
        finally:
            last = seen.counts(progress())
            with self._lock:
                del self._running[number]
                self._past.update(last)
                self._past["runs", state] += 1

    def collect(self) -> Iterator[Metric]:
        """Everything, at this moment."""
        with self._lock:
            counts = collections.Counter(self._past)
            now = [(seen, seen.progress()) for seen in self._running.values()]
            for seen, progress in now:
                counts.update(seen.counts(progress))
        yield from _counters(counts)
        if self._folder is not None:
            yield from _disk(self._folder)
        yield from _gauges([progress for _, progress in now])
        yield from _alerts()


class _Seen:
    """A run and the highest counts that were seen of it."""

    def __init__(self, progress: Callable[[], Progress]) -> None:
        self.progress = progress
        self._highest: collections.Counter[Key] = collections.Counter()

    def counts(self, progress: Progress) -> collections.Counter[Key]:
        """What this attempt at the run has done."""
        self._highest |= _counts_of(progress)  # the higher of both, key by key
        return self._highest


def _counts_of(progress: Progress) -> collections.Counter[Key]:
    now, earlier = progress.report, progress.earlier
    counts: collections.Counter[Key] = collections.Counter()
    for sign, report in ((1, now), (-1, earlier)):
        for outcome in ("stored", "unchanged", "rejected"):
            counts["images", outcome] += sign * getattr(report.counts, outcome)
        for reason, count in report.reasons.items():
            counts["rejected_images", reason] += sign * count
        for outcome, count in report.ocr.items():
            counts["ocr_images", outcome] += sign * count
        for stage, seconds in report.busy.items():
            counts["stage_seconds", stage] += sign * seconds  # type: ignore[assignment]  # seconds are counted too
        counts["copied_images", ""] += sign * report.copied
        counts["throttled_requests", ""] += sign * report.throttled
    counts["listed_images", ""] = progress.total - earlier.counts.listed if progress.total else 0
    counts["shards", ""] = progress.shards_done
    counts["worker_deaths", ""] = progress.deaths
    return counts


def _counters(counts: collections.Counter[Key]) -> Iterator[Metric]:
    for name, (label, meaning) in COUNTERS.items():
        family = CounterMetricFamily(PREFIX + name, meaning, labels=[label] if label else [])
        for (each, value), count in sorted(counts.items()):
            if each == name:
                family.add_metric([value] if label else [], count)
        yield family


def _disk(folder: Path) -> Iterator[Metric]:
    disk = disk_of(folder)
    for name, meaning, value in (("free", "Free bytes", disk.free), ("size", "Bytes", disk.total)):
        family = GaugeMetricFamily(f"polyglance_disk_{name}_bytes", f"{meaning} of the disk.", labels=["folder"])
        family.add_metric([str(folder)], value)
        yield family


def _gauges(runs: list[Progress]) -> Iterator[Metric]:
    yield GaugeMetricFamily(PREFIX + "runs_in_progress", "Runs that are under way.", value=len(runs))
    yield GaugeMetricFamily(
        PREFIX + "listings_in_progress", "Runs that still list.", value=sum(not run.listed_all for run in runs)
    )
    left = sum(run.total - run.done for run in runs)
    yield GaugeMetricFamily(PREFIX + "images_left", "Images listed that have no outcome yet.", value=left)
    shards = sum(run.in_flight for run in runs)
    yield GaugeMetricFamily(
        PREFIX + "shards_in_flight", "Shards that are worked on or wait for a worker.", value=shards
    )
    waiting: collections.Counter[str] = collections.Counter()
    for run in runs:
        waiting.update(run.waiting)
    family = GaugeMetricFamily(PREFIX + "waiting", "What waits between two stages, by channel.", labels=["channel"])
    for channel in ("blobs", "images", "points"):
        family.add_metric([channel], waiting[channel])
    yield family
    memory = sum(run.device_bytes or 0 for run in runs)
    yield GaugeMetricFamily(PREFIX + "device_memory_bytes", "Memory held on accelerators.", value=memory)


def _alerts() -> Iterator[Metric]:
    told, failed, waiting = TALLY.now()
    yield CounterMetricFamily("polyglance_alerts_told", "Images that alerts told of, once for each alert.", value=told)
    yield CounterMetricFamily(
        "polyglance_alerts_failed", "Times that a webhook or a command took nothing.", value=failed
    )
    if waiting is not None:
        yield GaugeMetricFamily("polyglance_alerts_waiting", "Images that alerts still have to tell of.", value=waiting)


WATCH_PREFIX = "polyglance_watch_"


class WatchMetrics:
    """The watcher's own numbers."""

    def __init__(self, *, registry: CollectorRegistry, source: str) -> None:
        def gauge(name: str, meaning: str) -> Gauge:
            return Gauge(WATCH_PREFIX + name, meaning, ["source"], registry=registry).labels(source)

        def counter(name: str, meaning: str) -> Counter:
            return Counter(WATCH_PREFIX + name, meaning, ["source"], registry=registry).labels(source)

        self.lag = gauge("lag_seconds", "Age of the oldest change that is not in the collection yet.")
        self.waiting = gauge("changes_waiting", "Changes that are not in the collection yet.")
        self.last_pass = gauge("last_full_pass_timestamp_seconds", "When the last full pass came to its end.")
        self.received = counter("changes", "Changes that came in.")
        self.passes = counter("passes", "Passes that came to their end, full ones and others.")
        self.failed = counter("failed_passes", "Passes that failed and are tried again.")
        self.removed = counter("removed_points", "Points removed because their image is gone.")
