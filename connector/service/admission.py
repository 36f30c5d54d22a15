"""AdmissionQueue: costly work of requests, in threads of its own and within a budget of bytes.

The one rule: what was let in holds its thread and its bytes until that thread has really ended, whether or not its
caller still waits. Whoever leaves raises a flag, at which the work looks between its pieces.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from connector.errors import Overloaded, UnreadableImage
from connector.service.metrics import Metrics

T = TypeVar("T")


class Abandoned(Exception):
    """Nobody waits for this work any more; never seen by callers."""


class Slot:
    """What a piece of work holds: a thread, and a flag that its caller has left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = False
        self._wakes: Callable[[], None] | None = None

    def check(self) -> None:
        """Raise Abandoned where the caller has left."""
        if self._left:
            raise Abandoned

    def leave(self) -> None:
        """Note that the caller has left."""
        with self._lock:
            self._left = True
            wake = self._wakes
        if wake is not None:
            wake()

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call ``wake`` when the caller leaves within the block."""
        with self._lock:
            self._wakes = wake
        try:
            yield
        finally:
            with self._lock:
                self._wakes = None


class ByteBudget:
    """Bytes that are lent in the order in which they are asked for. Used from the threads of an AdmissionQueue."""

    def __init__(self, size: int, *, on_change: Callable[[int], None] = lambda _: None) -> None:
        self.size = size
        self._on_change = on_change
        self._lent = 0
        self._waiting: deque[Slot] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def lent(self, wanted: int, *, slot: Slot) -> Iterator[None]:
        """Wait for so many bytes and have them within the block; ``wanted`` is at most ``size``. Raises Abandoned."""
        with self._changed, slot.waking(self._wake):
            self._waiting.append(slot)
            try:
                while self._waiting[0] is not slot or self._lent + wanted > self.size:
                    slot.check()
                    self._changed.wait()
                slot.check()
                self._lent += wanted
                self._on_change(self._lent)
            finally:
                self._waiting.remove(slot)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._lent -= wanted
                self._on_change(self._lent)
                self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class AdmissionQueue:
    """Runs work in at most ``threads`` threads while at most ``queue`` callers wait; belongs to one event loop."""

    def __init__(self, *, threads: int, queue: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threads
        self._queue = queue
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait to be let in."""
        return len(self._waiting)

    async def run(self, work: Callable[[Slot], T]) -> T:
        """What the work returns, once it was let in. Raises Overloaded when too many wait.

        A caller that is cancelled goes at once; its work ends at its next ``Slot.check`` and holds its place so long.
        """
        await self._enter()
        loop = asyncio.get_running_loop()
        slot = Slot()
        started = self._threads.submit(work, slot)
        started.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave))
        try:
            return await asyncio.wrap_future(started)
        except asyncio.CancelledError:
            slot.leave()
            raise

    def close(self) -> None:
        """Wait until all threads have ended."""
        self._threads.shutdown(wait=True)

    async def _enter(self) -> None:
        if self._free and not self._waiting:
            self._free -= 1
            return
        if len(self._waiting) >= self._queue:
            raise Overloaded(f"{self._queue} requests wait already; ask again in a second.", retry_after=1.0)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled():  # let in and cancelled in one moment
                self._leave()
            raise

    def _leave(self) -> None:
        self._free += 1
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
                return


class ImageAdmission(AdmissionQueue):
    """Work on images: bytes of files that are read, and bytes that decoding takes, within a budget each.

    A file's bytes are asked for before its pixels', and by no work in the other order: so none waits for another.
    """

    def __init__(self, *, threads: int, queue: int, file_bytes: int, decode_bytes: int, metrics: Metrics) -> None:
        super().__init__(threads=threads, queue=queue, name="images")
        self._files = ByteBudget(file_bytes)
        self._pixels = ByteBudget(decode_bytes, on_change=metrics.decoding.set)

    @contextmanager
    def reading(self, size: int, *, slot: Slot) -> Iterator[None]:
        """Hold the bytes of a file within the block. Raises Abandoned."""
        with self._files.lent(min(size, self._files.size), slot=slot):
            yield

    @contextmanager
    def decoding(self, data: bytes, *, size: int, slot: Slot) -> Iterator[None]:
        """Hold what decoding this file takes within the block. Raises Abandoned, and UnreadableImage for too much."""
        from connector.images.decode import decode_memory  # here: it imports torch

        needed = decode_memory(data, size=size)
        if needed > self._pixels.size:
            raise UnreadableImage(
                f"this image takes {needed:,} bytes to decode; serve.decode_bytes = {self._pixels.size:,} are allowed.",
                reason="too_many_pixels",
            )
        with self._pixels.lent(needed, slot=slot):
            yield
