"""A lock that is handed on in order."""

import threading
from concurrent.futures import ThreadPoolExecutor

from connector.store.edge.fair_lock import FairLock


def test_one_at_a_time_and_nobody_twice_while_another_waits() -> None:
    lock = FairLock()
    order: list[str] = []
    lock.__enter__()
    waiting = threading.Event()

    def ask() -> None:
        waiting.set()
        with lock:
            order.append("asked")

    thread = threading.Thread(target=ask)
    thread.start()
    waiting.wait()
    while not lock.contended:
        pass
    lock.__exit__()
    with lock:
        order.append("again")
    thread.join()
    assert order == ["asked", "again"]


def test_many_threads_count_right() -> None:
    lock, total = FairLock(), [0]

    def add(_: int) -> None:
        for _ in range(200):
            with lock:
                before = total[0]
                total[0] = before + 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))
    assert total == [1600]
    assert not lock.contended
