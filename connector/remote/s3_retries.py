"""Retries: when a request to S3 is sent again, for both readers and for listings alike.

The one rule: how long to go on is the store's affair, how often is the object's. A store that is away or throttles is
waited for, ``total_s`` for all threads together; an object that fails while the store answers has so many attempts.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential
from tenacity.nap import sleep_using_event

from connector.printable import mask_credentials, printable
from connector.remote.s3_errors import StoreAway, message_of, retry_after, trouble_of

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_WAIT_S = 0.1
"""The first wait is up to this long; the bound doubles from there."""
LONGEST_WAIT_S = 5.0
PROBE_S = (0.25, 2.0)
"""Waits between two looks at a store that is away: the first, and the longest."""


class TokenBucket:
    """What braking is paid from: asking a throttling store again takes a token, each answer brings half of one.

    So a store that refuses less than a third of all requests slows nobody down, and one that refuses everything is
    asked ``refill_s`` times a second by all threads together.
    """

    def __init__(self, *, capacity: float = 100.0, refill_s: float = 5.0) -> None:
        self._capacity = capacity
        self._refill_s = refill_s
        self._lock = threading.Lock()
        self._tokens = capacity
        self._at = time.monotonic()

    def take(self) -> float:
        """Take a token; the seconds until it is there, 0 where it is now."""
        with self._lock:
            self._add(-1.0)
            return max(0.0, -self._tokens / self._refill_s)

    def give(self) -> None:
        """Bring half a token back."""
        with self._lock:
            self._add(0.5)

    def _add(self, tokens: float) -> None:
        now = time.monotonic()
        self._tokens = min(self._capacity, self._tokens + (now - self._at) * self._refill_s) + tokens
        self._at = now


class Retries:
    """One policy for all threads of one client. ``is_alive`` asks the store of a bucket for any answer at all."""

    def __init__(self, *, attempts: int, total_s: float, is_alive: Callable[[str], bool]) -> None:
        self._attempts = attempts
        self._total_s = total_s
        self._is_alive = is_alive
        self._tokens = TokenBucket()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._throttled = 0
        self._looking = threading.Lock()  # one thread looks after the store, the others wait for what it finds
        self._seen_alive_at = float("-inf")
        self._away_since: float | None = None
        self._outages = 0

    @property
    def throttled(self) -> int:
        """How many requests the store has refused because they were too many."""
        with self._lock:
            return self._throttled

    def ask(self, request: Callable[[], T], *, bucket: str) -> T:
        """The answer to a request of this bucket, sent again while that may help.

        Raises what ``request`` raised last; StoreAway where the store gave no answer to anybody for ``total_s``.
        """
        call = _Call(self, bucket=bucket)
        retrying = Retrying(
            retry=retry_if_exception(lambda error: trouble_of(error) is not None),
            wait=call.wait,
            stop=call.is_over,
            sleep=sleep_using_event(self._closing),
            reraise=True,
        )
        answer = retrying(request)
        self._tokens.give()
        self._answered()
        return answer

    def close(self) -> None:
        """End every wait; what is under way is not sent again."""
        self._closing.set()

    def note_throttled(self) -> float:
        """Count a request that was refused; the seconds that the brake asks for before the next."""
        with self._lock:
            self._throttled += 1
        return self._tokens.take()

    def is_past(self, attempt: int, *, seconds: float | None = None) -> bool:
        """Whether a request has had its attempts and, where they count too, its seconds."""
        return self._closing.is_set() or (attempt >= self._attempts and (seconds is None or seconds > self._total_s))

    def check_alive(self, error: BaseException, *, bucket: str, seconds: float) -> None:
        """Raise StoreAway where the store refuses whatever is asked of this bucket."""
        if not self._closing.is_set() and not self._is_alive(bucket):
            raise StoreAway(error, seconds=seconds) from error

    def outlast(self, error: BaseException, *, bucket: str) -> bool:
        """Wait until the store answers at all; whether it did at once. Raises StoreAway at the limit."""
        failed_at, outages = time.monotonic(), self._outages
        pause, longest = PROBE_S
        with self._looking:
            while self._seen_alive_at < failed_at and not self._closing.is_set():
                asked_at = time.monotonic()
                if self._is_alive(bucket):
                    self._seen_alive_at = asked_at
                    self._answered()
                    break
                since = self._went_away(error, failed_at=failed_at)
                if time.monotonic() + pause - since > self._total_s:
                    raise StoreAway(error, seconds=time.monotonic() - since) from error
                self._closing.wait(pause)
                pause = min(2 * pause, longest)
        return self._outages == outages

    def _went_away(self, error: BaseException, *, failed_at: float) -> float:
        """Since when nobody got an answer; said once."""
        with self._lock:
            if self._away_since is None:
                self._away_since = failed_at
                self._outages += 1
                shown = printable(mask_credentials(message_of(error)))
                log.warning("s3_away waiting_s=%g (s3.retry_s) error=%s", self._total_s, shown)
            return self._away_since

    def _answered(self) -> None:
        """Note that the store gave an answer; the end of an outage is said once."""
        if self._away_since is None:
            return
        with self._lock:
            since, self._away_since = self._away_since, None
        if since is not None:
            log.warning("s3_back after_s=%.1f", time.monotonic() - since)


class _Call:
    """One request through all its attempts, as tenacity asks about it: how long to wait, whether to stop."""

    def __init__(self, retries: Retries, *, bucket: str) -> None:
        self._retries = retries
        self._bucket = bucket
        self._backoff = wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)
        self._was_alive = False

    def wait(self, state: RetryCallState) -> float:
        """Seconds before the next attempt: with full jitter, never before what the store or the brake asks for."""
        error = _error_of(state)
        asked = self._retries.note_throttled() if trouble_of(error) == "throttled" else 0.0
        return max(self._backoff(state), asked, retry_after(error))

    def is_over(self, state: RetryCallState) -> bool:
        """Whether the last failure is final.

        It is the object's own where the store answered both before and after the attempt that failed.
        """
        error, attempt = _error_of(state), state.attempt_number
        match trouble_of(error):
            case "throttled":
                waited = (state.seconds_since_start or 0.0) + state.upcoming_sleep
                if not self._retries.is_past(attempt, seconds=waited):
                    return False
                self._retries.check_alive(error, bucket=self._bucket, seconds=waited)
                return True
            case "store" if not self._retries.is_past(attempt + 1):
                return False
            case "store":
                was_alive = self._retries.outlast(error, bucket=self._bucket)
                between = self._was_alive or attempt == 1
                self._was_alive = True
                return self._retries.is_past(attempt) and was_alive and between
            case _:
                return self._retries.is_past(attempt)


def _error_of(state: RetryCallState) -> BaseException:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert error is not None
    return error
