"""Counters: what a run counts while it works, and Report: what it says at the end."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import get_args

from workers.records import Counts, Reject, Stage

HEARTBEAT_S = 0.5
"""Seconds between two signs of life of a worker."""

STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True, slots=True)
class RunReport:
    """The counts and the clock of a shard or a run.

    ``busy`` holds, by stage, the seconds its threads worked (waiting left out); ``threads`` how many they were;
    ``reasons`` counts the rejects by reason, most frequent first; ``copied`` the stored images of known content,
    which were not embedded again; ``joined`` the unchanged images that were stored from other places only before;
    ``earlier`` those of the tally that an earlier attempt brought to their end;
    ``passed_over`` the files that the listing left out, by suffix; ``throttled`` the requests that the images' store
    refused because they were too many, and that were sent again; ``ocr`` counts what became of the text in images:
    see ``workers.ocr.texts``.
    """

    counts: Counts = field(default_factory=Counts)
    reasons: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    busy: Mapping[Stage, float] = field(default_factory=dict)
    threads: Mapping[Stage, int] = field(default_factory=dict)
    copied: int = 0
    joined: int = 0
    earlier: int = 0
    passed_over: Mapping[str, int] = field(default_factory=dict)
    throttled: int = 0
    ocr: Mapping[str, int] = field(default_factory=dict)

    @property
    def shares(self) -> dict[Stage, float]:
        """By stage, the share of the time that its threads were busy: 0 idle, 1 never waiting.

        A stage without threads, whose worker never began, worked in the thread that asked for the worker.
        """
        had = {stage: self.seconds * (self.threads.get(stage) or 1) for stage in self.busy}
        return {stage: min(1.0, seconds / had[stage]) if had[stage] else 0.0 for stage, seconds in self.busy.items()}

    @property
    def bottleneck(self) -> Stage | None:
        """The busiest stage, the one that the others waited for; None when nothing was done."""
        busiest = max(self.shares.items(), key=lambda item: item[1], default=None)
        return busiest[0] if busiest is not None and busiest[1] > 0 else None

    @property
    def rate(self) -> float:
        """Images brought to an end per second, those of earlier attempts left out."""
        return (self.counts.done - self.earlier) / self.seconds if self.seconds else 0.0

    def __add__(self, other: "RunReport") -> "RunReport":
        return RunReport(
            counts=Counts(
                listed=self.counts.listed + other.counts.listed,
                stored=self.counts.stored + other.counts.stored,
                unchanged=self.counts.unchanged + other.counts.unchanged,
                rejected=self.counts.rejected + other.counts.rejected,
            ),
            reasons=dict((Counter(self.reasons) + Counter(other.reasons)).most_common()),
            copied=self.copied + other.copied,
            joined=self.joined + other.joined,
            earlier=self.earlier + other.earlier,
            throttled=self.throttled + other.throttled,
            passed_over=dict((Counter(self.passed_over) + Counter(other.passed_over)).most_common()),
            ocr=dict((Counter(self.ocr) + Counter(other.ocr)).most_common()),
            seconds=self.seconds + other.seconds,
            busy={
                s: self.busy.get(s, 0.0) + other.busy.get(s, 0.0) for s in STAGES if s in self.busy or s in other.busy
            },
            threads={**self.threads, **other.threads},
        )


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What became of a shard: its counts, and every image that was rejected."""

    report: RunReport
    rejects: tuple[Reject, ...]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sign of life while a shard is worked on: its counts so far, and the rejects since the last beat.

    ``waiting`` counts, by channel, what waits between two stages; ``device_bytes`` is the memory that this process
    holds on its accelerator, None without one.
    """

    report: RunReport
    rejects: tuple[Reject, ...] = ()
    waiting: Mapping[str, int] = field(default_factory=dict)
    device_bytes: int | None = None


class Counters:
    """Counts outcomes and busy seconds from many threads."""

    def __init__(self, *, threads: Mapping[Stage, int]) -> None:
        self._lock = threading.Lock()
        self._threads = dict(threads)
        self._busy: dict[Stage, float] = dict.fromkeys(threads, 0.0)
        self._rejects: list[Reject] = []
        self._listed = self._stored = self._unchanged = self._copied = self._joined = 0
        self._ocr: Counter[str] = Counter()
        self._channels: Mapping[str, Sized] = {}
        self._throttled: Callable[[], int] = int
        self._started = time.perf_counter()

    def watch(self, channels: Mapping[str, Sized]) -> None:
        """Keep an eye on what waits between the stages."""
        self._channels = channels

    def watch_throttling(self, throttled: Callable[[], int]) -> None:
        """Count the requests that a source's store refuses from now on; ``throttled`` tells those so far."""
        before = throttled()
        self._throttled = lambda: throttled() - before

    def waiting(self) -> dict[str, int]:
        """By channel, how much waits in it."""
        return {name: len(channel) for name, channel in self._channels.items()}

    def listed(self, count: int) -> None:
        """Count images that came in."""
        with self._lock:
            self._listed += count

    def stored(self, count: int) -> None:
        """Count images whose point is written."""
        with self._lock:
            self._stored += count

    def unchanged(self, count: int) -> None:
        """Count images that the collection holds already."""
        with self._lock:
            self._unchanged += count

    def copied(self, count: int) -> None:
        """Count images whose vector was copied from an equal one."""
        with self._lock:
            self._copied += count

    def joined(self, count: int) -> None:
        """Count unchanged images that belong to this place too from now on."""
        with self._lock:
            self._joined += count

    def looked_for_text(self, outcome: str) -> None:
        """Count an image whose text was read, or why it was not."""
        with self._lock:
            self._ocr[outcome] += 1

    def rejected(self, reject: Reject) -> None:
        """Keep a reject."""
        with self._lock:
            self._rejects.append(reject)

    @contextmanager
    def busy(self, stage: Stage) -> Iterator[None]:
        """Count the time inside the block as work of ``stage``."""
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            with self._lock:
                self._busy[stage] += spent

    @property
    def rejects(self) -> tuple[Reject, ...]:
        """The rejects so far."""
        with self._lock:
            return tuple(self._rejects)

    def report(self) -> RunReport:
        """Everything so far."""
        with self._lock:
            return RunReport(
                counts=Counts(self._listed, self._stored, self._unchanged, len(self._rejects)),
                reasons=dict(Counter(reject.reason for reject in self._rejects).most_common()),
                copied=self._copied,
                joined=self._joined,
                throttled=self._throttled(),
                ocr=dict(self._ocr.most_common()),
                seconds=time.perf_counter() - self._started,
                busy=dict(self._busy),
                threads=dict(self._threads),
            )
