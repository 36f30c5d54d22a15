"""What stands around every request: bounds, names, hanging up."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connector.service.guard import Guard, KeyCheck
from connector.service.keys import Keys
from connector.service.metrics import Metrics
from connector.settings import ServeSettings

BODY: Message = {"type": "http.request", "body": b"{}", "more_body": False}


class Exchanged:
    """What a guarded application answered, to a caller that says these things and then stays or leaves."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        says: Iterable[Message] = (BODY,),
        leaves: bool = False,
        headers: dict[str, str] | None = None,
        path: str = "/v1/search",
        **serve: Any,
    ) -> None:
        self.sent: list[Message] = []
        self._says = [*says]
        self._leaves = leaves
        self.metrics = Metrics()
        guard = Guard(app, serve=ServeSettings(**serve), metrics=self.metrics)
        named = {"host": "localhost:8000", **(headers or {})}
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        }
        asyncio.run(asyncio.wait_for(guard(scope, self._receive, self._send), 30))

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def error(self) -> Any:
        return json.loads(b"".join(message.get("body", b"") for message in self.sent))["error"]

    async def _receive(self) -> Message:
        if self._says:
            return self._says.pop(0)
        if not self._leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


async def reads(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def answers_errors(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await reads(scope, receive, send)
    except HTTPException as error:
        await Response(status_code=error.status_code)(scope, receive, send)


async def waits(scope: Scope, receive: Receive, send: Send) -> None:
    del scope, receive, send
    await asyncio.Event().wait()


async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
    del scope, receive, send
    raise RuntimeError("secret")


def test_an_answer_carries_its_requests_id_and_headers_that_keep_strangers_out() -> None:
    answer = Exchanged(reads)
    assert (answer.status, len(answer.headers["x-request-id"])) == (200, 32)
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_whoever_hangs_up_is_no_longer_worked_for() -> None:
    left = []

    async def works(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive, send).body()
        try:
            await asyncio.Event().wait()
        finally:
            left.append(True)

    answer = Exchanged(works, leaves=True)
    assert left == [True]
    assert answer.sent == []
    assert 'status="499"' in answer.metrics.exposition().decode()


def test_an_answer_that_does_not_begin_in_time_is_given_up() -> None:
    answer = Exchanged(waits, timeout_s=0.01)
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "timeout", "1")


def test_a_defect_is_told_by_its_id_alone() -> None:
    answer = Exchanged(breaks)
    assert (answer.status, answer.error["code"]) == (500, "internal")
    assert "secret" not in json.dumps(answer.error)
    assert answer.error["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("length", ["2000", "-1", "many"])
def test_a_body_that_says_it_is_too_large_is_not_read(length: str) -> None:
    answer = Exchanged(waits, headers={"content-length": length}, max_body_bytes=1024)
    assert (answer.status, answer.error["code"]) == (413, "too_large")


def test_a_body_that_does_not_say_how_large_it_is_is_read_no_further_than_its_bound() -> None:
    pieces: list[Message] = [{"type": "http.request", "body": b"x" * 1000, "more_body": True}] * 1000
    read = []

    async def counts(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async for piece in Request(scope, receive).stream():
                read.append(len(piece))
        except HTTPException as error:
            await Response(status_code=error.status_code)(scope, receive, send)

    assert Exchanged(counts, says=pieces, max_body_bytes=1024).status == 413
    assert read == [1000]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "", "127.0.0.1.evil.example", "[::1"])
def test_a_service_without_keys_answers_to_its_own_names_only(host: str) -> None:
    answer = Exchanged(reads, headers={"host": host})
    assert (answer.status, answer.error["code"]) == (421, "misdirected")
    assert Exchanged(reads, headers={"host": host}, api_keys=("long-secret",)).status == 200
    assert Exchanged(reads, headers={"host": host}, open_to_all=True).status == 421


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "photos.example.org", "PHOTOS.example.org"]
)
def test_a_service_without_keys_knows_the_names_it_has(host: str) -> None:
    assert Exchanged(reads, headers={"host": host}, public_url="https://photos.example.org/x").status == 200


def test_a_service_open_to_all_is_called_by_allowed_names_and_by_addresses() -> None:
    """A page's own name can be made to lead here; an address cannot be anything but what it is."""
    for host in ("photos.lan", "PHOTOS.lan:8000", "192.168.1.5:8000", "[2001:db8::1]:8000", "localhost"):
        assert Exchanged(reads, headers={"host": host}, open_to_all=True, allowed_hosts=("photos.lan",)).status == 200


FROM_ELSEWHERE = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:9999"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "https://evil.example", "sec-fetch-site": "none"},
]


@pytest.mark.parametrize("headers", FROM_ELSEWHERE, ids=str)
def test_a_page_of_another_site_reaches_nothing_that_takes_a_body(headers: dict[str, str]) -> None:
    answer = Exchanged(waits, headers={"host": "localhost:8000", **headers})
    assert (answer.status, answer.error["code"], answer.headers["connection"]) == (403, "forbidden", "close")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://localhost:8000"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "https://app.example"},
    ],
    ids=str,
)
def test_the_gallery_programs_and_allowed_origins_may_ask(headers: dict[str, str]) -> None:
    answer = Exchanged(reads, headers={"host": "localhost:8000", **headers}, cors_origins=("https://app.example",))
    assert answer.status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded; charset=utf-8", "Text/Plain"])
def test_what_a_foreign_form_can_send_is_no_body_here(kind: str) -> None:
    assert Exchanged(waits, headers={"content-type": kind}).status == 415
    assert Exchanged(waits, headers={"content-type": kind}, api_keys=("long-secret",)).status == 415


def test_a_length_of_thousands_of_digits_is_too_large() -> None:
    assert Exchanged(waits, headers={"content-length": "9" * 5_000}).status == 413


def test_bodies_that_fill_what_may_be_held_are_sent_away_and_free_it_again() -> None:
    piece: Message = {"type": "http.request", "body": b"x" * 1500, "more_body": False}
    assert Exchanged(answers_errors, says=[piece], body_bytes=1024).status == 429
    assert Exchanged(answers_errors, says=[piece], body_bytes=2048).status == 200


def test_what_is_logged_of_a_request_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        Exchanged(reads, path="/v1/x\nERROR forged\x1b[2J")
    (record,) = [each for each in caplog.records if "forged" in each.getMessage()]
    assert record.getMessage().isprintable()


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic long-secret"}])
def test_without_a_key_no_byte_of_a_body_is_read(headers: dict[str, str]) -> None:
    gate = KeyCheck(reads, keys=Keys(ServeSettings.model_validate({"api_keys": ["long-secret"]})))
    answer = Exchanged(gate, says=[], headers=headers, api_keys=("long-secret",))
    assert (answer.status, answer.headers["connection"]) == (401, "close")
    right = {"authorization": "Bearer long-secret"}
    assert Exchanged(gate, headers=right, api_keys=("long-secret",)).status == 200
