"""Trying again, in one place for everything that talks to a store.

Only errors that call themselves ``retryable`` are tried again, with exponential waits, jitter, and never before
the moment a ``Retry-After`` names. ``StoreFull`` is waited out by a limit of its own: an operator needs minutes
to make room, and nothing but room helps. Waits are said in the log; every limit ends in one clear sentence.
"""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception
from tenacity.nap import sleep_using_event

from connector.errors import PolyglanceError, StoreFull, StoreUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST_WAIT_S = 1.0
"""No wait of our own choosing is longer: a server that is back is asked within two seconds, gRPC's own reconnecting
included. A server's Retry-After may be longer."""
LOGGED_ATTEMPTS = 4
"""Attempts that each have a line in the log; of those after them only every eighth has."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to go on, in seconds: ``total_s`` without an answer, ``full_s`` with a full store.

    ``first_s`` is the first wait; it doubles from there. ``closing`` ends every wait at once. ``nodes`` that can
    answer are asked one after the other before there is any wait.
    """

    total_s: float
    full_s: float
    first_s: float
    closing: threading.Event
    nodes: int = 1


def persist(operation: Callable[[], T], *, retry_policy: RetryPolicy, doing: str) -> T:
    """Call ``operation`` until it succeeds, fails for good, or the limit would be passed by the next wait.

    Raises what ``operation`` raised; at the limit, an error of the same class that says for how long it was tried.
    """
    retrying = Retrying(
        retry=retry_if_exception(_may_pass),
        wait=_Wait(retry_policy),
        stop=_Limit(retry_policy),
        sleep=sleep_using_event(retry_policy.closing),
        before_sleep=_ReplyReader(doing),
        retry_error_callback=_give_up,
    )
    return retrying(operation)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, StoreFull) or (isinstance(error, PolyglanceError) and error.retryable)


class _Wait:
    """Exponential with jitter; a full store is asked twenty times over its whole limit."""

    def __init__(self, retry_policy: RetryPolicy) -> None:
        self._full_s = retry_policy.full_s / 20
        self._first_s = retry_policy.first_s
        self._nodes = retry_policy.nodes

    def __call__(self, state: RetryCallState) -> float:
        error = _error_of(state)
        if isinstance(error, StoreFull):
            return self._full_s
        jitter = random.uniform(0, self._first_s)
        asked = error.retry_after if isinstance(error, StoreUnavailable) else None
        if asked is not None:
            return asked + jitter
        rounds, others = divmod(state.attempt_number, self._nodes)
        if others:
            return 0.0
        doublings = min(rounds - 1, 32)
        return min(self._first_s * 2.0**doublings, LONGEST_WAIT_S) + jitter


class _Limit:
    """Stop when the next attempt would come after the limit, or when the store is being closed."""

    def __init__(self, retry_policy: RetryPolicy) -> None:
        self._retry_policy = retry_policy

    def __call__(self, state: RetryCallState) -> bool:
        limit = self._retry_policy.full_s if isinstance(_error_of(state), StoreFull) else self._retry_policy.total_s
        return self._retry_policy.closing.is_set() or (state.seconds_since_start or 0.0) + state.upcoming_sleep > limit


class _ReplyReader:
    """A line in the log before the first waits, and now and then before later ones."""

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __call__(self, state: RetryCallState) -> None:
        if state.attempt_number > LOGGED_ATTEMPTS and state.attempt_number % 8:
            return
        error = _error_of(state)
        event = "store_full_paused" if isinstance(error, StoreFull) else "store_retry"
        log.warning(
            "%s doing=%r attempt=%d wait_s=%.2f error=%s",
            event,
            self._doing,
            state.attempt_number,
            state.upcoming_sleep,
            error,
        )


def _give_up(state: RetryCallState) -> NoReturn:
    error = _error_of(state)
    tries = "1 attempt" if state.attempt_number == 1 else f"{state.attempt_number} attempts"
    story = f"{error} Gave up after {tries} in {state.seconds_since_start or 0.0:.1f} s."
    if isinstance(error, StoreUnavailable):
        raise StoreUnavailable(story, retry_after=error.retry_after) from error
    raise type(error)(story) from error


def _error_of(state: RetryCallState) -> BaseException:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert error is not None
    return error
