"""What hostile payloads, addresses and connections come to: a real service over real images."""

import io
import operator
import re
import socket
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from connector import ImageSearch
from connector.records import Point
from connector.service.app import create_app
from connector.service.roots import Roots
from connector.service.signatures import Signer, thumbnail_address
from connector.settings import ServeSettings, Settings
from connector.store.engine import Engine
from connector.store.open import open_engine
from tests import corpus_files as files
from tests.connector.service.conftest import copied, serving
from tests.images import image
from tests.scratch import scratch_folder
from workers.run.ingestion import ingest

KEY = "a-long-secret-key"


def quiet(_: Any) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Door:
    """A service over a folder and a tar, whose payloads somebody edits in the store."""

    client: TestClient
    folder: Path
    ids: dict[str, str]
    search: ImageSearch
    engine: Engine

    def status(self, name: str, kind: str = "images") -> int:
        ending = ".webp" if kind == "thumbnails" else ""
        return self.client.get(f"/{kind}/{self.ids[name]}{ending}").status_code


@contextmanager
def opened() -> Iterator[Door]:
    with scratch_folder() as folder:
        photos = folder / "photos"
        photos.mkdir()
        (photos / "dog.png").write_bytes(image(1))
        (folder / "secret.png").write_bytes(image(2))
        with tarfile.open(folder / "shard.tar", "w") as tar:
            for name, data in (("one.png", image(3)), ("secret.txt", b"not for you" * 100), ("two.png", image(4))):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        settings = Settings.load(
            {
                "model.space": "mini",
                "ingest.workers": 0,
                "qdrant.path": folder / "data",
                "serve.thumbnail_folder": folder / "thumbnails",
            }
        )
        ingest([str(photos), str(folder / "shard.tar")], settings=settings, recreate=False, show=quiet, wait=quiet)
        engine = open_engine(settings.qdrant, collection=settings.collection)
        search = ImageSearch(settings=settings, engine=engine)
        ids = {point.payload["filename"]: point.id for point in search.each()}
        with TestClient(create_app(search, settings=settings), base_url="http://localhost") as client:
            yield Door(client, folder, ids, search, engine)


@pytest.fixture(scope="module")
def shared_door() -> Iterator[Door]:
    with opened() as door:
        yield door


@pytest.fixture
def door(shared_door: Door) -> Iterator[Door]:
    """A door whose points are made as they were once a test is done with them."""
    before = [
        Point(each.id, each.vector, each.payload)
        for each in shared_door.search.each(vectors=True)
        if each.vector is not None
    ]
    yield shared_door
    known = {each.id for each in before}
    shared_door.engine.delete([each.id for each in shared_door.search.each(fields=[]) if each.id not in known])
    shared_door.engine.upsert(before)


@pytest.fixture
def lone_door() -> Iterator[Door]:
    """A door of one test's own, whose files may be changed."""
    with opened() as door:
        yield door


OUTSIDE = [
    "file:///etc/passwd",
    "file:///{folder}/secret.png",
    "file:///{folder}/photos/../secret.png",
    "file:///{folder}/photos/%2e%2e/secret.png",
    "file:///{folder}/photos-of-another/x.png",
    "file://localhost/{folder}/photos/dog.png",
    "http://169.254.169.254/latest/meta-data",
    "s3://another-bucket/x.png",
    "ftp://host/x.png",
    "gopher://host/x.png",
    "{folder}/secret.png",
    "file:///%00",
    "file://[::1/x.png",
    "http://[half",
    "",
    "x" * 100_000,
]


@pytest.mark.parametrize("uri", OUTSIDE, ids=lambda uri: uri[:40])
@pytest.mark.parametrize("kind", ["images", "thumbnails"])
def test_an_address_that_no_ingestion_wrote_is_not_opened(door: Door, uri: str, kind: str) -> None:
    assert door.status("dog.png", kind) == 200
    door.engine.set_payload(
        [door.ids["dog.png"]], {"uri": uri.replace("{folder}", str(door.folder).strip("/")), "version": "edited"}
    )
    answer = door.client.get(f"/{kind}/{door.ids['dog.png']}" + (".webp" if kind == "thumbnails" else ""))
    assert answer.status_code == 404
    assert str(door.folder) not in answer.text
    assert "passwd" not in answer.text


MALFORMED: list[dict[str, Any]] = [
    {"uri": 5},
    {"uri": None},
    {"uri": ["file:///x"]},
    {"uri": {"a": 1}},
    {"version": 7, "bytes": "many"},
    {"version": "1-1@" + "9" * 5_000},
    {"bytes": -1, "version": "1-1@512"},
    {"bytes": 2**62, "version": "1-1@512"},
    {"bytes": 1.5, "version": "1-1@512"},
    {"bytes": [1], "version": "1-1@512"},
    {"version": {"a": 1}, "content_hash": [1]},
]


@pytest.mark.parametrize("name", ["dog.png", "one.png"])
@pytest.mark.parametrize("payload", MALFORMED, ids=lambda payload: str(payload)[:50])
def test_a_malformed_payload_is_answered_and_is_no_defect(door: Door, name: str, payload: dict[str, Any]) -> None:
    door.engine.set_payload([door.ids[name]], payload)
    for kind in ("images", "thumbnails"):
        assert door.status(name, kind) in (200, 404)
    assert door.client.get(f"/v1/points/{door.ids[name]}").status_code == 200
    assert door.client.post("/v1/search", json={"text": "a dog"}).status_code == 200


def test_a_point_without_any_payload_is_no_defect(door: Door) -> None:
    vector = door.search.embed_texts(["a dog"])[0]
    door.engine.upsert([Point("00000000-0000-0000-0000-000000000001", vector, {})])
    bare = "00000000-0000-0000-0000-000000000001"
    assert door.client.get(f"/images/{bare}").status_code == 404
    assert door.client.get(f"/thumbnails/{bare}.webp").status_code == 404
    found = door.client.post("/v1/search", json={"text": "a dog", "limit": 1, "mode": "visual"}).json()["hits"]
    assert [(hit["id"], hit["uri"]) for hit in found] == [(bare, "")]


def test_a_stretch_of_a_tar_is_one_of_its_files_or_nothing(door: Door) -> None:
    (stored,) = door.search.points([door.ids["one.png"]])
    version, _, offset = str(stored.payload["version"]).rpartition("@")
    size = stored.payload["bytes"]
    assert door.status("one.png") == 200
    for start, length in ((offset, size + 4096), (offset, size - 1), (int(offset) + 1, size), (0, size), (512, 10**9)):
        door.engine.set_payload([stored.id], {"version": f"{version}@{start}", "bytes": length})
        if (str(start), length) != (offset, size):
            assert door.status("one.png") == 404


def test_what_is_no_image_is_not_served_whatever_its_payload_says(door: Door) -> None:
    with tarfile.open(door.folder / "shard.tar") as tar:
        secret = tar.getmember("secret.txt")
    (stored,) = door.search.points([door.ids["one.png"]])
    version = str(stored.payload["version"]).rpartition("@")[0]
    door.engine.set_payload([stored.id], {"version": f"{version}@{secret.offset_data}", "bytes": secret.size})
    answer = door.client.get(f"/images/{stored.id}")
    assert (answer.status_code, answer.headers["x-content-type-options"]) == (404, "nosniff")
    assert "not for you" not in answer.text


@pytest.mark.parametrize("cut", [0.02, 0.5, 0.99])
def test_a_file_that_was_damaged_has_no_thumbnail_and_its_place_is_not_told(lone_door: Door, cut: float) -> None:
    photo = lone_door.folder / "photos" / "dog.png"
    data = photo.read_bytes()
    photo.write_bytes(data[: int(len(data) * cut)])
    answer = lone_door.client.get(f"/thumbnails/{lone_door.ids['dog.png']}.webp")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (404, "not_found")
    assert error["message"].startswith("no thumbnail can be made (truncated): the file ends before its image does")
    assert not {"dog.png", "photos", str(lone_door.folder)} & set(re.split(r"[\s/]", answer.text))
    assert str(lone_door.folder) not in answer.text


@pytest.mark.parametrize("asked", [f"bytes={'9' * 5_000}-", f"bytes=0-{'9' * 5_000}", f"bytes=-{'9' * 5_000}"])
def test_a_range_of_thousands_of_digits_is_not_in_the_image(door: Door, asked: str) -> None:
    answer = door.client.get(f"/images/{door.ids['dog.png']}", headers={"Range": asked})
    assert answer.status_code == 416


def test_places_are_named_in_the_settings_too(tmp_path: Path) -> None:
    qdrant = {"qdrant.path": tmp_path / "data", "serve.roots": [str(tmp_path / "photos"), "s3://photos/2026"]}
    roots = Roots(Settings.load(qdrant))
    for uri in ((tmp_path / "photos" / "a b#1.png").as_uri(), "s3://photos/2026/x.jpg", "s3://photos/2026/x.tar#a.jpg"):
        roots.check(uri)
    for uri in ((tmp_path / "photos2" / "a.png").as_uri(), "s3://photos/2026x.jpg", "s3://photos-2/2026/x.jpg"):
        with pytest.raises(Exception, match=r"serve\.roots"):
            roots.check(uri)


# ------------------------------------------------------------------------------------------------------- signatures


def serve(**given: Any) -> ServeSettings:
    return ServeSettings.model_validate({"public_url": "https://photos.example/x/", **given})


def test_the_address_in_a_payload_is_signed_lasts_and_ends_with_its_key() -> None:
    made = thumbnail_address(serve(api_keys=[KEY]))
    assert made is not None
    assert made("some-id").startswith("https://photos.example/x/thumbnails/")
    assert made("some-id").endswith("/some-id.webp")
    for other in (serve(api_keys=[KEY + "2"]), serve(api_keys=[KEY], signing_key="another-key")):
        remade = thumbnail_address(other)
        assert remade is not None
        assert remade("some-id") != made("some-id")


def test_a_signing_key_of_its_own_outlives_the_keys_of_callers() -> None:
    first, second = (Signer.of(serve(api_keys=[key], signing_key="of-its-own")) for key in (KEY, KEY + "2"))
    assert first is not None
    assert second is not None
    assert first.lasting("x") == second.lasting("x")


def test_without_keys_the_address_in_a_payload_is_plain() -> None:
    made = thumbnail_address(serve())
    assert made is not None
    assert made("some-id") == "https://photos.example/x/thumbnails/some-id.webp"
    assert thumbnail_address(ServeSettings()) is None


def test_the_thumbnail_of_a_payload_opens_for_whoever_has_its_address_and_no_other_does(noto: Settings) -> None:
    with copied(noto) as copy:
        given = {"api_keys": [KEY], "public_url": "http://localhost", "thumbnail_folder": copy.qdrant.path.parent / "t"}
        settings = copy.model_copy(update={"serve": ServeSettings.model_validate(given)})
        address = thumbnail_address(settings.serve)
        assert address is not None
        with TestClient(create_app(ImageSearch.open(settings=settings), settings=settings)) as client:
            sent = {"Authorization": f"Bearer {KEY}"}
            first, second = client.post("/v1/search", json={"text": "dog"}, headers=sent).json()["hits"][:2]
            shown = client.get(address(first["id"]).removeprefix("http://localhost"))
            assert (shown.status_code, shown.headers["content-type"]) == (200, "image/webp")
            assert shown.headers["cross-origin-resource-policy"] == "cross-origin"
            signature = address(first["id"]).split("/")[-2]
            assert client.get(f"/thumbnails/{signature}/{second['id']}.webp").status_code == 401
            assert client.get(f"/thumbnails/{'0' * 32}/{first['id']}.webp").status_code == 401
            assert client.get(f"/thumbnails/{first['id']}.webp").status_code == 401
            assert client.get(first["thumbnail_url"]).status_code == 200


def test_images_are_shown_by_pages_of_this_origin_alone(door: Door) -> None:
    original = door.client.get(f"/images/{door.ids['dog.png']}")
    small = door.client.get(f"/thumbnails/{door.ids['dog.png']}.webp")
    assert original.headers["cross-origin-resource-policy"] == "same-origin"
    assert small.headers["cross-origin-resource-policy"] == "same-site"  # Qdrant's dashboard has another port
    assert door.client.get("/healthz").headers["cross-origin-resource-policy"] == "same-origin"


def test_without_keys_only_this_machine_changes_things(door: Door) -> None:
    address, tags = f"/v1/points/{door.ids['dog.png']}/tags", {"tags": ["mine"]}
    app = door.client.app
    for client, headers, status in (
        (("127.0.0.1", 1), {}, 200),
        (("::1", 1), {}, 200),
        (("192.0.2.7", 1), {}, 403),
        (("127.0.0.1", 1), {"X-Forwarded-For": "192.0.2.7"}, 403),
        (("127.0.0.1", 1), {"Origin": "https://evil.example"}, 403),
    ):
        caller = TestClient(app, base_url="http://localhost", client=client)
        assert caller.put(address, json=tags, headers=headers).status_code == status, (client, headers)


# ------------------------------------------------------------------------------------------------------ connections


@pytest.mark.slow
def test_slow_headers_end_and_more_than_may_be_half_open_push_out_the_oldest(noto: Settings) -> None:
    with copied(noto) as settings, serving(settings, half_open="4", header_timeout_s="2") as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        lines = [socket.create_connection(address, timeout=30) for _ in range(6)]
        for line in lines:
            line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        assert httpx.get(f"{url}/healthz", timeout=240).status_code == 200
        for line in lines:
            assert _ended(line)
        assert httpx.get(f"{url}/healthz", timeout=240).status_code == 200


def test_a_caller_that_takes_nothing_of_its_answer_is_cut_off() -> None:
    with scratch_folder() as folder:
        photo = folder / "large.bmp"
        photo.write_bytes(files.bmp((4000, 3000), bytes(36_000_000), bits=24))  # beyond what sockets keep
        settings = Settings.load({"model.space": "mini", "ingest.workers": 0, "qdrant.path": folder / "data"})
        ingest([str(photo)], settings=settings, recreate=False, show=quiet, wait=quiet)
        with serving(settings, stall_timeout_s="1") as url:
            hit = httpx.post(f"{url}/v1/search", json={"text": "a"}, timeout=240).json()["hits"][0]
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=30) as line:
                line.sendall(f"GET /images/{hit['id']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                assert _noted(url, "/images/{point_id}")
                assert len(b"".join(iter(lambda: line.recv(1 << 20), b""))) < 36_000_000


@retry(retry=retry_if_result(operator.not_), stop=stop_after_delay(60), wait=wait_fixed(0.1))
def _noted(url: str, route: str) -> bool:
    """Whether the service has done with a request of this route."""
    return f'polyglance_requests_total{{method="GET",route="{route}"' in httpx.get(f"{url}/metrics", timeout=240).text


def _ended(line: socket.socket) -> bool:
    with closing(line):
        try:
            return line.recv(64) == b""
        except ConnectionError:
            return True


def test_a_body_that_comes_without_a_key_is_answered_before_it_is_sent(noto: Settings) -> None:
    with copied(noto) as settings, serving(settings, api_keys=f'["{KEY}"]') as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with socket.create_connection(address, timeout=30) as line:
            line.sendall(
                b"POST /v1/search/image HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
                b"Content-Length: 30000000\r\n\r\n"
            )
            assert line.recv(64).startswith(b"HTTP/1.1 401")
            while line.recv(4096):
                pass


def test_huge_headers_are_refused(service: str) -> None:
    assert httpx.get(f"{service}/healthz", headers={"X": "x" * 100_000}, timeout=240).status_code == 400
