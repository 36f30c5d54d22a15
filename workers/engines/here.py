"""Shards worked on in this process: nothing to start, no protection against what kills a process."""

from concurrent.futures import Future

from workers.engines.executor import Hear
from workers.meter import BEAT_S, ShardReport
from workers.records import Prepared, Shard
from workers.worker import Worker


class Here:
    """One worker, in the caller's thread: an interrupt gets through."""

    workers = 1
    wants = 1

    def __init__(self, worker: Worker, *, beat_s: float = BEAT_S) -> None:
        self._worker = worker
        self._beat_s = beat_s

    def prepare(self, *, recreate: bool) -> Prepared:
        """See to the collection."""
        return self._worker.prepare(recreate=recreate)

    def submit(self, shard: Shard, *, hear: Hear) -> Future[ShardReport]:
        """Work on a shard; the future is done on return."""
        answer: Future[ShardReport] = Future()
        try:
            answer.set_result(self._worker.work(shard, beat=hear, beat_s=self._beat_s))
        except Exception as failure:  # noqa: BLE001  (the outermost frame of the work; raised by the future)
            answer.set_exception(failure)
        return answer

    def close(self) -> None:
        """Let go of sources and store."""
        self._worker.close()
