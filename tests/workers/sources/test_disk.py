import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.errors import SourceError
from connector.records import path_of
from connector.settings import Settings
from workers.records import Blob, Ref, Reject
from workers.sources.disk import DiskSource, uri_of
from workers.sources.open import open_source

NOBODY = 65534


def disk(where: Path, *, hidden: bool = False, max_bytes: int = 1000) -> DiskSource:
    return DiskSource(where, hidden=hidden, max_bytes=max_bytes)


def write(path: Path, data: bytes = b"a photo") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def refs(source: DiskSource) -> list[Ref]:
    return [item for item in source.list() if isinstance(item, Ref)]


def names(source: DiskSource) -> list[str]:
    return [f"{ref.folder}/{ref.filename}".removeprefix("/") for ref in refs(source)]


def read_one(source: DiskSource, ref: Ref) -> Blob:
    (outcome,) = source.read([ref])
    assert isinstance(outcome, Blob), outcome
    return outcome


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may search, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def without_rights() -> Iterator[None]:
    """Run as a user without rights, where the tests run as one with all of them."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_is_listed_with_everything_below_it_files_first_and_by_name(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.jpg", "a/deep/er/x.webp", "c.jpg", "B.jpg"):
        write(tmp_path / name)
    assert names(disk(tmp_path)) == ["B.jpg", "b.png", "c.jpg", "a/z.jpg", "a/deep/er/x.webp"]


def test_extensions_are_case_blind_and_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("a.JPG", "b.JpEg", "c.HEIC", "notes.txt", "jpg", "archive.jpg.zip", "no_extension"):
        write(tmp_path / name)
    assert names(disk(tmp_path)) == ["a.JPG", "b.JpEg", "c.HEIC"]


def test_a_ref_says_where_it_was_found(tmp_path: Path) -> None:
    path = write(tmp_path / "holiday" / "by the sea" / "dog.jpg")
    (ref,) = refs(disk(tmp_path))
    assert ref.uri == path.as_uri()
    assert ref.source == tmp_path.as_uri()
    assert (ref.object_key, ref.folder, ref.filename) == (str(path), "holiday/by the sea", "dog.jpg")
    assert ref.size == len(b"a photo")
    assert ref.version == f"7-{path.stat().st_mtime_ns}"


def test_a_file_given_directly_is_taken_whatever_its_extension(tmp_path: Path) -> None:
    source = disk(write(tmp_path / "dog.backup"))
    (ref,) = refs(source)
    assert (ref.folder, ref.filename) == ("", "dog.backup")
    assert source.root == ref.uri
    assert read_one(source, ref).data == b"a photo"


def test_a_relative_path_and_an_absolute_one_name_the_same_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "photos" / "dog.jpg")
    monkeypatch.chdir(tmp_path)
    (relative,) = refs(disk(Path("photos/../photos/")))
    (absolute,) = refs(disk(tmp_path / "photos"))
    assert relative == absolute


def test_hidden_files_and_folders_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    for name in (".thumb.jpg", ".cache/a.jpg", "b.jpg"):
        write(tmp_path / name)
    assert names(disk(tmp_path)) == ["b.jpg"]
    assert names(disk(tmp_path, hidden=True)) == [".thumb.jpg", "b.jpg", ".cache/a.jpg"]


@pytest.mark.parametrize(
    "name",
    [
        b"two words.jpg",
        b'it\'s "quoted".jpg',
        b"line\nbreak.jpg",
        b"caf\xc3\xa9.jpg",
        b"latin-1 caf\xe9.jpg",
        b"\xff\xfe.jpg",
        b"%41#?&;.jpg",
        "слон 象.jpg".encode(),
        b"-rf.jpg",
        b"a\\b.jpg",
    ],
)
def test_any_file_name_is_listed_and_read(tmp_path: Path, name: bytes) -> None:
    path = os.fsencode(tmp_path) + b"/" + name
    Path(os.fsdecode(path)).write_bytes(b"a photo")
    source = disk(tmp_path)
    (ref,) = refs(source)
    assert ref.uri.isascii()
    assert os.fsencode(path_of(ref.uri)) == path
    assert ref.filename == name.decode("utf-8", "replace")
    json.dumps([ref.uri, ref.object_key, ref.folder, ref.filename]).encode()
    assert read_one(source, ref).data == b"a photo"


def test_a_folder_whose_name_is_no_text_is_walked(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9t\xe9"))
    write(folder / "dog.jpg")
    (ref,) = refs(disk(tmp_path))
    assert ref.folder == "\ufffdt\ufffd"
    (same,) = refs(disk(folder))
    assert same.uri == ref.uri


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=60).filter(lambda name: b"\0" not in name))
@example(b"%2e%2e")
def test_every_path_survives_the_way_to_a_uri_and_back(name: bytes) -> None:
    path = Path(os.fsdecode(b"/photos/" + name))
    assert path_of(uri_of(path)) == path


@pytest.mark.parametrize("uri", ["s3://bucket/key", "file://elsewhere/photos/a.jpg", "/photos/a.jpg", ""])
def test_a_uri_of_another_place_is_no_path(uri: str) -> None:
    with pytest.raises(ValueError, match="no file URI"):
        path_of(uri)


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "dog.jpg")
    write(tmp_path / "cat.jpg")
    top = tmp_path / "top"
    top.mkdir()
    (top / "linked").symlink_to(tmp_path / "elsewhere")
    (top / "cat.jpg").symlink_to(tmp_path / "cat.jpg")
    source = disk(top)
    assert names(source) == ["cat.jpg", "linked/dog.jpg"]
    assert [type(outcome) for outcome in source.read(refs(source))] == [Blob, Blob]


def test_link_loops_end_and_list_every_image_once(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b" / "dog.jpg")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "b" / "here").symlink_to(".")
    (tmp_path / "a" / "top").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "self.json").symlink_to("self.json")
    assert names(disk(tmp_path)) == ["a/b/dog.jpg"]


def test_two_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one" / "1.jpg").parent, write(tmp_path / "two" / "2.jpg").parent
    (one / "two").symlink_to(two)
    (two / "one").symlink_to(one)
    assert sorted(names(disk(one))) == ["1.jpg", "two/2.jpg"]


def test_a_chain_of_doubled_links_does_not_double_the_listing(tmp_path: Path) -> None:
    for level in range(20):
        folder = tmp_path / f"d{level}"
        folder.mkdir()
        for name in "ab":
            (folder / name).symlink_to(tmp_path / f"d{level + 1}")
    write(tmp_path / "d20" / "dog.jpg")
    assert len(names(disk(tmp_path / "d0"))) == 1


def test_a_link_to_nowhere_is_rejected_by_name(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    (reject,) = disk(tmp_path).list()
    assert isinstance(reject, Reject)
    assert (reject.stage, reject.reason) == ("list", "missing")
    assert reject.uri == uri_of(tmp_path / "gone.jpg")


def test_a_pipe_or_folder_under_an_images_name_is_rejected_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "real.jpg.json")
    write(tmp_path / "folder.jpg" / "dog.jpg")
    write(tmp_path / "real.jpg")
    source = disk(tmp_path)
    listed = list(source.list())
    assert [item.reason for item in listed if isinstance(item, Reject)] == ["not_a_file"]
    assert names(source) == ["real.jpg", "folder.jpg/dog.jpg"]
    assert [type(outcome) for outcome in source.read(refs(source))] == [Blob, Blob]


def test_a_pipe_that_takes_an_images_place_after_listing_is_not_waited_for(tmp_path: Path) -> None:
    path = write(tmp_path / "dog.jpg")
    source = disk(tmp_path)
    (ref,) = refs(source)
    path.unlink()
    os.mkfifo(path)
    (outcome,) = source.read([ref])
    assert isinstance(outcome, Reject)
    assert (outcome.stage, outcome.reason) == ("read", "not_a_file")


def test_an_empty_folder_lists_nothing(tmp_path: Path) -> None:
    assert list(disk(tmp_path).list()) == []


def test_a_missing_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"/nowhere does not exist\. Name a folder or an image"):
        disk(tmp_path / "nowhere").list()


def test_a_folder_without_rights_is_an_error_that_says_what_to_do(open_folder: Path) -> None:
    open_folder.chmod(0)
    with without_rights(), pytest.raises(SourceError, match="cannot be opened by this user"):
        disk(open_folder).list()
    open_folder.chmod(0o700)


def test_what_may_not_be_opened_is_rejected_and_the_rest_goes_on(open_folder: Path) -> None:
    for name in ("a.jpg", "b.jpg", "closed/c.jpg", "open/d.jpg"):
        write(open_folder / name)
    (open_folder / "a.jpg").chmod(0)
    (open_folder / "closed").chmod(0)
    source = disk(open_folder)
    with without_rights():
        listed = list(source.list())
        outcomes = [*source.read([item for item in listed if isinstance(item, Ref)])]
    (open_folder / "closed").chmod(0o700)
    assert [(i.uri, i.stage, i.reason) for i in listed if isinstance(i, Reject)] == [
        (uri_of(open_folder / "closed"), "list", "permission_denied")
    ]
    assert [o.reason if isinstance(o, Reject) else "read" for o in outcomes] == ["permission_denied", "read", "read"]


def test_an_image_that_vanished_since_the_listing_is_rejected(tmp_path: Path) -> None:
    path = write(tmp_path / "dog.jpg")
    write(tmp_path / "emu.jpg")
    source = disk(tmp_path)
    listed = refs(source)
    path.unlink()
    gone, there = source.read(listed)
    assert isinstance(gone, Reject)
    assert (gone.stage, gone.reason) == ("read", "missing")
    assert isinstance(there, Blob)


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    write(tmp_path / "big.jpg", b"x" * 1001)
    write(tmp_path / "fits.jpg", b"x" * 1000)
    source = disk(tmp_path)
    big, fits = source.read(refs(source))
    assert isinstance(big, Reject)
    assert (big.reason, big.detail) == ("too_large", "1001 bytes; limits.max_bytes is 1000")
    assert isinstance(fits, Blob)


def test_an_empty_file_is_read_as_it_is(tmp_path: Path) -> None:
    write(tmp_path / "empty.jpg", b"")
    source = disk(tmp_path)
    assert read_one(source, refs(source)[0]).data == b""


def test_reading_gives_the_version_that_was_listed(tmp_path: Path) -> None:
    write(tmp_path / "dog.jpg")
    write(tmp_path / "dog.json", b'{"a": 1}')
    write(tmp_path / "cat.jpg")
    source = disk(tmp_path)
    for ref in refs(source):
        assert read_one(source, ref).version == ref.version


def test_an_image_changed_since_the_listing_has_the_version_of_what_was_read(tmp_path: Path) -> None:
    path = write(tmp_path / "dog.jpg")
    source = disk(tmp_path)
    (ref,) = refs(source)
    path.write_bytes(b"another image")
    (now,) = refs(source)
    blob = read_one(source, ref)
    assert blob.data == b"another image"
    assert blob.version == now.version != ref.version


def test_sidecars_become_metadata_and_the_nearest_name_wins(tmp_path: Path) -> None:
    write(tmp_path / "dog.jpg")
    write(tmp_path / "dog.txt", b" a dog in the snow\n")
    write(tmp_path / "dog.json", b'{"mood": "good", "year": 2019}')
    write(tmp_path / "dog.jpg.json", b'{"year": 2020, "tags": ["snow"]}')
    source = disk(tmp_path)
    blob = read_one(source, refs(source)[0])
    assert blob.meta == {"caption": "a dog in the snow", "mood": "good", "year": 2020, "tags": ["snow"]}


def test_a_sidecar_belongs_to_a_file_given_directly_too(tmp_path: Path) -> None:
    write(tmp_path / "dog.json", b'{"mood": "good"}')
    source = disk(write(tmp_path / "dog.jpg"))
    (ref,) = refs(source)
    blob = read_one(source, ref)
    assert blob.meta == {"mood": "good"}
    assert blob.version == ref.version


def test_what_the_listing_knew_stands_above_the_sidecar(tmp_path: Path) -> None:
    write(tmp_path / "dog.jpg")
    write(tmp_path / "dog.json", b'{"mood": "good", "year": 2019}')
    source = disk(tmp_path)
    (ref,) = refs(source)
    assert read_one(source, replace(ref, meta={"year": 1999})).meta == {"mood": "good", "year": 1999}


def test_a_changed_or_new_or_removed_sidecar_changes_the_images_version(tmp_path: Path) -> None:
    write(tmp_path / "dog.jpg")
    seen = {refs(disk(tmp_path))[0].version}
    write(tmp_path / "dog.json", b"{}")
    seen.add(refs(disk(tmp_path))[0].version)
    write(tmp_path / "dog.json", b'{"a": 1}')
    seen.add(refs(disk(tmp_path))[0].version)
    write(tmp_path / "dog.txt", b"a dog")
    seen.add(refs(disk(tmp_path))[0].version)
    assert len(seen) == 4


@pytest.mark.parametrize(
    "sidecar",
    [
        b"",
        b"[1, 2]",
        b"{not json",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"n": ' + b"9" * 5000 + b"}",
        b'"' + b"x" * 1024 * 1024 + b'"',
    ],
    ids=["empty", "list", "not json", "not text", "deep", "long number", "large"],
)
def test_a_broken_sidecar_costs_neither_the_image_nor_the_other_sidecars(
    tmp_path: Path, sidecar: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "dog.jpg")
    write(tmp_path / "dog.json", sidecar)
    write(tmp_path / "dog.txt", b"a dog")
    source = disk(tmp_path)
    (ref,) = refs(source)
    with caplog.at_level(logging.WARNING):
        blob = read_one(source, ref)
    assert blob.meta == {"caption": "a dog"}
    assert blob.version == ref.version
    assert [record.getMessage().split()[:2] for record in caplog.records] == [["sidecars_ignored", "count=1"]]


def test_a_folder_deeper_than_a_path_may_be_long_is_rejected_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "dog.jpg")
    monkeypatch.chdir(tmp_path)
    for _ in range(20):
        Path("d" * 250).mkdir()
        os.chdir("d" * 250)  # one step at a time reaches what no single path can name
    listed = list(disk(tmp_path).list())
    assert [type(item) for item in listed] == [Ref, Reject]
    assert isinstance(listed[1], Reject)
    assert (listed[1].stage, listed[1].reason) == ("list", "read_error")


def test_open_source_takes_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "dog.jpg")
    source = open_source(str(tmp_path), settings=Settings.load({"qdrant.path": tmp_path / "data"}))
    assert [item.uri for item in source.list()] == [uri_of(tmp_path / "dog.jpg")]
    source.close()
