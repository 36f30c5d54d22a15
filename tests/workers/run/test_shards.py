"""What a run writes down, and the listing that is handed out while it is made."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from connector.errors import RunFilesUnreadable, RunIncomplete, SourceError
from connector.run_status import RunStatus
from connector.settings import S3Settings, Settings
from tests.doubles import moto_server
from tests.ingest_doubles import MemorySource
from workers.pipeline.counters import RunReport, ShardReport
from workers.records import Counts, Ref, Reject
from workers.run.files import LocalFiles, RunFiles, open_files
from workers.run.shards import AHEAD, EARLY_CUT, Listed, Listing, Manifest, RunFolder, run_folders

MANIFEST = Manifest("one", place="/album", source="memory://album", started_at="2024-05-01T00:00:00+00:00")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(LocalFiles(tmp_path / "run"))
    made.begin(MANIFEST)
    return made


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Settings]:
    """moto's S3 with a bucket."""
    with moto_server() as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket="runs")
        yield S3Settings(endpoint_url=url, region="us-east-1")


@pytest.fixture(params=["disk", "s3"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> RunFiles:
    """An empty folder, on this machine or on S3."""
    if request.param == "disk":
        return LocalFiles(tmp_path / "run")
    return open_files(f"s3://runs/{tmp_path.name}", settings=request.getfixturevalue("s3"))


def ref(number: int, **more: object) -> Ref:
    plain = {"uri": f"memory://{number}", "source": "memory://", "object_key": "k", "folder": "f", "filename": "n"}
    return Ref(**{**plain, "version": "1", **more})  # type: ignore[arg-type]


def reject(number: int = 0, reason: str = "truncated") -> Reject:
    return Reject(f"memory://{number}", stage="decode", reason=reason, detail="a\nb \x00 \u2028 \ud800")


def source(count: int, *, rejects: tuple[Reject, ...] = ()) -> MemorySource:
    return MemorySource({f"{number:05d}.jpg": b"" for number in range(count)}, rejects=rejects)


class EndlessSource(MemorySource):
    """Lists for ever, and tells when it has listed a lot."""

    def __init__(self) -> None:
        super().__init__({})
        self.far = threading.Event()
        self.ended = threading.Event()

    def list(self) -> Iterator[Ref | Reject]:
        try:
            number = 0
            while True:
                yield ref(number)
                number += 1
                if number == 3 * EARLY_CUT:
                    self.far.set()
        finally:
            self.ended.set()


class BrokenSource(MemorySource):
    """Breaks after so many refs."""

    def __init__(self, after: int) -> None:
        super().__init__({})
        self._after = after

    def list(self) -> Iterator[Ref | Reject]:
        yield from (ref(number) for number in range(self._after))
        raise SourceError("the bucket is gone")


# the files


def test_a_file_comes_back_and_goes(files: RunFiles) -> None:
    files.write("a/one", b"1")
    files.write("a/two", b"2")
    files.write("a/two", b"22")
    files.write("b", b"")

    assert (files.read("a/two"), files.read("b"), files.read("a/three")) == (b"22", b"", None)
    assert files.names("a") == ["a/one", "a/two"]
    assert files.names("") == ["a/one", "a/two", "b"]
    assert files.names("never") == []
    files.remove(["a/one", "a/never"])
    assert files.names("a") == ["a/two"]


def test_more_files_than_a_page_of_s3_are_found(files: RunFiles) -> None:
    for number in range(25):
        files.write(f"many/{number:02d}", b"")

    assert files.names("many") == [f"many/{number:02d}" for number in range(25)]


def test_a_bucket_that_is_not_there_stops_the_run_with_its_reason(s3: S3Settings) -> None:
    with pytest.raises(RunIncomplete, match=r"files cannot be kept in s3://never/run: .*NoSuchBucket.*goes on"):
        open_files("s3://never/run", settings=s3).write("run.json", b"{}")


# the folder


def test_a_shard_comes_back_as_it_was_until_it_is_done(files: RunFiles) -> None:
    folder = RunFolder(files)
    refs = (
        ref(0),
        ref(1, version=None, size=7, stored_version="x", position=512, identity="i"),
        ref(
            2, object_key="ein \n Name \u2028 \x00 \U0001f600", meta={"tags": ["a", "b"], "n": {"x": [1.5, None, True]}}
        ),
    )
    folder.write_shard(3, refs)

    assert folder.read_shard(3) == refs
    done = RunReport(counts=Counts(3, 1, 1, 1), reasons={"empty": 1}, seconds=2.0, busy={"read": 1.0}, copied=1)
    folder.end_shard(3, ShardReport(done, (reject(7),)))
    assert folder.done() == {3: done}
    assert list(folder.rejects()) == [reject(7)]
    with pytest.raises(RunFilesUnreadable, match=r"000003\.gz cannot be read"):
        folder.read_shard(3)


def test_the_end_of_a_listing_is_remembered(files: RunFiles) -> None:
    folder = RunFolder(files)
    folder.begin(MANIFEST)
    assert folder.listed() is None
    listed = Listed(count=5, rejected=1, shards=2, busy=0.5)
    folder.end_listing(listed, rejects=[reject(1)])

    assert RunFolder(files).listed() == listed
    assert RunFolder(files).manifest() == MANIFEST
    assert list(RunFolder(files).rejects()) == [reject(1)]


def test_rejects_come_back_with_what_to_try_again(folder: RunFolder) -> None:
    again = replace(reject(1), ref=ref(1, meta={"a": [1]}), attempt=3)
    folder.note_rejects(0, [again, reject(2)])
    folder.note_rejects(1, [reject(3)])

    assert list(folder.rejects()) == [again, reject(2), reject(3)]
    folder.replace_rejects([reject(3)])
    assert list(folder.rejects()) == [reject(3)]


def test_a_run_without_rejects_has_none(folder: RunFolder, tmp_path: Path) -> None:
    assert list(folder.rejects()) == []
    assert list(RunFolder(LocalFiles(tmp_path / "never")).rejects()) == []


def test_a_new_run_forgets_the_last_one(files: RunFiles) -> None:
    folder = RunFolder(files)
    folder.begin(MANIFEST)
    folder.write_shard(3, [ref(0)])
    folder.end_shard(4, ShardReport(RunReport(counts=Counts(1, 1)), (reject(),)))
    folder.end_listing(Listed(2, rejected=0, shards=2, busy=0.1), rejects=[])

    folder.begin(replace(MANIFEST, run="two"))

    assert files.names("") == ["run.json"]
    assert list(folder.rejects()) == []


def test_what_a_finished_run_leaves_is_its_name_and_its_rejects(files: RunFiles) -> None:
    folder = RunFolder(files)
    folder.begin(MANIFEST)
    folder.write_shard(0, [ref(0)])
    folder.end_listing(Listed(1, rejected=0, shards=1, busy=0.1), rejects=[])
    folder.end_shard(0, ShardReport(RunReport(counts=Counts(1, rejected=1)), (reject(),)))

    folder.finish()

    assert files.names("") == ["rejects/000000.jsonl", "run.json"]


def test_a_line_that_a_crash_left_half_written_is_no_reject(folder: RunFolder, tmp_path: Path) -> None:
    folder.note_rejects(0, [reject(1), reject(2)])
    path = tmp_path / "run" / "rejects" / "000000.jsonl"
    path.write_bytes(path.read_bytes()[:-10])

    assert list(folder.rejects()) == [reject(1)]


def test_what_a_power_cut_left_half_written_counts_as_never_written(files: RunFiles) -> None:
    folder = RunFolder(files)
    folder.begin(MANIFEST)
    folder.write_shard(0, [ref(0)])
    folder.end_listing(Listed(1, rejected=0, shards=1, busy=0.1), rejects=[])
    for name in ("run.json", "listing.json", "done/000000.json", "listing/000000.gz"):
        files.write(name, b"\x00\x00")

    assert (folder.manifest(), folder.listed(), folder.done()) == (None, None, {})
    with pytest.raises(RunFilesUnreadable):
        folder.read_shard(0)


def test_every_source_and_collection_has_a_folder_of_its_own(tmp_path: Path) -> None:
    def settings(collection: str, url: str | None) -> Settings:
        return Settings.load({"qdrant.path": str(tmp_path), "qdrant.collection": collection, "qdrant.url": url})

    folders = [
        RunFolder.of(source, settings=settings(collection, url))
        for source in ("file:///a", "file:///b")
        for url in (None, "http://localhost:6333")
        for collection in ("one", "two")
    ]
    for folder in folders:
        folder.begin(MANIFEST)
    folders[0].write_status(RunStatus("one", "file:///a", "one", "done", started_at="", updated_at=""))

    assert len({folder.files.where for folder in folders}) == 8
    assert RunFolder.of("file:///a", settings=settings("one", None)).files.where == folders[0].files.where
    assert len(run_folders(settings("one", None))) == 2
    assert run_folders(settings("three", None)) == []


def test_a_disk_that_takes_nothing_stops_the_run_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    folder = RunFolder(LocalFiles(tmp_path / "file" / "run"))

    with pytest.raises(RunIncomplete, match=r"files cannot be kept in .*Not a directory.*goes on with the rest"):
        folder.begin(MANIFEST)


# the listing


class Hands:
    """Takes shards as they are written, like a run with one worker."""

    def __init__(self, folder: RunFolder, source: MemorySource, *, shard_size: int) -> None:
        self._folder = folder
        self._events: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
        self.listing = Listing(
            source.list, folder=folder, shard_size=shard_size, on_shard=self._events.put, on_end=self._events.put
        )

    def next(self) -> tuple[Ref, ...] | None:
        """The refs of the next shard, None after the last."""
        event = self._events.get(timeout=30)
        if isinstance(event, BaseException):
            raise event
        if event is None:
            return None
        self.listing.taken()
        return self._folder.read_shard(event)

    def all(self) -> list[tuple[Ref, ...]]:
        """Every shard."""
        with self.listing:
            return list(iter(self.next, None))


def test_every_ref_is_handed_out_once_in_order(folder: RunFolder) -> None:
    album = source(25)

    shards = Hands(folder, album, shard_size=10).all()

    assert [each for shard in shards for each in shard] == album.refs()
    assert max(len(shard) for shard in shards) <= 10


def test_an_empty_source_gives_no_shard(folder: RunFolder) -> None:
    hands = Hands(folder, source(0), shard_size=10)

    assert hands.all() == []
    assert hands.listing.complete
    assert folder.listed() == Listed(0, rejected=0, shards=0, busy=hands.listing.busy)


def test_rejects_of_the_listing_are_counted_and_kept(folder: RunFolder) -> None:
    hands = Hands(folder, source(3, rejects=(reject(7),)), shard_size=2)
    shards = hands.all()

    assert sum(map(len, shards)) == 3
    assert hands.listing.rejects == (reject(7),)
    assert hands.listing.count == 4
    assert list(folder.rejects()) == [reject(7)]


def test_the_first_shard_does_not_wait_for_the_listing_to_end(folder: RunFolder) -> None:
    hands = Hands(folder, EndlessSource(), shard_size=1_000_000)
    hands.listing.starved.set()
    with hands.listing:
        first = hands.next()

        assert first is not None
        assert EARLY_CUT <= len(first) < 1_000_000
        assert not hands.listing.complete


def test_the_listing_of_an_endless_source_waits_for_the_workers(folder: RunFolder) -> None:
    hands = Hands(folder, EndlessSource(), shard_size=1)
    with hands.listing:
        written = [hands.next() for _ in range(3)]
        while len(folder.files.names("listing")) < AHEAD + 3:
            assert hands._events.get(timeout=30) is not None

        assert len(written) == 3
        assert not hands.listing.complete
    assert len(folder.files.names("listing")) == AHEAD + 3


def test_leaving_ends_the_listing(folder: RunFolder) -> None:
    endless = EndlessSource()
    with Hands(folder, endless, shard_size=100).listing:
        assert endless.far.wait(30)

    assert endless.ended.is_set()
    assert "list" not in [thread.name for thread in threading.enumerate()]
    assert folder.listed() is None


def test_what_breaks_the_listing_is_raised(folder: RunFolder) -> None:
    with pytest.raises(SourceError, match="the bucket is gone"):
        Hands(folder, BrokenSource(5), shard_size=2).all()

    assert "list" not in [thread.name for thread in threading.enumerate()]
    assert folder.listed() is None


def test_the_time_of_listing_is_counted(folder: RunFolder) -> None:
    hands = Hands(folder, source(1000), shard_size=100)
    hands.all()

    assert hands.listing.busy > 0
