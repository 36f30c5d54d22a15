"""Trying again: only what may pass, never before the moment a server names, and never for ever."""

import logging
import threading

import pytest

from connector.errors import CollectionMissing, InvalidQuery, StoreFull, StoreRefused, StoreUnavailable
from connector.settings import QdrantSettings
from connector.store.server.client import GRPC_OPTIONS
from connector.store.server.retries import LONGEST_WAIT_S, RetryPolicy, persist


class Scripted:
    """An operation that raises what it is told to, one error a call, then answers; it counts its calls."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return "done"


class Unwavering:
    """An operation that always raises the same error, and counts."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        raise self._error


def retry_policy(*, total_s: float = 30.0, full_s: float = 30.0, first_s: float = 0.001, nodes: int = 1) -> RetryPolicy:
    return RetryPolicy(total_s=total_s, full_s=full_s, first_s=first_s, closing=threading.Event(), nodes=nodes)


def waits_of(caplog: pytest.LogCaptureFixture) -> list[float]:
    """The waits that were announced, in seconds."""
    return [float(message.split("wait_s=")[1].split()[0]) for message in caplog.messages]


def test_what_may_pass_is_tried_until_it_passes() -> None:
    operation = Scripted(StoreUnavailable("one"), StoreUnavailable("two"))
    assert persist(operation, retry_policy=retry_policy(), doing="asking") == "done"
    assert operation.calls == 3


@pytest.mark.parametrize(
    "error",
    [StoreRefused("no"), CollectionMissing("gone"), InvalidQuery("what"), ValueError("bug"), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
def test_what_will_not_pass_is_raised_at_once_and_as_it_is(error: BaseException) -> None:
    calls = []

    def operation() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)) as raised:
        persist(operation, retry_policy=retry_policy(), doing="asking")
    assert raised.value is error
    assert len(calls) == 1


def test_waits_grow_exponentially_with_jitter(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        persist(Scripted(*[StoreUnavailable("busy")] * 4), retry_policy=retry_policy(first_s=0.02), doing="asking")
    for attempt, wait in enumerate(waits_of(caplog)):
        assert 0.02 * 2**attempt - 0.006 <= wait <= 0.02 * 2**attempt + 0.026  # announced with two decimals


def test_every_node_is_asked_before_there_is_a_wait(caplog: pytest.LogCaptureFixture) -> None:
    policy = retry_policy(first_s=0.02, nodes=2)
    with caplog.at_level(logging.WARNING):
        persist(Scripted(*[StoreUnavailable("away")] * 4), retry_policy=policy, doing="asking")
    first, second, third, fourth = waits_of(caplog)
    assert (first, third) == (0.0, 0.0)
    assert 0.01 < second < 0.05
    assert 0.03 < fourth < 0.07


def test_a_long_wait_is_told_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        persist(Scripted(*[StoreUnavailable("away")] * 20), retry_policy=retry_policy(first_s=1e-9), doing="asking")
    told = [int(message.split("attempt=")[1].split()[0]) for message in caplog.messages]
    assert told == [1, 2, 3, 4, 8, 16]


def test_a_server_that_is_back_is_asked_within_two_seconds() -> None:
    patient = QdrantSettings()
    assert LONGEST_WAIT_S + patient.retry_first_s + GRPC_OPTIONS["grpc.max_reconnect_backoff_ms"] / 1000 < 2.0


def test_no_wait_of_our_own_is_longer_than_the_longest() -> None:
    operation = Unwavering(StoreUnavailable("busy"))
    with pytest.raises(StoreUnavailable):
        persist(operation, retry_policy=retry_policy(total_s=LONGEST_WAIT_S / 2, first_s=100.0), doing="asking")
    assert operation.calls == 1


def test_the_limit_ends_in_one_sentence_that_keeps_cause_and_class() -> None:
    cause = StoreUnavailable("No answer.", retry_after=None)
    operation = Unwavering(cause)
    with pytest.raises(StoreUnavailable, match=r"^No answer\. Gave up after \d+ attempts in 0\.\d s\.$") as raised:
        persist(operation, retry_policy=retry_policy(total_s=0.6, first_s=0.1), doing="asking")
    assert raised.value.__cause__ is cause
    assert operation.calls >= 2


def test_no_patience_means_one_attempt() -> None:
    operation = Unwavering(StoreUnavailable("No answer."))
    with pytest.raises(StoreUnavailable, match="Gave up after 1 attempt in"):
        persist(operation, retry_policy=retry_policy(total_s=0.0), doing="asking")
    assert operation.calls == 1


def test_a_named_moment_is_never_anticipated(caplog: pytest.LogCaptureFixture) -> None:
    errors = [StoreUnavailable("busy", retry_after=0.2), StoreUnavailable("busy", retry_after=0.1)]
    with caplog.at_level(logging.WARNING):
        persist(Scripted(*errors), retry_policy=retry_policy(), doing="asking")
    first, second = waits_of(caplog)
    assert first >= 0.2
    assert second >= 0.1


def test_a_moment_beyond_the_limit_is_not_waited_for() -> None:
    operation = Unwavering(StoreUnavailable("busy", retry_after=60))
    with pytest.raises(StoreUnavailable) as raised:
        persist(operation, retry_policy=retry_policy(), doing="asking")
    assert operation.calls == 1
    assert raised.value.retry_after == 60


def test_a_full_store_has_a_limit_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    operation = Unwavering(StoreFull("No room."))
    with caplog.at_level(logging.WARNING), pytest.raises(StoreFull, match=r"Gave up after \d+ attempts"):
        persist(operation, retry_policy=retry_policy(total_s=0.0, full_s=1.0), doing="writing 3 points")
    assert operation.calls > 5
    assert all(message.startswith("store_full_paused doing='writing 3 points'") for message in caplog.messages)


def test_a_closed_store_is_not_waited_for() -> None:
    closed = retry_policy(first_s=1.0)
    closed.closing.set()
    operation = Unwavering(StoreUnavailable("busy"))
    with pytest.raises(StoreUnavailable):
        persist(operation, retry_policy=closed, doing="asking")
    assert operation.calls == 1
