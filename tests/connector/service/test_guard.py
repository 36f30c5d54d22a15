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

from connector.service.guard import Guard
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
            "path": "/v1/search",
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
    assert Exchanged(reads, headers={"host": host}, open_to_all=True).status == 200


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "photos.example.org", "PHOTOS.example.org"]
)
def test_a_service_without_keys_knows_the_names_it_has(host: str) -> None:
    assert Exchanged(reads, headers={"host": host}, public_url="https://photos.example.org/x").status == 200
