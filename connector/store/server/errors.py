"""Every way qdrant-client, grpc and httpx say no, translated into our errors. Nothing else may catch theirs.

A foreign error is first read into a ``Verdict`` by its status, sharpened by what the server wrote, and the verdict
decides the class, whether trying again can help, and the advice. No message ever holds a key.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import grpc
import httpx
from pydantic import SecretStr, ValidationError
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from connector.errors import (
    BatchTooLarge,
    CollectionMissing,
    NotAllowed,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)

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
    "no_answer",
    "node_away",
    "busy",
    "garbled",
    "no_tls",
    "untrusted",
    "other_name",
    "unknown_key",
    "denied",
    "missing",
    "full",
    "quota",
    "too_large",
    "exists",
    "no_index",
    "refused",
]

BY_STATUS: Mapping[int, Verdict] = MappingProxyType(
    {
        401: "unknown_key",
        403: "denied",
        404: "missing",
        408: "no_answer",
        409: "exists",
        413: "too_large",
        425: "no_answer",
        429: "busy",
        501: "refused",
        505: "refused",
        507: "quota",
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
        grpc.StatusCode.UNAUTHENTICATED: "unknown_key",
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
        "node_away": "This server answers, but another node of its cluster, which holds a part of the collection, does "
        "not: bring that node back, or keep each part on two nodes (POLYGLANCE_QDRANT__REPLICAS=2, set when a "
        "collection is made).",
        "busy": "The server asks for fewer requests: POLYGLANCE_QDRANT__IN_FLIGHT sends fewer at a time.",
        "garbled": "This is not how Qdrant answers: look for a proxy in between, or another service at this address.",
        "no_tls": "There is a server, but it does not speak TLS: begin POLYGLANCE_QDRANT__URL with http://.",
        "untrusted": "Where the server's certificate is of your own authority, name it in POLYGLANCE_QDRANT__CA_FILE.",
        "other_name": "The server's certificate is for another name: put a name that the certificate holds into "
        "POLYGLANCE_QDRANT__URL, or give the server a certificate for this one.",
        "unknown_key": "Check POLYGLANCE_QDRANT__API_KEY.",
        "denied": "The key in POLYGLANCE_QDRANT__API_KEY does not reach that far; docs/engines.md says which right "
        "each command needs.",
        "missing": "`polyglance ingest FOLDER` makes and fills it.",
        "full": "The server's disk is full. Deleting points does not help, the server refuses that too: drop a "
        "collection that is no longer needed, or add disk.",
        "quota": "Make room (delete points, drop a collection, add disk or memory) or raise the server's quota.",
        "too_large": "Send less at a time, or keep less metadata with each image.",
        "exists": "Another process may have made it at the same moment.",
        "no_index": "The collection lacks an index that it was made with: `polyglance collection create` makes it "
        "again.",
        "refused": "The same request would be refused again.",
    }
)

_FULL = re.compile(r"no space left|out of disk", re.IGNORECASE)
_QUOTA = re.compile(r"insufficient storage|global quota|(disk|memory) usage is at \d+%", re.IGNORECASE)
_QUOTA_METADATA = "qdrant-insufficient-storage"
"""Sent after a refusal by quota over gRPC, where it shares its status with too many requests."""
_NODE_AWAY = re.compile(r"operations? failed|shards? failed to apply|no active replica", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://[^\s\"'<>,;)]+")
_NO_TLS = re.compile(r"WRONG_VERSION_NUMBER|wrong version number|record layer failure", re.IGNORECASE)
_OTHER_NAME = re.compile(
    r"(hostname|IP address) mismatch|hostname verification (check )?failed|peer name \S+ is not in peer certificate",
    re.IGNORECASE,
)
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
_TOO_LARGE = re.compile(
    r"larger than (allowed|max|rate limiter capacity)|message larger|for \"upsert limit\"", re.IGNORECASE
)
_NO_INDEX = re.compile(
    r"index required but not found|no appropriate index for faceting|no range index for `order_by`", re.IGNORECASE
)
_BY_WORDS: tuple[tuple[re.Pattern[str], Verdict], ...] = (
    (_TOO_LARGE, "too_large"),
    (_FULL, "full"),
    (_QUOTA, "quota"),
    (_NO_INDEX, "no_index"),
    (_NODE_AWAY, "node_away"),
)
_ABOUT_A_COLLECTION = re.compile(r"collection", re.IGNORECASE)
_LONGEST_QUOTE = 300


@dataclass(frozen=True, slots=True)
class Call:
    """What was being done, and where: the words of a message. ``secret`` is cut out of every text."""

    doing: str
    collection: str
    address: str
    secret: SecretStr | None = None

    @property
    def what(self) -> str:
        """What was being done, with the collection's name; ``doing`` may have a place for it."""
        named = f"collection {self.collection!r}"
        if "the collection" in self.doing:
            return self.doing.replace("the collection", named)
        return f"{self.doing} in {named}"


@dataclass(frozen=True, slots=True)
class _Reading:
    """A foreign error, understood."""

    verdict: Verdict
    said: str
    retry_after: float | None = None


def translate(error: Exception, *, call: Call) -> StoreError:
    """The error of ours that says what this foreign one means. ``error`` is one of ``FOREIGN``."""
    reading = _read(error)
    said = _quote(_told_node(reading), secret=call.secret)
    story = f"{call.what} at {call.address} failed: {said} {ADVICE[reading.verdict]}"
    match reading.verdict:
        case "no_answer" | "node_away" | "busy" | "garbled":
            return StoreUnavailable(story, retry_after=reading.retry_after)
        case "full" | "quota":
            return StoreFull(story)
        case "missing":
            return CollectionMissing(story)
        case "too_large":
            return BatchTooLarge(story)
        case "unknown_key" | "denied":
            return NotAllowed(story)
        case "no_tls" | "untrusted" | "other_name" | "exists" | "no_index" | "refused":
            return StoreRefused(story)


def _told_node(reading: _Reading) -> str:
    """What was said, with the node that is away in front where the words name one: they are long."""
    node = _ADDRESS.search(reading.said) if reading.verdict == "node_away" else None
    return f"{node.group().rstrip('/.')} does not answer: {reading.said}" if node else reading.said


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
    if status != 429 or _TOO_LARGE.search(said):  # over REST, too many requests and a full disk have a status each
        verdict = _sharpen(verdict, said)
    return _Reading(verdict, f"HTTP {status}: {said}")


def _read_code(error: grpc.RpcError) -> _Reading:
    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    said = (error.details() if isinstance(error, grpc.Call) else None) or str(error)
    sent: Sequence[Any] = (error.trailing_metadata() if isinstance(error, grpc.Call) else None) or ()
    if any(key == _QUOTA_METADATA for key, _ in sent):
        return _Reading("quota", f"gRPC {code.name}: {said}")
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
    if verdict == "no_answer" and (broken := _sharpen_connection(said)):
        return broken
    if verdict in ("refused", "no_answer", "busy", "quota"):
        for words, meaning in _BY_WORDS:
            if words.search(said):
                return meaning
    if verdict == "missing" and not _ABOUT_A_COLLECTION.search(said):
        return "refused"
    return verdict


def _sharpen_connection(said: str) -> Verdict | None:
    """What keeps a connection from being made at all, None where it may be made later."""
    if _NO_TLS.search(said):
        return "no_tls"
    if _OTHER_NAME.search(said):
        return "other_name"
    return "untrusted" if _UNTRUSTED in said else None


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
