"""Ingestions as resources: begun, followed to their end, cancelled, one at a time."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from connector import Settings
from tests.connector.service.conftest import serving
from tests.images import write_images
from tests.scratch import scratch_folder
from tests.workers.service.conftest import Desk, desk_in
from workers.collection.client import Collection


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Desk, httpx.Client]]:
    """A service in a process of its own, which may read the folder ``photos``."""
    with scratch_folder() as folder:
        settings = Settings.load({"model.space": "mini", "qdrant.path": folder / "data"})
        with Collection.open(settings=settings) as collection:
            collection.add(write_images(folder, ["first.png"], first_seed=99)[0])
        roots = json.dumps([str(folder / "photos"), str(folder / "missing")])
        with serving(settings, roots=roots) as url, httpx.Client(base_url=url, timeout=240) as client:
            yield Desk(client, folder, settings), client  # type: ignore[arg-type]  # a client of the real thing


def events_of(client: httpx.Client, id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    with client.stream("GET", f"/v1/ingestions/{id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in stream.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))


def test_an_ingestion_is_begun_followed_to_its_end_and_found_again(served: tuple[Desk, httpx.Client]) -> None:
    desk, client = served
    photos = desk.folder / "photos"
    write_images(photos, [f"{n}.png" for n in range(12)])
    (photos / "none.jpg").write_bytes(b"no image")
    begun = client.post("/v1/ingestions", json={"places": [str(photos)]})
    assert (begun.status_code, begun.json()["state"]) == (202, "running")
    id = begun.json()["id"]
    assert begun.headers["location"] == f"/v1/ingestions/{id}"

    second = client.post("/v1/ingestions", json={"places": [str(photos)]})
    assert (second.status_code, id in second.json()["error"]["message"]) == (429, True)
    assert second.headers["retry-after"] == "5"

    *progress, (last, end) = events_of(client, id)
    assert {kind for kind, _ in progress} == {"progress"}
    assert (last, end["state"], end["error"]) == ("end", "done", None)
    assert (end["listed"], end["stored"], end["rejected"], end["listed_all"]) == (13, 12, 1, True)
    assert client.get(begun.headers["location"]).json() == end
    assert client.get("/v1/count").json()["count"] == 13
    assert client.delete(begun.headers["location"]).json()["state"] == "done"


@pytest.mark.slow
def test_an_ingestion_removes_what_is_gone_where_that_is_asked(served: tuple[Desk, httpx.Client]) -> None:
    desk, client = served
    photos = desk.folder / "photos" / "some"
    write_images(photos, [f"{n}.png" for n in range(12)], first_seed=50)
    *_, (_, end) = events_of(client, client.post("/v1/ingestions", json={"places": [str(photos)]}).json()["id"])
    assert end["stored"] == 12
    (photos / "3.png").unlink()
    again = client.post("/v1/ingestions", json={"places": [str(photos)], "prune": True}).json()["id"]
    *_, (_, end) = events_of(client, again)
    assert (end["state"], end["unchanged"], end["stored"], end["pruned"]) == ("done", 11, 0, 1)


@pytest.mark.slow
def test_a_cancelled_ingestion_stops_and_the_same_request_goes_on(served: tuple[Desk, httpx.Client]) -> None:
    desk, client = served
    photos = desk.folder / "photos" / "many"
    write_images(photos, [f"{n}.png" for n in range(400)], first_seed=1000)
    address = client.post("/v1/ingestions", json={"places": [str(photos)]}).headers["location"]
    assert client.delete(address).status_code == 202
    *_, (_, end) = events_of(client, address.rpartition("/")[2])
    assert end["state"] == "stopped"
    again = client.post("/v1/ingestions", json={"places": [str(photos)]}).json()["id"]
    *_, (_, end) = events_of(client, again)
    assert (end["state"], end["stored"] + end["unchanged"]) == ("done", 400)


def test_an_ingestion_that_fails_says_why(served: tuple[Desk, httpx.Client]) -> None:
    desk, client = served
    id = client.post("/v1/ingestions", json={"places": [str(desk.folder / "missing")]}).json()["id"]
    *_, (_, end) = events_of(client, id)
    assert end["state"] == "failed"
    assert "missing" in end["error"]


@pytest.mark.parametrize("place", ["/etc", "s3://somebody/photos", "ftp://x/y", "file:///etc", "/\0"])
def test_places_that_the_service_may_not_read_are_not_ingested(served: tuple[Desk, httpx.Client], place: str) -> None:
    _, client = served
    assert client.post("/v1/ingestions", json={"places": [place]}).status_code == 403


@pytest.mark.parametrize(
    "body", [{}, {"places": []}, {"places": ["x"] * 21}, {"places": [""]}, {"place": ["x"]}, {"places": ["photos"]}]
)
def test_what_names_no_places_is_refused(served: tuple[Desk, httpx.Client], body: dict[str, Any]) -> None:
    _, client = served
    assert client.post("/v1/ingestions", json=body).status_code == 422


@pytest.mark.parametrize("id", ["none", "..%2f..%2fx", "%00", "é"])
def test_an_ingestion_that_is_not_there_is_not_found(served: tuple[Desk, httpx.Client], id: str) -> None:
    _, client = served
    for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", "")):
        assert client.request(method, f"/v1/ingestions/{id}{path}").status_code in (404, 405)


@pytest.mark.slow
def test_the_service_ends_its_ingestions_when_it_ends() -> None:
    with scratch_folder() as folder:
        photos = folder / "photos"
        write_images(photos, [f"{n}.png" for n in range(400)])
        with desk_in(folder, roots=[str(photos)]) as desk:
            id = desk.client.post("/v1/ingestions", json={"places": [str(photos)]}).json()["id"]
        with desk_in(folder) as desk:
            assert desk.client.get(f"/v1/ingestions/{id}").json()["state"] == "stopped"
