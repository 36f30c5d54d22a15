"""Originals and thumbnails of what was ingested from a disk, S3, the web and tars: real sources, a real ingestion."""

import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pillow_jxl  # noqa: F401  (so that Pillow writes JPEG XL)
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from connector import ImageSearch
from connector.errors import OriginalCutShort, OriginalMissing, OriginalUnavailable, Overloaded
from connector.service.app import create_app
from connector.service.originals import Originals
from connector.service.thumbnails import BoundedFolder
from connector.settings import LimitsSettings, Settings, WebSettings
from tests.corpus_files import saved, scene
from tests.doubles import Answer, WebServer, moto_server, proxy_to, s3_error
from tests.images import image
from tests.scratch import scratch_folder
from workers.records import Ref
from workers.run.ingestion import ingest
from workers.sources.open import open_source

LARGE = saved(scene(400, 300, seed=1), "BMP")
"""An image of more bytes than are read at first."""


def quiet(_: Any) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Place:
    """A service over images of every source, and the lines to the sources that are not on this disk."""

    client: TestClient
    folder: Path
    s3: WebServer
    site: WebServer
    bytes_of: Mapping[str, bytes]

    def id_of(self, name: str) -> str:
        hits = self.client.post("/v1/search", json={"text": "a", "limit": 100}).json()["hits"]
        return str(next(hit["id"] for hit in hits if hit["uri"].endswith(name)))


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, "/nowhere")
        patch.delenv("AWS_PROFILE", raising=False)
        yield


@pytest.fixture(scope="module")
def place(aws: None) -> Iterator[Place]:
    del aws
    with scratch_folder() as folder, moto_server() as moto, WebServer(proxy_to(moto)) as s3:
        files = {
            "disk.png": image(1),
            "small.png": image(2),
            "large%231.bmp": LARGE,
            "web.png": image(4),
            "#in/tar.png": image(5),
            "#s3.png": image(6),
        }
        photos = folder / "photos"
        photos.mkdir()
        (photos / "disk.png").write_bytes(files["disk.png"])
        (photos / "large#1.bmp").write_bytes(LARGE)
        (folder / "shard.tar").write_bytes(tar_of("in/tar.png", files["#in/tar.png"]))
        bucket = boto3.client("s3", endpoint_url=moto, region_name="us-east-1")
        bucket.create_bucket(Bucket="photos")
        bucket.put_object(Bucket="photos", Key="a/small.png", Body=files["small.png"])
        bucket.put_object(Bucket="photos", Key="a/large 1.bmp", Body=LARGE)
        bucket.put_object(Bucket="photos", Key="x.tar", Body=tar_of("s3.png", files["#s3.png"]))
        bucket.close()
        files["large 1.bmp"] = LARGE
        files["new.jxl"] = saved(scene(64, 48), "JXL")
        (photos / "new.jxl").write_bytes(files["new.jxl"])
        with WebServer(lambda *_: Answer(200, files["web.png"], {"Content-Type": "text/html"})) as site:
            settings = Settings.load(
                {
                    "model.space": "mini",
                    "ingest.workers": 0,
                    "qdrant.path": folder / "data",
                    "s3.endpoint_url": s3.url,
                    "s3.attempts": 1,
                    "web.attempts": 1,
                    "web.allow_networks": ["127.0.0.1/32"],
                    "serve.thumbnail_folder": folder / "thumbnails",
                }
            )
            places = [*map(str, (photos, folder / "shard.tar")), "s3://photos/a", "s3://photos/x.tar"]
            report = ingest(
                [*places, f"{site.url}/web.png"], settings=settings, recreate=False, show=quiet, wait=quiet
            ).report
            assert report.counts.stored == len(files)
            app = create_app(ImageSearch.open(settings=settings), settings=settings)
            with TestClient(app, base_url="http://localhost") as client:
                yield Place(client, folder, s3, site, files)


def tar_of(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


NAMES = ["disk.png", "small.png", "large%231.bmp", "large 1.bmp", "web.png", "#in/tar.png", "#s3.png", "new.jxl"]


@pytest.mark.parametrize("name", NAMES)
def test_originals_of_every_source_come_whole_in_ranges_and_not_twice(place: Place, name: str) -> None:
    address, data = f"/images/{place.id_of(name)}", place.bytes_of[name]
    whole = place.client.get(address)
    assert (whole.status_code, whole.content) == (200, data)
    assert whole.headers["content-type"] == f"image/{name[-3:]}"
    for asked, start, stop in (("10-19", 10, 20), ("100-", 100, len(data)), ("-7", len(data) - 7, len(data))):
        part = place.client.get(address, headers={"Range": f"bytes={asked}"})
        assert (part.status_code, part.content) == (206, data[start:stop])
        assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(data)}"
    beyond = place.client.get(address, headers={"Range": f"bytes={len(data)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(data)}")
    kept = place.client.get(address, headers={"If-None-Match": whole.headers["etag"]})
    assert (kept.status_code, kept.content) == (304, b"")


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=-", "bytes=0-1,4-5", "lines=1-2"])
def test_what_is_no_single_range_is_answered_whole(place: Place, asked: str) -> None:
    answer = place.client.get(f"/images/{place.id_of('disk.png')}", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, place.bytes_of["disk.png"])


def test_a_range_of_what_a_browser_had_before_is_answered_whole_where_that_is_another_file(place: Place) -> None:
    headers = {"Range": "bytes=0-3", "If-Range": '"of-before"'}
    assert place.client.get(f"/images/{place.id_of('disk.png')}", headers=headers).status_code == 200


@pytest.mark.parametrize("name", NAMES)
def test_thumbnails_of_every_source_are_made_once(place: Place, name: str) -> None:
    address = f"/thumbnails/{place.id_of(name)}.webp"
    first = place.client.get(address)
    assert Image.open(io.BytesIO(first.content)).format == "WEBP"
    asked = len(place.s3.requests) + len(place.site.requests)
    assert place.client.get(address).content == first.content
    assert len(place.s3.requests) + len(place.site.requests) == asked


def test_a_store_that_refuses_or_is_silent_is_told_without_its_words(place: Place) -> None:
    address = f"/images/{place.id_of('small.png')}"
    for fault, status in ((s3_error(403, "AccessDenied"), 502), (s3_error(404, "NoSuchKey"), 404)):
        place.s3.script("small.png", fault)
        answer = place.client.get(address)
        assert answer.status_code == status
        assert "told by the test" not in answer.text
    place.site.script("web.png", Answer(500))
    assert place.client.get(f"/images/{place.id_of('web.png')}").status_code == 502


def test_what_lies_at_an_address_now_must_be_an_image(place: Place, tmp_path: Path) -> None:
    page = tmp_path / "page.png"
    page.write_text("<script>alert(1)</script>")
    (tmp_path / "queue.png").mkdir()
    originals = Originals(Settings())
    for path in (page, tmp_path / "queue.png", tmp_path / "nothing.png"):
        with pytest.raises(OriginalMissing):
            originals.find({"uri": path.as_uri()})
    for uri in ("ftp://host/x.png", "http://127.0.0.1/x.png", f"{place.site.url}/x.png", "", "file:///%00"):
        with pytest.raises(OriginalMissing):
            originals.find({"uri": uri})
    assert place.site.count("x.png") == 0


def test_a_tar_that_was_changed_since_gives_no_images(place: Place, tmp_path: Path) -> None:
    tar = tmp_path / "shard.tar"
    tar.write_bytes((place.folder / "shard.tar").read_bytes())
    payload = {"uri": f"{tar.as_uri()}#in/tar.png", "version": "1-1@512", "bytes": 5}
    with pytest.raises(OriginalMissing, match="changed"):
        Originals(Settings()).find(payload)


def test_a_file_that_ends_early_is_no_image_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "dog.png"
    path.write_bytes(image(1) + bytes(200_000))
    original = Originals(Settings()).find({"uri": path.as_uri()})
    os.truncate(path, 150_000)
    with pytest.raises(OriginalCutShort, match=r"ended after 150,000 of 20\d,\d+ bytes"):
        original.whole()


def test_files_above_the_limit_are_not_handed_out(tmp_path: Path) -> None:
    path = tmp_path / "dog.png"
    path.write_bytes(image(1))
    with pytest.raises(OriginalMissing, match=r"limits\.max_bytes is 10"):
        Originals(Settings(limits=LimitsSettings(max_bytes=10))).find({"uri": path.as_uri()})


def test_a_file_whose_name_is_no_utf8_is_handed_out(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 #1.png"))
    path.write_bytes(image(1))
    assert Originals(Settings()).find({"uri": path.as_uri()}).size == len(image(1))


def test_what_was_fetched_for_slow_callers_is_held_within_a_bound(place: Place) -> None:
    large = saved(scene(200, 150), "BMP")
    place.site.respond = lambda *_: Answer(200, large)
    limits, web = LimitsSettings(max_bytes=len(large) * 5 // 2), WebSettings(allow_private=True, attempts=1)
    payload = {"uri": f"{place.site.url}/web.png"}
    with closing(Originals(Settings(limits=limits, web=web))) as originals:
        taken = [originals.find(payload), originals.find(payload)]
        half_read = taken[1].blocks(0, len(large))
        next(half_read)
        with pytest.raises(Overloaded):
            originals.find(payload)
        del taken[:]
        assert originals.find(payload).size == len(large)
        assert b"".join(half_read) == large[64 * 1024 :]


def test_a_folder_of_thumbnails_stays_within_its_bound_and_loses_the_longest_unused(tmp_path: Path) -> None:
    folder = BoundedFolder(tmp_path / "kept", max_bytes=1000)
    for number in range(9):
        folder.put(f"{number}aa", b"x" * 100)
        os.utime(tmp_path / f"kept/{number}a/{number}aa", (number, number))
    assert folder.get("0aa") == b"x" * 100  # used now, so the last to go
    for number in range(9, 12):
        folder.put(f"{number}aa", b"x" * 100)
    assert sum(path.stat().st_size for path in (tmp_path / "kept").rglob("*aa")) <= 1000
    assert folder.get("0aa") is not None
    assert folder.get("1aa") is None


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    folder = BoundedFolder(tmp_path / "file", max_bytes=1000)
    folder.put("abc", b"x")
    assert folder.get("abc") is None


def test_images_in_a_table_on_s3_are_handed_out_while_it_is_the_one_that_was_ingested(aws: None) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    del aws
    files = [image(number) for number in range(20, 60)]

    def put(column: list[bytes], *, to: str) -> None:
        out = io.BytesIO()
        parquet.write_table(arrow.table({"image": column, "n": range(len(column))}), out, row_group_size=15)
        with closing(boto3.client("s3", endpoint_url=to, region_name="us-east-1")) as bucket:
            bucket.create_bucket(Bucket="photos")
            bucket.put_object(Bucket="photos", Key="t#1/train.parquet", Body=out.getvalue())

    with moto_server() as moto, WebServer(proxy_to(moto)) as s3:
        put(files, to=moto)
        settings = Settings.load({"s3.endpoint_url": s3.url, "s3.attempts": 1})
        with closing(open_source("s3://photos/t#1/train.parquet", settings=settings)) as source:
            refs = [item for item in source.list() if isinstance(item, Ref)]
        payloads = [{"uri": ref.uri, "version": ref.version} for ref in refs]
        with closing(Originals(settings)) as originals:
            for row in (39, 0, 17):
                original = originals.find(payloads[row])
                assert (original.whole(), original.media_type) == (files[row], "image/png")
            s3.script("train.parquet", s3_error(403, "AccessDenied"))
            with pytest.raises(OriginalUnavailable, match="the object cannot be read"):
                originals.find(payloads[0])
            put(files[1:], to=moto)
            with pytest.raises(OriginalMissing, match="changed after its images were ingested"):
                originals.find(payloads[0])
