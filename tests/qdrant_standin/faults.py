"""Faults on order: which request goes wrong, how, and how often. Scripted, then counted.

A fault happens before the operation (nothing was done) or after it (all was done, and only the answer is lost).
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeVar

from tests.qdrant_standin.limits import QUOTA

T = TypeVar("T")

Kind = Literal["status", "drop", "half", "html", "late"]

MESSAGES = {
    408: "Timeout: Operation 'upsert' timed out after 1s",
    429: "Rate limiting exceeded: Write rate limit exceeded, retry later. Help: Reduce the load.",
    500: "Service internal error: task panicked",
    503: "Shard temporarily unavailable: The shard is being transferred",
    507: QUOTA,
}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    ``status`` answers with an HTTP status (or its gRPC twin); ``drop`` closes the connection without an answer;
    ``half`` sends half of one; ``html`` sends a proxy's page with status 200; ``late`` answers ``seconds`` too late.
    ``said`` is what the server writes, None for what fits the status. ``operation`` None means any. ``times`` None
    means for ever; ``rate`` is the chance that a request is hit.
    """

    kind: Kind
    status: int = 0
    retry_after: int | None = None
    seconds: float = 0.0
    after: bool = False
    operation: str | None = None
    said: str | None = None
    times: int | None = 1
    rate: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """A plain JSON value; ``Fault(**value)`` reads it back."""
        return asdict(self)

    @property
    def message(self) -> str:
        """What a server of this status would write."""
        return self.said or MESSAGES.get(self.status, f"scripted fault {self.status}")


class Broken(Exception):
    """A request that has to go wrong on the wire, as its transport knows how."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.kind)
        self.fault = fault


class Script:
    """The faults still to come, and the count of every operation asked, done and broken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._random = random.Random(0)
        self._counts: Counter[str] = Counter()

    def load(self, faults: Sequence[Fault], *, seed: int = 0) -> None:
        """Replace the script and begin counting anew."""
        with self._lock:
            self._faults = list(faults)
            self._random = random.Random(seed)
            self._counts.clear()

    def counts(self) -> dict[str, int]:
        """How often each operation was ``asked``, ``done`` and ``broken``, such as ``{"upsert.asked": 3}``."""
        with self._lock:
            return dict(self._counts)

    def play(self, operation: str, act: Callable[[], T]) -> T:
        """Do ``act`` unless a fault says otherwise. Raises Broken for the transport to carry out."""
        fault = self._draw(operation)
        self._count(f"{operation}.asked")
        if fault is None:
            return self._done(operation, act)
        self._count(f"{operation}.broken")
        if fault.kind == "late":
            answer = self._done(operation, act)
            time.sleep(fault.seconds)
            return answer
        if fault.after or fault.kind == "half":
            self._done(operation, act)
        raise Broken(fault)

    def _done(self, operation: str, act: Callable[[], T]) -> T:
        answer = act()
        self._count(f"{operation}.done")
        return answer

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    def _draw(self, operation: str) -> Fault | None:
        """The first fault that hits this request; one of ``times`` is used up."""
        with self._lock:
            for place, fault in enumerate(self._faults):
                if fault.operation not in (None, operation) or self._random.random() >= fault.rate:
                    continue
                if fault.times is not None:
                    self._faults[place : place + 1] = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                return fault
        return None
