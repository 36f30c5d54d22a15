"""Turns: work that may be done a few at a time, and waited for by a bounded number of callers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from connector.errors import Overloaded


class Turns:
    """At most ``at_once`` callers work, at most ``queue`` wait."""

    def __init__(self, *, at_once: int, queue: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._queue = queue
        self._waiting = 0

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
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
