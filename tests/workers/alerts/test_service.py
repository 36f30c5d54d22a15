"""Alerts as callers of the service and agents have them: set up, told of, seen as an album, taken away."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, StdioServerParameters
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from tests.connector.service.conftest import serving
from tests.workers.alerts.conftest import Library
from tests.workers.alerts.hook import Hook, hooked
from workers.demo import tour

GUITAR = Path(str(tour.IMAGES)) / "objects/guitar.png"
READER, WRITER = {"Authorization": "Bearer read-secret-1"}, {"Authorization": "Bearer full-secret-1"}


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[Hook]:
    with hooked(tmp_path / "hook") as made:
        yield made


@pytest.fixture
def client(library: Library, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setenv("POLYGLANCE_WEB__ALLOW_NETWORKS", '["127.0.0.1/32"]')
    keys = {"api_keys": '["full-secret-1"]', "read_keys": '["read-secret-1"]'}
    with serving(library.settings, **keys) as url, httpx.Client(base_url=url, timeout=240, headers=WRITER) as opened:
        yield opened


@retry(retry=retry_if_result(lambda heard: not heard), stop=stop_after_delay(60), wait=wait_fixed(0.1))
def heard(hook: Hook) -> list[dict[str, Any]]:
    return hook.heard


@pytest.mark.slow
def test_a_caller_lets_a_question_stay_asked_and_hears_of_an_image_that_another_adds(
    client: httpx.Client, library: Library, hook: Hook
) -> None:
    asked = {"question": "eine Gitarre", "where": "width >= 64", "language": "de", "notify": [f"webhook:{hook.url}"]}
    made = client.post("/v1/alerts", json=asked)
    assert made.status_code == 201, made.text
    alert = made.json()
    assert (alert["question"], alert["matches"], alert["due"]) == ("eine Gitarre", 0, 0)
    assert "secret" not in made.text, "the rest of an address may be a secret"

    added = client.post("/v1/images", files={"file": ("guitar.png", GUITAR.read_bytes(), "image/png")})
    assert added.status_code < 300, added.text
    (told,) = heard(hook)
    assert json.loads(told["body"])["data"]["alert"]["id"] == alert["id"]
    again = client.post("/v1/images", files={"file": ("guitar.png", GUITAR.read_bytes(), "image/png")})
    assert again.status_code < 300, again.text

    (listed,) = client.get("/v1/alerts", headers=READER).json()["alerts"]
    assert (listed["id"], listed["matches"], listed["due"]) == (alert["id"], 1, 0)
    assert "secret" not in json.dumps(listed)
    album = client.get("/v1/images", params={"where": listed["album"]}, headers=READER).json()
    assert len(album["images"]) == 1
    assert asyncio.run(matches(library, alert["id"])) == (["eine Gitarre"], [album["images"][0]["id"]])

    for method in ("POST", "DELETE"):
        path = "/v1/alerts" if method == "POST" else f"/v1/alerts/{alert['id']}"
        refused = client.request(method, path, headers=READER, json=asked if method == "POST" else None)
        assert refused.status_code == 403, refused.text
    assert client.delete(f"/v1/alerts/{alert['id']}").json() == {"removed": alert["id"]}
    assert client.delete(f"/v1/alerts/{alert['id']}").status_code == 404
    assert client.get("/v1/alerts").json() == {"alerts": []}
    assert client.get("/v1/images", params={"where": listed["album"]}).json()["images"] == []
    assert len(hook.heard) == 1


@pytest.mark.slow
def test_a_caller_reaches_nothing_of_the_services_machine(client: httpx.Client, library: Library) -> None:
    target = library.top / "told.jsonl"
    bad: list[dict[str, Any]] = [
        {"notify": [f"file:{target}"]},
        {"notify": [f"rss:{target}"]},
        {"notify": [f"command:touch {target}"]},
        {"notify": ["webhook:env:HOME"]},
        {"notify": [f"webhook:file://{target}"]},
        {"notify": ["webhook:not an address"]},
        {"notify": ["pigeon:home"]},
        {"where": "wdth >= 64"},
        {"where": "width >="},
        {"relevance": 0},
        {"relevance": 1},
        {"question": " \u200b"},
        {"question": "a" * 100_000},
        {"langauge": "de"},
    ]
    for each in bad:
        answer = client.post("/v1/alerts", json={"question": "a guitar", **each})
        assert answer.status_code == 422, (each, answer.text)
    assert client.get("/v1/alerts").json() == {"alerts": []}


async def matches(library: Library, alert: str) -> tuple[list[str], list[str]]:
    """What an agent sees: the questions that stay asked, and the ids of the images that fitted one of them."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-P", "-c", "import sys, polyglance; polyglance.main(sys.argv[1:])", "mcp", "--space", "mini"],
        env={**os.environ, "POLYGLANCE_QDRANT__PATH": str(library.settings.qdrant.path)},
    )
    async with Client(server, read_timeout_seconds=120) as agent:
        asked = await agent.call_tool("alerts", {})
        found = await agent.call_tool("alert_matches", {"alert": alert})
        unknown = await agent.call_tool("alert_matches", {"alert": "none"})
    assert unknown.is_error
    assert asked.structured_content is not None
    assert found.structured_content is not None
    return (
        [each["question"] for each in asked.structured_content["result"]],
        [each["id"] for each in found.structured_content["result"]],
    )
