"""What a browser is told of ingestions: real runs with real rejects, through the REST interface."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from fastapi.testclient import TestClient

from connector import ImageSearch
from connector.service.app import create_app
from connector.settings import Settings
from tests.images import image
from tests.scratch import scratch_folder
from workers.run.ingestion import ingest


def quiet(_: Any) -> AbstractContextManager[None]:
    return nullcontext()


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with scratch_folder() as folder:
        photos = folder / "photos"
        photos.mkdir()
        for number in range(3):
            (photos / f"{number}.png").write_bytes(image(number))
        (photos / "cut.png").write_bytes(image(4)[:-40])
        (photos / "page.jpg").write_text("<html>")
        (photos / "wide.png").write_bytes(image(5, size=300))
        settings = Settings.load(
            {
                "model.space": "mini",
                "ingest.workers": 0,
                "qdrant.path": folder / "data",
                "limits.max_pixels": 60_000,
                "serve.thumbnail_folder": folder / "thumbnails",
            }
        )
        ingest([str(photos)], settings=settings, recreate=False, show=quiet, wait=quiet)
        limits = settings.limits.model_copy(update={"max_pixels": 10**6})
        served = settings.model_copy(update={"limits": limits})
        with TestClient(
            create_app(ImageSearch.open(settings=served), settings=served), base_url="http://localhost"
        ) as opened:
            yield opened


def test_an_ingestion_is_told_with_its_counts(client: TestClient) -> None:
    (run,) = client.get("/v1/ingestions").json()["ingestions"]
    assert (run["state"], run["listed"], run["stored"], run["unchanged"], run["rejected"]) == ("done", 6, 3, 0, 3)
    assert run["source"].endswith("/photos")
    assert sum(run["reasons"].values()) == 3


def test_rejects_are_told_by_reason_and_page_by_page(client: TestClient) -> None:
    (run,) = client.get("/v1/ingestions").json()["ingestions"]
    whole = client.get("/v1/rejects", params={"run": run["id"]}).json()
    assert whole["reasons"] == run["reasons"]
    assert len(whole["rejects"]) == 3
    (page,) = client.get("/v1/rejects", params={"run": run["id"], "reason": "not_an_image"}).json()["rejects"]
    assert page["uri"].endswith("page.jpg")
    paged = client.get("/v1/rejects", params={"run": run["id"], "limit": 1, "offset": 1}).json()["rejects"]
    assert paged == whole["rejects"][1:2]


def test_a_reject_that_is_an_image_has_a_thumbnail_and_others_say_why_not(client: TestClient) -> None:
    (run,) = client.get("/v1/ingestions").json()["ingestions"]
    rejects = client.get("/v1/rejects", params={"run": run["id"]}).json()["rejects"]
    status = {each["reason"]: client.get(each["thumbnail_url"]).status_code for each in rejects}
    assert status["too_many_pixels"] == 200
    assert status["not_an_image"] == 404


@pytest.mark.parametrize("address", ["/v1/rejects?run=none", "/rejects/none/none.webp", "/rejects/%2e%2e/none.webp"])
def test_what_is_no_ingestion_is_not_found(client: TestClient, address: str) -> None:
    assert client.get(address).status_code == 404
    (run,) = client.get("/v1/ingestions").json()["ingestions"]
    assert client.get(f"/rejects/{run['id']}/nothing.webp").status_code == 404
