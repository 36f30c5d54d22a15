"""Every way qdrant-client, grpc and httpx say no, translated into our errors. Nothing else may catch theirs.

A foreign error is first read into a ``Verdict`` by its status, sharpened by what the server wrote, and the verdict
decides the class, whether trying again can help, and the advice. No message ever holds a key.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import grpc
import httpx
from pydantic import SecretStr, ValidationError
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from connector.errors import CollectionMissing, StoreError, StoreFull, StoreRefused, StoreUnavailable

FOREIGN: tuple[type[Exception], ...] = (
    ApiException,
    QdrantException,
    grpc.RpcError,
    httpx.HTTPError,
    httpx.InvalidURL,
    json.JSONDecodeError,  # raw, when a proxy answers 200 with a page
    UnicodeDecodeError,  # the same, when the page is not even text
    ValidationError,
    AssertionError,  # the client asserts that an answer has a result
)
"""What a call of qdrant-client may raise that is not a mistake in the call."""

Verdict = Literal[
    "no_answer", "busy", "garbled", "untrusted", "denied", "missing", "full", "too_large", "exists", "refused"
]

BY_STATUS: Mapping[int, Verdict] = MappingProxyType(
    {
        401: "denied",
        403: "denied",
        404: "missing",
        408: "no_answer",
        409: "exists",
        413: "too_large",
        425: "no_answer",
        429: "busy",
        501: "refused",
        505: "refused",
        507: "full",
    }
)
"""The statuses that need a word of their own; of the others, 5xx may pass and 4xx and 3xx will not."""

BY_CODE: Mapping[grpc.StatusCode, Verdict] = MappingProxyType(
    {
        grpc.StatusCode.CANCELLED: "no_answer",
        grpc.StatusCode.UNKNOWN: "garbled",
        grpc.StatusCode.INVALID_ARGUMENT: "refused",
        grpc.StatusCode.DEADLINE_EXCEEDED: "no_answer",
        grpc.StatusCode.NOT_FOUND: "missing",
        grpc.StatusCode.ALREADY_EXISTS: "exists",
        grpc.StatusCode.PERMISSION_DENIED: "denied",
        grpc.StatusCode.UNAUTHENTICATED: "denied",
        grpc.StatusCode.RESOURCE_EXHAUSTED: "busy",
        grpc.StatusCode.FAILED_PRECONDITION: "refused",
        grpc.StatusCode.ABORTED: "no_answer",
        grpc.StatusCode.OUT_OF_RANGE: "refused",
        grpc.StatusCode.UNIMPLEMENTED: "refused",
        grpc.StatusCode.INTERNAL: "no_answer",
        grpc.StatusCode.UNAVAILABLE: "no_answer",
        grpc.StatusCode.DATA_LOSS: "refused",
    }
)
"""Every gRPC status but OK."""

ADVICE: Mapping[Verdict, str] = MappingProxyType(
    {
        "no_answer": "Check that the server runs and that POLYGLANCE_QDRANT__URL names it.",
        "busy": "The server asks for fewer requests: POLYGLANCE_QDRANT__IN_FLIGHT sends fewer at a time.",
        "garbled": "This is not how Qdrant answers: look for a proxy in between, or another service at this address.",
        "untrusted": "Where the server's certificate is of your own authority, name it in POLYGLANCE_QDRANT__CA_FILE.",
        "denied": "Check POLYGLANCE_QDRANT__API_KEY; writing takes a key that may write.",
        "missing": "`polyglance ingest FOLDER` makes and fills it.",
        "full": "Make room (delete points, add disk or memory) or raise the server's quota.",
        "too_large": "Send less at a time, or keep less metadata with each image.",
        "exists": "Another process may have made it at the same moment.",
        "refused": "The same request would be refused again.",
    }
)

_FULL = re.compile(
    r"no space left|out of disk|insufficient storage|global quota|(disk|memory) usage is at \d+%", re.IGNORECASE
)
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
_TOO_LARGE = re.compile(r"larger than (allowed|max)|message larger", re.IGNORECASE)
_ABOUT_A_COLLECTION = re.compile(r"collection", re.IGNORECASE)
_LONGEST_QUOTE = 300


@dataclass(frozen=True, slots=True)
class Call:
    """What was being done, and where: the words of a message. ``secret`` is cut out of every text."""

    doing: str
    collection: str
    address: str
    secret: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class _Reading:
    """A foreign error, understood."""

    verdict: Verdict
    said: str
    retry_after: float | None = None


def translate(error: Exception, *, call: Call) -> StoreError:
    """The error of ours that says what this foreign one means. ``error`` is one of ``FOREIGN``."""
    reading = _read(error)
    said = _quote(reading.said, secret=call.secret)
    where = f"{call.doing} in collection {call.collection!r} at {call.address}"
    story = f"{where} failed: {said} {ADVICE[reading.verdict]}"
    match reading.verdict:
        case "no_answer" | "busy" | "garbled":
            return StoreUnavailable(story, retry_after=reading.retry_after)
        case "full":
            return StoreFull(story)
        case "missing":
            return CollectionMissing(story)
        case "untrusted" | "denied" | "too_large" | "exists" | "refused":
            return StoreRefused(story)


def _read(error: Exception) -> _Reading:
    match error:
        case ResourceExhaustedResponse():
            return _Reading("busy", f"too many requests: {error.message}", retry_after=float(error.retry_after_s))
        case UnexpectedResponse():
            return _read_status(error.status_code or 0, _text_of(error.content))
        case ResponseHandlingException():
            return _read_source(error.source)
        case grpc.RpcError():
            return _read_code(error)
        case QdrantException():  # a Retry-After that is no whole number: a date, as a proxy may send
            return _Reading("busy", f"too many requests: {error}")
        case AssertionError():
            return _Reading("garbled", "an answer without a result")
        case _:
            return _read_source(error)


def _read_status(status: int, said: str) -> _Reading:
    verdict = BY_STATUS.get(status, "no_answer" if status >= 500 else "garbled" if status < 300 else "refused")
    if status != 429:  # over REST, unlike gRPC, too many requests and a full disk have a status each
        verdict = _sharpen(verdict, said)
    return _Reading(verdict, f"HTTP {status}: {said}")


def _read_code(error: grpc.RpcError) -> _Reading:
    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    said = (error.details() if isinstance(error, grpc.Call) else None) or str(error)
    return _Reading(_sharpen(BY_CODE[code], said), f"gRPC {code.name}: {said}")


def _read_source(error: Exception) -> _Reading:
    """An error from below the client: from httpx, or from reading the answer."""
    match error:
        case httpx.TimeoutException():
            return _Reading("no_answer", f"no answer in time ({type(error).__name__})")
        case httpx.InvalidURL() | httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            return _Reading("refused", f"the request cannot be sent: {error}")
        case httpx.TransportError():
            return _Reading(_sharpen("no_answer", str(error)), f"{type(error).__name__}: {error}")
        case _:
            return _Reading("garbled", f"an answer that cannot be read ({type(error).__name__}: {error})")


def _sharpen(verdict: Verdict, said: str) -> Verdict:
    """One status has several meanings; the server's words tell them apart."""
    if verdict == "no_answer" and _UNTRUSTED in said:
        return "untrusted"
    if verdict in ("refused", "no_answer", "busy") and _TOO_LARGE.search(said):
        return "too_large"
    if verdict in ("refused", "no_answer", "busy") and _FULL.search(said):
        return "full"
    if verdict == "missing" and not _ABOUT_A_COLLECTION.search(said):
        return "refused"
    return verdict


def _text_of(content: bytes) -> str:
    """What the server wrote: Qdrant's ``status.error``, or the beginning of whatever came instead."""
    text = content.decode("utf-8", errors="replace")
    try:
        body: Any = json.loads(text)
    except json.JSONDecodeError:
        return text
    status = body.get("status") if isinstance(body, dict) else None
    return str(status["error"]) if isinstance(status, dict) and "error" in status else text


def _quote(text: str, *, secret: SecretStr | None) -> str:
    """One line of bounded length, ended like a sentence, without the key."""
    key = secret.get_secret_value() if secret is not None else ""
    line = " ".join((text.replace(key, "****") if key else text).split())
    if len(line) > _LONGEST_QUOTE:
        line = line[: _LONGEST_QUOTE - 1] + "…"
    return line if line.endswith((".", "!", "…")) else line + "."
