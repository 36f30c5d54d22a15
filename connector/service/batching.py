"""TextBatcher: the texts of many requests, embedded together.

The rule: no timer. While the model works the queue fills, and the next batch is what has arrived by then. The queue is
bounded, and a request that was given up leaves it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from connector.errors import Overloaded
from connector.records import Vector, Vectors
from connector.service.metrics import Metrics


class AdmissionQueue:
    """At most ``at_once`` callers work, at most ``queue`` wait."""

    def __init__(self, *, at_once: int, queue: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._queue = queue
        self._waiting = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it within the block. Raises Overloaded when too many wait."""
        if self._waiting >= self._queue:
            raise Overloaded(f"{self._queue} requests wait already; ask again in a second.", retry_after=1.0)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()


class TextBatcher:
    """Embeds texts one by one for its callers and many at a time for the model; works within ``async with``."""

    def __init__(self, embed: Callable[[Sequence[str]], Vectors], *, queue: int, batch: int, metrics: Metrics) -> None:
        self._embed = embed
        self._size = queue
        self._batch = batch
        self._metrics = metrics
        self._waiting: dict[asyncio.Future[Vector], str] = {}  # in the order they came
        self._arrived = asyncio.Event()
        self._model = ThreadPoolExecutor(1, thread_name_prefix="texts")  # its own: nothing else holds the model up
        self._work: asyncio.Task[None] | None = None

    async def vector_of(self, text: str) -> Vector:
        """The vector of a text: (dims,) float32, L2-normalised. Raises Overloaded when the queue is full."""
        if len(self._waiting) >= self._size:
            raise Overloaded(f"{self._size} questions wait already; ask again in a second.", retry_after=1.0)
        mine: asyncio.Future[Vector] = asyncio.get_running_loop().create_future()
        self._waiting[mine] = text
        self._note_depth()
        self._arrived.set()
        try:
            return await mine
        finally:
            self._waiting.pop(mine, None)
            self._note_depth()

    async def __aenter__(self) -> Self:
        self._work = asyncio.create_task(self._embed_for_ever())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])
        for future in [*self._waiting]:
            future.cancel()
        self._model.shutdown(wait=True)

    async def _embed_for_ever(self) -> None:
        while True:
            await self._arrived.wait()
            slot = dict([*self._waiting.items()][: self._batch])
            for future in slot:
                del self._waiting[future]
            if not self._waiting:
                self._arrived.clear()
            self._note_depth()
            if slot:
                await self._answer(slot)

    async def _answer(self, batch: Mapping[asyncio.Future[Vector], str]) -> None:
        started = time.perf_counter()
        try:
            vectors = await asyncio.get_running_loop().run_in_executor(self._model, self._embed, [*batch.values()])
        except Exception as error:  # noqa: BLE001  (outermost frame of the task; carried to whoever asked)
            for future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        self._metrics.batches.observe(len(batch))
        self._metrics.passes.observe(time.perf_counter() - started)
        for future, vector in zip(batch, vectors, strict=True):
            if not future.done():
                future.set_result(vector)

    def _note_depth(self) -> None:
        self._metrics.waiting.set(len(self._waiting))
