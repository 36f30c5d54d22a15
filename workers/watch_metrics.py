"""What a watcher says of itself to Prometheus, beside the numbers of its runs."""

from prometheus_client import CollectorRegistry, Counter, Gauge

PREFIX = "polyglance_watch_"


class WatchMetrics:
    """The watcher's own numbers."""

    def __init__(self, *, registry: CollectorRegistry, source: str) -> None:
        def gauge(name: str, meaning: str) -> Gauge:
            return Gauge(PREFIX + name, meaning, ["source"], registry=registry).labels(source)

        def counter(name: str, meaning: str) -> Counter:
            return Counter(PREFIX + name, meaning, ["source"], registry=registry).labels(source)

        self.lag = gauge("lag_seconds", "Age of the oldest change that is not in the collection yet.")
        self.waiting = gauge("changes_waiting", "Changes that are not in the collection yet.")
        self.last_pass = gauge("last_full_pass_timestamp_seconds", "When the last full pass came to its end.")
        self.told = counter("changes", "Changes that came in.")
        self.passes = counter("passes", "Passes that came to their end, full ones and others.")
        self.failed = counter("failed_passes", "Passes that failed and are tried again.")
        self.removed = counter("removed_points", "Points removed because their picture is gone.")
