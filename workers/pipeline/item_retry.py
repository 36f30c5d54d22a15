"""ItemRetry: finds reads that hang, gives them up, and lets the rest go on.

The rule: a thread that hangs inside a source cannot be ended. It is left behind; when it comes back after all, what it
brings is dropped. The image is a reject, and another thread reads what came after it. A run that ends, however it does,
leaves it behind too.
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

    It is given the reading and the reject of the image that hangs. Once the run is over ``left`` is called instead,
    with the thread that hangs: nobody needs what it reads.
    """

    def __init__(
        self,
        seconds: float,
        *,
        lost: Callable[[Reading, Reject], None],
        left: Callable[[threading.Thread], None],
    ) -> None:
        self._seconds = seconds
        self._lost = lost
        self._left = left
        self._changed = threading.Condition()
        self._readings: list[Reading] = []
        self._in_a_row = 0
        self._over = False

    @contextmanager
    def reading(self, refs: Sequence[Ref]) -> Iterator[Reading]:
        """Watch this thread read some refs for as long as the block runs."""
        reading = Reading(refs)
        with self._changed:
            self._readings.append(reading)
        try:
            yield reading
        finally:
            with self._changed:
                self._readings.remove(reading)
                self._changed.notify_all()

    def next(self, reading: Reading, outcomes: Iterator[Outcome]) -> Outcome | None:
        """The next outcome of a reading, None at its end. Raises Aborted where it was given up, or the run is over."""
        with self._changed:
            if self._over:
                raise Aborted
            reading.since = time.monotonic()
        outcome = next(outcomes, None)
        with self._changed:
            if reading.given_up:
                raise Aborted
            reading.since = None
            self._in_a_row = 0
            if outcome is not None and reading.left:
                reading.kept.append(reading.left.pop(0))
        return outcome

    def watch(self) -> None:
        """Look after the readings until ``end``, and then until none hangs that is waited for.

        Raises SourceError where nothing comes back any more.
        """
        broken: SourceError | None = None
        while not self._all_home():
            hanging, in_a_row = self._hanging()
            if hanging and broken is None and in_a_row >= IN_A_ROW:
                broken = self._broken(hanging[-1].left[0], in_a_row)
                self.end()
            for reading in hanging:
                if self._over:
                    self._left(reading.thread)
                else:
                    self._lost(reading, self._reject(reading.left[0]))
        if broken is not None:
            raise broken

    def end(self) -> None:
        """Let ``watch`` return once no reading is waited for."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    @contextmanager
    def until_end(self) -> Iterator[None]:
        """End the watch with the block."""
        try:
            yield
        finally:
            self.end()

    def _reject(self, ref: Ref) -> Reject:
        detail = f"no answer within ingest.read_timeout_s = {self._seconds:g} seconds"
        return Reject(ref.uri, stage="read", reason="timeout", detail=detail, ref=ref)

    def _broken(self, last: Ref, in_a_row: int) -> SourceError:
        return SourceError(
            f"{in_a_row} reads in a row gave no answer within {self._seconds:g} seconds, the last of {last.uri}. "
            "Look after the disk, mount or server that it is on; then give the same command again."
        )

    def _hanging(self) -> tuple[list[Reading], int]:
        """The readings that hang since now, given up; and how many were in a row, these included."""
        now = time.monotonic()
        with self._changed:
            found = [
                each
                for each in self._readings
                if each.left and not each.given_up and each.since is not None and now - each.since > self._seconds
            ]
            self._in_a_row += len(found)
            for each in found:
                each.given_up = True
            return found, self._in_a_row

    def _all_home(self) -> bool:
        """Wait a little; whether the run is over and nothing is read any more but by threads that were given up."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._over and all(each.given_up for each in self._readings), timeout=self._seconds / LOOKS
            )
