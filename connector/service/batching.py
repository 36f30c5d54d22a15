"""TextBatcher: the texts of many requests, embedded together.

The rule: no timer. While the model works the queue fills, and the next batch is what has arrived by then. The queue is
bounded, and a request that was given up leaves it.
"""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from connector.errors import Overloaded
from connector.records import Vector, Vectors

LARGEST = 64
"""Texts in one pass through the model."""


class TextBatcher:
    """Embeds texts one by one for its callers and many at a time for the model; works within ``async with``."""

    def __init__(self, embed: Callable[[Sequence[str]], Vectors], *, queue: int) -> None:
        self._embed = embed
        self._size = queue
        self._waiting: asyncio.Queue[tuple[str, asyncio.Future[Vector]]] = asyncio.Queue(maxsize=queue)
        self._work: asyncio.Task[None] | None = None

    async def vector_of(self, text: str) -> Vector:
        """The vector of a text: (dims,) float32, L2-normalised. Raises Overloaded when the queue is full."""
        mine: asyncio.Future[Vector] = asyncio.get_running_loop().create_future()
        try:
            self._waiting.put_nowait((text, mine))
        except asyncio.QueueFull:
            raise Overloaded(f"{self._size} questions wait already; ask again in a second.", retry_after=1.0) from None
        return await mine

    async def __aenter__(self) -> Self:
        self._work = asyncio.create_task(self._embed_for_ever())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])

    async def _embed_for_ever(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < LARGEST and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            wanted = [(text, future) for text, future in batch if not future.done()]
            if wanted:
                await self._answer(wanted)

    async def _answer(self, batch: Sequence[tuple[str, asyncio.Future[Vector]]]) -> None:
        try:
            vectors = await asyncio.to_thread(self._embed, [text for text, _ in batch])
        except Exception as error:  # noqa: BLE001  (outermost frame of the task; carried to whoever asked)
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), vector in zip(batch, vectors, strict=True):
            if not future.done():
                future.set_result(vector)
