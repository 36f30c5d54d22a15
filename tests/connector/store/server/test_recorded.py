"""The stand-in answers as a real Qdrant 1.19.0 was recorded to answer."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.qdrant_standin.recorded import VARIABLE, Exchange, differences, exchanges, find_recording
from tests.qdrant_standin.standin import running

RECORDINGS = (pytest.param("exchanges", marks=pytest.mark.slow), "flow")


@pytest.fixture(params=RECORDINGS)
def recording(request: pytest.FixtureRequest) -> Path:
    found = find_recording(request.param)
    if found is None:
        pytest.skip(f"the recording {request.param!r} is not on this machine: {VARIABLE} may name its folder")
    return found


@pytest.fixture
def client(recording: Path) -> Iterator[httpx.Client]:  # noqa: ARG001  (no server is started where there is none)
    """A client of a stand-in that nobody has used before."""
    with running() as standin, httpx.Client(base_url=standin.url, timeout=30.0) as client:
        yield client


def test_every_recorded_request_is_answered_as_it_was_recorded(client: httpx.Client, recording: Path) -> None:
    wrong: list[str] = []
    for exchange in exchanges(recording):
        body = {} if exchange.body is None else {"json": exchange.body}
        answer = client.request(exchange.method, exchange.path, **body)
        found = differences(exchange, status=answer.status_code, answer=answer.json())
        wrong += [f"{exchange}: {line}" for line in found]
    assert wrong == []


def test_the_comparison_sees_what_differs() -> None:
    point = {"id": "a", "version": 4, "score": 0.5, "payload": {"width": 3}}
    search = {"query": {"nearest": [1.0]}}
    recorded = Exchange(
        1, "POST", "/collections/a/points/query/batch", {"searches": [search]}, 200,
        {"result": [{"points": [point]}], "status": "ok", "time": 0.1},
    )  # fmt: skip

    def seen(points: object, **more: object) -> list[str]:
        return differences(recorded, status=200, answer={"result": [{"points": points}], "status": "ok", **more})

    assert seen([{**point, "score": 0.5001}]) == []
    assert seen([{**point, "score": 0.6}]) == ["answer.result[0].points[0].score: 0.5 recorded, 0.6 here"]
    assert seen([point], usage=None) == ["answer.usage: only here"]
    for other in ([], [{**point, "id": "b"}], [{**point, "version": 5}], [{**point, "payload": {}}], [point, point]):
        assert seen(other)
    assert differences(recorded, status=400, answer={}) == ["status: 200 recorded, 400 here"]
