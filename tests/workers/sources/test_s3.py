import gzip
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from connector import ConfigError
from connector.errors import SourceError
from connector.settings import S3Settings
from connector.version import Version
from tests.doubles import PAGE, Answer, Cut, Fault, Reset, Silence, WebServer, proxy_to, s3_error
from workers.records import Blob, Ref, Reject, Unchanged
from workers.sources.s3 import S3Source

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def settings(line: WebServer, **changes: object) -> S3Settings:
    return S3Settings.model_validate(
        {"endpoint_url": line.url, "reader": "boto3", "read_timeout_s": 2.0, "attempts": 3, "retry_s": 0} | changes
    )


@pytest.fixture(params=["boto3", "obstore"])
def reader(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def source(where: str, config: S3Settings, *, hidden: bool = False, max_bytes: int = 1000) -> S3Source:
    return S3Source(where, settings=config, threads=4, hidden=hidden, max_bytes=max_bytes)


def put(s3: "S3Client", bucket: str, *keys: str, data: bytes = b"a photo") -> None:
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=data)


def refs(of: S3Source) -> list[Ref]:
    found = []
    for item in of.list():
        assert isinstance(item, Ref)
        found.append(item)
    return sorted(found, key=lambda ref: ref.uri)


def keys(of: S3Source) -> list[str]:
    return [ref.object_key.partition("/")[2] for ref in refs(of)]


@pytest.fixture
def one(s3: "S3Client", bucket: str, line: WebServer, reader: str) -> Iterator[tuple[S3Source, Ref]]:
    """A bucket with one image, listed."""
    put(s3, bucket, "dog.jpg")
    with closing(source(f"s3://{bucket}", settings(line, reader=reader))) as of:
        (ref,) = refs(of)
        yield of, ref


def test_a_bucket_is_listed_with_everything_that_looks_like_an_image(
    s3: "S3Client", bucket: str, line: WebServer
) -> None:
    put(s3, bucket, "a.jpg", "b/c.PNG", "b/d/e.webp", "notes.txt", "b/", ".hidden.jpg", "b/.cache/f.jpg")
    assert keys(source(f"s3://{bucket}", settings(line))) == ["a.jpg", "b/c.PNG", "b/d/e.webp"]
    assert ".hidden.jpg" in keys(source(f"s3://{bucket}", settings(line), hidden=True))


def test_a_ref_says_where_it_was_found(s3: "S3Client", bucket: str, line: WebServer) -> None:
    put(s3, bucket, "photos/2024/by the sea/dög #1.jpg")
    (ref,) = refs(source(f"s3://{bucket}/photos/", settings(line)))
    assert ref.uri == f"s3://{bucket}/photos/2024/by the sea/dög #1.jpg"
    assert ref.source == f"s3://{bucket}/photos"
    assert ref.object_key == f"{bucket}/photos/2024/by the sea/dög #1.jpg"
    assert (ref.folder, ref.filename, ref.size) == ("2024/by the sea", "dög #1.jpg", 7)


def test_a_prefix_is_a_folder_unless_a_star_says_otherwise(s3: "S3Client", bucket: str, line: WebServer) -> None:
    put(s3, bucket, "2024/a.jpg", "2024-old/b.jpg", "2025/c.jpg")
    assert keys(source(f"s3://{bucket}/2024", settings(line))) == ["2024/a.jpg"]
    assert keys(source(f"s3://{bucket}/2024*", settings(line))) == ["2024-old/b.jpg", "2024/a.jpg"]


def test_one_object_is_taken_whatever_its_extension(s3: "S3Client", bucket: str, line: WebServer) -> None:
    put(s3, bucket, "photos/dog.backup", "photos/dog.backup2")
    of = source(f"s3://{bucket}/photos/dog.backup", settings(line))
    (ref,) = refs(of)
    assert (ref.folder, ref.filename, of.root) == ("", "dog.backup", ref.uri)


@pytest.mark.parametrize("key", ['it\'s "quoted".jpg', "%41 + & ?.jpg", "象.jpg", "../up.jpg", "a//b.jpg"])
def test_any_key_is_listed_and_read(s3: "S3Client", bucket: str, line: WebServer, reader: str, key: str) -> None:
    put(s3, bucket, key)
    of = source(f"s3://{bucket}", settings(line, reader=reader, addressing="path"))
    (ref,) = refs(of)
    (blob,) = of.read([ref])
    assert isinstance(blob, Blob)
    assert (ref.uri, blob.data) == (f"s3://{bucket}/{key}", b"a photo")


def test_a_prefix_without_objects_lists_nothing(bucket: str, line: WebServer) -> None:
    assert keys(source(f"s3://{bucket}/nothing/here", settings(line))) == []


@pytest.mark.parametrize("folders", [1, 5, 30], ids="{} folders".format)
@pytest.mark.parametrize("listers", [1, 3], ids="{} listers".format)
def test_stretches_hold_every_key_once(
    s3: "S3Client", bucket: str, line: WebServer, listers: int, folders: int
) -> None:
    names = {f"top/{n:02}/{m}.jpg" for n in range(folders) for m in range(3)}
    names |= {"top/00.jpg", "top/00/a/b.jpg", "top/31.jpg", "top/a.png"}
    put(s3, bucket, *names, "top/07/", "other/x.jpg")
    of = source(f"s3://{bucket}/top", settings(line, listers=listers))
    assert keys(of) == sorted(names)


def test_a_bucket_of_one_page_is_listed_with_one_request(s3: "S3Client", bucket: str, line: WebServer) -> None:
    put(s3, bucket, *(f"{n}/a.jpg" for n in range(PAGE)))
    assert len(keys(source(f"s3://{bucket}", settings(line)))) == PAGE
    assert line.count("list-type") == 1


@pytest.mark.parametrize("folders", [1, 3, 13])
def test_a_bucket_of_little_more_than_a_page_takes_few_requests_and_few_keys(
    s3: "S3Client", bucket: str, line: WebServer, folders: int
) -> None:
    put(s3, bucket, *(f"{n % folders:02}/{n:02}.jpg" for n in range(PAGE + 3)))
    assert len(keys(source(f"s3://{bucket}", settings(line)))) == PAGE + 3
    assert line.count("list-type") <= 4


def test_a_large_bucket_is_listed_by_several_at_once(s3: "S3Client", bucket: str, line: WebServer) -> None:
    put(s3, bucket, *(f"top/{n:02}/{m}.jpg" for n in range(20) for m in range(6)))
    assert len(keys(source(f"s3://{bucket}", settings(line, listers=4)))) == 120
    assert line.count("start-after=") >= 3
    assert line.count("list-type") < 2 * 120 / PAGE + 5


def test_a_check_does_not_wait_for_a_store_that_is_away(bucket: str, line: WebServer) -> None:
    checked = source(f"s3://{bucket}", settings(line, retry_s=3600, attempts=20))
    checked.check()
    line.script("list-type", *[s3_error(503, "ServiceUnavailable")] * 10_000)
    with ThreadPoolExecutor(1) as pool:
        checking = pool.submit(checked.check)
        try:
            failed = checking.exception(timeout=60)
        finally:
            checked.close()
    assert isinstance(failed, SourceError)


def in_listing(*keys: str, token: str | None = None) -> Answer:
    """A page of a listing with these keys, in this order."""
    contents = "".join(f"<Contents><Key>{key}</Key><Size>7</Size><ETag>x</ETag></Contents>" for key in keys)
    more = "" if token is None else f"<NextContinuationToken>{token}</NextContinuationToken>"
    truncated = str(token is not None).lower()
    body = f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}{contents}</ListBucketResult>"
    return Answer(200, body.encode(), {"Content-Type": "application/xml"})


def test_a_store_that_lists_in_no_order_is_listed_undivided(line: WebServer) -> None:
    line.script("list-type", in_listing("b/1.jpg", "a/1.jpg", token="two"), in_listing("c/1.jpg", "a/0.jpg"))
    assert keys(source("s3://bucket", settings(line))) == ["a/0.jpg", "a/1.jpg", "b/1.jpg", "c/1.jpg"]
    assert line.count("delimiter") == 0


def test_a_listing_that_turns_out_to_be_in_no_order_ends_with_what_to_set(line: WebServer) -> None:
    line.script("list-type", in_listing("a/1.jpg", "b/1.jpg", token="two"), in_listing(), in_listing())
    line.script("continuation-token", in_listing("a/0.jpg"))
    with pytest.raises(SourceError, match=r"out of order, near 'a/0\.jpg'.*Set s3\.listers to 1"):
        keys(source("s3://bucket", settings(line)))


def test_a_store_that_knows_no_start_after_is_listed_whole_all_the_same(s3: "S3Client", bucket: str, moto: str) -> None:
    names = [f"{n:02}/{m}.jpg" for n in range(12) for m in range(3)]
    put(s3, bucket, *names)
    passed_on = proxy_to(moto)
    with WebServer(lambda path, headers: passed_on(path.replace("start-after=", "unknown="), headers)) as deaf:
        assert keys(source(f"s3://{bucket}", settings(deaf, listers=4, anonymous=True))) == names


def test_a_store_that_gives_the_same_page_again_and_again_is_an_error(line: WebServer) -> None:
    line.script("list-type", *[in_listing("b.jpg", "a.jpg", token="same")] * 3)
    with pytest.raises(SourceError, match="the same page again and again"):
        keys(source("s3://bucket", settings(line)))


def test_pages_are_listed_while_the_ones_before_are_read(s3: "S3Client", bucket: str, line: WebServer) -> None:
    put(s3, bucket, *(f"{n:02}.jpg" for n in range(3 * PAGE)))
    of = source(f"s3://{bucket}", settings(line))
    listing = of.list()
    first = next(listing)
    assert isinstance(first, Ref)
    assert [type(outcome) for outcome in of.read([first])] == [Blob]
    assert len({item.uri for item in listing} | {first.uri}) == 3 * PAGE
    assert line.count("continuation-token") == 2


def test_a_listing_given_up_early_leaves_no_thread(s3: "S3Client", bucket: str, line: WebServer) -> None:
    put(s3, bucket, *(f"{n}/a.jpg" for n in range(20)))
    listing = source(f"s3://{bucket}", settings(line)).list()
    for _ in range(PAGE + 1):  # the first page is asked for alone
        next(listing)
    assert any(thread.name.startswith("list") for thread in threading.enumerate())
    assert isinstance(listing, Generator)
    listing.close()
    assert not any(thread.name.startswith("list") for thread in threading.enumerate())


def test_reading_gives_bytes_version_and_user_metadata(
    s3: "S3Client", bucket: str, line: WebServer, reader: str
) -> None:
    s3.put_object(
        Bucket=bucket, Key="dog.jpg", Body=b"a photo", Metadata={"Mood": "good", "place": "=?utf-8?q?M=C3=BCnchen?="}
    )
    of = source(f"s3://{bucket}", settings(line, reader=reader))
    (ref,) = refs(of)
    (blob,) = of.read([ref])
    assert isinstance(blob, Blob)
    assert (blob.data, blob.version) == (b"a photo", ref.version)
    assert blob.meta == {"mood": "good", "place": "München"}


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "br", "aws-chunked", "identity"])
def test_an_object_is_taken_as_it_is_stored_whatever_its_content_encoding(
    s3: "S3Client", bucket: str, line: WebServer, reader: str, encoding: str
) -> None:
    stored = gzip.compress(gzip.compress(bytes(5_000_000)))
    s3.put_object(Bucket=bucket, Key="dog.jpg", Body=stored, ContentEncoding=encoding)
    with closing(source(f"s3://{bucket}", settings(line, reader=reader), max_bytes=len(stored))) as of:
        (blob,) = of.read(refs(of))
    assert isinstance(blob, Blob)
    assert blob.data == stored


@pytest.mark.parametrize("where", ["s3://me:secret@bucket/x", "s3://me:se/secret@bucket/x", "S3://secret@bucket"])
def test_keys_in_an_address_are_refused_and_not_shown(where: str, line: WebServer) -> None:
    with pytest.raises(SourceError, match=r"never from an address") as caught:
        source(where, settings(line))
    assert "secret" not in str(caught.value)


def test_what_a_store_says_cannot_act_on_a_terminal(one: tuple[S3Source, Ref], line: WebServer, reader: str) -> None:
    of, ref = one
    body = b"<Error><Code>Odd</Code><Message>see http://me:secret@host &#x85;&#x9b;2J</Message></Error>"
    line.script("dog.jpg", *[Answer(400, body, {"Content-Type": "application/xml"})] * (1 + (reader == "obstore")))
    (reject,) = of.read([ref])
    assert isinstance(reject, Reject)
    assert reject.detail.isprintable()
    assert "secret" not in reject.detail


def test_tags_are_read_on_request(s3: "S3Client", bucket: str, line: WebServer) -> None:
    s3.put_object(Bucket=bucket, Key="dog.jpg", Body=b"a photo", Tagging="animal=dog&mood=good")
    s3.put_object(Bucket=bucket, Key="emu.jpg", Body=b"a photo")
    without, with_tags = source(f"s3://{bucket}", settings(line)), source(f"s3://{bucket}", settings(line, tags=True))
    assert [blob.meta for blob in without.read(refs(without)) if isinstance(blob, Blob)] == [{}, {}]
    assert [blob.meta for blob in with_tags.read(refs(with_tags)) if isinstance(blob, Blob)] == [
        {"object_tags": {"animal": "dog", "mood": "good"}},
        {},
    ]
    assert line.count("tagging") == 1


def test_a_new_version_of_an_object_has_another_version(
    s3: "S3Client", bucket: str, line: WebServer, reader: str
) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    put(s3, bucket, "dog.jpg", data=b"first")
    of = source(f"s3://{bucket}", settings(line, reader=reader))
    (before,) = refs(of)
    put(s3, bucket, "dog.jpg", data=b"after")
    (now,) = refs(of)
    (blob,) = of.read([before])
    assert isinstance(blob, Blob)
    assert blob.data == b"after"
    assert blob.version == now.version != before.version
    s3.delete_object(Bucket=bucket, Key="dog.jpg")
    assert refs(of) == []


def test_an_object_of_unknown_version_is_asked_for_conditionally(one: tuple[S3Source, Ref]) -> None:
    of, ref = one
    unknown = replace(ref, version=None, size=None)
    (blob,) = of.read([unknown])
    assert isinstance(blob, Blob)
    (again,) = of.read([replace(unknown, stored_version=blob.version)])
    assert isinstance(again, Unchanged)
    (other,) = of.read([replace(unknown, stored_version=Version("0123456789abcdef-7"))])
    assert isinstance(other, Blob)


def test_an_object_above_the_limit_is_not_downloaded(s3: "S3Client", bucket: str, line: WebServer, reader: str) -> None:
    put(s3, bucket, "big.jpg", data=b"x" * 1001)
    of = source(f"s3://{bucket}", settings(line, reader=reader))
    (ref,) = refs(of)
    for asked in (ref, replace(ref, size=None)):
        (reject,) = of.read([asked])
        assert isinstance(reject, Reject)
        assert (reject.stage, reject.reason) == ("read", "too_large")
    assert line.count("GET") - line.count("list-type") == 1


@pytest.mark.parametrize(
    "faults",
    [
        (s3_error(503, "SlowDown"),),
        (Reset(), Reset()),
        (Cut(3), Cut(0)),
        (Silence(),),
        (s3_error(500, "InternalError"), Cut(5)),
    ],
    ids=["slow down", "reset", "cut short", "silence", "one after the other"],
)
def test_a_fault_that_passes_is_lived_through(
    one: tuple[S3Source, Ref], line: WebServer, faults: tuple[Fault, ...]
) -> None:
    of, ref = one
    line.script("GET", *faults)
    (blob,) = of.read([ref])
    assert isinstance(blob, Blob), blob
    assert blob.data == b"a photo"
    assert line.count("dog.jpg") == len(faults) + 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (s3_error(503, "SlowDown"), "throttled"),
        (Reset(), "read_error"),
        (Cut(3), "read_error"),
        (Silence(), "timeout"),
        (s3_error(500, "InternalError"), "read_error"),
        (s3_error(404, "NoSuchKey"), "missing"),
        (s3_error(403, "AccessDenied"), "permission_denied"),
        (s3_error(403, "InvalidObjectState"), "archived"),
        (s3_error(418, "Teapot"), "read_error"),
    ],
)
def test_a_fault_that_stays_rejects_one_image_and_not_the_next(
    s3: "S3Client", one: tuple[S3Source, Ref], line: WebServer, bucket: str, fault: Fault, reason: str
) -> None:
    of, ref = one
    put(s3, bucket, "emu.jpg")
    line.script("dog.jpg", *[fault] * 20)
    bad, good = of.read(refs(of))
    assert isinstance(bad, Reject)
    assert (bad.uri, bad.stage, bad.reason) == (ref.uri, "read", reason)
    assert bad.detail
    assert isinstance(good, Blob)


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (s3_error(400, "ExpiredToken"), "Sign in again"),
        (s3_error(403, "InvalidAccessKeyId"), "AWS_ACCESS_KEY_ID"),
        (s3_error(403, "SignatureDoesNotMatch"), "s3.profile"),
        (s3_error(403, "RequestTimeTooSkewed"), "clock"),
    ],
)
def test_what_would_stop_every_image_stops_the_run_and_says_how_to_go_on(
    one: tuple[S3Source, Ref], line: WebServer, fault: Fault, advice: str, reader: str
) -> None:
    of, ref = one
    line.script("dog.jpg", *[fault] * (2 if reader == "obstore" else 1))
    with pytest.raises(SourceError, match=advice):
        list(of.read([ref]))


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (s3_error(403, "AccessDenied"), "s3:ListBucket"),
        (s3_error(400, "ExpiredToken"), "Sign in again"),
        (s3_error(503, "SlowDown"), "same command"),
        (Reset(), "same command"),
    ],
)
def test_a_bucket_that_cannot_be_listed_is_an_error_that_says_what_to_do(
    bucket: str, line: WebServer, fault: Fault, advice: str
) -> None:
    line.script("list-type", *[fault] * 3)
    with pytest.raises(SourceError, match=advice) as caught:
        list(source(f"s3://{bucket}", settings(line)).list())
    assert f"cannot list s3://{bucket}/" in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_fault_in_the_midst_of_a_listing_is_lived_through(s3: "S3Client", bucket: str, line: WebServer) -> None:
    put(s3, bucket, *(f"{n}/a.jpg" for n in range(10)))
    line.script("start-after", Reset(), Reset(), s3_error(500, "InternalError"))
    assert len(keys(source(f"s3://{bucket}", settings(line, attempts=5)))) == 10


def test_a_missing_bucket_is_an_error_that_names_it(line: WebServer) -> None:
    with pytest.raises(SourceError, match=r"cannot list s3://no-such-bucket/: NoSuchBucket.*Check the bucket's name"):
        list(source("s3://no-such-bucket", settings(line)).list())


def test_a_server_that_is_not_there_is_an_error_that_says_what_to_check(line: WebServer) -> None:
    nowhere = settings(line, endpoint_url="http://127.0.0.1:9", attempts=1)
    with pytest.raises(SourceError, match=r"Check s3\.endpoint_url and the network"):
        list(source("s3://bucket", nowhere).list())


def test_missing_keys_are_an_error_that_says_where_to_put_them(
    line: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(SourceError, match=r"Set AWS_ACCESS_KEY_ID .*s3\.anonymous"):
        list(source("s3://bucket", settings(line)).list())


def test_a_public_bucket_is_read_unsigned(
    s3: "S3Client", bucket: str, line: WebServer, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    s3.put_object(Bucket=bucket, Key="dog.jpg", Body=b"a photo", ACL="public-read")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    of = source(f"s3://{bucket}", settings(line, reader=reader, anonymous=True))
    assert [type(outcome) for outcome in of.read(refs(of))] == [Blob]
    assert not any("authorization" in headers for headers in line.headers)


def test_an_unknown_profile_is_an_error_that_names_the_known_ones(line: WebServer) -> None:
    with pytest.raises(ConfigError, match=r"'holiday' is not configured; known profiles: none"):
        source("s3://bucket", settings(line, profile="holiday"))


def test_a_profile_gives_the_keys(
    line: WebServer,
    reader: str,
    s3: "S3Client",
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    put(s3, bucket, "dog.jpg")
    file = tmp_path_factory.mktemp("aws") / "credentials"
    file.write_text("[holiday]\naws_access_key_id = of-the-profile\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    of = source(f"s3://{bucket}", settings(line, reader=reader, profile="holiday"))
    assert [type(outcome) for outcome in of.read(refs(of))] == [Blob]
    assert all("of-the-profile" in headers["authorization"] for headers in line.headers)


def test_requester_pays_is_said_with_every_request(s3: "S3Client", bucket: str, line: WebServer, reader: str) -> None:
    put(s3, bucket, "a/dog.jpg")
    of = source(f"s3://{bucket}/a", settings(line, reader=reader, requester_pays=True))
    list(of.read(refs(of)))
    assert all(headers["x-amz-request-payer"] == "requester" for headers in line.headers)


@pytest.mark.parametrize("where", ["s3://", "s3:///key", "s3://bad bucket!/x"])
def test_an_address_without_a_proper_bucket_is_an_error(where: str, line: WebServer) -> None:
    with pytest.raises(SourceError, match="bucket"):
        list(source(where, settings(line)).list())


def test_many_threads_read_at_once_over_one_client(s3: "S3Client", bucket: str, line: WebServer, reader: str) -> None:
    put(s3, bucket, *(f"{n}.jpg" for n in range(16)))
    of = source(f"s3://{bucket}", settings(line, reader=reader))
    listed = refs(of)
    outcomes: list[object] = []
    threads = [threading.Thread(target=lambda: outcomes.extend(of.read(listed))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 64
    assert all(isinstance(outcome, Blob) for outcome in outcomes)


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF></x:xmpmeta>"""


def beside(of: S3Source) -> dict[str, list[str]]:
    return {ref.filename: list(ref.sidecars) for ref in refs(of) if ref.sidecars}


def test_what_stands_beside_an_object_is_its_sidecar(
    s3: "S3Client", bucket: str, line: WebServer, reader: str, caplog: pytest.LogCaptureFixture
) -> None:
    s3.put_object(Bucket=bucket, Key="p/dög.jpg", Body=b"a photo", Metadata={"album": "mine", "by": "me"})
    put(s3, bucket, "p/dög.jpg.json", data=b'{"album": "theirs"}')
    put(s3, bucket, "p/dög.xmp", data=XMP)
    put(s3, bucket, "p/DÖG.txt", data=b"in other case")
    put(s3, bucket, "p/cat.jpg", "p/deeper/cat.json", "p/.cat.json")
    put(s3, bucket, "p/broken.png", "p/broken.json")
    of = source(f"s3://{bucket}/p", settings(line, reader=reader))
    broken, cat, dog = refs(of)
    assert cat.sidecars == ()
    assert line.count("GET") == 1  # the listing

    blob, bare = of.read([dog, cat])
    assert isinstance(blob, Blob)
    assert blob.version == dog.version
    assert blob.meta == {"album": "theirs", "by": "me", "caption": "in other case"}
    assert blob.fields == {"rating": 4}
    assert isinstance(bare, Blob)
    assert (bare.version, bare.meta) == (cat.version, {})
    assert line.count("GET") == 1 + 4 + 1

    (unread,) = of.read([broken])
    assert isinstance(unread, Blob)
    assert unread.version == broken.version
    assert "sidecars_ignored count=1 first=p/broken.json" in caplog.text


def test_a_sidecar_that_comes_changes_or_goes_is_another_version(s3: "S3Client", bucket: str, line: WebServer) -> None:
    put(s3, bucket, "dog.jpg")
    of = source(f"s3://{bucket}", settings(line))
    seen = []
    for text in (b"{}", b'{"a": 1}'):
        seen += [ref.version for ref in refs(of)]
        put(s3, bucket, "dog.json", data=text)
    seen += [ref.version for ref in refs(of)]
    assert len(set(seen)) == 3
    s3.delete_object(Bucket=bucket, Key="dog.json")
    (ref,) = refs(of)
    assert ref.version == seen[0]


@pytest.mark.parametrize("listers", [1, 3])
def test_sidecars_are_found_on_the_pages_before_and_after(
    s3: "S3Client", bucket: str, line: WebServer, listers: int
) -> None:
    names = [f"{n % 3}/{n:03}" for n in range(5 * PAGE)]
    put(s3, bucket, *(f"{name}.jpg" for name in names))
    put(s3, bucket, *(f"{name}.jpg.supplemental-metada.json" for name in names[::2]), data=b"{}")
    put(s3, bucket, *(f"{name}-edited.jpg" for name in names[::5]))
    found = beside(source(f"s3://{bucket}", settings(line, listers=listers)))
    assert {name.replace("-edited", "") for name in found} == {f"{name[2:]}.jpg" for name in names[::2]}
    assert len(found) == 5 * PAGE // 2 + PAGE // 2


def test_one_object_has_its_sidecars_too(s3: "S3Client", bucket: str, line: WebServer) -> None:
    put(s3, bucket, "p/dog.jpg", "p/dog.json", "p/dogs.json")
    assert beside(source(f"s3://{bucket}/p/dog.jpg", settings(line))) == {"dog.jpg": ["dog.json"]}


def test_one_object_of_a_bucket_that_may_not_be_listed_is_taken_without(
    s3: "S3Client", bucket: str, line: WebServer
) -> None:
    put(s3, bucket, "dog.jpg", "dog.json")
    line.script("list-type", s3_error(403, "AccessDenied"))
    assert beside(source(f"s3://{bucket}/dog.jpg", settings(line))) == {}


def test_a_sidecar_that_is_told_names_the_images_that_it_belongs_to(
    s3: "S3Client", bucket: str, line: WebServer
) -> None:
    put(s3, bucket, "in/dog.jpg", "in/dog.png", "in/dog.json", "in/dogs.jpg", "in/gone.jpg")
    with closing(source(f"s3://{bucket}/in", settings(line))) as of:
        told = [f"s3://{bucket}/in/{name}" for name in ("dog.json", "gone.xmp", "lone.txt", "dog.jpg", "never.jpg")]
        assert [of.belongs(uri) for uri in told] == [True, True, True, False, False]
        assert not of.belongs(f"s3://{bucket}/out/dog.json")
        found = [[(ref.filename, list(ref.sidecars)) for ref in of.scan(uri)] for uri in told]
    assert found == [
        [("dog.jpg", ["dog.json"]), ("dog.png", ["dog.json"])],
        [("gone.jpg", [])],
        [],
        [("dog.jpg", ["dog.json"])],
        [],
    ]


def test_the_marker_of_a_folder_is_no_image_whatever_its_name(s3: "S3Client", bucket: str, line: WebServer) -> None:
    put(s3, bucket, "folder.png/", "folder.png/dog.jpg", "a/b.jpg/", "plain/")
    of = source(f"s3://{bucket}", settings(line))
    assert keys(of) == ["folder.png/dog.jpg"]
    assert of.passed_over == {}
