"""Shards worked on in this process: nothing to start, no protection against what kills a process."""

from concurrent.futures import Future

from workers.engines.executor import AnyWorker, Hear
from workers.meter import ShardReport
from workers.records import Prepared, Shard


class Here:
    """One worker, in the caller's thread: an interrupt gets through."""

    workers = 1
    wants = 1

    def __init__(self, worker: AnyWorker) -> None:
        self._worker = worker

    def prepare(self, *, recreate: bool) -> Prepared:
        """See to the collection."""
        return self._worker.prepare(recreate=recreate)

    def submit(self, shard: Shard, *, hear: Hear) -> Future[ShardReport]:
        """Work on a shard; the future is done on return."""
        answer: Future[ShardReport] = Future()
        try:
            answer.set_result(self._worker.work(shard, hear=hear))
        except Exception as failure:  # noqa: BLE001  (the outermost frame of the work; raised by the future)
            answer.set_exception(failure)
        return answer

    def close(self) -> None:
        """Let go of sources and store."""
        self._worker.close()
