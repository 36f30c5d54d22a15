"""Guard: what stands around every request: its id, its bounds, its count, and the headers of its answer.

The one rule: whoever hangs up is no longer worked for. Once a request's body is in, the guard listens for the caller
to leave, and cancels what answers it.
"""

import asyncio
import ipaddress
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connector.service.metrics import Metrics
from connector.service.problems import problem
from connector.settings import ServeSettings

log = logging.getLogger(__name__)

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
"""Sent with everything: nothing from elsewhere runs in a page of ours, and nothing frames it."""


class Guard:
    """Bounds, names and counts the requests of an ASGI application."""

    def __init__(self, app: ASGIApp, *, serve: ServeSettings, metrics: Metrics) -> None:
        self._app = app
        self._serve = serve
        self._metrics = metrics
        self._names = _names_of(serve)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what is no HTTP passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["request_id"] = uuid.uuid4().hex
        exchange = _Exchange(scope, receive, send, max_bytes=self._serve.max_body_bytes)
        try:
            await self._answer(exchange)
        finally:
            self._note(exchange)

    async def _answer(self, exchange: "_Exchange") -> None:
        refused = self._refusal(exchange.request)
        if refused is not None:
            await exchange.answer(refused)
            return
        try:
            async with asyncio.timeout(self._serve.timeout_s) as clock:
                exchange.began = lambda: None if clock.expired() else clock.reschedule(None)  # downloads may take time
                await exchange.run(self._app)
        except TimeoutError:
            said = f"no answer within serve.timeout_s = {self._serve.timeout_s:g} seconds; ask again."
            await exchange.answer(problem(exchange.request, 503, "timeout", said, headers={"Retry-After": "1"}))
        except Exception as error:
            log.error("unexpected_error request_id=%s", exchange.request_id, exc_info=error)
            said = "this is a defect; the log has it under the request's id."
            await exchange.answer(problem(exchange.request, 500, "internal", said))

    def _refusal(self, request: Request) -> Response | None:
        host = (request.headers.get("host") or "").lower()
        if self._names is not None and _name(host) not in self._names:
            said = f"{host!r} is no name of this service; set serve.public_url where it has another, or serve.api_keys."
            return problem(request, 421, "misdirected", said)
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._serve.max_body_bytes:
            return problem(request, 413, "too_large", too_large(self._serve.max_body_bytes))
        return None

    def _note(self, exchange: "_Exchange") -> None:
        route = getattr(exchange.scope.get("route"), "path", None) or "other"
        method, status = exchange.scope["method"], exchange.status
        seconds = (exchange.answered or time.perf_counter()) - exchange.started
        self._metrics.requests.labels(route, method if method in _METHODS else "other", status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        log.info(  # the query is left out: a signed address lies in it
            "request method=%s path=%s status=%s ms=%.1f request_id=%s",
            method,
            exchange.scope["path"],
            status,
            seconds * 1000,
            exchange.request_id,
        )


_METHODS = frozenset({"GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH"})


class _Exchange:
    """One request and its answer, as they pass through the guard."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, max_bytes: int) -> None:
        self.scope = scope
        self.request = Request(scope)
        self.started = time.perf_counter()
        self.answered: float | None = None
        self.status = 499  # hung up before there was an answer
        self.began: Callable[[], None] = _nothing
        self._receive = receive
        self._send = send
        self._left = max_bytes
        self._max_bytes = max_bytes
        self._read = asyncio.Event()
        self._gone = asyncio.Event()
        self._done = False

    @property
    def request_id(self) -> str:
        return str(self.scope["state"]["request_id"])

    async def run(self, app: ASGIApp) -> None:
        """Let the application answer, until it is done or its caller has left."""
        working = asyncio.current_task()
        assert working is not None
        listening = asyncio.create_task(self._cancel_when_gone(working))
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            if not self._gone.is_set() or working.uncancel():
                raise
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    async def answer(self, response: Response) -> None:
        """Answer in the application's place, unless it has begun to."""
        self.began = _nothing
        if self.answered is None:
            await response(self.scope, self.receive, self.send)

    async def receive(self) -> Message:
        """The next piece of the body; once all of it is in, that the caller has left."""
        if self._read.is_set():
            await self._gone.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if message["type"] == "http.disconnect":
            self._gone.set()
        if not message.get("more_body", False):
            self._read.set()
        if self._left < 0:
            raise HTTPException(413, too_large(self._max_bytes))
        return message

    async def send(self, message: Message) -> None:
        """A piece of the answer, with the headers that all answers have."""
        if message["type"] == "http.response.start":
            self.answered = time.perf_counter()
            self.status = message["status"]
            self.began()
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.request_id
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        elif not message.get("more_body", False):
            self._done = True
        await self._send(message)

    async def _cancel_when_gone(self, working: "asyncio.Task[None]") -> None:
        await self._read.wait()
        while not self._gone.is_set():
            if (await self._receive())["type"] == "http.disconnect":
                self._gone.set()
        if not self._done:
            working.cancel()


def _nothing() -> None:
    return None


def too_large(limit: int) -> str:
    """What is said of a body above the limit."""
    return f"a body of up to serve.max_body_bytes = {limit} is wanted."


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _names_of(serve: ServeSettings) -> frozenset[str] | None:
    """The names that a service without keys is called by; None where any will do.

    A page elsewhere can let its own name lead to this machine (DNS rebinding); here it is not answered.
    """
    if serve.api_keys or serve.read_keys or serve.open_to_all:
        return None
    public = {urlsplit(serve.public_url).hostname or ""} if serve.public_url else set()
    return frozenset({"localhost", "127.0.0.1", "::1", serve.host.lower(), *public})


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
