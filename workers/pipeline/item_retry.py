"""ItemRetry: finds reads that hang, gives them up, and lets the rest go on.

The rule: a thread that hangs inside a source cannot be ended. It is left behind; when it comes back after all, what it
brings is dropped. The image is a reject, and another thread reads what came after it.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from connector.errors import SourceError
from workers.pipeline.channel import Aborted
from workers.records import Outcome, Ref, Reject

IN_A_ROW = 16
"""Reads that hang one after the other, with none that comes back in between, before the source counts as broken."""

LOOKS = 10
"""How often within the time allowed the clock is looked at."""


class Reading:
    """One thread's reading of some refs, in order.

    ``left`` are those that were not read yet, ``kept`` those whose outcome this thread still holds.
    """

    def __init__(self, refs: Sequence[Ref]) -> None:
        self.left = list(refs)
        self.kept: list[Ref] = []
        self.thread = threading.current_thread()
        self.since: float | None = None
        self.given_up = False

    def settled(self) -> None:
        """Say that the last outcome is counted."""
        self.kept.pop()

    def handed_on(self) -> None:
        """Say that all outcomes so far are in others' hands."""
        self.kept.clear()

    @property
    def rest(self) -> list[Ref]:
        """What another has to read where the first of ``left`` hangs."""
        return [*self.kept, *self.left[1:]]


class ItemRetry:
    """Watches readings. ``lost`` is called, by the watching thread, for each that hangs longer than ``seconds``.

    It is given the reading and the reject of the image that hangs.
    """

    def __init__(self, seconds: float, *, lost: Callable[[Reading, Reject], None]) -> None:
        self._seconds = seconds
        self._lost = lost
        self._lock = threading.Lock()
        self._readings: list[Reading] = []
        self._in_a_row = 0
        self._over = threading.Event()

    @contextmanager
    def reading(self, refs: Sequence[Ref]) -> Iterator[Reading]:
        """Watch this thread read some refs for as long as the block runs."""
        reading = Reading(refs)
        with self._lock:
            self._readings.append(reading)
        try:
            yield reading
        finally:
            with self._lock:
                self._readings.remove(reading)

    def next(self, reading: Reading, outcomes: Iterator[Outcome]) -> Outcome | None:
        """The next outcome of a reading, None at its end. Raises Aborted where it was given up meanwhile."""
        reading.since = time.monotonic()
        outcome = next(outcomes, None)
        with self._lock:
            if reading.given_up:
                raise Aborted
            reading.since = None
            self._in_a_row = 0
            if outcome is not None and reading.left:
                reading.kept.append(reading.left.pop(0))
        return outcome

    def watch(self) -> None:
        """Look after the readings until ``end``. Raises SourceError where nothing comes back any more."""
        while not self._over.wait(self._seconds / LOOKS):
            for reading in self._hanging():
                ref = reading.left[0]
                detail = f"no answer within ingest.read_timeout_s = {self._seconds:g} seconds"
                self._lost(reading, Reject(ref.uri, stage="read", reason="timeout", detail=detail, ref=ref))

    def end(self) -> None:
        """Let ``watch`` return."""
        self._over.set()

    @contextmanager
    def until_end(self) -> Iterator[None]:
        """End the watch with the block."""
        try:
            yield
        finally:
            self.end()

    def _hanging(self) -> list[Reading]:
        now = time.monotonic()
        with self._lock:
            found = [
                each
                for each in self._readings
                if each.left and not each.given_up and each.since is not None and now - each.since > self._seconds
            ]
            self._in_a_row += len(found)
            for each in found:
                each.given_up = True
            if self._in_a_row >= IN_A_ROW:
                raise SourceError(
                    f"{self._in_a_row} reads in a row gave no answer within {self._seconds:g} seconds, the last of "
                    f"{found[-1].left[0].uri}. Look after the disk, mount or server that it is on; then give the "
                    "same command again."
                )
        return found
