"""Fetch images from http(s) addresses that strangers may have written, without being used against our own network.

The one rule: a name is resolved here, the address is checked, and that very address is connected to; so neither a
redirect nor a name that changes its address in between leads inside. What httpx and httpcore raise is translated here.
"""

import ipaddress
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal, TypeAlias, get_args

import httpcore
import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from connector.errors import InvalidQuery

WebFault = Literal[
    "bad_address",
    "refused_address",
    "too_many_redirects",
    "too_large",
    "missing",
    "permission_denied",
    "throttled",
    "timeout",
    "read_error",
]
WEB_FAULTS: tuple[WebFault, ...] = get_args(WebFault)
LONGEST_RETRY_AFTER_S = 20.0
"""A server that wants us to wait longer than this is given up on for now."""

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_deadline: ContextVar[float] = ContextVar("_deadline")


class CannotFetch(InvalidQuery):
    """An address that gives no image; ``reason`` says why in one word."""

    def __init__(self, message: str, *, reason: WebFault, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason: WebFault = reason
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class WebLimits:
    """What fetching one image may cost, and where it may lead."""

    max_bytes: int
    allow_private: bool = False
    allow_networks: tuple[Network, ...] = ()
    max_redirects: int = 5
    timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    attempts: int = 3
    connections: int = 32


@dataclass(frozen=True, slots=True)
class WebPage:
    """What an address gave. ``etag`` and ``modified`` are as the server wrote them."""

    data: bytes
    etag: str | None
    modified: str | None


class Web:
    """One HTTP client for all threads of a process. Proxies of the environment are not used: they would hide addresses.

    >>> with Web(WebLimits(max_bytes=10_000_000)) as web:
    ...     page = web.get("https://example.org/dog.jpg")
    """

    def __init__(self, limits: WebLimits) -> None:
        self._limits = limits
        self._client = httpx.Client(
            transport=_Transport(limits),
            follow_redirects=True,
            max_redirects=limits.max_redirects,
            timeout=httpx.Timeout(limits.timeout_s, connect=limits.connect_timeout_s),
            headers={"User-Agent": "polyglance", "Accept": "image/*, */*;q=0.5", "Accept-Encoding": "identity"},
            trust_env=False,
        )

    def get(self, url: str, *, etag: str | None = None, modified: str | None = None) -> WebPage | None:
        """The bytes at ``url``; None where the server says they still are those of ``etag`` or ``modified``.

        A busy server and a broken connection are asked again, up to ``limits.attempts``. Raises CannotFetch.
        """
        target = parse_url(url)
        conditions = {"If-None-Match": etag, "If-Modified-Since": modified}
        headers = {name: value for name, value in conditions.items() if value is not None}
        attempts = Retrying(
            stop=stop_after_attempt(self._limits.attempts),
            wait=_wait,
            retry=retry_if_exception(_is_worth_another_try),
            reraise=True,
        )
        page: WebPage | None = attempts(self._get_once, target, headers)
        return page

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> "Web":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _get_once(self, url: httpx.URL, headers: Mapping[str, str]) -> WebPage | None:
        mark = _deadline.set(monotonic() + self._limits.timeout_s)
        try:
            with _translated(), self._client.stream("GET", url, headers=headers) as response:
                if response.status_code == httpx.codes.NOT_MODIFIED:
                    return None
                _check_status(response)
                data = self._body(response)
                return WebPage(data, response.headers.get("etag"), response.headers.get("last-modified"))
        finally:
            _deadline.reset(mark)

    def _body(self, response: httpx.Response) -> bytes:
        limit = self._limits.max_bytes
        if int(response.headers.get("content-length", 0)) > limit:
            raise CannotFetch(
                f"{response.headers['content-length']} bytes; limits.max_bytes is {limit}", reason="too_large"
            )
        blocks: list[bytes] = []
        size = 0
        for block in response.iter_bytes():
            blocks.append(block)
            size += len(block)
            if size > limit:
                raise CannotFetch(f"more than limits.max_bytes, {limit}", reason="too_large")
        return b"".join(blocks)


def parse_url(url: str) -> httpx.URL:
    """An http(s) URL in canonical form, without its fragment. Raises CannotFetch for any other address."""
    try:
        parsed = httpx.URL(url.strip()).copy_with(fragment=None)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise CannotFetch(f"{url[:200]!r} is no URL: {error}", reason="bad_address") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise CannotFetch(f"{url[:200]!r} is no http or https address", reason="bad_address")
    if parsed.userinfo:
        raise CannotFetch(
            f"the address at {parsed.host} carries a name or password, which would be stored with the image",
            reason="bad_address",
        )
    return parsed


def is_public(address: _Address) -> bool:
    """Whether an address belongs to the open internet, also where an IPv4 address is wrapped in an IPv6 one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not (address.is_multicast or address.is_reserved)
    wrapped = _wrapped(address)
    if wrapped is not None:
        return is_public(wrapped)
    return address in _OPEN_V6 and address.is_global and not address.is_multicast


_OPEN_V6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def _wrapped(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a mapped, compatible, 6to4, Teredo or NAT64 address stands for."""
    if address in _NAT64 or address in _COMPATIBLE:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def resolve(host: str, *, port: int, limits: WebLimits) -> list[str]:
    """The addresses of ``host`` that may be connected to. Raises CannotFetch where there are none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise CannotFetch(f"the name {host!r} cannot be resolved: {error}", reason="bad_address") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    allowed = [address for address in addresses if _is_allowed(ipaddress.ip_address(address), limits)]
    if not allowed:
        raise CannotFetch(
            f"{host!r} leads to {', '.join(addresses)}, which is not public. "
            "If images there are meant to be fetched, name the network in web.allow_networks.",
            reason="refused_address",
        )
    return allowed


def _is_allowed(address: _Address, limits: WebLimits) -> bool:
    return limits.allow_private or is_public(address) or any(address in network for network in limits.allow_networks)


class _Backend(httpcore.NetworkBackend):
    """Connects to checked addresses only, and holds every wait to the deadline of the request."""

    def __init__(self, limits: WebLimits) -> None:
        self._limits = limits
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Try the addresses of the name one after the other."""
        failure: httpcore.NetworkError | httpcore.TimeoutException | None = None
        for address in resolve(host, port=port, limits=self._limits):
            try:
                stream = self._inner.connect_tcp(address, port, _left(timeout), local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream)
        assert failure is not None, host
        raise failure


class _Stream(httpcore.NetworkStream):
    """A connection on which no wait outlasts the deadline, however slowly the other side drips."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _left(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _left(timeout: float | None) -> float | None:
    """The shorter of a wait and what is left of the request's time. Raises ReadTimeout when nothing is."""
    end = _deadline.get(None)
    if end is None:
        return timeout
    left = end - monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time for this image is up")
    return left if timeout is None else min(left, timeout)


class _Transport(httpx.BaseTransport):
    """httpx over a connection pool with our own backend."""

    def __init__(self, limits: WebLimits) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=limits.connections,
            max_keepalive_connections=limits.connections,
            keepalive_expiry=10.0,
            network_backend=_Backend(limits),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request; each hop of a redirect comes through here."""
        url = parse_url(str(request.url))
        answer = self._pool.handle_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions)

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    """The pool's answer as httpx wants it; closing it gives the connection back."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


# ---- translation


_STATUS: Mapping[int, WebFault] = {
    401: "permission_denied",
    403: "permission_denied",
    404: "missing",
    408: "timeout",
    410: "missing",
    429: "throttled",
    451: "permission_denied",
    503: "throttled",
    504: "timeout",
}
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""Answers that may be another one in a moment."""


class _TransientError(CannotFetch):
    """A failure that may pass."""


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if status == httpx.codes.OK:
        return
    kind = _TransientError if status in _PASSING else CannotFetch
    raise kind(
        f"HTTP {status} {response.reason_phrase}".strip(),
        reason=_STATUS.get(status, "read_error"),
        retry_after=_seconds(response.headers.get("retry-after")),
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except httpx.TooManyRedirects as error:
        raise CannotFetch(f"{error}", reason="too_many_redirects") from error
    except (httpx.TimeoutException, httpcore.TimeoutException) as error:
        raise _TransientError(f"no answer in time: {error or type(error).__name__}", reason="timeout") from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise CannotFetch(f"a redirect leads to no http address: {error}", reason="bad_address") from error
    except (httpx.HTTPError, httpcore.NetworkError, httpcore.ProtocolError, httpx.StreamError) as error:
        raise _TransientError(f"{type(error).__name__}: {error}", reason="read_error") from error


def _is_worth_another_try(error: BaseException) -> bool:
    return isinstance(error, _TransientError) and (error.retry_after or 0) <= LONGEST_RETRY_AFTER_S


_backoff = wait_random_exponential(multiplier=0.25, max=5)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, CannotFetch) else None
    return max(asked or 0.0, _backoff(state))


def _seconds(retry_after: str | None) -> float | None:
    """A Retry-After in seconds; a date counts as longer than we wait."""
    if retry_after is None:
        return None
    try:
        return float(max(0, int(retry_after)))
    except ValueError:
        return LONGEST_RETRY_AFTER_S + 1
