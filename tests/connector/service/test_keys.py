"""Who may do what: keys, signed addresses, and a service over the bundled images that asks for them."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from connector import ConfigError, ImageSearch, Settings
from connector.service.app import create_app
from connector.service.keys import SIGNED_FOR_S, Keys
from connector.settings import ServeSettings
from tests.connector.service.conftest import copied

FULL, READ = "full-secret-1", "read-secret-1"
SENT = {"read": {"Authorization": f"Bearer {READ}"}, "full": {"Authorization": f"Bearer {FULL}"}}


@pytest.fixture(scope="module")
def client(noto: Settings) -> Iterator[TestClient]:
    with copied(noto) as copy:
        serve = ServeSettings.model_validate(
            {
                "api_keys": [FULL, "full-secret-2"],
                "read_keys": [READ],
                "open_thumbnails": False,
                "thumbnail_folder": copy.qdrant.path.parent / "thumbnails",
            }
        )
        settings = copy.model_copy(update={"serve": serve})
        with TestClient(create_app(ImageSearch.open(settings=settings), settings=settings)) as opened:
            yield opened


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {READ}"}])
@pytest.mark.parametrize("address", ["/v1/collections", "/v1/ingestions", "/v1/facets?field=folder", "/metrics"])
def test_without_a_key_nothing_is_told(client: TestClient, address: str, headers: dict[str, str]) -> None:
    answer = client.get(address, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("key", [FULL, "full-secret-2", READ])
def test_each_of_several_keys_may_ask(client: TestClient, key: str) -> None:
    answer = client.post("/v1/search", json={"text": "dog"}, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200


def test_only_a_full_key_may_change_what_is_known_of_an_image(client: TestClient) -> None:
    point = client.post("/v1/search", json={"text": "dog"}, headers=SENT["full"]).json()["hits"][0]["id"]
    address, tags = f"/v1/points/{point}/tags", {"tags": ["mine", "dog", "mine"]}
    assert client.put(address, json=tags).status_code == 401
    refused = client.put(address, json=tags, headers=SENT["read"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    assert client.put(address, json=tags, headers=SENT["full"]).json()["payload"]["tags"] == ["mine", "dog"]
    found = client.post("/v1/search", json={"text": "a", "where": 'tags == "mine"'}, headers=SENT["read"]).json()
    assert [hit["id"] for hit in found["hits"]] == [point]


@pytest.mark.parametrize("kind", ["image_url", "thumbnail_url"])
def test_the_addresses_of_an_answer_open_without_a_key_and_no_others_do(client: TestClient, kind: str) -> None:
    first, second = client.post("/v1/search", json={"text": "dog"}, headers=SENT["read"]).json()["hits"][:2]
    assert client.get(first[kind]).status_code == 200
    path, _, query = first[kind].partition("?")
    assert client.get(path).status_code == 401
    assert client.get(f"{second[kind].partition('?')[0]}?{query}").status_code == 401
    assert client.get(f"{path}?{query.replace('until=', 'until=9')}").status_code == 401


def test_a_signed_address_ends_and_stays_the_same_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    keys = Keys(ServeSettings.model_validate({"api_keys": [FULL]}))
    address = keys.signed("/images/x")
    now[0] = SIGNED_FOR_S - 1
    assert keys.signed("/images/x") == address
    assert f"until={2 * SIGNED_FOR_S}&" in address
    now[0] = SIGNED_FOR_S
    assert keys.signed("/images/x") != address


def test_health_needs_no_key_and_a_page_has_none_in_it(client: TestClient) -> None:
    assert client.get("/healthz").status_code == 200
    assert client.get("/").status_code == 200
    assert "secret" not in client.get("/openapi.json").text


def test_neither_keys_nor_signatures_are_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        hit = client.post("/v1/search", json={"text": "dog"}, headers=SENT["full"]).json()["hits"][0]
        client.get(hit["image_url"])
        client.post("/v1/search", json={"text": "dog"}, headers={"Authorization": "Bearer guessed-secret"})
    said = [line for line in caplog.text.splitlines() if "httpx" not in line]  # the test's own client
    assert any("path=/v1/search status=401" in line for line in said)
    assert not [line for line in said if "secret" in line or "signature" in line]


@pytest.mark.parametrize("value", ['["hunter2"]', '["hunter2-long-enough", 12345678]', '"hunter2-long-enough"'])
def test_a_key_that_does_not_fit_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, workplace: Path, value: str
) -> None:
    del workplace
    monkeypatch.setenv("POLYGLANCE_SERVE__API_KEYS", value)
    with pytest.raises(ConfigError) as caught:
        Settings.load()
    assert not [part for part in ("hunter2", "12345678") if part in str(caught.value)]
    assert "serve.api_keys" in str(caught.value)
    assert "hunter2" not in json.dumps(repr(caught.value))
