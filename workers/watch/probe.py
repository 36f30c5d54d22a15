"""Probe: whether the store answers, looked at every few seconds: the watcher may wait an hour for its next pass."""

import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from prometheus_client import CollectorRegistry, Gauge

from connector.errors import StoreError
from connector.settings import Settings
from connector.store.open import capabilities_of, open_engine

log = logging.getLogger(__name__)

LOOK_S = 5.0
"""Seconds between two looks."""
ANSWER_S = 3.0
"""Seconds within which a store answers, tried once."""


class Probe:
    """What is known of the store; ``error`` is None while it answers, and where it works in our own processes."""

    def __init__(self, settings: Settings, *, registry: CollectorRegistry) -> None:
        self._apart = not capabilities_of(settings.qdrant).in_process
        quick = {"retry_s": 0.0, "timeout_s": min(ANSWER_S, settings.qdrant.timeout_s)}
        self._settings = settings.model_copy(update={"qdrant": settings.qdrant.model_copy(update=quick)})
        self._gauge = Gauge("polyglance_watch_ready", "1 while the store answers, else 0.", registry=registry)
        self._gauge.set(1)
        self.error: str | None = None

    def ready(self) -> dict[str, object]:
        """What ``/readyz`` says."""
        return {"ready": self.error is None, "error": self.error}

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look for as long as the block runs, at a store that is a server."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(LOOK_S):
                self._look()

        thread = threading.Thread(target=look, name="probe", daemon=True)
        if self._apart:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if self._apart:
                thread.join(ANSWER_S)

    def _look(self) -> None:
        before = self.error
        try:
            with closing(open_engine(self._settings.qdrant, collection=self._settings.collection)) as engine:
                engine.info()
            self.error = None
        except StoreError as error:
            self.error = str(error)
        self._gauge.set(self.error is None)
        if (before is None) != (self.error is None):
            log.warning("store_answers_again" if self.error is None else f"store_gives_no_answer: {self.error}")
