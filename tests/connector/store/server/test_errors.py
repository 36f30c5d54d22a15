"""Every foreign error becomes one of ours, over both transports, with the right class and no key in its words."""

import inspect
import json
from http import HTTPStatus
from typing import Any

import grpc
import httpx
import pytest
import qdrant_client.common.client_exceptions
import qdrant_client.http.exceptions
from pydantic import BaseModel, SecretStr, ValidationError
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from connector.errors import (
    BatchTooLarge,
    CollectionMissing,
    NotAllowed,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from connector.store.server.errors import ADVICE, BY_CODE, FOREIGN, Call, translate

CALL = Call("writing 3 points", collection="photos", address="http://db:6334 (gRPC)", secret=SecretStr("s3cret"))

OURS = (StoreUnavailable, StoreRefused, NotAllowed, BatchTooLarge, StoreFull, CollectionMissing)

QUOTA = "Disk usage is at 97% of total capacity, exceeding the configured limit of 90%."


class RpcFailure(grpc.RpcError, grpc.Call):
    """What a stub raises: an RpcError that is a Call too."""

    def __init__(self, code: grpc.StatusCode, details: str | None) -> None:
        super().__init__()
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str | None:  # type: ignore[override]  # None where the server said nothing
        return self._details

    def initial_metadata(self) -> Any: ...
    def trailing_metadata(self) -> Any: ...
    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> Any: ...
    def cancel(self) -> Any: ...
    def add_callback(self, callback: Any) -> Any: ...


def answered(status: int, said: str | bytes) -> UnexpectedResponse:
    """What the client raises over REST; text becomes Qdrant's way of saying it."""
    content = said if isinstance(said, bytes) else json.dumps({"status": {"error": said}}).encode()
    return UnexpectedResponse(status, "", content, httpx.Headers())


def wrong_answer() -> ValidationError:
    class Answer(BaseModel):
        points: int

    with pytest.raises(ValidationError) as raised:
        Answer.model_validate({})
    return raised.value


def ours(error: Exception) -> StoreError:
    return translate(error, call=CALL)


def test_every_exception_of_the_client_is_caught_by_our_list() -> None:
    theirs = {
        kind
        for module in (qdrant_client.http.exceptions, qdrant_client.common.client_exceptions)
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, Exception) and kind.__module__.startswith("qdrant_client")
    }
    assert {kind.__name__ for kind in theirs} >= {"ApiException", "QdrantException", "ResourceExhaustedResponse"}
    assert [kind for kind in theirs if not issubclass(kind, FOREIGN)] == []


def test_every_exception_of_httpx_is_caught_by_our_list() -> None:
    theirs = [
        kind
        for kind in vars(httpx).values()
        if inspect.isclass(kind) and issubclass(kind, Exception) and not issubclass(kind, RuntimeError)
    ]
    mistakes_in_our_code = {httpx.CookieConflict}
    assert {kind for kind in theirs if not issubclass(kind, FOREIGN)} <= mistakes_in_our_code


@pytest.mark.parametrize("code", list(grpc.StatusCode), ids=lambda code: code.name)
def test_every_grpc_status_has_a_verdict(code: grpc.StatusCode) -> None:
    if code is grpc.StatusCode.OK:
        assert code not in BY_CODE
        return
    error = ours(RpcFailure(code, "details of the server"))
    assert type(error) in OURS
    assert "details of the server" in str(error)
    assert code.name in str(error)


@pytest.mark.parametrize("status", [s for s in HTTPStatus if s not in (200, 201, 202)], ids=lambda s: str(int(s)))
def test_every_http_status_has_a_verdict(status: HTTPStatus) -> None:
    error = ours(answered(status, "details of the server"))
    assert type(error) in OURS
    assert f"HTTP {int(status)}: details of the server" in str(error)


@pytest.mark.parametrize(
    ("rest", "code", "said", "kind"),
    [
        (400, grpc.StatusCode.INVALID_ARGUMENT, 'Bad request: Index required but not found for "x"', StoreRefused),
        (400, grpc.StatusCode.INVALID_ARGUMENT, 'Index required but not found for "meta.quota"', StoreRefused),
        (422, grpc.StatusCode.INVALID_ARGUMENT, "Validation error in JSON body", StoreRefused),
        (401, grpc.StatusCode.UNAUTHENTICATED, "Invalid API key or JWT", NotAllowed),
        (403, grpc.StatusCode.PERMISSION_DENIED, "Forbidden: Global manage access is required", NotAllowed),
        (404, grpc.StatusCode.NOT_FOUND, "Not found: Collection `photos` doesn't exist!", CollectionMissing),
        (404, grpc.StatusCode.NOT_FOUND, "Not found: No point with id 7 found", StoreRefused),
        (408, grpc.StatusCode.DEADLINE_EXCEEDED, "Timeout: Operation 'upsert' timed out after 1s", StoreUnavailable),
        (409, grpc.StatusCode.ALREADY_EXISTS, "Wrong input: Collection `photos` already exists!", StoreRefused),
        (429, grpc.StatusCode.RESOURCE_EXHAUSTED, "Rate limiting exceeded: retry later", StoreUnavailable),
        (500, grpc.StatusCode.INTERNAL, "Service internal error: task panicked", StoreUnavailable),
        (500, grpc.StatusCode.INTERNAL, "No space left on device: WAL buffer size exceeds it", StoreFull),
        (503, grpc.StatusCode.UNAVAILABLE, "Shard temporarily unavailable", StoreUnavailable),
        (507, grpc.StatusCode.RESOURCE_EXHAUSTED, QUOTA, StoreFull),
        (400, grpc.StatusCode.INVALID_ARGUMENT, "Resident memory usage is at 96% of total memory", StoreFull),
        (400, grpc.StatusCode.RESOURCE_EXHAUSTED, "Sent message larger than max (9 vs. 4)", BatchTooLarge),
    ],
)
def test_both_transports_mean_the_same(rest: int, code: grpc.StatusCode, said: str, kind: type[StoreError]) -> None:
    for error in (ours(answered(rest, said)), ours(RpcFailure(code, said))):
        assert type(error) is kind, str(error)
        assert said in str(error)
        assert error.retryable is (kind is StoreUnavailable)


def test_too_many_requests_carry_the_moment_to_come_back() -> None:
    error = ours(ResourceExhaustedResponse("slow down", 7))
    assert isinstance(error, StoreUnavailable)
    assert error.retry_after == 7


def test_a_retry_after_that_is_a_date_is_backed_off_from() -> None:
    with pytest.raises(QdrantException) as raised:
        ResourceExhaustedResponse("slow down", "Wed, 21 Oct 2026 07:28:00 GMT")  # type: ignore[arg-type]
    error = ours(raised.value)
    assert isinstance(error, StoreUnavailable)
    assert error.retry_after is None


@pytest.mark.parametrize(
    "source",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("hung up"),
        httpx.PoolTimeout("busy"),
        json.JSONDecodeError("Expecting value", "<html>", 0),
    ],
    ids=lambda source: type(source).__name__,
)
def test_what_breaks_below_the_client_may_pass(source: Exception) -> None:
    assert isinstance(ours(ResponseHandlingException(source)), StoreUnavailable)


def test_an_answer_that_is_not_qdrants_says_to_look_for_a_proxy() -> None:
    page = json.JSONDecodeError("Expecting value", "<html>", 0)
    binary = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    for error in (page, binary, AssertionError("Upsert returned None result"), wrong_answer(), grpc.RpcError("odd")):
        answer = ours(error)
        assert isinstance(answer, StoreUnavailable)
        assert ADVICE["garbled"] in str(answer)


def test_an_address_that_cannot_be_asked_is_not_tried_again() -> None:
    assert isinstance(ours(ResponseHandlingException(httpx.UnsupportedProtocol("ftp"))), StoreRefused)


def test_a_404_of_something_that_is_not_qdrant_is_no_missing_collection() -> None:
    assert isinstance(ours(answered(404, b"<html>nginx</html>")), StoreRefused)


def test_no_message_holds_the_key_or_a_whole_page() -> None:
    error = ours(answered(403, b"key s3cret is not known " + b"<p>" * 5000))
    assert "s3cret" not in str(error)
    assert "****" in str(error)
    assert len(str(error)) < 700


def test_a_message_says_what_was_done_where_and_what_to_do() -> None:
    error = ours(answered(401, b"Invalid API key or JWT"))
    assert str(error) == (
        "writing 3 points in collection 'photos' at http://db:6334 (gRPC) failed: HTTP 401: Invalid API key or JWT. "
        "Check POLYGLANCE_QDRANT__API_KEY."
    )


@pytest.mark.parametrize(
    ("doing", "what"),
    [
        ("writing 3 points", "writing 3 points in collection 'photos' at"),
        ("looking for the collection", "looking for collection 'photos' at"),
    ],
)
def test_a_message_names_the_collection_once(doing: str, what: str) -> None:
    error = translate(
        answered(500, "task panicked"), call=Call(doing, collection="photos", address="http://db:6334 (gRPC)")
    )
    assert str(error).startswith(what)
    assert str(error).count("collection") == 1


AWAY = (
    "Service internal error: 1 of 1 read operations failed: Service internal error: Tonic status error: status: "
    'Unavailable, message: "Failed to connect to http://10.0.0.3:6335/, error: transport error: tcp connect error"'
)
NAMED_OTHERWISE = (
    "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch, certificate is not valid"
)


@pytest.mark.parametrize(
    ("status", "code", "said", "kind", "advice"),
    [
        (500, "INTERNAL", "No space left on device: WAL buffer size exceeds it", StoreFull, "Deleting points does not"),
        (507, "RESOURCE_EXHAUSTED", QUOTA, StoreFull, "delete points, drop a collection"),
        (500, "INTERNAL", AWAY, StoreUnavailable, "http://10.0.0.3:6335 does not answer: "),
        (500, "INTERNAL", "2 out of 6 shards failed to apply operation", StoreUnavailable, "bring that node back"),
        (
            400,
            "INVALID_ARGUMENT",
            "No range index for `order_by` key: `a`",
            StoreRefused,
            "`polyglance collection create`",
        ),
        (503, "UNAVAILABLE", NAMED_OTHERWISE, StoreRefused, "for another name"),
        (503, "UNAVAILABLE", "Hostname Verification Check failed.", StoreRefused, "for another name"),
        (503, "UNAVAILABLE", "Ssl handshake failed: WRONG_VERSION_NUMBER", StoreRefused, "does not speak TLS"),
    ],
)
def test_the_advice_is_for_what_happened(
    status: int, code: str, said: str, kind: type[StoreError], advice: str
) -> None:
    for error in (ours(answered(status, said)), ours(RpcFailure(grpc.StatusCode[code], said))):
        assert type(error) is kind, str(error)
        assert advice in str(error)


def test_a_quota_is_known_by_the_metadata_after_the_refusal_whatever_the_words() -> None:
    class Refused(RpcFailure):
        def trailing_metadata(self) -> Any:
            return (("qdrant-insufficient-storage", "1"),)

    assert isinstance(ours(Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more of this")), StoreFull)
    assert isinstance(ours(RpcFailure(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more of this")), StoreUnavailable)
