"""What this process does with shards itself: it looks them up, and works on them where no other process shall.

The rule: workers start with the first image that needs a vector; until then no model is loaded. A shard that holds
nothing new is done with being looked up; the first other one starts the workers, who get all that follow.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress

from connector.errors import CollectionMismatch, CollectionMissing
from connector.models.answering import check_space
from connector.models.catalog import find_space, fingerprint_of
from connector.settings import Settings
from connector.store.engine import Engine
from connector.store.open import open_engine
from connector.store.schema import CollectionSchema
from workers.executors.executor import AnyWorker, Executor, OnHeartbeat
from workers.executors.lookup import Lookup
from workers.pipeline.counters import ShardReport
from workers.records import Prepared, Reject, Shard, Stage


class LazyExecutor:
    """Starts the executor that ``start`` makes once there is something for it to do; ``wait`` shows that it lasts."""

    def __init__(
        self, start: Callable[[], Executor], *, settings: Settings, wait: Callable[[str], AbstractContextManager[None]]
    ) -> None:
        self._start = start
        self._wait = wait
        self._settings = settings
        self._executor: Executor | None = None
        self._engine: Engine | None = None
        self._threads: dict[Stage, int] = {"read": 1}
        self._lookup = Lookup(settings, opened=self._opened)

    @property
    def workers(self) -> int:
        """See ``Executor``; one while nobody is needed."""
        return 1 if self._executor is None else self._executor.workers

    @property
    def wants(self) -> int:
        """See ``Executor``; one while nobody is needed."""
        return 1 if self._executor is None else self._executor.wants

    def prepare(self, *, recreate: bool) -> Prepared:
        """See to the collection; workers are started where it has to be made. ``threads`` grows once they are there."""
        if recreate or not self._extended():
            with self._wait("loading the image tower"):
                self._at_work(recreate=recreate)
        return Prepared(threads=self._threads, gpus=0)

    def expect(self, rejected: Iterable[Reject]) -> None:
        """Hear what the last run of a place rejected: while nobody is needed, that is tried without a model."""
        if self._executor is None:
            self._lookup.expect(rejected)

    def submit(self, shard: Shard, *, on_heartbeat: OnHeartbeat) -> Future[ShardReport]:
        """Look a shard up, or hand it out; where nothing in it is new, the future is done on return."""
        if self._executor is None:
            answer: Future[ShardReport] = Future()
            try:
                settled = self._lookup.settled(shard, on_heartbeat=on_heartbeat)
            except Exception as failure:  # noqa: BLE001  (the outermost frame of the work; raised by the future)
                answer.set_exception(failure)
                return answer
            if settled is not None:
                answer.set_result(settled)
                return answer
        return self._at_work(recreate=False).submit(shard, on_heartbeat=on_heartbeat)

    def close(self) -> None:
        """End all workers, and let go of the collection."""
        self._let_go()
        if self._executor is not None:
            self._executor.close()

    def _extended(self) -> bool:
        """Whether the collection is there and of the settings' space; it then has the fields that they ask for."""
        settings = self._settings
        engine = self._opened()
        with suppress(CollectionMissing, CollectionMismatch):  # which the workers say once they are started
            there = engine.info().schema
            wanted = fingerprint_of(find_space(settings.model.space))
            check_space(wanted, schema=there, collection=settings.collection)
            engine.create(CollectionSchema(there.fingerprint, meta_fields=settings.qdrant.meta_fields))
            return True
        return False

    def _opened(self) -> Engine:
        if self._engine is None:
            self._engine = open_engine(self._settings.qdrant, collection=self._settings.collection)
        return self._engine

    def _let_go(self) -> None:
        self._lookup.close()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _at_work(self, *, recreate: bool) -> Executor:
        """The workers, started where they are not there yet: they open the collection themselves."""
        if self._executor is None:
            self._let_go()
            self._executor = self._start()
            self._threads.update(self._executor.prepare(recreate=recreate).threads)
        return self._executor


class InProcess:
    """One worker, in the caller's thread: an interrupt gets through. Nothing protects against what kills a process."""

    workers = 1
    wants = 1

    def __init__(self, worker: AnyWorker) -> None:
        self._worker = worker

    def prepare(self, *, recreate: bool) -> Prepared:
        """See to the collection."""
        return self._worker.prepare(recreate=recreate)

    def submit(self, shard: Shard, *, on_heartbeat: OnHeartbeat) -> Future[ShardReport]:
        """Work on a shard; the future is done on return."""
        answer: Future[ShardReport] = Future()
        try:
            answer.set_result(self._worker.work(shard, on_heartbeat=on_heartbeat))
        except Exception as failure:  # noqa: BLE001  (the outermost frame of the work; raised by the future)
            answer.set_exception(failure)
        return answer

    def close(self) -> None:
        """Let go of sources and store."""
        self._worker.close()
