"""Channel and ThreadGroup: what is bounded, what ends, and who hears of a failure."""

import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from workers.pipeline.channel import Aborted, Channel, ThreadGroup

LONG = 30.0
"""Seconds after which something that should have happened counts as never happening."""


class Thread(threading.Thread):
    """A thread that belongs to a test and tells when it waits no more."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.result: object = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._work()
        except Aborted as error:
            self.error = error

    def done(self) -> "Thread":
        self.join(LONG)
        assert not self.is_alive()
        return self


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Whatever happens, every thread is home afterwards."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


# the channel


def test_what_goes_in_comes_out_in_order() -> None:
    channel: Channel[int] = Channel(10)
    channel.put([1, 2, 3])
    channel.put([4])
    channel.close()

    assert channel.get(2) == [1, 2]
    assert channel.get(10) == [3, 4]
    assert channel.get(10) == []


def test_a_slow_consumer_stops_the_source() -> None:
    channel: Channel[int] = Channel(3)
    made = []
    full = threading.Event()

    def source() -> None:
        for number in range(10):
            if number == 3:
                full.set()
            channel.put([number])
            made.append(number)

    thread = Thread(source)
    assert full.wait(LONG)
    assert made == [0, 1, 2]
    assert channel.get(10) == [0, 1, 2]
    while len(made) < 10:
        channel.get(1)
    thread.done()


def test_a_long_bundle_goes_in_piece_by_piece() -> None:
    channel: Channel[int] = Channel(2)
    thread = Thread(lambda: channel.put(range(7)))

    taken: list[int] = []
    while len(taken) < 7:
        batch = channel.get(10)
        assert len(batch) <= 2
        taken += batch

    thread.done()
    assert taken == list(range(7))


def test_the_capacity_is_in_units_of_weight() -> None:
    channel: Channel[bytes] = Channel(10, weigh=len)
    channel.put([b"12345", b"12345"])
    thread = Thread(lambda: channel.put([b"1"]))

    assert channel.get(1) == [b"12345"]
    thread.done()
    assert channel.get(10) == [b"12345", b"1"]


def test_an_overweight_item_is_let_in_alone() -> None:
    channel: Channel[bytes] = Channel(10, weigh=len)
    channel.put([b"1"])
    thread = Thread(lambda: channel.put([b"x" * 1000, b"2"]))

    assert channel.get(10) == [b"1"]
    assert channel.get(10) == [b"x" * 1000]
    assert channel.get(10) == [b"2"]
    thread.done()


def test_it_waits_for_a_full_batch_and_takes_less_only_at_the_end() -> None:
    channel: Channel[int] = Channel(10, least=3)
    channel.put([1, 2])
    thread = Thread(lambda: channel.get(3))
    channel.put([3, 4])

    assert thread.done().result == [1, 2, 3]
    last = Thread(lambda: channel.get(3))
    channel.close()
    assert last.done().result == [4]


def test_closing_wakes_every_consumer() -> None:
    channel: Channel[int] = Channel(1)
    threads = [Thread(lambda: channel.get(1)) for _ in range(4)]
    channel.close()

    assert [thread.done().result for thread in threads] == [[]] * 4


def test_aborting_wakes_both_sides_and_drops_what_waits() -> None:
    empty: Channel[int] = Channel(1)
    full: Channel[int] = Channel(1)
    full.put([1])
    threads = [Thread(lambda: empty.get(1)), Thread(lambda: full.put([2]))]
    for channel in (empty, full):
        channel.abort()

    assert all(isinstance(thread.done().error, Aborted) for thread in threads)
    with pytest.raises(Aborted):
        full.get(1)


def test_many_producers_and_consumers_lose_nothing_and_double_nothing() -> None:
    numbers: Channel[int] = Channel(5)
    taken: list[int] = []
    with ThreadGroup([numbers]) as group:
        starts = iter(range(0, 4000, 1000))
        group.start("make", lambda: numbers.put(range(start := next(starts), start + 1000)), count=4, output=numbers)
        group.start("take", lambda: taken.extend(_drained(numbers)), count=4, output=None)

    assert sorted(taken) == list(range(4000))


def _drained(channel: Channel[int]) -> list[int]:
    found: list[int] = []
    while batch := channel.get(7):
        found += batch
    return found


# the crew


def _wait(channel: Channel[int]) -> None:
    channel.get(1)


def crewed(channel: Channel[int], *works: Callable[[], None]) -> None:
    """Run three threads that wait for the channel, and one for each of the works."""
    with ThreadGroup([channel]) as group:
        group.start("wait", partial(_wait, channel), count=3, output=None)
        for number, work in enumerate(works):
            group.start(f"work-{number}", work, count=1, output=None)
        group.wait()


def test_the_last_producer_closes_the_output() -> None:
    channel: Channel[int] = Channel(10)
    gate = threading.Barrier(2)

    def make() -> None:
        channel.put([1])
        gate.wait(LONG)

    with ThreadGroup([channel]) as group:
        group.start("make", make, count=2, output=channel)
        group.wait()
        assert _drained(channel) == [1, 1]


def test_a_failing_thread_ends_all_and_its_error_is_raised() -> None:
    channel: Channel[int] = Channel(1)

    def fail() -> None:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        crewed(channel, fail)


def test_a_failing_consumer_frees_a_producer_that_waits_for_room() -> None:
    channel: Channel[int] = Channel(1)

    def fail() -> None:
        channel.get(1)
        raise ValueError("consumer")

    with pytest.raises(ValueError, match="consumer"):
        crewed(channel, lambda: channel.put(range(10**9)), fail)


def test_of_two_failures_the_first_is_raised() -> None:
    channel: Channel[int] = Channel(1)
    first = threading.Event()

    def early() -> None:
        first.set()
        raise ValueError("early")

    def late() -> None:
        assert first.wait(LONG)
        try:
            channel.get(1)
        except Aborted:
            raise ValueError("late") from None

    with pytest.raises(ValueError, match="early"):
        crewed(channel, late, early)


def test_an_error_in_the_block_sends_everybody_home() -> None:
    channel: Channel[int] = Channel(1)

    def block() -> None:
        with ThreadGroup([channel]) as group:
            group.start("wait", partial(_wait, channel), count=3, output=None)
            raise KeyError("block")

    with pytest.raises(KeyError, match="block"):
        block()


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_gets_through_and_leaves_no_thread() -> None:
    channel: Channel[int] = Channel(1)
    main = threading.main_thread().ident or 0

    with pytest.raises(KeyboardInterrupt):
        crewed(channel, lambda: signal.pthread_kill(main, signal.SIGINT))


def test_a_thread_that_cannot_start_does_not_hide_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may refuse one more thread; those that run go home and the refusal is what is raised."""
    channel: Channel[int] = Channel(1)
    starts, real = iter(range(1000)), threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if next(starts) == 2:
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        crewed(channel)
