"""Slots: the part that every executor with workers elsewhere shares. A thread for each worker waits for it.

The rule: a worker is started when there is something to do, and started again after it died. A slot takes a shard when
its worker is ready, and whatever happens becomes the exception of a future.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

from connector.errors import RunIncomplete, WorkerDied
from workers.executors.executor import OnHeartbeat, Remote
from workers.pipeline.counters import ShardReport
from workers.records import Prepared, Shard


@dataclass(frozen=True, slots=True)
class _Order:
    shard: Shard
    on_heartbeat: OnHeartbeat
    answer: Future[ShardReport]


class Slots:
    """Workers, each behind a thread of its own. ``start`` makes the worker of a slot by its number, from 0."""

    def __init__(self, start: Callable[[int], Remote], *, count: Callable[[Prepared], int]) -> None:
        self._start = start
        self._count = count
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._started: dict[int, Remote] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False

    @property
    def workers(self) -> int:
        """How many shards are worked on at once."""
        return len(self._threads)

    @property
    def wants(self) -> int:
        """One more than there are workers: the next is there when one is free."""
        return len(self._threads) + 1

    def prepare(self, *, recreate: bool) -> Prepared:
        """Start the first worker, let it see to the collection, and open the slots. Raises RunIncomplete."""
        try:
            self._start_worker(0)
            prepared = self._started[0].prepare(recreate=recreate)
        except WorkerDied as death:
            raise RunIncomplete(died_before_work("the first worker died before it began", death)) from death
        for number in range(len(self._threads), self._count(prepared)):
            thread = threading.Thread(target=self._serve, args=(number,), name=f"slot-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return prepared

    def submit(self, shard: Shard, *, on_heartbeat: OnHeartbeat) -> Future[ShardReport]:
        """Hand a shard to the next slot that is free."""
        order = _Order(shard, on_heartbeat, Future())
        self._orders.put(order)
        return order.answer

    def close(self) -> None:
        """End all workers and wait for the threads."""
        with self._lock:
            self._closed = True
            workers = list(self._started.values())
        for _ in self._threads:
            self._orders.put(None)
        for worker in workers:
            worker.close()
        for thread in self._threads:
            thread.join()
        self._fail_waiting(_sent_home(), at_most=self._orders.qsize())

    def _serve(self, number: int) -> None:
        while (order := self._orders.get()) is not None:
            if number not in self._started:
                self._orders.put(order)  # whoever is ready first takes it: a worker may have to wait for a place
                self._replace(number)
            else:
                self._work(number, order)

    def _work(self, number: int, order: _Order) -> None:
        try:
            done = self._started[number].work(order.shard, on_heartbeat=order.on_heartbeat)
        except BaseException as failure:  # noqa: BLE001  (outermost frame of the thread; raised by the future)
            if isinstance(failure, WorkerDied):
                self._forget(number)
            order.answer.set_exception(failure)
        else:
            order.answer.set_result(done)

    def _replace(self, number: int) -> None:
        """Start a worker; where that fails, so does whatever waits for one."""
        try:
            self._start_worker(number)
        except BaseException as failure:  # noqa: BLE001  (outermost frame of the thread; raised by a future)
            self._fail_waiting(failure, at_most=1)

    def _start_worker(self, number: int) -> None:
        """See to it that the worker of a slot is there and ready."""
        if number in self._started:
            return
        worker = self._start(number)
        with self._lock:
            late = self._closed
            self._started[number] = worker
        if late:
            worker.close()
            raise _sent_home()
        try:
            worker.ready()
        except BaseException:
            self._forget(number)
            raise

    def _fail_waiting(self, failure: BaseException, *, at_most: int) -> None:
        for _ in range(at_most):
            with suppress(queue.Empty):
                order = self._orders.get_nowait()
                if order is None:
                    self._orders.put(None)  # meant for another thread
                else:
                    order.answer.set_exception(failure)

    def _forget(self, number: int) -> None:
        with self._lock:
            gone = self._started.pop(number, None)
        if gone is not None:
            gone.close()


def died_before_work(who: str, death: WorkerDied) -> str:
    """What is said where workers die before they do anything, which is no image's fault."""
    return (
        f"{who} to work: {death}. Give workers more memory, or have fewer of them (ingest.workers); then "
        "give the same command again."
    )


def _sent_home() -> WorkerDied:
    return WorkerDied("the workers were sent home", working=False)
