import base64
import hashlib
import itertools
import logging
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from awscrt import checksums

from connector import ConfigError
from connector.errors import CannotRead, SourceError
from connector.remote.s3 import S3Store
from connector.remote.s3_retries import TokenBucket
from connector.settings import S3Settings
from connector.version import Version
from tests.doubles import Answer, Cut, Reset, WebServer, s3_error

DATA = b"a photo, as it was uploaded"


class Objects:
    """A store that holds objects in memory: the bytes it sends, and the headers that it says of them."""

    def __init__(self) -> None:
        self.sent: dict[str, Callable[[], bytes]] = {}
        self.said: dict[str, dict[str, str]] = {}
        self.refuse: Callable[[str], bool] = lambda _: False

    def put(
        self, key: str, data: bytes = DATA, *, etag: str | None = None, said: Mapping[str, str] | None = None
    ) -> None:
        """Keep an object. ``etag`` is its MD5 sum unless another is given; ``said`` are more headers."""
        self.sent[key] = lambda: data
        self.said[key] = {"ETag": f'"{etag or hashlib.md5(data).hexdigest()}"', **(said or {})}

    def answer(self, path: str, headers: Mapping[str, str]) -> Answer:
        """What is asked for."""
        key = urlsplit(path).path.removeprefix("/bucket").removeprefix("/")
        if self.refuse(path):
            return s3_error(503, "SlowDown")
        if not key:
            return self._listing()
        if key not in self.sent:
            return s3_error(404, "NoSuchKey")
        data, status, said = self.sent[key](), 200, dict(self.said[key])
        said["Last-Modified"] = "Thu, 01 Jan 2026 00:00:00 GMT"
        if "range" in headers:
            start, _, stop = headers["range"].removeprefix("bytes=").partition("-")
            said["Content-Range"] = f"bytes {start}-{stop}/{len(data)}"
            data, status = data[int(start) : int(stop) + 1], 206
        return Answer(status, data, said)

    def _listing(self) -> Answer:
        keys = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(self.sent[key]())}</Size><ETag>{self.said[key]['ETag']}</ETag></Contents>"
            for key in sorted(self.sent)
        )
        body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>"
        return Answer(200, body.encode(), {"Content-Type": "application/xml"})


@pytest.fixture
def objects() -> Objects:
    return Objects()


@pytest.fixture
def server(objects: Objects) -> Iterator[WebServer]:
    with WebServer(objects.answer) as server:
        yield server


@pytest.fixture(params=["boto3", "obstore"])
def reader(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keys of no worth, and nothing of this machine's own configuration."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)


def store(server: WebServer, **changes: object) -> S3Store:
    given = {"endpoint_url": server.url, "region": "us-east-1", "read_timeout_s": 30.0, "attempts": 3}
    return S3Store(S3Settings.model_validate(given | changes), connections=16)


def fetched(of: S3Store, key: str = "dog.jpg") -> bytes:
    found = of.fetch("bucket", key, limit=1000)
    assert found is not None
    return found.data


# ---- one brake


def test_a_store_that_refuses_every_seventh_request_loses_nothing_and_is_counted(
    objects: Objects, server: WebServer, reader: str
) -> None:
    refused: list[str] = []

    def every_seventh(path: str) -> bool:
        if len(server.requests) % 7 == 0:
            refused.append(path)
            return True
        return False

    for number in range(100):
        objects.put(f"{number}.jpg")
    objects.refuse = every_seventh
    with closing(store(server, reader=reader)) as of:
        assert [fetched(of, f"{number}.jpg") for number in range(100)] == [DATA] * 100
        assert len(of.list_page("bucket", prefix="").objects) == 100
        assert of.throttled == len(refused) > 10


def test_a_throttled_listing_is_asked_again_for_longer_than_its_attempts(objects: Objects, server: WebServer) -> None:
    objects.put("dog.jpg")
    server.script("list-type", *[s3_error(503, "SlowDown")] * 5)
    with closing(store(server)) as of:
        assert [found.key for found in of.list_page("bucket", prefix="").objects] == ["dog.jpg"]
        assert of.throttled == 5


def test_a_listing_that_stays_throttled_ends_with_the_advice_to_ask_less(objects: Objects, server: WebServer) -> None:
    objects.refuse = lambda _: True
    with (
        closing(store(server, retry_s=0)) as of,
        pytest.raises(SourceError, match=r"cannot list .*SlowDown.*Lower s3\.listers"),
    ):
        of.list_page("bucket", prefix="")


def test_a_store_that_throttles_everything_ends_the_run_and_one_object_does_not(
    objects: Objects, server: WebServer, reader: str
) -> None:
    objects.put("dog.jpg")
    with closing(store(server, retry_s=0, reader=reader)) as of:
        server.script("dog.jpg", *[s3_error(503, "SlowDown")] * 3)
        with pytest.raises(CannotRead) as one:
            fetched(of)
        assert one.value.reason == "throttled"
        objects.refuse = lambda _: True
        with pytest.raises(SourceError, match=r"Lower s3\.listers"):
            fetched(of)


def test_the_store_is_not_asked_before_the_moment_that_it_names(objects: Objects, server: WebServer) -> None:
    objects.put("dog.jpg")
    later = Answer(503, s3_error(503, "SlowDown").body, {"Retry-After": "3600"})
    server.script("dog.jpg", later, later)
    with closing(store(server, attempts=1, retry_s=60, reader="boto3")) as of, pytest.raises(CannotRead):
        fetched(of)
    assert server.count("dog.jpg") == 1


def test_tokens_are_spent_by_refusals_and_earned_by_answers() -> None:
    bucket = TokenBucket(capacity=2, refill_s=0.001)
    assert [bucket.take(), bucket.take()] == [0, 0]
    assert bucket.take() > 900
    for _ in range(4):
        bucket.give()
    assert bucket.take() == 0


# ---- outages


def test_an_outage_longer_than_all_attempts_costs_nothing_and_is_said_once(
    objects: Objects, server: WebServer, reader: str, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(4):
        objects.put(f"{number}.jpg")
    server.script("GET", *[Reset()] * (8 if reader == "boto3" else 16))  # two attempts of each of four threads
    server.script("HEAD", Reset(), Reset())
    found: list[bytes] = []
    with closing(store(server, reader=reader)) as of:
        threads = [
            threading.Thread(target=lambda key: found.append(fetched(of, key)), args=(f"{number}.jpg",))
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [DATA] * 4
    events = [record.getMessage().split()[0] for record in caplog.records if record.levelno >= logging.WARNING]
    assert (events.count("s3_away"), events.count("s3_back")) == (1, 1)


def test_a_store_that_does_not_come_back_ends_the_run_for_every_reader(objects: Objects) -> None:
    with WebServer(objects.answer) as server:
        of = store(server, retry_s=0.5, attempts=2)
    with closing(of):
        for ask in (lambda: fetched(of), lambda: of.list_page("bucket", prefix=""), lambda: of.find("bucket", "x")):
            with pytest.raises(SourceError, match=r"Gave up after \d+ s \(s3\.retry_s\).*Check s3\.endpoint_url"):
                ask()
        with pytest.raises(CannotRead):
            of.fetch_range("bucket", "dog.jpg", start=0, stop=5)


def test_an_object_that_fails_while_the_store_answers_has_its_attempts_and_no_more(
    objects: Objects, server: WebServer
) -> None:
    objects.put("dog.jpg")
    server.script("dog.jpg", *[s3_error(500, "InternalError")] * 9)
    with closing(store(server, reader="boto3")) as of, pytest.raises(CannotRead, match="InternalError"):
        fetched(of)
    assert server.count("dog.jpg") == 3


def test_a_stream_that_breaks_is_gone_on_with_where_it_did(objects: Objects, server: WebServer) -> None:
    data = bytes(range(256)) * 100
    objects.put("dog.jpg", data)
    server.script("dog.jpg", Cut(1000), Cut(0), Reset(), Cut(5000))
    with closing(store(server)) as of:
        etag = objects.said["dog.jpg"]["ETag"]
        parts = of.stream_range("bucket", "dog.jpg", start=10, stop=len(data) - 10, etag=etag, block=512)
        assert b"".join(parts) == data[10:-10]
    ranges = [headers["range"] for headers in server.headers if "range" in headers]
    assert ranges[0] == "bytes=10-25589"
    assert ranges[1] == "bytes=1010-25589"
    assert all(headers["if-match"] == etag for headers in server.headers if "range" in headers)


def test_a_stream_that_gives_nothing_any_more_ends(objects: Objects, server: WebServer) -> None:
    objects.put("dog.jpg")
    server.script("dog.jpg", *[Cut(0)] * 9)
    with closing(store(server)) as of, pytest.raises(CannotRead):
        list(of.stream_range("bucket", "dog.jpg", start=0, stop=20, etag="x", block=8))
    assert server.count("dog.jpg") == 3


# ---- certificates


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secured(objects: Objects, authority: trustme.CA) -> Iterator[WebServer]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with WebServer(objects.answer, tls=tls) as server:
        yield server


@pytest.mark.parametrize("way", ["s3.ca_file", "AWS_CA_BUNDLE", "ca_bundle of a profile"])
def test_an_authority_of_ones_own_is_trusted_by_every_reader(
    objects: Objects,
    secured: WebServer,
    authority: trustme.CA,
    reader: str,
    way: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    given: dict[str, object] = {"ca_file": file} if way == "s3.ca_file" else {}
    if way == "AWS_CA_BUNDLE":
        monkeypatch.setenv("AWS_CA_BUNDLE", str(file))
    if way == "ca_bundle of a profile":
        keys = "aws_access_key_id = testing\naws_secret_access_key = testing"
        (tmp_path / "aws-config").write_text(f"[profile own]\nca_bundle = {file}\n{keys}\n")
        given = {"profile": "own"}
    objects.put("dog.jpg")
    with closing(store(secured, reader=reader, **given)) as of:
        assert fetched(of) == DATA
    agents = {headers["user-agent"].partition("/")[0] for headers in secured.headers}
    assert agents == {"Boto3" if reader == "boto3" else "object_store"}


def test_a_certificate_that_nobody_trusts_is_said_at_once_with_what_to_set(secured: WebServer, reader: str) -> None:
    with closing(store(secured, reader=reader)) as of, pytest.raises(SourceError, match=r"name its file .*s3\.ca_file"):
        fetched(of)


def test_https_to_a_store_that_speaks_plain_http_is_said_at_once(server: WebServer) -> None:
    wrong = server.url.replace("http:", "https:")
    with closing(store(server, endpoint_url=wrong)) as of, pytest.raises(SourceError, match=r"begins with http://"):
        of.list_page("bucket", prefix="")


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_without_certificates_is_an_error_that_names_it(
    server: WebServer, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"s3\.ca_file = .*ca\.pem"):
        store(server, ca_file=file)


# ---- obstore stands back and comes back


def test_obstore_stands_back_where_boto3_reads_what_it_cannot_and_comes_back(
    objects: Objects, server: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    objects.put("dog.jpg")
    with closing(store(server, reader="obstore")) as of:
        for _ in range(8):
            server.script("dog.jpg", s3_error(500, "InternalError"))
            assert fetched(of) == DATA
        server.headers.clear()
        for _ in range(70):
            assert fetched(of) == DATA
    agents = [headers["user-agent"].partition("/")[0] for headers in server.headers]
    assert agents == ["Boto3"] * 64 + ["object_store"] * 6
    said = [record.getMessage() for record in caplog.records if "s3_reader_changed" in record.getMessage()]
    assert ["reader=boto3" in said[0], "reader=obstore" in said[1], len(said)] == [True, True, 2]


def test_an_outage_is_no_fault_of_obstore(objects: Objects, server: WebServer) -> None:
    objects.put("dog.jpg")
    server.script("GET", *[Reset()] * 4)
    server.script("HEAD", Reset())
    with closing(store(server, reader="obstore")) as of:
        fetched(of)
        server.headers.clear()
        fetched(of)
    assert [headers["user-agent"].partition("/")[0] for headers in server.headers] == ["object_store"]


# ---- bytes are what the store says


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def test_a_flipped_byte_is_read_again(objects: Objects, server: WebServer, reader: str) -> None:
    objects.put("dog.jpg")
    answers = iter([flipped(DATA)])
    objects.sent["dog.jpg"] = lambda: next(answers, DATA)
    with closing(store(server, reader=reader)) as of:
        assert fetched(of) == DATA


def test_a_byte_that_stays_flipped_is_rejected(objects: Objects, server: WebServer, reader: str) -> None:
    objects.put("dog.jpg")
    objects.sent["dog.jpg"] = lambda: flipped(DATA)
    with closing(store(server, reader=reader)) as of, pytest.raises(CannotRead, match=r"s3\.checksums") as caught:
        fetched(of)
    assert caught.value.reason == "checksum_mismatch"
    with closing(store(server, reader=reader, checksums="ignore")) as of:
        assert fetched(of) == flipped(DATA)


def spanned(of: S3Store) -> bytes:
    version = Version.of_object(etag=hashlib.md5(DATA).hexdigest(), size=len(DATA))
    return of.fetch_span("bucket", "dog.jpg", start=0, stop=8, version=version)


def test_a_range_is_read_twice_where_that_is_wanted(objects: Objects, server: WebServer) -> None:
    objects.put("dog.jpg")
    for at in (0, 1):  # the first of the two readings, and the second
        answers = iter([flipped(DATA) if number == at else DATA for number in range(2)])
        objects.sent["dog.jpg"] = lambda answers=answers: next(answers, DATA)  # type: ignore[misc]
        with closing(store(server, checksums="twice")) as of:
            assert spanned(of) == DATA[:8]
    with closing(store(server)) as of:
        before = server.count("GET /bucket/dog.jpg")
        spanned(of)
        assert server.count("GET /bucket/dog.jpg") == before + 1


def test_a_range_that_is_another_each_time_is_rejected(objects: Objects, server: WebServer) -> None:
    objects.put("dog.jpg")
    readings = itertools.cycle([DATA, flipped(DATA)])
    objects.sent["dog.jpg"] = lambda: next(readings)
    with closing(store(server, checksums="twice")) as of, pytest.raises(CannotRead, match="others each time") as caught:
        spanned(of)
    assert caught.value.reason == "checksum_mismatch"


def encoded(number: int, size: int) -> str:
    return base64.b64encode(number.to_bytes(size, "big")).decode()


CHECKSUMS: dict[str, str] = {
    "crc32": encoded(zlib.crc32(DATA), 4),
    "crc32c": encoded(checksums.crc32c(DATA), 4),
    "crc64nvme": encoded(checksums.crc64nvme(DATA), 8),
    "sha1": base64.b64encode(hashlib.sha1(DATA).digest()).decode(),
    "sha256": base64.b64encode(hashlib.sha256(DATA).digest()).decode(),
}


@pytest.mark.parametrize("kind", CHECKSUMS)
def test_an_object_uploaded_in_parts_is_compared_with_the_checksum_that_the_store_offers(
    objects: Objects, server: WebServer, reader: str, kind: str
) -> None:
    objects.put("dog.jpg", etag="9c7e9c7e9c7e9c7e9c7e9c7e9c7e9c7e-2", said={f"x-amz-checksum-{kind}": CHECKSUMS[kind]})
    with closing(store(server, reader=reader)) as of:
        assert fetched(of) == DATA
        objects.sent["dog.jpg"] = lambda: flipped(DATA)
        with pytest.raises(CannotRead) as caught:
            fetched(of)
    assert caught.value.reason == "checksum_mismatch"


@pytest.mark.parametrize(
    "said",
    [
        {"x-amz-server-side-encryption": "aws:kms"},
        {"x-amz-server-side-encryption": "aws:kms:dsse"},
        {"x-amz-server-side-encryption-customer-algorithm": "AES256"},
    ],
    ids=["kms", "kms in two layers", "a key of the customer"],
)
def test_the_etag_of_an_encrypted_object_is_no_md5_sum(
    objects: Objects, server: WebServer, reader: str, said: dict[str, str]
) -> None:
    objects.put("dog.jpg", etag="0" * 32, said=said)
    with closing(store(server, reader=reader)) as of:
        assert fetched(of) == DATA


def test_the_etag_of_an_object_that_s3_encrypts_by_itself_is(objects: Objects, server: WebServer, reader: str) -> None:
    objects.put("dog.jpg", etag="0" * 32, said={"x-amz-server-side-encryption": "AES256"})
    with closing(store(server, reader=reader)) as of, pytest.raises(CannotRead):
        fetched(of)


def test_the_size_is_compared_with_that_of_the_listing(objects: Objects, server: WebServer, reader: str) -> None:
    objects.put("dog.jpg", etag="9c7e9c7e9c7e9c7e9c7e9c7e9c7e9c7e-2")
    with closing(store(server, reader=reader)) as of:
        (listed,) = of.list_page("bucket", prefix="").objects
        objects.sent["dog.jpg"] = lambda: DATA[:-1]
        with pytest.raises(CannotRead, match="another size"):
            of.fetch("bucket", "dog.jpg", limit=1000, listed=listed.version)
