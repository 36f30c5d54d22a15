"""TextBatcher: the texts of many awaiting callers, embedded together.

The rule: no timer. While the model works the queue fills, and the next batch is what has arrived by then. The queue is
bounded, and a caller that is cancelled leaves it.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakKeyDictionary

from connector.errors import InvalidQuery, Overloaded
from connector.records import Vector, Vectors
from connector.search.query import TextPart


class TextBatcher:
    """Embeds texts one by one for its callers and many at a time for the model. Works in any number of event loops.

    At most ``queue`` texts wait in a loop; beyond that callers get Overloaded. A batch is of ``batch`` texts at most.
    ``on_batch`` is told the texts and seconds of each one, ``on_depth`` how many texts wait.
    """

    def __init__(
        self,
        embed: Callable[[Sequence[TextPart]], Vectors],
        *,
        queue: int,
        batch: int,
        on_batch: Callable[[int, float], None] = lambda _texts, _seconds: None,
        on_depth: Callable[[int], None] = lambda _depth: None,
    ) -> None:
        self._embed = embed
        self._queue = queue
        self._batch = batch
        self._on_batch = on_batch
        self._on_depth = on_depth
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()
        self._opening = threading.Lock()
        self._model = ThreadPoolExecutor(1, thread_name_prefix="texts")  # its own: nothing else holds the model up

    async def vector_of(self, part: TextPart) -> Vector:
        """The vector of a text: (dims,) float32, L2-normalised. Raises Overloaded when the queue is full."""
        queue = self._queue_here()
        if len(queue.waiting) >= self._queue:
            raise Overloaded(f"{self._queue} questions wait already; ask again in a second.", retry_after=1.0)
        mine: asyncio.Future[Vector] = asyncio.get_running_loop().create_future()
        queue.waiting[mine] = part
        self._on_depth(len(queue.waiting))
        if queue.work is None or queue.work.done():
            queue.work = asyncio.create_task(self._embed_waiting(queue))
        try:
            return await mine
        finally:
            queue.waiting.pop(mine, None)
            self._on_depth(len(queue.waiting))

    async def close(self) -> None:
        """Cancel whoever waits in this event loop, and end when the model does no more work."""
        queue = self._queue_here()
        if queue.work is not None:
            queue.work.cancel()
            await asyncio.wait([queue.work])
        for future in [*queue.waiting]:
            future.cancel()
        await asyncio.to_thread(self._model.shutdown)

    def _queue_here(self) -> "_Queue":
        with self._opening:
            return self._queues.setdefault(asyncio.get_running_loop(), _Queue())

    async def _embed_waiting(self, queue: "_Queue") -> None:
        """Embed batch after batch until nobody waits; the next caller begins anew."""
        while queue.waiting:
            batch = dict([*queue.waiting.items()][: self._batch])
            for future in batch:
                del queue.waiting[future]
            self._on_depth(len(queue.waiting))
            await self._answer([*batch], [*batch.values()])

    async def _answer(self, futures: "Sequence[asyncio.Future[Vector]]", parts: Sequence[TextPart]) -> None:
        started = time.perf_counter()
        try:
            vectors = await asyncio.get_running_loop().run_in_executor(self._model, self._embed, parts)
        except InvalidQuery as error:
            if len(parts) == 1:
                _fail(futures, error)
            else:  # what is wrong with one text is no concern of the others in its batch
                for future, part in zip(futures, parts, strict=True):
                    await self._answer([future], [part])
            return
        except asyncio.CancelledError:
            for future in futures:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001  (outermost frame of the task; carried to whoever asked)
            _fail(futures, error)
            return
        self._on_batch(len(parts), time.perf_counter() - started)
        for future, vector in zip(futures, vectors, strict=True):
            if not future.done():
                future.set_result(vector)


class _Queue:
    """The texts that wait in one event loop, in the order they came, and the task that embeds them."""

    def __init__(self) -> None:
        self.waiting: dict[asyncio.Future[Vector], TextPart] = {}
        self.work: asyncio.Task[None] | None = None


def _fail(futures: "Sequence[asyncio.Future[Vector]]", error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
