"""Tally: what this process told of alerts, and what it last saw waiting, for ``/metrics``.

The rule: numbers alone, and none that grow with the alerts: a name of a question in a metric would be one for each.
"""

import threading


class Tally:
    """Counts of one process. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told = 0
        self._failed = 0
        self._waiting: int | None = None

    def note(self, *, told: int, failed: int, waiting: int) -> None:
        """Add what one look at the outbox told and could not tell, and what it left."""
        with self._lock:
            self._told += told
            self._failed += failed
            self._waiting = waiting

    def now(self) -> tuple[int, int, int | None]:
        """Images told of, targets found down, and images waiting, None where nobody looked."""
        with self._lock:
            return self._told, self._failed, self._waiting


TALLY = Tally()
"""Of this process: whoever tells and whoever serves ``/metrics`` know nothing else of one another."""
