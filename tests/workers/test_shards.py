"""What a run writes down, and the listing that is handed out while it is made."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.settings import QdrantSettings
from tests.ingest_doubles import MemorySource
from workers.errors import RunIncomplete, SourceError
from workers.meter import Report
from workers.records import Ref, Reject, Tally
from workers.shards import EARLY_CUT, Listing, RunFolder, run_folders


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    made.begin("memory://album")
    return made


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


# the folder


def test_a_shard_comes_back_as_it_was_and_its_file_goes(folder: RunFolder) -> None:
    refs = [
        ref(0),
        ref(1, version=None, size=7, stored_version="x", position=512, identity="i"),
        ref(
            2, object_key="ein \n Name \u2028 \x00 \U0001f600", meta={"tags": ["a", "b"], "n": {"x": [1.5, None, True]}}
        ),
    ]

    path = folder.write_shard(0, refs)

    assert folder.take_shard(path) == refs
    assert not path.exists()


def test_rejects_add_up_and_come_back_as_they_were(folder: RunFolder) -> None:
    folder.add_rejects([reject(1)])
    folder.add_rejects([reject(2), reject(3)])

    assert list(folder.rejects()) == [reject(1), reject(2), reject(3)]


def test_a_run_without_rejects_has_none(folder: RunFolder, tmp_path: Path) -> None:
    assert list(folder.rejects()) == []
    assert list(RunFolder(tmp_path / "never").rejects()) == []


def test_a_new_run_forgets_the_last_one(folder: RunFolder) -> None:
    folder.add_rejects([reject()])
    folder.write_shard(3, [ref(0)])
    folder.finish(Report(tally=Tally(1, 1)))

    folder.begin("memory://album")

    assert [path.name for path in folder.path.iterdir()] == ["source.json"]
    assert list(folder.rejects()) == []


def test_a_line_that_a_crash_left_half_written_is_no_reject(folder: RunFolder) -> None:
    folder.add_rejects([reject(1), reject(2)])
    path = folder.path / "rejects.jsonl"
    path.write_bytes(path.read_bytes()[:-10])

    assert list(folder.rejects()) == [reject(1)]


def test_the_closing_report_is_json(folder: RunFolder) -> None:
    folder.finish(
        Report(tally=Tally(3, 1, 1, 1), reasons={"empty": 1}, seconds=2.0, busy={"read": 1.0}, threads={"read": 4})
    )

    assert json.loads((folder.path / "report.json").read_text()) == {
        "tally": {"listed": 3, "stored": 1, "unchanged": 1, "rejected": 1},
        "seconds": 2.0,
        "busy": {"read": 1.0},
    }


def test_every_source_and_collection_has_a_folder_of_its_own(tmp_path: Path) -> None:
    here, there = QdrantSettings(path=tmp_path), QdrantSettings(path=tmp_path, url="http://localhost:6333")
    folders = [
        RunFolder.of(source, qdrant=qdrant, collection=collection)
        for source in ("file:///a", "file:///b")
        for qdrant in (here, there)
        for collection in ("one", "two")
    ]
    for folder in folders:
        folder.begin("x")

    assert len({folder.path for folder in folders}) == 8
    assert RunFolder.of("file:///a", qdrant=here, collection="one").path == folders[0].path
    assert len(run_folders(here, collection="one")) == 2
    assert run_folders(here, collection="three") == []


def test_a_disk_that_takes_nothing_stops_the_run_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    folder = RunFolder(tmp_path / "file" / "run")

    with pytest.raises(RunIncomplete, match=r"books cannot be kept in .*Not a directory.*goes on with the rest"):
        folder.begin("memory://album")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_stops_the_run_with_its_reason(folder: RunFolder) -> None:
    for name in ("rejects.jsonl", "report.json", "shard-000000.jsonl"):
        (folder.path / name).symlink_to("/dev/full")

    with pytest.raises(RunIncomplete, match="No space left on device"):
        folder.add_rejects([reject()])
    with pytest.raises(RunIncomplete, match="No space left on device"):
        folder.finish(Report())
    with pytest.raises(RunIncomplete, match="No space left on device"):
        folder.write_shard(0, [ref(0)])


# the listing


def listed(listing: Listing) -> list[list[Ref]]:
    with listing:
        return list(listing)


def test_every_ref_is_handed_out_once_in_order(folder: RunFolder) -> None:
    album = source(25)

    shards = listed(Listing(album, folder=folder, shard_size=10))

    assert [each for shard in shards for each in shard] == album.refs()
    assert max(len(shard) for shard in shards) <= 10
    assert not list(folder.path.glob("shard-*"))


def test_an_empty_source_gives_no_shard(folder: RunFolder) -> None:
    listing = Listing(source(0), folder=folder, shard_size=10)

    assert listed(listing) == []
    assert listing.complete
    assert listing.count == 0


def test_rejects_of_the_listing_are_counted_and_kept(folder: RunFolder) -> None:
    listing = Listing(source(3, rejects=(reject(7),)), folder=folder, shard_size=2)
    shards = listed(listing)

    assert sum(map(len, shards)) == 3
    assert listing.rejects == (reject(7),)
    assert listing.count == 4


def test_the_first_shard_does_not_wait_for_the_listing_to_end(folder: RunFolder) -> None:
    with Listing(EndlessSource(), folder=folder, shard_size=1_000_000) as listing:
        first = next(iter(listing))

        assert EARLY_CUT <= len(first) < 1_000_000
        assert not listing.complete


def test_leaving_ends_the_listing(folder: RunFolder) -> None:
    endless = EndlessSource()
    with Listing(endless, folder=folder, shard_size=100):
        assert endless.far.wait(30)

    assert endless.ended.is_set()
    assert "list" not in [thread.name for thread in threading.enumerate()]


def test_what_breaks_the_listing_is_raised(folder: RunFolder) -> None:
    with pytest.raises(SourceError, match="the bucket is gone"):
        listed(Listing(BrokenSource(5), folder=folder, shard_size=2))

    assert "list" not in [thread.name for thread in threading.enumerate()]


def test_the_time_of_listing_is_counted(folder: RunFolder) -> None:
    listing = Listing(source(1000), folder=folder, shard_size=100)
    listed(listing)

    assert listing.busy > 0
