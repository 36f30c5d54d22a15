"""What the service counts, for Prometheus.

The one rule: with several processes the counts lie in files that all of them write (PROMETHEUS_MULTIPROC_DIR), and
whichever is asked answers for all.
"""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from connector.files import disk_of

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LAGS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class Metrics:
    """The service's counters, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "polyglance_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self.seconds = Histogram(
            "polyglance_request_seconds",
            "Seconds until an answer began.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.waiting = Gauge(
            "polyglance_queue_depth", "Texts that wait for the model.", multiprocess_mode="livesum", registry=registry
        )
        self.decoding = Gauge(
            "polyglance_decode_bytes",
            "Bytes lent for decoding images.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.batches = Histogram(
            "polyglance_batch_texts", "Texts in one pass through the model.", buckets=_SIZES, registry=registry
        )
        self.passes = Histogram(
            "polyglance_batch_seconds", "Seconds of one pass through the model.", buckets=_SECONDS, registry=registry
        )
        self.thumbnails = Counter(
            "polyglance_thumbnails", "Thumbnails by where they came from.", ["origin"], registry=registry
        )
        self.ready = Gauge(
            "polyglance_ready",
            "1 while the model is warm and the store answers, else 0.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._disk_free = Gauge(
            "polyglance_disk_free_bytes",
            "Free bytes of the disk.",
            ["folder"],
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._disk_size = Gauge(
            "polyglance_disk_size_bytes",
            "Bytes of the disk.",
            ["folder"],
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.lag = Histogram(
            "polyglance_loop_lag_seconds",
            "How much later than asked for the event loop came back.",
            buckets=_LAGS,
            registry=registry,
        )

    def note_batch(self, texts: int, seconds: float) -> None:
        """One pass of this many texts through the model was done."""
        self.batches.observe(texts)
        self.passes.observe(seconds)

    def note_disk(self, folder: Path) -> None:
        """Measure the disk that the service's data lie on."""
        disk = disk_of(folder)
        self._disk_free.labels(str(folder)).set(disk.free)
        self._disk_size.labels(str(folder)).set(disk.total)

    def exposition(self) -> bytes:
        """All counts in Prometheus' text format."""
        if not os.environ.get(FOLDER):
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
