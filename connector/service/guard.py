"""Guard: what stands around every request: its id, its bounds, its count, and the headers of its answer.

The one rule: whoever hangs up is no longer worked for, and nobody's body is read before it is known that it may come:
names and origin are looked at first, and by ``KeyCheck`` the key. Once a body is in, the guard listens for the caller
to leave.
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

from connector.printable import printable
from connector.service.keys import Keys
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
    "Cross-Origin-Resource-Policy": "same-origin",
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
        self._bodies = _Bodies(serve.body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what is no HTTP passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["request_id"] = uuid.uuid4().hex
        exchange = _Exchange(scope, receive, send, max_bytes=self._serve.max_body_bytes, bodies=self._bodies)
        try:
            await self._answer(exchange)
        finally:
            exchange.let_go()
            self._note(exchange)

    async def _answer(self, exchange: "_Exchange") -> None:
        refused = self._refusal(exchange.request)
        if refused is not None:
            refused.headers["Connection"] = "close"  # its body, if one comes, is not read
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
        if self._names is not None and not self._is_ours(_name(host)):
            said = f"{host!r} is no name of this service; serve.allowed_hosts names more, serve.api_keys asks for keys."
            return problem(request, 421, "misdirected", said)
        if request.method not in HARMLESS and self._names is not None and not self._is_from_here(request, host=host):
            said = "a page of another site may not ask here; serve.cors_origins names those that may."
            return problem(request, 403, "forbidden", said)
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > _DIGITS or int(length) > self._serve.max_body_bytes:
            return problem(request, 413, "too_large", too_large(self._serve.max_body_bytes))
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in _FORMS and request.method not in HARMLESS:
            said = f"the body is {kind}; application/json is wanted, or multipart/form-data for an image."
            return problem(request, 415, "unsupported_media_type", said)
        return None

    def _is_ours(self, name: str) -> bool:
        assert self._names is not None
        return name in self._names or (self._serve.open_to_all and _is_address(name))

    def _is_from_here(self, request: Request, *, host: str) -> bool:
        """Whether a browser says that a page of ours, or of an allowed origin, asks; others say nothing."""
        origin = request.headers.get("origin")
        if origin is not None:
            return origin in self._serve.cors_origins or _name_and_port(origin) == host
        return request.headers.get("sec-fetch-site", "none") in ("same-origin", "none")

    def _note(self, exchange: "_Exchange") -> None:
        route = getattr(exchange.scope.get("route"), "path", None) or "other"
        method, status = exchange.scope["method"], exchange.status
        seconds = (exchange.answered or time.perf_counter()) - exchange.started
        self._metrics.requests.labels(route, method if method in _METHODS else "other", status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        log.info(  # the query is left out: a signed address lies in it
            "request method=%s path=%s status=%s ms=%.1f request_id=%s",
            printable(method),
            printable(exchange.scope["path"]),
            status,
            seconds * 1000,
            exchange.request_id,
        )


_METHODS = frozenset({"GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH"})
HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing and bring no body."""
_FORMS = frozenset({"text/plain", "application/x-www-form-urlencoded"})
"""What a form of another site can send, beside multipart, without asking first."""
_DIGITS = 18
"""Of a length; Python refuses to read numbers of some thousands."""


class KeyCheck:
    """Answers requests that bring a body and no key before a byte of the body is read."""

    def __init__(self, app: ASGIApp, *, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what has a key, or needs none here: the routes look again, and more closely."""
        app = self._app
        if scope["type"] == "http" and scope["method"] not in HARMLESS:
            request = Request(scope)
            if self._keys.refuses(request.headers.get("authorization", "")):
                said = "send a key of the service: Authorization: Bearer KEY"
                headers = {"WWW-Authenticate": "Bearer", "Connection": "close"}
                app = problem(request, 401, "unauthorized", said, headers=headers)
        await app(scope, receive, send)


class _Bodies:
    """Bytes of the bodies of all requests under way."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    def take(self, size: int) -> bool:
        """Count bytes as held, where there is room for them."""
        if self.held + size > self.most:
            return False
        self.held += size
        return True


class _Exchange:
    """One request and its answer, as they pass through the guard."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, max_bytes: int, bodies: _Bodies) -> None:
        self.scope = scope
        self.request = Request(scope)
        self.started = time.perf_counter()
        self.answered: float | None = None
        self.status = 499  # hung up before there was an answer
        self.began: Callable[[], None] = _nothing
        self._receive = receive
        self._send = send
        self._bodies = bodies
        self._held = 0
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
        size = len(message.get("body", b""))
        if message["type"] == "http.disconnect":
            self._gone.set()
        if not message.get("more_body", False):
            self._read.set()
        if self._held + size > self._max_bytes:
            raise HTTPException(413, too_large(self._max_bytes), {"Connection": "close"})
        if not self._bodies.take(size):
            said = "the bodies of other requests fill serve.body_bytes; ask again in a second"
            raise HTTPException(429, said, {"Retry-After": "1", "Connection": "close"})
        self._held += size
        return message

    def let_go(self) -> None:
        """Give the bytes of the body back."""
        self._bodies.held -= self._held
        self._held = 0

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


class HeadAsGet:
    """Answers HEAD as GET would be, without the body: its status and headers, which tell a caller what a GET costs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what is no HEAD passes through."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, send_head)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _names_of(serve: ServeSettings) -> frozenset[str] | None:
    """The names that a service without keys is called by; None where any will do.

    A page elsewhere can let its own name lead to this machine (DNS rebinding); here it is not answered. It cannot do
    so by an address, which is why a service that is open to all answers to any.
    """
    if serve.api_keys or serve.read_keys:
        return None
    public = {urlsplit(serve.public_url).hostname or ""} if serve.public_url else set()
    allowed = {name.lower() for name in serve.allowed_hosts}
    return frozenset({"localhost", "127.0.0.1", "::1", serve.host.lower(), *public, *allowed})


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _name_and_port(origin: str) -> str:
    return origin.lower().partition("://")[2]


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
