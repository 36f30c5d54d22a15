"""The one HTTP client: fetches images from http(s) addresses that strangers may have written.

The one rule: what comes in is bounded, by bytes as much as by time, and comes as it was asked for: no content encoding,
so nothing swells after it was counted. Where requests may lead, ``guard`` decides. What httpx and httpcore raise is
translated here.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import httpcore
import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from connector.errors import InvalidQuery
from connector.printable import mask_credentials, printable
from connector.remote.guard import AddressRefused, GuardedBackend, deadline
from connector.settings import WebSettings

WebFault = Literal[
    "bad_address",
    "refused_address",
    "too_many_redirects",
    "too_large",
    "unexpected_encoding",
    "missing",
    "permission_denied",
    "throttled",
    "timeout",
    "read_error",
]
WEB_FAULTS: tuple[WebFault, ...] = get_args(WebFault)
LONGEST_RETRY_AFTER_S = 20.0
"""A server that wants us to wait longer than this is given up on for now."""


class CannotFetch(InvalidQuery):
    """An address that gives no image; ``reason`` says why in one word. The message is fit to be stored and shown."""

    def __init__(self, message: str, *, reason: WebFault, retry_after: float | None = None) -> None:
        super().__init__(printable(mask_credentials(message)))
        self.reason: WebFault = reason
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class WebPage:
    """What an address gave. ``etag`` and ``modified`` are as the server wrote them."""

    data: bytes
    etag: str | None
    modified: str | None


class WebClient:
    """One HTTP client for all threads of a process. Proxies of the environment are not used: they would hide addresses.

    ``connections`` is the most requests that run at once; an answer of more than ``max_bytes`` is not taken.

    >>> with WebClient(WebSettings(), max_bytes=10_000_000) as web:
    ...     page = web.get("https://example.org/dog.jpg")
    """

    def __init__(self, settings: WebSettings, *, max_bytes: int, connections: int = 32) -> None:
        self._settings = settings
        self._max_bytes = max_bytes
        self._client = httpx.Client(
            transport=_Transport(settings, connections=connections),
            follow_redirects=True,
            max_redirects=settings.max_redirects,
            timeout=httpx.Timeout(settings.timeout_s, connect=settings.connect_timeout_s),
            headers={"User-Agent": "polyglance", "Accept": "image/*, */*;q=0.5", "Accept-Encoding": "identity"},
            trust_env=False,
        )

    def get(self, url: str, *, etag: str | None = None, modified: str | None = None) -> WebPage | None:
        """The bytes at ``url``; None where the server says they still are those of ``etag`` or ``modified``.

        A busy server and a broken connection are asked again, up to ``web.attempts``. Raises CannotFetch.
        """
        target = parse_url(url)
        conditions = {"If-None-Match": etag, "If-Modified-Since": modified}
        headers = {name: value for name, value in conditions.items() if value is not None}
        page: WebPage | None = self._attempts()(self._get_once, target, headers)
        return page

    def post(self, url: str, body: bytes, *, headers: Mapping[str, str]) -> None:
        """Send bytes to ``url``, which is to answer with success; no redirect is followed.

        A busy server and a broken connection are asked again, up to ``web.attempts``. Raises CannotFetch.
        """
        self._attempts()(self._post_once, parse_url(url), body, headers)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> "WebClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _attempts(self) -> Retrying:
        return Retrying(
            stop=stop_after_attempt(self._settings.attempts),
            wait=_wait,
            retry=retry_if_exception(_is_worth_another_try),
            reraise=True,
        )

    def _post_once(self, url: httpx.URL, body: bytes, headers: Mapping[str, str]) -> None:
        request = self._client.build_request("POST", url, content=body, headers={"Accept": "*/*", **headers})
        with deadline(self._settings.timeout_s), _translated():
            response = self._client.send(request, stream=True, follow_redirects=False)
            response.close()
            if response.has_redirect_location:
                raise CannotFetch(
                    f"HTTP {response.status_code}: it leads to {response.headers['location'][:200]!r}; name the "
                    "address that it is meant for",
                    reason="too_many_redirects",
                )
            if not response.is_success:
                _check_status(response)

    def _get_once(self, url: httpx.URL, headers: Mapping[str, str]) -> WebPage | None:
        with (
            deadline(self._settings.timeout_s),
            _translated(),
            self._client.stream("GET", url, headers=headers) as response,
        ):
            if response.status_code == httpx.codes.NOT_MODIFIED:
                return None
            _check_status(response)
            _check_encoding(response)
            data = self._body(response)
            return WebPage(data, response.headers.get("etag"), response.headers.get("last-modified"))

    def _body(self, response: httpx.Response) -> bytes:
        length = response.headers.get("content-length", "0")
        if int(length) > self._max_bytes:
            raise CannotFetch(f"{length} bytes; limits.max_bytes is {self._max_bytes}", reason="too_large")
        data = bytearray()
        for block in response.iter_raw():
            data += block
            if len(data) > self._max_bytes:
                raise CannotFetch(f"more than limits.max_bytes, {self._max_bytes}", reason="too_large")
        return bytes(data)


def parse_url(url: str) -> httpx.URL:
    """An http(s) URL in canonical form, without its fragment. Raises CannotFetch for any other address."""
    shown = mask_credentials(url)[:200]
    try:
        parsed = httpx.URL(url.strip()).copy_with(fragment=None)
    except (httpx.InvalidURL, UnicodeError) as error:
        detail = f": {error}" if shown == url[:200] else ""  # httpx may quote a part of the password
        raise CannotFetch(f"{shown!r} is no URL{detail}", reason="bad_address") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise CannotFetch(f"{shown!r} is no http or https address", reason="bad_address")
    if parsed.userinfo:
        raise CannotFetch(
            f"the address at {parsed.host} carries a name or password, which would be stored with the image",
            reason="bad_address",
        )
    return parsed


class _Transport(httpx.BaseTransport):
    """httpx over a connection pool with our own backend."""

    def __init__(self, settings: WebSettings, *, connections: int) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=10.0,
            network_backend=GuardedBackend(settings),
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
        headers = [
            (name, value) for name, value in answer.headers if name.lower() != b"set-cookie"
        ]  # none is sent back
        response = httpx.Response(answer.status, headers=headers, stream=_Body(answer), extensions=answer.extensions)
        return _without_body(response) if response.has_redirect_location else response

    def close(self) -> None:
        self._pool.close()


def _without_body(redirect: httpx.Response) -> httpx.Response:
    """A redirect with nothing but its goal: httpx would read and decode its body, however long that is."""
    redirect.close()
    location = redirect.headers["location"]
    try:
        httpx.URL(location)
    except httpx.InvalidURL as error:
        raise CannotFetch(
            f"a redirect leads to {mask_credentials(location)[:200]!r}, which is no URL", reason="bad_address"
        ) from error
    return httpx.Response(redirect.status_code, headers={"location": location})


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
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
"""Answers that may be another one in a moment."""


class _TransientError(CannotFetch):
    """A failure that may pass."""


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if status == httpx.codes.OK:
        return
    kind = _TransientError if status in _TRANSIENT else CannotFetch
    raise kind(
        f"HTTP {status} {response.reason_phrase}".strip(),
        reason=_STATUS.get(status, "read_error"),
        retry_after=_seconds(response.headers.get("retry-after")),
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except AddressRefused as error:
        raise CannotFetch(str(error), reason=error.reason) from error
    except httpx.TooManyRedirects as error:
        raise CannotFetch(f"{error}", reason="too_many_redirects") from error
    except (httpx.TimeoutException, httpcore.TimeoutException) as error:
        raise _TransientError(f"no answer in time: {error or type(error).__name__}", reason="timeout") from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise CannotFetch(f"a redirect leads to no http address: {error}", reason="bad_address") from error
    except (httpx.HTTPError, httpcore.NetworkError, httpcore.ProtocolError, httpx.StreamError) as error:
        raise _TransientError(f"{type(error).__name__}: {error}", reason="read_error") from error


def _check_encoding(response: httpx.Response) -> None:
    """Refuse a body that was encoded although none was asked for: what it becomes has no bound."""
    encodings = [each.strip() for each in response.headers.get("content-encoding", "").split(",")]
    if any(each.lower() not in ("", "identity") for each in encodings):
        raise CannotFetch(
            f"the answer has the Content-Encoding {', '.join(encodings)[:100]}, which was not asked for; "
            "the server must send the image as it is",
            reason="unexpected_encoding",
        )


def _is_worth_another_try(error: BaseException) -> bool:
    return isinstance(error, _TransientError) and (error.retry_after or 0) <= LONGEST_RETRY_AFTER_S


_backoff = wait_random_exponential(multiplier=0.25, max=5)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    requested = error.retry_after if isinstance(error, CannotFetch) else None
    return max(requested or 0.0, _backoff(state))


def _seconds(retry_after: str | None) -> float | None:
    """A Retry-After in seconds; a date counts as longer than we wait."""
    if retry_after is None:
        return None
    try:
        return float(max(0, int(retry_after)))
    except (ValueError, OverflowError):  # OverflowError: a number of hundreds of digits
        return LONGEST_RETRY_AFTER_S + 1
