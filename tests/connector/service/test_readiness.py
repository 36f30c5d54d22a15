"""``/readyz`` follows the store within seconds, both ways; ``/healthz`` and the process do not."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
import pytest
from qdrant_client import QdrantClient
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from connector import ImageSearch, Settings
from connector.records import Point
from connector.store.schema import CollectionSchema
from connector.store.server.engine import ServerEngine
from tests.connector.service.conftest import serving
from tests.qdrant_standin.standin import Standin, running


@contextmanager
def over_a_server(noto: Settings, standin: Standin, patch: pytest.MonkeyPatch) -> Iterator[str]:
    patch.setenv("POLYGLANCE_QDRANT__URL", standin.url)
    patch.setenv("POLYGLANCE_QDRANT__GRPC_PORT", str(standin.grpc_port))
    with serving(noto) as url:
        yield url


@retry(retry=retry_if_result(lambda good: not good), stop=stop_after_delay(20), wait=wait_fixed(0.2))
def becomes(url: str, status: int) -> bool:
    return httpx.get(f"{url}/readyz", timeout=10).status_code == status


def fill(engine: ServerEngine, *, schema: CollectionSchema, points: list[Point]) -> None:
    engine.create(schema)
    engine.upsert(points)


@pytest.mark.slow
def test_it_follows_a_deleted_collection_and_a_dead_server(noto: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with ImageSearch.open(settings=noto) as search:
        schema = search.info().schema
        some = search.points([each.id for each in search.sample(40)], vectors=True)
    points = [Point(each.id, each.vector, each.payload) for each in some if each.vector is not None]
    with running() as standin:
        settings = standin.settings("grpc")
        with closing(ServerEngine.connect(settings, collection=noto.collection)) as engine:
            fill(engine, schema=schema, points=points)
            with over_a_server(noto, standin, monkeypatch) as url:
                assert "polyglance_ready 1.0" in httpx.get(f"{url}/metrics", timeout=240).text
                with closing(QdrantClient(url=standin.url, check_compatibility=False)) as client:
                    client.delete_collection(noto.collection)
                assert becomes(url, 503)
                assert httpx.get(f"{url}/readyz", timeout=240).json()["error"]["code"] == "collection_missing"
                assert "polyglance_ready 0.0" in httpx.get(f"{url}/metrics", timeout=240).text
                assert httpx.get(f"{url}/healthz", timeout=240).status_code == 200
                fill(engine, schema=schema, points=points)
                assert becomes(url, 200)
                standin.process.kill()
                assert becomes(url, 503)
                assert httpx.get(f"{url}/readyz", timeout=240).json()["error"]["code"] == "store_unavailable"
                assert httpx.get(f"{url}/healthz", timeout=240).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/v1/collections", "/v1/facets?field=folder", "/"])
def test_head_answers_as_get_does_without_its_body(service: str, path: str) -> None:
    get, head = httpx.get(f"{service}{path}", timeout=30), httpx.head(f"{service}{path}", timeout=240)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.status_code == 200
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":  # which grew meanwhile
        assert head.headers["content-length"] == get.headers["content-length"]


def test_head_answers_for_images_and_says_what_is_missing(service: str) -> None:
    point = httpx.post(f"{service}/v1/search", json={"text": "a boat", "limit": 1}, timeout=240).json()["hits"][0]
    for path in (f"/v1/points/{point['id']}", point["image_url"], point["thumbnail_url"]):
        get, head = httpx.get(f"{service}{path}", timeout=30), httpx.head(f"{service}{path}", timeout=240)
        assert (head.status_code, head.content, head.headers["content-length"]) == (
            200,
            b"",
            get.headers["content-length"],
        )
    assert httpx.head(f"{service}/v1/points/nothing", timeout=240).status_code == 404
    assert (
        httpx.head(f"{service}/v1/search", timeout=240).status_code
        == httpx.get(f"{service}/v1/search", timeout=240).status_code
        == 404
    )
