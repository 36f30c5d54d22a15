from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.errors import SourceError
from connector.settings import Settings
from connector.version import Version
from tests.doubles import Answer, WebServer
from workers.records import REF_VALUES, Blob, Outcome, Ref, Reject, Unchanged
from workers.sources.disk import uri_of
from workers.sources.list_file import DiskFile
from workers.sources.open import open_source
from workers.sources.source import Source
from workers.sources.urls import UrlListSource, UrlSource

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def site() -> Iterator[WebServer]:
    """Answers with the path; knows an ETag under /etag, a date under /date, nothing elsewhere."""

    def respond(path: str, headers: Mapping[str, str]) -> Answer:
        if path.startswith("/etag"):
            tag = f'"{path}"'
            return Answer(304) if headers.get("if-none-match") == tag else Answer(200, path.encode(), {"ETag": tag})
        if path.startswith("/date"):
            date = "Wed, 21 Oct 2015 07:28:00 GMT"
            same = headers.get("if-modified-since") == date
            return Answer(304) if same else Answer(200, path.encode(), {"Last-Modified": date})
        return Answer(404) if path == "/gone.jpg" else Answer(200, path.encode())

    with WebServer(respond) as server:
        yield server


def settings(**changes: Any) -> Settings:
    return Settings.load({"web.allow_networks": ["127.0.0.1/32"], "web.attempts": 1} | changes)


def refs(source: Source) -> list[Ref]:
    return [item for item in source.list() if isinstance(item, Ref)]


def stored(outcome: Outcome) -> Ref:
    """The ref of an image as the next run would ask for it."""
    assert isinstance(outcome, Blob), outcome
    return replace(outcome.ref, stored_version=outcome.version)


def test_one_address_is_a_source(site: WebServer) -> None:
    with closing(UrlSource(f"{site.url}/etag/a%20dog.jpg?size=1#x", settings=settings())) as source:
        (ref,) = refs(source)
        (blob,) = source.read([ref])
    assert ref.uri == source.root == ref.source == f"{site.url}/etag/a%20dog.jpg?size=1"
    assert (ref.folder, ref.filename) == ("127.0.0.1/etag", "a dog.jpg")
    assert ref.object_key == ref.uri.removeprefix("http://")
    assert isinstance(blob, Blob)
    assert blob.data == b"/etag/a%20dog.jpg?size=1"


@pytest.mark.parametrize("url", ["https://", "http://me:word@host/dog.jpg"])
def test_an_address_that_leads_nowhere_is_an_error(url: str) -> None:
    with pytest.raises(SourceError, match=r"looks like https://example\.org/dog\.jpg"):
        UrlSource(url, settings=settings())


@pytest.mark.parametrize("path", ["/etag/a.jpg", "/date/a.jpg", "/plain/a.jpg"])
def test_an_unchanged_image_is_not_stored_again(site: WebServer, path: str) -> None:
    with closing(UrlSource(f"{site.url}{path}", settings=settings())) as source:
        (first,) = source.read(refs(source))
        (again,) = source.read([stored(first)])
        assert isinstance(again, Unchanged)
        (other,) = source.read([replace(stored(first), stored_version=Version("etag:other"))])
        assert isinstance(other, Blob)


def test_a_list_holds_an_address_on_every_line(site: WebServer, tmp_path: Path) -> None:
    (tmp_path / "dog.jpg").write_bytes(b"dog")
    file = tmp_path / "urls.txt"
    file.write_text(
        f"\ufeff# images\n\n  {site.url}/a.jpg  \r\ndog.jpg\n{uri_of(tmp_path / 'dog.jpg')}\n{site.url}/gone.jpg"
    )
    with closing(UrlListSource(DiskFile(file), settings=settings())) as source:
        assert source.root == uri_of(file)
        outcomes = list(source.read(refs(source)))
    assert [outcome.data for outcome in outcomes if isinstance(outcome, Blob)] == [b"/a.jpg", b"dog", b"dog"]
    gone = outcomes[-1]
    assert isinstance(gone, Reject)
    assert (gone.stage, gone.reason, gone.detail) == ("read", "missing", "row 6: HTTP 404 Not Found")


def test_a_line_that_is_no_address_is_a_reject_with_its_number(tmp_path: Path) -> None:
    file = tmp_path / "urls.txt"
    file.write_bytes(
        b"ftp://host/a.jpg\nhttp://\nnothing.jpg\ns3://bucket\nfile://elsewhere/a.jpg\n\xff\xfe.jpg\na\0b.jpg\n"
        + b"x" * 200_000
        + b"\n."
    )
    with closing(UrlListSource(DiskFile(file), settings=settings())) as source:
        rejects = [item for item in source.list() if isinstance(item, Reject)]
    assert [(r.stage, r.reason) for r in rejects] == [
        ("list", "bad_address"),
        ("list", "bad_address"),
        ("list", "missing"),
        ("list", "bad_address"),
        ("list", "bad_address"),
        ("list", "missing"),
        ("list", "read_error"),
        ("list", "bad_row"),
        ("list", "not_a_file"),
    ]
    assert [r.detail.partition(":")[0] for r in rejects] == [f"row {n}" for n in range(1, 10)]
    assert all(r.uri.encode() for r in rejects)


@pytest.mark.parametrize(
    "address",
    [
        "https://me:secret@host/a.jpg",
        "HTTP://secret@host/a.jpg",
        "http:/me:secret@host/a.jpg",
        "http:me:secret@host/a.jpg",
        "http://me:se/secret@host/a.jpg",
        "ftp://me:secret@host/a.jpg",
        "s3://me:secret@bucket/a.jpg",
        "file://me:secret@host/a.jpg",
        "http://me:secret@host/\x1b[31m.jpg",
    ],
)
def test_a_name_and_password_in_an_address_are_neither_kept_nor_shown(address: str, tmp_path: Path) -> None:
    file = tmp_path / "urls.txt"
    file.write_text(f"{address}\n")
    with closing(UrlListSource(DiskFile(file), settings=settings())) as source:
        (reject,) = source.list()
    assert isinstance(reject, Reject)
    assert reject.reason == "bad_address"
    assert "secret" not in repr(reject)
    assert "***@" in reject.uri
    assert reject.uri.isprintable()
    with pytest.raises(SourceError) as caught:
        open_source(address, settings=settings())
    assert "secret" not in str(caught.value)


def test_a_server_cannot_have_its_words_act_on_a_terminal() -> None:
    redirect = Answer(302, headers={"Location": "http://me:secret@host\x85\x9b2J/"})
    with WebServer(lambda *_: redirect) as site, closing(UrlSource(f"{site.url}/a.jpg", settings=settings())) as source:
        (reject,) = source.read(refs(source))
    assert isinstance(reject, Reject)
    assert reject.detail.isprintable()
    assert "secret" not in reject.detail


def test_a_list_may_name_objects_on_s3(s3: "S3Client", bucket: str, moto: str, tmp_path: Path) -> None:
    s3.put_object(Bucket=bucket, Key="a/dog.jpg", Body=b"dog")
    file = tmp_path / "urls.txt"
    file.write_text(f"s3://{bucket}/a/dog.jpg\ns3://{bucket}/gone.jpg\n")
    with closing(UrlListSource(DiskFile(file), settings=settings(**{"s3.endpoint_url": moto}))) as source:
        dog, gone = source.read(refs(source))
        assert isinstance(dog, Blob)
        assert (dog.data, dog.ref.folder, dog.ref.filename) == (b"dog", f"{bucket}/a", "dog.jpg")
        assert isinstance(gone, Reject)
        assert (gone.reason, gone.detail.startswith("row 2: NoSuchKey")) == ("missing", True)
        (again,) = source.read([stored(dog)])
        assert isinstance(again, Unchanged)


def test_a_list_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"urls\.txt cannot be read: No such file"):
        refs(UrlListSource(DiskFile(tmp_path / "urls.txt"), settings=settings()))


SIGNED = "X-Amz-Date=20240501T220000Z&X-Amz-Signature="


@pytest.fixture
def bouncer() -> Iterator[WebServer]:
    """A server that hands out an image to those who bring a signature."""

    def respond(path: str, headers: Any) -> Answer:
        del headers
        return Answer(200, path.partition("?")[0].encode()) if "Signature=" in path else Answer(403)

    with WebServer(respond) as server:
        yield server


@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
def test_a_signed_address_is_read_by_its_signature_and_named_without(
    tmp_path: Path, bouncer: WebServer, name: str
) -> None:
    def listed(signature: str) -> tuple[list[Ref], list[bytes]]:
        rows = [f"{bouncer.url}/{n}.jpg?v=1&{SIGNED}{signature}" for n in range(5)]
        header = ["url,thumb"] if name == "a.csv" else []
        thumbs = [f"{row},https://h.example/t.jpg?{SIGNED}{signature}" for row in rows]
        (tmp_path / name).write_text("\n".join([*header, *(thumbs if header else rows)]))
        settings = Settings.load({"web.allow_networks": ["127.0.0.1/32"]})
        with closing(open_source(str(tmp_path / name), settings=settings)) as source:
            refs = [item for item in source.list() if isinstance(item, Ref)]
            blobs = [each for each in source.read([*refs[3:], *refs[:3]]) if isinstance(each, Blob)]
        return refs, [blob.data for blob in blobs]

    first, data = listed("one")
    again, _ = listed("two")
    assert data == [b"/3.jpg", b"/4.jpg", b"/0.jpg", b"/1.jpg", b"/2.jpg"]
    assert [ref.uri for ref in first] == [f"{bouncer.url}/{n}.jpg?v=1" for n in range(5)]
    assert [(ref.point_id, ref.meta) for ref in first] == [(ref.point_id, ref.meta) for ref in again]
    assert "Signature" not in repr([REF_VALUES(ref) for ref in first])


def test_one_signed_address_is_a_place_without_its_signature(bouncer: WebServer) -> None:
    settings = Settings.load({"web.allow_networks": ["127.0.0.1/32"], "web.signature_params": ["token"]})
    address = f"{bouncer.url}/a.jpg?{SIGNED}x&token=y"
    with closing(open_source(address, settings=settings)) as source:
        (ref,) = source.list()
        assert isinstance(ref, Ref)
        (blob,) = source.read([ref])
    assert isinstance(blob, Blob)
    assert (source.root, ref.uri, ref.source) == (f"{bouncer.url}/a.jpg",) * 3
