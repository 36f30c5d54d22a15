import io
import itertools
import logging
import os
import random
import tarfile
import zlib
from collections.abc import Container, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from connector.errors import SourceError
from connector.remote.s3 import S3Store
from connector.settings import S3Settings
from connector.version import Version
from tests.doubles import Answer, Cut, WebServer, s3_error
from workers.records import Blob, Ref, Reject
from workers.sources.disk import uri_of
from workers.sources.passed_over import LONE_SIDECAR, PassedOver
from workers.sources.sidecar_window import MEMBERS, SidecarWindow
from workers.sources.sidecars import Sidecars
from workers.sources.tar import RUN_BYTES, TarSource, expand, runs

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def tar_bytes(*members: tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def local(where: Path, *, hidden: bool = False, max_bytes: int = 10_000_000) -> TarSource:
    return TarSource(str(where), store=None, hidden=hidden, max_bytes=max_bytes)


def listed(source: TarSource) -> list[Ref | Reject]:
    return list(source.list())


def refs(source: TarSource) -> list[Ref]:
    return [item for item in source.list() if isinstance(item, Ref)]


def rejects(source: TarSource) -> list[Reject]:
    return [item for item in source.list() if isinstance(item, Reject)]


def read(source: TarSource) -> list[bytes]:
    outcomes = list(source.read(refs(source)))
    assert all(isinstance(outcome, Blob) for outcome in outcomes), outcomes
    return [outcome.data for outcome in outcomes if isinstance(outcome, Blob)]


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    return tmp_path / "shard.tar"


def test_images_are_listed_and_read_in_place(tar: Path) -> None:
    tar.write_bytes(tar_bytes(("a/dog.jpg", b"dog"), ("emu.png", b"emu"), ("notes.md", b"-"), ("empty.jpg", b"")))
    source = local(tar)
    assert [(ref.folder, ref.filename, ref.size) for ref in refs(source)] == [
        ("a", "dog.jpg", 3),
        ("", "emu.png", 3),
        ("", "empty.jpg", 0),
    ]
    assert read(source) == [b"dog", b"emu", b""]
    assert sorted(tar.parent.iterdir()) == [tar]


def test_a_ref_says_where_its_member_is(tar: Path) -> None:
    tar.write_bytes(tar_bytes(("a/dög #1.jpg", b"dog")))
    (ref,) = refs(local(tar))
    assert ref.uri == f"{uri_of(tar)}#a/d%C3%B6g%20%231.jpg"
    assert ref.source == uri_of(tar)
    assert ref.object_key == f"{tar}#a/dög #1.jpg"
    assert ref.version == f"{tar.stat().st_size}-{tar.stat().st_mtime_ns}@{ref.position}"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_format_with_long_names_is_read(tar: Path, form: int) -> None:
    name = "/".join(["folder"] * 15) + "/" + "x" * 90 + ".jpg"
    tar.write_bytes(tar_bytes((name, b"dog"), ("b.jpg", b"emu"), form=form))
    source = local(tar)
    assert refs(source)[0].filename == "x" * 90 + ".jpg"
    assert read(source) == [b"dog", b"emu"]


def test_members_of_the_same_stem_are_the_images_metadata(tar: Path) -> None:
    tar.write_bytes(
        tar_bytes(
            ("a/000.json", b'{"mood": "good", "year": 1}'),
            ("a/000.jpg", b"dog"),
            ("a/000.jpg.json", b'{"year": 2}'),
            ("a/000.txt", b"a dog\n"),
            ("a/001.jpg", b"emu"),
            ("b/001.json", b'{"not": "ours"}'),
        )
    )
    source = local(tar)
    assert [dict(ref.meta) for ref in refs(source)] == [{"mood": "good", "year": 2, "caption": "a dog"}, {}]
    blobs = list(source.read(refs(source)))
    assert isinstance(blobs[0], Blob)
    assert blobs[0].meta == {"mood": "good", "year": 2, "caption": "a dog"}


def test_a_broken_sidecar_costs_nothing_but_itself_and_is_logged(tar: Path, caplog: pytest.LogCaptureFixture) -> None:
    tar.write_bytes(
        tar_bytes(("0.jpg", b"dog"), ("0.json", b"{"), ("1.jpg", b"emu"), ("1.json", b"[]"), ("1.txt", b"x"))
    )
    with caplog.at_level(logging.WARNING):
        assert [dict(ref.meta) for ref in refs(local(tar))] == [{}, {"caption": "x"}]
    assert [record.getMessage().split()[0] for record in caplog.records] == ["sidecars_ignored"]
    assert "count=2" in caplog.text


def test_numbered_names_do_not_gather_in_memory(tar: Path) -> None:
    tar.write_bytes(tar_bytes(*((f"photo.{n:04}.jpg", b"x") for n in range(300))))
    assert len(refs(local(tar))) == 300


def test_braces_name_many_tars_and_the_tar_becomes_the_first_folder(tmp_path: Path) -> None:
    for number in (8, 9, 10):
        (tmp_path / f"s-{number:02}.tar").write_bytes(tar_bytes((f"a/{number}.jpg", b"%d" % number)))
    source = local(tmp_path / "s-{08..10}.tar")
    assert [(ref.folder, ref.filename) for ref in refs(source)] == [
        ("s-08.tar/a", "8.jpg"),
        ("s-09.tar/a", "9.jpg"),
        ("s-10.tar/a", "10.jpg"),
    ]
    assert read(source) == [b"8", b"9", b"10"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.tar", ["a.tar"]),
        ("{8..10}", ["8", "9", "10"]),
        ("{08..10}", ["08", "09", "10"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{a,b}-{0..1}", ["a-0", "a-1", "b-0", "b-1"]),
        ("{,x}", ["", "x"]),
        ("{}{a}", ["{}{a}"]),
    ],
)
def test_braces_count_and_choose(pattern: str, expected: list[str]) -> None:
    assert expand(pattern) == expected


def test_a_pattern_for_too_many_tars_is_an_error() -> None:
    with pytest.raises(SourceError, match="more than 1,000,000 tars"):
        expand("{0..999999999999}.tar")


def test_a_missing_tar_among_many_is_rejected_by_name_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "1.tar").write_bytes(tar_bytes(("a.jpg", b"x")))
    (tmp_path / "2.tar").write_bytes(b"no tar at all" * 100)
    source = local(tmp_path / "{0..2}.tar")
    assert [type(item) for item in listed(source)] == [Reject, Ref, Reject]
    assert [(r.uri, r.stage, r.reason) for r in rejects(source)] == [
        (uri_of(tmp_path / "0.tar"), "list", "missing_archive"),
        (uri_of(tmp_path / "2.tar"), "list", "bad_archive"),
    ]


@pytest.mark.parametrize("content", [None, b"", b"no tar at all" * 100, b"\x1f\x8b" + b"x" * 1000])
def test_a_lone_tar_that_cannot_be_listed_is_an_error(tar: Path, content: bytes | None) -> None:
    if content is not None:
        tar.write_bytes(content)
    with pytest.raises(SourceError, match=r"shard\.tar cannot be listed: .*Name a readable, uncompressed tar"):
        listed(local(tar))


def test_an_empty_tar_lists_nothing(tar: Path) -> None:
    tar.write_bytes(tar_bytes())
    assert listed(local(tar)) == []


@pytest.mark.parametrize("keep", [513, 1100, 1536, 1600, 2048, 2100])
def test_a_tar_that_ends_early_gives_what_is_whole_and_a_reject(tar: Path, keep: int) -> None:
    tar.write_bytes(tar_bytes(("a.jpg", b"a" * 500), ("b.jpg", b"b" * 600), ("c.jpg", b"c"))[:keep])
    source = local(tar)
    if keep < 1024:
        with pytest.raises(SourceError, match=r"ends early|unexpected end"):
            listed(source)
        return
    assert read(source) in ([b"a" * 500], [b"a" * 500, b"b" * 600])
    assert [(r.uri, r.reason) for r in rejects(source)] == [(uri_of(tar), "bad_archive")]


def test_a_broken_header_in_the_middle_is_not_taken_for_the_end(tar: Path) -> None:
    data = bytearray(tar_bytes(("a.jpg", b"a"), ("b.jpg", b"b"), ("c.jpg", b"c")))
    data[1024 + 148] ^= 0x7F  # the second header's checksum
    tar.write_bytes(data)
    source = local(tar)
    assert read(source) == [b"a"]
    (reject,) = rejects(source)
    assert (reject.reason, "byte 1024" in reject.detail) == ("bad_archive", True)


@pytest.mark.parametrize(
    "name",
    [
        "../../up.jpg",
        "/etc/passwd.jpg",
        "line\nbreak.jpg",
        'it\'s "quoted".jpg',
        "a\\b.jpg",
        "\udcff\udcfe.jpg",
        "..jpg/x.jpg",
    ],
)
def test_a_hostile_name_is_only_a_name(tar: Path, name: str) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", encoding="utf-8", errors="surrogateescape") as out:
        info = tarfile.TarInfo(name)
        info.size = 3
        out.addfile(info, io.BytesIO(b"dog"))
    tar.write_bytes(file.getvalue())
    source = local(tar, hidden=True)
    (ref,) = refs(source)
    assert ref.uri.startswith(f"{uri_of(tar)}#")
    assert ref.uri.isascii()
    ref.object_key.encode()
    assert read(source) == [b"dog"]
    assert sorted(tar.parent.iterdir()) == [tar]


def test_links_and_devices_are_rejected_and_folders_passed_over(tar: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as out:
        for name, kind in (("a.jpg", tarfile.SYMTYPE), ("b.jpg", tarfile.LNKTYPE), ("c.jpg", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type = kind
            info.linkname = "/etc/passwd"
            out.addfile(info)
        folder = tarfile.TarInfo("folder.jpg")
        folder.type = tarfile.DIRTYPE
        out.addfile(folder)
    tar.write_bytes(file.getvalue())
    assert [(r.stage, r.reason) for r in rejects(local(tar))] == [("list", "not_a_file")] * 3
    assert refs(local(tar)) == []


def test_a_second_member_of_the_same_name_is_rejected(tar: Path) -> None:
    tar.write_bytes(tar_bytes(("a.jpg", b"first"), ("b.jpg", b"b"), ("a.jpg", b"again")))
    source = local(tar)
    assert read(source) == [b"first", b"b"]
    assert [r.uri for r in rejects(source)] == [f"{uri_of(tar)}#a.jpg"]


def test_a_member_that_claims_to_lead_backwards_ends_the_walk(tar: Path) -> None:
    data = bytearray(tar_bytes(("a.jpg", b"a"), ("b.jpg", b"b"), form=tarfile.GNU_FORMAT))
    size = (-1024).to_bytes(11, "big", signed=True)
    data[1024 + 124 : 1024 + 136] = b"\xff" + size
    checksum = 256 + sum(data[1024 : 1024 + 148]) + sum(data[1024 + 156 : 1024 + 512])
    data[1024 + 148 : 1024 + 156] = b"%06o\0 " % checksum
    tar.write_bytes(data)
    source = local(tar)
    assert read(source) == [b"a"]
    assert [r.reason for r in rejects(source)] == ["bad_archive"]


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    tar = tmp_path / "bomb.tar"
    info = tarfile.TarInfo("pax")
    info.type = tarfile.XHDTYPE
    info.size = 8 << 30
    tar.write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    os.truncate(tar, 9 << 30)  # sparse: it takes no room
    with pytest.raises(SourceError, match="claims 8589934592 bytes"):
        listed(local(tar))


def test_a_tar_with_random_damage_never_raises_anything_of_tarfiles_own(tar: Path) -> None:
    whole = tar_bytes(*((f"{n}.jpg", bytes([n]) * n * 50) for n in range(12)), ("x" * 200 + ".jpg", b"long"))
    chance = random.Random(7)
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            start = chance.randrange(len(data) // 512) * 512
            data[start + chance.randrange(512)] = chance.choice([0, 0xFF, 0x80, ord("9"), chance.randrange(256)])
        tar.write_bytes(data[: chance.randint(512, len(data))])
        source = local(tar)
        try:
            outcomes = list(source.read(refs(source)))
        except SourceError:
            continue
        assert all(isinstance(outcome, Blob) for outcome in outcomes)


def test_a_tar_changed_since_the_listing_is_not_read_at_old_places(tar: Path) -> None:
    tar.write_bytes(tar_bytes(("a.jpg", b"a")))
    source = local(tar)
    (ref,) = refs(source)
    tar.write_bytes(tar_bytes(("0.jpg", b"0"), ("a.jpg", b"a")))
    (outcome,) = source.read([ref])
    assert isinstance(outcome, Reject)
    assert (outcome.stage, outcome.reason) == ("read", "changed_meanwhile")


def test_a_member_above_the_limit_is_not_read_and_its_neighbours_are(tar: Path) -> None:
    tar.write_bytes(tar_bytes(("a.jpg", b"a" * 10), ("b.jpg", b"b" * 101), ("c.jpg", b"c" * 100)))
    source = local(tar, max_bytes=100)
    a, b, c = source.read(refs(source))
    assert isinstance(b, Reject)
    assert (b.reason, b.detail) == ("too_large", "101 bytes; limits.max_bytes is 100")
    assert [type(a), type(c)] == [Blob, Blob]


def ref_at(offset: int, size: int, *, tar: str = "file:///a.tar", version: str = "1") -> Ref:
    return Ref(
        f"{tar}#{offset}", tar, "", "", "", Version(version).of_member(offset=offset), size=size, position=offset
    )


def test_neighbours_are_read_together_up_to_a_limit() -> None:
    near = [ref_at(0, 100), ref_at(512, 100), ref_at(1024, 100)]
    assert [*runs(near, limit=2000)] == [near]
    assert [*runs(near, limit=700)] == [near[:2], near[2:]]
    assert [*runs([*reversed(near)], limit=2000)] == [[near[2]], [near[1]], [near[0]]]
    other = ref_at(2048, 100, tar="file:///b.tar")
    newer = ref_at(4096, 100, version="2")
    assert [*runs([near[0], other, newer], limit=9000)] == [[near[0]], [other], [newer]]
    assert [*runs([], limit=1)] == []


@pytest.fixture
def store(line: WebServer) -> Iterator[S3Store]:
    settings = S3Settings(endpoint_url=line.url, attempts=3, read_timeout_s=30, retry_s=0)
    with closing(S3Store(settings, connections=4)) as store:
        yield store


def on_s3(where: str, store: S3Store) -> TarSource:
    return TarSource(where, store=store, hidden=False, max_bytes=10_000_000)


def test_a_tar_on_s3_is_listed_and_read_by_ranges(s3: "S3Client", bucket: str, store: S3Store, line: WebServer) -> None:
    images = [(f"{n:03}.jpg", bytes([n]) * 1000) for n in range(50)]
    s3.put_object(Bucket=bucket, Key="a b/shard.tar", Body=tar_bytes(*images))
    source = on_s3(f"s3://{bucket}/a b/shard.tar", store)
    assert refs(source)[0].uri == f"s3://{bucket}/a b/shard.tar#000.jpg"
    before = line.count("GET")
    assert read(source) == [data for _, data in images]
    assert line.count("GET") - before == 2  # one to list, one to read: they are neighbours


def test_a_large_tar_on_s3_is_listed_without_its_large_members(
    s3: "S3Client", bucket: str, store: S3Store, line: WebServer
) -> None:
    large = bytes(3 * RUN_BYTES)
    s3.put_object(Bucket=bucket, Key="s.tar", Body=tar_bytes(("a.jpg", large), ("b.jpg", large), ("b.txt", b"a dog")))
    source = on_s3(f"s3://{bucket}/s.tar", store)
    assert [dict(ref.meta) for ref in refs(source)] == [{}, {"caption": "a dog"}]
    assert sum(headers.get("range", "") != "" for headers in line.headers) == 3


def test_tars_on_s3_are_named_with_braces(s3: "S3Client", bucket: str, store: S3Store) -> None:
    for number in (0, 2):
        s3.put_object(Bucket=bucket, Key=f"{number}.tar", Body=tar_bytes(("a.jpg", b"%d" % number)))
    source = on_s3(f"s3://{bucket}/{{0..2}}.tar", store)
    assert read(source) == [b"0", b"2"]
    assert [(r.uri, r.reason) for r in rejects(source)] == [(f"s3://{bucket}/1.tar", "missing_archive")]
    assert source.root == f"s3://{bucket}/{{0..2}}.tar"


def test_a_tar_on_s3_changed_since_the_listing_is_not_read_at_old_places(
    s3: "S3Client", bucket: str, store: S3Store
) -> None:
    s3.put_object(Bucket=bucket, Key="s.tar", Body=tar_bytes(("a.jpg", b"a")))
    source = on_s3(f"s3://{bucket}/s.tar", store)
    listed_before = refs(source)
    s3.put_object(Bucket=bucket, Key="s.tar", Body=tar_bytes(("a.jpg", b"b")))
    (outcome,) = source.read(listed_before)
    assert isinstance(outcome, Reject)
    assert (outcome.stage, outcome.reason) == ("read", "changed_meanwhile")


def test_faults_on_the_line_are_lived_through(s3: "S3Client", bucket: str, store: S3Store, line: WebServer) -> None:
    s3.put_object(Bucket=bucket, Key="s.tar", Body=tar_bytes(("a.jpg", b"a"), ("b.jpg", b"b")))
    source = on_s3(f"s3://{bucket}/s.tar", store)
    line.script("GET", Cut(100), s3_error(500, "InternalError"))
    assert read(source) == [b"a", b"b"]


def test_a_fault_that_stays_rejects_the_members_it_concerns(
    s3: "S3Client", bucket: str, store: S3Store, line: WebServer
) -> None:
    s3.put_object(Bucket=bucket, Key="s.tar", Body=tar_bytes(("a.jpg", b"a"), ("b.jpg", b"b")))
    source = on_s3(f"s3://{bucket}/s.tar", store)
    listed_before = refs(source)
    line.script("GET", *[Cut(0)] * 3)
    assert [o.reason for o in source.read(listed_before) if isinstance(o, Reject)] == ["read_error"] * 2
    assert [type(o) for o in source.read(listed_before)] == [Blob, Blob]


def spoil(line: WebServer, *, at: int, which: Container[int]) -> None:
    """Let byte ``at`` of the tar be another one each time in these of the ranges that hold it, counted from now."""
    honest, asked = line.respond, itertools.count()

    def respond(path: str, headers: Mapping[str, str]) -> Answer:
        answer = honest(path, headers)
        start = int(headers.get("range", "bytes=-1-").removeprefix("bytes=").partition("-")[0] or -1)
        if not 0 <= at - start < len(answer.body):
            return answer
        if (number := next(asked)) not in which:
            return answer
        body = bytearray(answer.body)
        body[at - start] ^= number + 1
        return replace(answer, body=bytes(body))

    line.respond = respond


def test_a_byte_of_a_member_that_came_otherwise_is_read_again(
    s3: "S3Client", bucket: str, store: S3Store, line: WebServer
) -> None:
    images = [("a.jpg", b"a" * 999), ("b.jpg", b"b" * 999)]
    s3.put_object(Bucket=bucket, Key="s.tar", Body=tar_bytes(*images))
    source = on_s3(f"s3://{bucket}/s.tar", store)
    listed = refs(source)
    spoil(line, at=listed[1].position or 0, which=[0])
    assert [blob.data for blob in source.read(listed) if isinstance(blob, Blob)] == [data for _, data in images]


def test_two_readings_of_a_member_that_agree_are_right_against_the_listing(
    s3: "S3Client", bucket: str, store: S3Store, line: WebServer
) -> None:
    s3.put_object(Bucket=bucket, Key="s.tar", Body=tar_bytes(("a.jpg", b"a" * 999)))
    source = on_s3(f"s3://{bucket}/s.tar", store)
    spoil(line, at=1000, which=[0])
    listed = refs(source)
    assert listed[0].crc32 != zlib.crc32(b"a" * 999)
    before = line.count("GET")
    assert [blob.data for blob in source.read(listed) if isinstance(blob, Blob)] == [b"a" * 999]
    assert line.count("GET") - before == 2


def test_a_member_that_is_another_each_time_is_rejected_alone(
    s3: "S3Client", bucket: str, store: S3Store, line: WebServer
) -> None:
    s3.put_object(Bucket=bucket, Key="s.tar", Body=tar_bytes(("a.jpg", b"a" * 999), ("b.jpg", b"b" * 999)))
    source = on_s3(f"s3://{bucket}/s.tar", store)
    listed = refs(source)
    spoil(line, at=listed[0].position or 0, which=range(1000))
    first, second = source.read(listed)
    assert isinstance(first, Reject)
    assert isinstance(second, Blob)
    assert (first.reason, second.data) == ("checksum_mismatch", b"b" * 999)


def test_a_sidecar_may_stand_anywhere_in_the_tar(tar: Path) -> None:
    images = [(f"{n}.jpg", b"x") for n in range(5)]
    late = [(f"{n}.json", b'{"n": %d}' % n) for n in range(5)]
    tar.write_bytes(tar_bytes(*images, ("between.npy", b"x"), *late, ("3.txt", b"three")))
    assert [dict(ref.meta) for ref in refs(local(tar))] == [
        {"n": n, **({"caption": "three"} if n == 3 else {})} for n in range(5)
    ]


def test_a_sidecar_that_finds_no_image_is_counted_and_named(tar: Path, caplog: pytest.LogCaptureFixture) -> None:
    tar.write_bytes(tar_bytes(("0.jpg", b"x"), ("0.json", b"{}"), ("7.json", b"{}"), ("8.txt", b"x")))
    source = local(tar)
    with caplog.at_level(logging.WARNING):
        assert len(refs(source)) == 1
    assert source.passed_over == {LONE_SIDECAR: 2}
    assert "sidecars_without_image" in caplog.text
    assert "count=2 first=7.json" in caplog.text


@pytest.mark.parametrize("order", ["images first", "sidecars first", "in turn"])
def test_what_is_held_is_bounded_and_neighbours_meet_all_the_same(order: str) -> None:
    window: SidecarWindow[int] = SidecarWindow("x.tar", passed_over=(counted := PassedOver()))
    count = MEMBERS
    given: list[tuple[int, Sidecars]] = []
    for n in range(count):
        for kind in {"in turn": "ij", "sidecars first": "j", "images first": "i"}[order]:
            if kind == "i":
                window.add_image(b"%d.jpg" % n, n)
            else:
                window.add_sidecar(b"%d.json" % n, b'{"n": %d}' % n)
            if window.full:
                given += window.older_half()
    for n in range(count if order != "in turn" else 0):
        if order == "images first":
            window.add_sidecar(b"%d.json" % n, b'{"n": %d}' % n)
        else:
            window.add_image(b"%d.jpg" % n, n)
        if window.full:
            given += window.older_half()
    given += window.rest()
    assert [n for n, _ in given] == list(range(count))
    lone = counted.counts.get(LONE_SIDECAR, 0)
    assert lone == sum(not found.meta for _, found in given)
    assert lone == 0 if order == "in turn" else 0 < lone < count
