"""Shards worked on in this process: nothing to start, no protection against what kills a process."""

from concurrent.futures import Future

from workers.executors.executor import AnyWorker, OnHeartbeat
from workers.pipeline.counters import ShardReport
from workers.records import Prepared, Shard


class InProcess:
    """One worker, in the caller's thread: an interrupt gets through."""

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
