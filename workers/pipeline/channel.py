"""Channel: a bounded queue between two stages, and ThreadGroup: the threads that work along the channels.

The rule: a channel is closed by its producers when they are done and aborted by the crew when anything breaks, so
no thread waits for ever and none outlives its ``with``.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class Aborted(Exception):
    """The crew is going home: the thread that gets this returns without a word."""


class Channel(Generic[T]):
    """A first-in first-out queue that many threads fill and empty, bounded by the weight of what waits in it.

    ``capacity`` is in the units of ``weigh`` (one per item by default). An item heavier than the whole capacity
    is let in alone, so that it can never wait for ever. Items are handed out from ``least`` on, which must fit into the
    capacity; no thread is woken for fewer.
    """

    def __init__(self, capacity: int, *, least: int = 1, weigh: Callable[[T], int] = lambda _: 1) -> None:
        self._capacity = capacity
        self._least = least
        self._weigh = weigh
        self._items: deque[T] = deque()
        self._weight = 0
        self._closed = False
        self._aborted = False
        lock = threading.Lock()
        self._room = threading.Condition(lock)
        self._ready = threading.Condition(lock)

    def put(self, items: Sequence[T]) -> None:
        """Append the items one after the other, waiting for room. Raises Aborted."""
        with self._room:
            for item in items:
                weight = self._weigh(item)
                if not self._may_put(weight):
                    self._call()  # whoever takes makes room
                    self._room.wait_for(partial(self._may_put, weight))
                if self._aborted:
                    raise Aborted
                self._items.append(item)
                self._weight += weight
            self._call()

    def get(self, at_most: int) -> list[T]:
        """Take the next items: as soon as ``least`` wait, or fewer once the channel is closed.

        An empty list is the end. Raises Aborted.
        """
        with self._ready:
            self._ready.wait_for(lambda: self._aborted or self._closed or len(self._items) >= self._least)
            if self._aborted:
                raise Aborted
            taken = [self._items.popleft() for _ in range(min(at_most, len(self._items)))]
            self._weight -= sum(self._weigh(item) for item in taken)
            self._room.notify_all()
            return taken

    def __len__(self) -> int:
        """How many items wait."""
        return len(self._items)

    def close(self) -> None:
        """No more items will come; what waits can still be taken."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def abort(self) -> None:
        """Wake everybody with Aborted and drop what waits."""
        with self._ready:
            self._aborted = True
            self._items.clear()
            self._ready.notify_all()
            self._room.notify_all()

    def _may_put(self, weight: int) -> bool:
        return self._aborted or not self._items or self._weight + weight <= self._capacity

    def _call(self) -> None:
        """Wake as many threads as there is something for."""
        self._ready.notify(len(self._items) // self._least)


class ThreadGroup:
    """Threads that belong together: they end when the ``with`` ends, and the first failure of one ends all.

    Leaving the block waits for every thread, then raises what broke first. A thread that waits for a channel
    is woken by ``stop``. One that nothing wakes can be given up: ``replace`` puts another in its place.
    """

    def __init__(self, channels: Sequence[Channel[Any]]) -> None:
        self._channels = channels
        self._working: set[threading.Thread] = set()
        self._home: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._groups: dict[str, _Group] = {}

    def start(self, name: str, work: Callable[[], None], *, count: int, output: Channel[Any] | None) -> None:
        """Run ``work`` in ``count`` threads; the last of them to return closes ``output``."""
        self._groups[name] = _Group(left=count, output=output)
        for number in range(count):
            self._run(f"{name}-{number}", work, group=self._groups[name])

    def replace(self, stuck: threading.Thread, name: str, work: Callable[[], None]) -> None:
        """Give a thread of group ``name`` up and let another do ``work`` in its place.

        The thread that was given up must raise Aborted where it comes back after all.
        """
        self.leave(stuck)
        self._run(stuck.name, work, group=self._groups[name])

    def leave(self, stuck: threading.Thread) -> None:
        """Wait for a thread no longer; it must raise Aborted where it comes back after all."""
        with self._changed:
            self._working.discard(stuck)
            self._changed.notify_all()

    def stop(self) -> None:
        """Send everybody home; what is under way is dropped."""
        for channel in self._channels:
            channel.abort()

    def wait(self) -> None:
        """Wait until every thread is home. An interrupt gets through.

        Not by ``join``, which takes a thread for ended when it is interrupted (CPython's issue 45274).
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._working)
        for thread in self._home:
            thread.join()

    def _run(self, name: str, work: Callable[[], None], *, group: "_Group") -> None:
        def body() -> None:
            try:
                self._do(work, group=group)
            finally:
                with self._changed:
                    if thread in self._working:  # else it was given up
                        self._working.remove(thread)
                        self._home.append(thread)
                    self._changed.notify_all()

        thread = threading.Thread(target=body, name=name, daemon=True)
        with self._changed:
            self._working.add(thread)
        try:
            thread.start()
        except BaseException:  # the system refused to start it, or an interrupt came first
            if thread.ident is None:
                with self._changed:
                    self._working.discard(thread)
            raise

    def _do(self, work: Callable[[], None], *, group: "_Group") -> None:
        try:
            work()
        except Aborted:
            return
        except BaseException as failure:  # noqa: BLE001  (outermost frame of the thread; raised again in __exit__)
            self._fail(failure)
            return
        with self._changed:
            group.left -= 1
            last = group.left == 0
        if last and group.output is not None:
            group.output.close()

    def _fail(self, failure: BaseException) -> None:
        with self._changed:
            self._failure = self._failure or failure
        self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.stop()
        self.wait()
        if error is None and self._failure is not None:
            raise self._failure


@dataclass(slots=True)
class _Group:
    """Threads of one stage: how many have not returned, and the channel they fill."""

    left: int
    output: Channel[Any] | None
