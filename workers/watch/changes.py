"""The changes that a watcher was told and has not brought in yet."""

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from workers.run.metrics import WatchMetrics

MOST = 100_000
"""Changes that may wait; a feed that can waits with more, for one that cannot a full pass takes their place."""

LONGEST_SETTLE = 10
"""Times the settling time that changes wait at most where they never settle."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened at ``uri``. ``receipt`` is what the feed wants back once it is in the collection."""

    uri: str
    receipt: str | None = None
    at: float = field(default_factory=time.monotonic)


class Changes:
    """A set of changes between the thread that is told and the one that acts. ``told`` counts how often it was told."""

    def __init__(self, numbers: WatchMetrics) -> None:
        self._numbers = numbers
        self._changed = threading.Condition()
        self._waiting: dict[tuple[str, str | None], Change] = {}
        self._taken: list[Change] = []
        self._last = 0.0
        self.told = 0
        self.ended = False
        self.lost = False
        self.listening = threading.Event()
        numbers.lag.set_function(self.lag)
        numbers.waiting.set_function(lambda: len(self))

    def __len__(self) -> int:
        return len(self._waiting) + len(self._taken)

    def add(self, changes: Sequence[Change]) -> None:
        """Put changes down; above ``MOST`` they are lost, which calls for a full pass."""
        with self._changed:
            self._last = time.monotonic()
            self.told += 1
            for change in changes:
                self._waiting.setdefault((change.uri, change.receipt), change)
            self._numbers.received.inc(len(changes))
            if len(self._waiting) > MOST:
                self._lose()
            self._changed.notify_all()

    def lose(self) -> None:
        """Say that changes may have gone untold: a full pass makes up for them."""
        with self._changed:
            self.told += 1
            self._lose()
            self._changed.notify_all()

    def room(self) -> bool:
        """Wait until more can be taken; False at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended or len(self._waiting) < MOST // 2)
            return not self.ended

    def wait(self, seconds: float, *, since: int) -> None:
        """Wait until something was told since ``told`` had this value, for so long at most."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended or self.told != since, timeout=seconds)

    def pause(self, seconds: float) -> None:
        """Wait so long, whatever is added meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended, timeout=seconds)

    def settled_at(self, settle_s: float) -> float:
        """When those that wait can be looked at; infinity where none do."""
        with self._changed:
            if self.lost:
                return self._last
            if not self._waiting:
                return math.inf
            oldest = next(iter(self._waiting.values())).at
            return min(self._last + settle_s, oldest + LONGEST_SETTLE * settle_s)

    def take(self) -> list[Change]:
        """All that wait; they count as waiting until ``forget_taken``."""
        with self._changed:
            self._taken = [*self._waiting.values()]
            self._waiting.clear()
            self.lost = False
            self._changed.notify_all()
            return self._taken

    def put_back(self) -> None:
        """Let what was taken wait again."""
        with self._changed:
            again = {(change.uri, change.receipt): change for change in self._taken}
            self._waiting = {**again, **self._waiting}
            self._taken = []

    def forget_taken(self) -> None:
        """Say that what was taken is in the collection."""
        with self._changed:
            self._taken = []

    def lag(self) -> float:
        """Seconds since the oldest change that is not in the collection yet; 0 where there is none."""
        with self._changed:
            oldest = min((each.at for each in [*self._taken[:1], *[*self._waiting.values()][:1]]), default=None)
            return 0.0 if oldest is None else time.monotonic() - oldest

    def end(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def _lose(self) -> None:
        self._waiting = {key: change for key, change in self._waiting.items() if change.receipt is not None}
        self.lost = True
