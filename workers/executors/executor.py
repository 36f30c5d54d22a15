"""Executor: what ``workers.run.loop`` asks of an engine, and how an engine says that a worker died."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, TypeAlias

from workers.pipeline.counters import Heartbeat, ShardReport
from workers.records import Prepared, Shard

OnHeartbeat: TypeAlias = Callable[[Heartbeat], None]
"""Is called, from another thread, with every sign of life of a shard."""


class AnyWorker(Protocol):
    """A worker, in this process or behind the border of another. Its calls block."""

    def prepare(self, *, recreate: bool) -> Prepared:
        """See to it that the collection is there, and empty where it is to be made anew."""

    def work(self, shard: Shard, *, on_heartbeat: OnHeartbeat) -> ShardReport:
        """Bring a shard to its end, and give signs of life meanwhile."""

    def close(self) -> None:
        """Let go of everything."""


class Remote(AnyWorker, Protocol):
    """A worker in another process. Its calls raise WorkerDied too; ``close``, by any thread, ends what is under way."""

    def ready(self) -> None:
        """Wait until it can work; where it runs may have to be found first."""


class Executor(Protocol):
    """Turns shards into futures. A future's exception is WorkerDied, or what the work raised."""

    @property
    def workers(self) -> int:
        """How many shards are worked on at once."""

    @property
    def wants(self) -> int:
        """How many shards it takes: those that are worked on, and what should wait for a worker to be free."""

    def prepare(self, *, recreate: bool) -> Prepared:
        """Start a worker and let it see to the collection; then make room for as many as fit."""

    def submit(self, shard: Shard, *, on_heartbeat: OnHeartbeat) -> Future[ShardReport]:
        """Hand a shard out."""

    def close(self) -> None:
        """End all workers; what they work on is dropped, what is stored stays stored."""
