"""Connections of the service, bounded while their request is not wholly in, and while their answer is not taken.

The one rule: headers have ``serve.header_timeout_s`` to arrive, and of connections that still send their request the
oldest goes when there are more than ``serve.half_open``: slow callers push out one another, and nobody else. A piece
of an answer has ``serve.stall_timeout_s`` to be taken.
"""

import asyncio
import re
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_BYTES = 16 * 1024
"""Bytes of a request's line and headers."""


_END = re.compile(rb"\n\r?\n")


def _is_too_long(head: bytes) -> bool:
    """Whether headers do not end where they must; h11 looks at what comes in many pieces only."""
    return len(head) >= HEADER_BYTES and _END.search(head) is None


class HalfOpen:
    """The connections of one process whose request is not wholly in, the oldest first."""

    def __init__(self, *, most: int, header_timeout_s: float) -> None:
        self.header_timeout_s = header_timeout_s
        self._most = most
        self._lines: dict[BoundedProtocol, None] = {}

    def add(self, line: "BoundedProtocol") -> None:
        """Count a connection; the oldest is closed when they are too many."""
        self._lines.setdefault(line)
        if len(self._lines) > self._most:
            oldest = next(iter(self._lines))
            del self._lines[oldest]
            oldest.transport.abort()

    def discard(self, line: "BoundedProtocol") -> None:
        """Count a connection no longer; harmless where it was not."""
        self._lines.pop(line, None)


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol for HTTP/1.1, with a clock for headers and a place among the half-open connections."""

    def __init__(self, *, half_open: HalfOpen, stall_timeout_s: float, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._half_open = half_open
        self._stall_timeout_s = stall_timeout_s
        self._clock: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to count."""
        super().connection_made(transport)
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        """Take what came, and see what of a request is still to come."""
        if self.conn.their_state is h11.IDLE and _is_too_long(self.conn.trailing_data[0] + data[:HEADER_BYTES]):
            self.send_400_response(f"The headers are longer than {HEADER_BYTES} bytes.")
            return
        super().data_received(data)
        if self.transport.is_closing():
            return
        state = self.conn.their_state
        if state is h11.IDLE and self.conn.trailing_data[0]:
            self._wait_for_headers()
        elif state is h11.SEND_BODY:
            self._stop_clock()
            self._half_open.add(self)
        else:
            self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._settle()
        self._taken()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to wait for a caller that does not take its answer."""
        super().pause_writing()
        self._taken()
        self._stalled = self.loop.call_later(self._stall_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the caller has taken what was sent."""
        self._taken()
        super().resume_writing()

    def _taken(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _wait_for_headers(self) -> None:
        self._half_open.add(self)
        if self._clock is None:
            self._clock = self.loop.call_later(self._half_open.header_timeout_s, self.transport.abort)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _settle(self) -> None:
        self._stop_clock()
        self._half_open.discard(self)
