"""The REST interface, over HTTP, against a real process."""

import asyncio
import io
import os
import statistics
import time
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

from connector import ConfigError, ImageSearch, InvalidQuery, Settings
from connector.qdrant.open import open_engine
from connector.qdrant.schema import CollectionSchema, Fingerprint
from connector.service.app import create_app
from connector.service.cli import check_reach
from connector.service.originals import Originals
from connector.settings import LimitsSettings, ServeSettings
from tests.connector.service.conftest import serving
from tests.scratch import scratch_folder
from workers.demo import tour

SAILBOAT = Path(str(tour.PICTURES)) / "travel-places/sailboat.png"


@pytest.fixture
def client(service: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service, timeout=30) as opened:
        yield opened


def ask(client: httpx.Client, **body: Any) -> Any:
    answer = client.post("/v1/search", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_words_of_any_language_find_pictures(client: httpx.Client) -> None:
    answer = ask(client, text="собака", limit=3, where="width >= 64")
    first = answer["hits"][0]
    assert first["payload"]["meta"]["name"] in {"dog", "dog face", "guide dog", "service dog"}
    assert first["image_url"] == f"/images/{first['id']}"
    assert answer["took_ms"] > 0
    assert ask(client, text="собака", limit=2, offset=1)["hits"] == answer["hits"][1:]


def test_stored_pictures_and_mixtures_can_be_asked_by(client: httpx.Client) -> None:
    dog, boat = (ask(client, text=text, limit=1)["hits"][0]["id"] for text in ("Hund", "Segelboot"))
    alike = [hit["id"] for hit in ask(client, like=dog)["hits"]]
    assert dog not in alike
    mixed = ask(client, blend=[{"like": dog}, {"like": boat, "weight": -0.5}, {"text": "Tier"}], limit=5)["hits"]
    assert len(mixed) == 5
    groups = ask(client, text="fruit", group_by="folder", limit=2, group_size=1)["groups"]
    assert [len(group["hits"]) for group in groups] == [1, 1]


def test_a_picture_that_is_sent_along_finds_itself(client: httpx.Client) -> None:
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
        ({}, 422, "exactly one of text, like and blend"),
        ({"text": "a", "like": "b"}, 422, "text and like"),
        ({"text": "  "}, 422, "the text is empty"),
        ({"text": "dog", "limit": 0}, 422, "limit"),
        ({"text": "dog", "limti": 3}, 422, "limti"),
        ({"like": "no-id"}, 422, "no point id"),
        ({"like": str(uuid.UUID(int=3))}, 422, "has no point"),
        ({"blend": [{"weight": 1}]}, 422, "part 1 of the blend needs either text or like"),
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


def test_bodies_have_a_bound_and_pictures_must_be_some(client: httpx.Client) -> None:
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


def test_thumbnails_are_small_pictures_that_a_browser_keeps(client: httpx.Client) -> None:
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


def test_many_callers_are_answered_together_and_the_loop_stays_free(service: str) -> None:
    async def load() -> tuple[list[int], list[float]]:
        async with httpx.AsyncClient(base_url=service, timeout=60, limits=httpx.Limits(max_connections=80)) as client:
            statuses: list[int] = []
            lags: list[float] = []

            async def one(number: int) -> None:
                answer = await client.post("/v1/search", json={"text": f"Hund {number}", "limit": 1})
                statuses.append(answer.status_code)

            async def beat() -> None:
                while True:
                    started = time.perf_counter()
                    assert (await client.get("/healthz")).status_code == 200
                    lags.append(time.perf_counter() - started)

            beating = asyncio.create_task(beat())
            await asyncio.gather(*(one(number) for number in range(150)))
            beating.cancel()
            return statuses, lags

    statuses, lags = asyncio.run(load())
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) >= 100
    assert len(lags) >= 3
    assert statistics.median(lags) < 1.0


def test_a_service_without_keys_stays_on_this_machine() -> None:
    with pytest.raises(ConfigError, match=r"serve\.host 0\.0\.0\.0 can be reached"):
        check_reach(ServeSettings(host="0.0.0.0"))
    check_reach(ServeSettings(host="0.0.0.0", open_to_all=True))
    check_reach(ServeSettings.model_validate({"host": "0.0.0.0", "api_keys": ["long-secret"]}))
    assert "secret" not in repr(ServeSettings.model_validate({"api_keys": ["long-secret"]}))


def test_with_keys_only_callers_who_send_one_are_answered() -> None:
    with scratch_folder() as folder:
        settings = Settings.load({"model.space": "mini", "qdrant.path": str(folder / "data")})
        with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
            engine.create(CollectionSchema(Fingerprint("mini", dims=128, image_size=64)))
        with serving(settings, api_keys='["one-secret", "long-secret"]') as url:
            for headers in ({}, {"Authorization": "Bearer wrong"}):
                refused = httpx.get(f"{url}/v1/collections", headers=headers)
                assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized")
            assert (
                httpx.get(f"{url}/v1/collections", headers={"Authorization": "Bearer long-secret"}).status_code == 200
            )
            assert httpx.get(f"{url}/healthz").status_code == 200


def test_a_service_whose_model_is_missing_says_so_instead_of_being_ready(tmp_path: Path) -> None:
    with scratch_folder() as folder:
        settings = Settings.load(
            {"model.space": "mini", "model.text_model": str(tmp_path / "nowhere"), "qdrant.path": str(folder / "data")}
        )
        with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
            engine.create(CollectionSchema(Fingerprint("mini", dims=128, image_size=64)))
        with TestClient(create_app(ImageSearch.open(settings=settings), settings=settings)) as client:
            error = until_it_says(client, "model_error")
    assert "nowhere" in error["message"]


@retry(retry=retry_if_exception_type(KeyError), stop=stop_after_delay(30), wait=wait_fixed(0.05), reraise=True)
def until_it_says(client: TestClient, code: str) -> Any:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert error["code"] == code
    return error


def test_a_file_whose_name_is_no_utf8_is_handed_out(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 #1.png"))
    path.write_bytes(SAILBOAT.read_bytes())
    originals = Originals(serve=ServeSettings(), limits=LimitsSettings())
    assert originals.path_of({"uri": path.as_uri()}) == path
    with pytest.raises(InvalidQuery, match="not handed out"):
        originals.path_of({"uri": "s3://bucket/dog.jpg"})
    with pytest.raises(InvalidQuery, match="not handed out"):
        originals.path_of({"uri": f"{path.as_uri()}.tar#member.png"})
    path.unlink()
    with pytest.raises(InvalidQuery, match="not there any more"):
        originals.path_of({"uri": path.as_uri()})
