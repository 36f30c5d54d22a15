"""The REST interface, over HTTP, against a real process."""

import asyncio
import io
import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from connector import ConfigError, ImageSearch, Settings
from connector.service.app import create_app
from connector.settings import ServeSettings
from connector.store.open import open_engine
from connector.store.schema import CollectionSchema, Fingerprint
from tests.scratch import scratch_folder
from workers.cli.serve import check_reach
from workers.demo import tour

SAILBOAT = Path(str(tour.IMAGES)) / "travel-places/sailboat.png"


@pytest.fixture
def client(service: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service, timeout=240) as opened:
        yield opened


def ask(client: httpx.Client, **body: Any) -> Any:
    answer = client.post("/v1/search", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_words_of_any_language_find_images(client: httpx.Client) -> None:
    answer = ask(client, text="собака", limit=3, where="width >= 64")
    first = answer["hits"][0]
    assert first["payload"]["meta"]["name"] in {"dog", "dog face", "guide dog", "service dog"}
    assert first["image_url"] == f"/images/{first['id']}"
    assert answer["took_ms"] > 0
    assert ask(client, text="собака", limit=2, offset=1)["hits"] == answer["hits"][1:]


def test_stored_images_and_mixtures_can_be_asked_by(client: httpx.Client) -> None:
    dog, boat = (ask(client, text=text, limit=1)["hits"][0]["id"] for text in ("Hund", "Segelboot"))
    duplicates = [hit["id"] for hit in ask(client, like=dog)["hits"]]
    assert dog not in duplicates
    mixed = ask(client, query=[{"point": dog}, {"point": boat, "weight": -0.5}, {"text": "Tier"}], limit=5)["hits"]
    assert len(mixed) == 5
    groups = ask(client, text="fruit", group_by="folder", limit=2, group_size=1)["groups"]
    assert [len(group["hits"]) for group in groups] == [1, 1]


def test_hits_say_how_relevant_they_are_and_only_those_that_fit_can_be_asked_for(client: httpx.Client) -> None:
    plain = ask(client, text="piña", language="es", limit=5)["hits"]
    assert 0.5 <= plain[0]["relevance"] <= 1
    assert plain[-1]["relevance"] < 0.5
    assert ask(client, text="piña", limit=5, relevant=True)["hits"] == [h for h in plain if h["relevance"] >= 0.5]
    assert ask(client, text="the price of justice", relevant=True)["hits"] == []
    assert ask(client, text="the price of justice", relevant=True, group_by="folder")["groups"] == []


def test_an_image_that_is_sent_along_finds_itself(client: httpx.Client) -> None:
    answer = client.post(
        "/v1/search/image", files={"file": SAILBOAT.read_bytes()}, data={"options": '{"limit": 1}'}
    ).json()
    assert answer["hits"][0]["payload"]["filename"] == "sailboat.png"


def test_facets_points_and_collections_are_told(client: httpx.Client) -> None:
    counts = client.get("/v1/facets", params={"field": "folder", "limit": 3}).json()["counts"]
    assert len(counts) == 3
    hit = ask(client, text="dog", limit=1)["hits"][0]
    assert client.get(f"/v1/points/{hit['id']}").json()["payload"] == hit["payload"]
    (here,) = client.get("/v1/collections").json()["collections"]
    assert (here["space"], here["points"] > 1000, here["fields"]["width"]) == ("mini", True, "integer")


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 422, "exactly one of text, like and query"),
        ({"text": "a", "like": "b"}, 422, "text and like"),
        ({"text": "  "}, 422, "the text is empty"),
        ({"text": "dog", "limit": 0}, 422, "limit"),
        ({"text": "dog", "limti": 3}, 422, "limti"),
        ({"like": "no-id"}, 422, "no point id"),
        ({"like": str(uuid.UUID(int=3))}, 422, "has no point"),
        ({"query": [{"weight": 1}]}, 422, "part 1 of the query needs either text or point"),
        ({"text": "dog", "group_by": "nonsense"}, 422, "cannot be counted"),
    ],
)
def test_a_wrong_question_is_told_in_the_one_shape(
    client: httpx.Client, body: dict[str, Any], status: int, says: str
) -> None:
    answer = client.post("/v1/search", json=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert says in error["message"]
    assert error["request_id"] == answer.headers["x-request-id"]


def test_a_fault_in_a_filter_comes_with_its_place(client: httpx.Client) -> None:
    error = client.post("/v1/search", json={"text": "dog", "where": "width > 3 and hieght > 3"}).json()["error"]
    assert (error["code"], error["position"]) == ("invalid_query", 15)


def test_bodies_have_a_bound_and_images_must_be_some(client: httpx.Client) -> None:
    large = client.post("/v1/search/image", files={"file": b"x" * 3_000_001})
    assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")
    none = client.post("/v1/search/image", files={"file": b"<html>"})
    assert none.status_code == 422


def test_originals_come_whole_and_in_ranges(client: httpx.Client) -> None:
    hit = ask(client, text="sailboat", limit=1)["hits"][0]
    whole = client.get(hit["image_url"])
    assert whole.content == Path(hit["uri"].removeprefix("file://")).read_bytes()
    assert whole.headers["content-type"] == "image/png"
    part = client.get(hit["image_url"], headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])


@pytest.mark.parametrize("name", [str(uuid.UUID(int=7)), "..%2F..%2Fetc%2Fpasswd", "etc", "%00"])
def test_nothing_but_what_was_ingested_is_handed_out(client: httpx.Client, name: str) -> None:
    for address in (f"/images/{name}", f"/thumbnails/{name}.webp", f"/v1/points/{name}"):
        assert client.get(address).status_code == 404


def test_thumbnails_are_small_images_that_a_browser_keeps(client: httpx.Client) -> None:
    hit = ask(client, text="sailboat", limit=1)["hits"][0]
    first = client.get(hit["thumbnail_url"])
    assert Image.open(io.BytesIO(first.content)).format == "WEBP"
    again = client.get(hit["thumbnail_url"], headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_pages_come_with_headers_that_keep_strangers_out(client: httpx.Client) -> None:
    page = client.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "<script>" not in page.text


def test_many_callers_are_answered_together_and_the_loop_stays_free(client: httpx.Client) -> None:
    async def load() -> list[int]:
        async with httpx.AsyncClient(
            base_url=client.base_url, timeout=60, limits=httpx.Limits(max_connections=80)
        ) as many:
            asked = [many.post("/v1/search", json={"text": f"Hund {number}", "limit": 1}) for number in range(150)]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    before = counts(client)
    statuses = asyncio.run(load())
    after = counts(client)
    assert set(statuses) <= {200, 429}
    answered = after["polyglance_batch_texts_sum"] - before["polyglance_batch_texts_sum"]
    passes = after["polyglance_batch_texts_count"] - before["polyglance_batch_texts_count"]
    assert answered == statuses.count(200) >= 100
    assert passes < answered / 2
    late = "polyglance_loop_lag_seconds_count", 'polyglance_loop_lag_seconds_bucket{le="0.5"}'
    heartbeats, in_time = (after[name] - before[name] for name in late)
    assert in_time >= 0.9 * heartbeats >= 0.9  # a machine that is busy may be late once


def counts(client: httpx.Client) -> dict[str, float]:
    """What the service counts, by the name Prometheus has for it."""
    lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_requests_are_counted_by_route_and_status(client: httpx.Client) -> None:
    name = 'polyglance_requests_total{method="GET",route="/v1/points/{point_id}",status="404"}'
    before = counts(client).get(name, 0)
    client.get("/v1/points/nothing")
    client.get("/v1/points/nothing-else")
    after = counts(client)
    assert after[name] == before + 2
    assert after["polyglance_queue_depth"] == 0


def test_labels_are_chosen_for_stored_images_and_for_one_that_is_sent_along(client: httpx.Client) -> None:
    boat = ask(client, text="sailboat", limit=1)["hits"][0]["id"]
    asked = {"labels": ["Segelboot", "Apfel", "Katze"], "language": "de"}
    (stored,) = client.post("/v1/classify", json={**asked, "ids": [boat]}).json()["images"]
    assert (stored["id"], stored["labels"][0]["name"]) == (boat, "Segelboot")
    assert sum(label["probability"] for label in stored["labels"]) == pytest.approx(1)
    sent = client.post(
        "/v1/classify/image", files={"file": SAILBOAT.read_bytes()}, data={"options": json.dumps(asked)}
    ).json()["images"]
    assert sent[0]["labels"][0]["name"] == "Segelboot"


@pytest.mark.parametrize(
    "options", ['{"labels": ["one"]}', "no json", '{"labels": ["a", "a"]}', '{"labels": ["a", ""]}']
)
def test_labels_that_cannot_be_chosen_from_are_refused(client: httpx.Client, options: str) -> None:
    answer = client.post("/v1/classify/image", files={"file": SAILBOAT.read_bytes()}, data={"options": options})
    assert answer.status_code == 422


def test_a_service_without_keys_stays_on_this_machine() -> None:
    with pytest.raises(ConfigError, match=r"serve\.host 0\.0\.0\.0 can be reached"):
        check_reach(ServeSettings(host="0.0.0.0"))
    check_reach(ServeSettings(host="0.0.0.0", open_to_all=True))
    check_reach(ServeSettings.model_validate({"host": "0.0.0.0", "api_keys": ["long-secret"]}))
    assert "secret" not in repr(ServeSettings.model_validate({"api_keys": ["long-secret"]}))


def test_a_service_whose_model_is_missing_says_so_instead_of_being_ready(tmp_path: Path) -> None:
    with scratch_folder() as folder:
        settings = Settings.load(
            {"model.space": "mini", "model.text_model": str(tmp_path / "nowhere"), "qdrant.path": str(folder / "data")}
        )
        with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
            engine.create(CollectionSchema(Fingerprint("mini", dims=128, image_size=64)))
        with TestClient(
            create_app(ImageSearch.open(settings=settings), settings=settings), base_url="http://localhost"
        ) as client:
            error = until_it_says(client, "model_error")
    assert "nowhere" in error["message"]


@retry(retry=retry_if_exception_type(KeyError), stop=stop_after_delay(30), wait=wait_fixed(0.05), reraise=True)
def until_it_says(client: TestClient, code: str) -> Any:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert error["code"] == code
    return error
