"""What a browser is told of ingestions: real runs with real rejects, through the REST interface."""

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from connector import ImageSearch
from connector.runs import REJECTS, STATUS, RejectedPicture, RunStatus, digest, runs_of
from connector.service.app import create_app
from tests.pictures import picture
from tests.scratch import scratch_folder
from workers.ingest import ingest
from workers.settings import Settings


def quiet(_: Any) -> AbstractContextManager[None]:
    return nullcontext()


def write_books(settings: Settings, photos: Path, reasons: Mapping[str, int]) -> None:
    """What an ingestion writes down, for ``connector.runs`` to read."""
    now = datetime.now(UTC).isoformat()
    source = photos.as_uri()
    status = RunStatus(
        run="0a1b2c3d4e5f",
        source=source,
        collection=settings.collection,
        state="done",
        started_at=now,
        updated_at=now,
        listed=6,
        listed_all=True,
        stored=3,
        rejected=3,
        reasons=reasons,
    )
    folder = runs_of(settings.qdrant, collection=settings.collection) / digest(source)
    (folder / REJECTS).mkdir(parents=True, exist_ok=True)
    (folder / STATUS).write_text(json.dumps(asdict(status)))
    told = [("cut.png", "truncated"), ("page.jpg", "not_an_image"), ("wide.png", "too_many_pixels")]
    lines = [
        json.dumps(asdict(RejectedPicture((photos / name).as_uri(), "decode", reason, f"{name} is {reason}")))
        for name, reason in told
    ]
    (folder / REJECTS / "0.jsonl").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with scratch_folder() as folder:
        photos = folder / "photos"
        photos.mkdir()
        for number in range(3):
            (photos / f"{number}.png").write_bytes(picture(number))
        (photos / "cut.png").write_bytes(picture(4)[:-40])
        (photos / "page.jpg").write_text("<html>")
        (photos / "wide.png").write_bytes(picture(5, size=300))
        settings = Settings.load(
            {
                "model.space": "mini",
                "qdrant.path": folder / "data",
                "limits.max_pixels": 60_000,
                "serve.thumbnail_folder": folder / "thumbnails",
            }
        )
        report = ingest([str(photos)], settings=settings, recreate=False, show=quiet, wait=quiet)
        write_books(settings, photos, report.reasons)
        limits = settings.limits.model_copy(update={"max_pixels": 10**6})
        served = settings.model_copy(update={"limits": limits})
        with TestClient(
            create_app(ImageSearch.open(settings=served), settings=served), base_url="http://localhost"
        ) as opened:
            yield opened


def test_an_ingestion_is_told_with_its_books(client: TestClient) -> None:
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


def test_a_reject_that_is_a_picture_has_a_thumbnail_and_others_say_why_not(client: TestClient) -> None:
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
