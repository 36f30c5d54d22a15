"""What is gone from a source goes from the collection; nothing else does."""

import os
import pty
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from connector.errors import RunIncomplete, SourceError
from connector.records import Point
from connector.settings import Settings
from connector.store.edge.shared import SharedEngine
from connector.store.engine import Engine
from tests.conftest import CommandLine, finish
from tests.images import write_images
from tests.ingest_doubles import MemorySource, new_collection
from tests.qdrant_standin.standin import running
from tests.scratch import scratch_folder
from workers.records import Ref, Reject
from workers.run.prune import ListedIds, Pruned, prune_points
from workers.sources.disk import uri_of
from workers.sources.open import open_source
from workers.sources.source import Source

EARLIER = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
def engine() -> Iterator[SharedEngine]:
    with scratch_folder() as folder:
        engine = SharedEngine.open(folder, collection="images")
        new_collection(engine)
        yield engine
        engine.close()


def opened(place: Path, **settings: object) -> Source:
    return open_source(str(place), settings=Settings.load(dict(settings)))


def store(engine: Engine, source: Source, *, at: datetime = EARLIER) -> None:
    """Put a point there for everything that a source lists, as an ingestion would."""
    refs = [ref for ref in source.list() if isinstance(ref, Ref)]
    vector = np.full(128, 1 / np.sqrt(128), dtype=np.float32)
    payload = {"version": "1", "ingested_at": at.isoformat()}
    engine.upsert([Point(ref.point_id, vector, {**payload, "uri": ref.uri, "source": [ref.source]}) for ref in refs])


def pruned(engine: Engine, source: Source, *, max_prune: float = 1.0, remove: bool = True) -> Pruned:
    """List a source to its end, and prune it."""
    with ListedIds() as listed_ids:
        for _ in listed_ids.recording(source.list, source=source.root)():
            pass
        return prune_points(engine, listed_ids, source=source.root, max_prune=max_prune, remove=remove)


def uris(engine: Engine) -> set[str]:
    return {str(point.payload["uri"]) for point in engine.scroll(limit=10_000, fields=["uri"]).points}


def test_points_of_removed_images_go_and_the_others_stay(engine: SharedEngine, tmp_path: Path) -> None:
    paths = write_images(tmp_path, ["a.png", "b/c.png", "b/d.png", "e.png"])
    source = opened(tmp_path)
    store(engine, source)
    paths[0].unlink()
    paths[2].rename(tmp_path / "moved.png")

    done = pruned(engine, source)

    assert (done.points, done.gone, done.removed, done.refusal) == (4, 2, 2, None)
    assert set(done.examples) == {uri_of(paths[0]), uri_of(paths[2])}
    assert uris(engine) == {uri_of(paths[1]), uri_of(paths[3])}
    assert pruned(engine, source) == Pruned(source.root, points=2, gone=0)


def test_the_same_on_a_server(tmp_path: Path) -> None:
    from connector.store.server.engine import ServerEngine

    paths = write_images(tmp_path, [f"{number}.png" for number in range(5)])
    with running() as standin:
        engine = ServerEngine.connect(standin.settings("grpc"), collection="images")
        new_collection(engine)
        store(engine, opened(tmp_path))
        paths[3].unlink()

        assert pruned(engine, opened(tmp_path)).removed == 1
        assert uris(engine) == {uri_of(path) for path in paths} - {uri_of(paths[3])}
        engine.close()


def test_more_points_than_one_page_are_looked_at(engine: SharedEngine) -> None:
    source = MemorySource({f"{number}.png": b"x" for number in range(2_500)})
    store(engine, source)
    for number in range(0, 2_500, 2):
        del source.files[f"{number}.png"]

    done = pruned(engine, source)

    assert (done.points, done.gone, done.removed, engine.count()) == (2_500, 1_250, 1_250, 1_250)
    assert len(done.examples) == 20


def test_points_of_other_sources_are_left_alone(engine: SharedEngine, tmp_path: Path) -> None:
    """Also those that lie in the same folder: they belong to the place that brought them in."""
    write_images(tmp_path, ["all/2024/a.png", "all/b.png", "other/c.png"])
    store(engine, opened(tmp_path / "all" / "2024"))
    store(engine, opened(tmp_path / "other"))
    (tmp_path / "all" / "2024" / "a.png").unlink()
    (tmp_path / "other" / "c.png").unlink()

    assert pruned(engine, opened(tmp_path / "all")).points == 0
    assert engine.count() == 2


def test_above_the_share_nothing_goes_and_the_message_says_what_to_do(engine: SharedEngine, tmp_path: Path) -> None:
    paths = write_images(tmp_path, [f"{number}.png" for number in range(10)])
    source = opened(tmp_path)
    store(engine, source)
    for path in paths[:3]:
        path.unlink()

    done = pruned(engine, source, max_prune=0.2)

    assert (done.gone, done.removed, engine.count()) == (3, 0, 10)
    assert done.refusal is not None
    assert "3 of the 10" in done.refusal
    assert "30.0%, more than the 20.0% of --max-prune" in done.refusal
    assert "--max-prune 1" in done.refusal
    assert pruned(engine, source, max_prune=0.3).removed == 3


def test_an_empty_folder_is_not_believed(engine: SharedEngine, tmp_path: Path) -> None:
    """It may be the mount point of a disk that is away."""
    paths = write_images(tmp_path / "disk", ["a.png", "b.png"])
    source = opened(tmp_path / "disk")
    store(engine, source)
    for path in paths:
        path.unlink()

    assert pruned(engine, source, max_prune=0.99).refusal is not None
    assert engine.count() == 2


@pytest.mark.skipif(sys.platform == "win32", reason="links of Unix")
def test_what_lies_below_a_rejected_folder_stays(engine: SharedEngine, tmp_path: Path) -> None:
    """A folder on a disk that is away: the link to it leads nowhere."""
    write_images(tmp_path, ["usb/a.png", "usb/deep/b.png", "photos/c.png", "photos/usb-old.png"])
    (tmp_path / "photos" / "usb").symlink_to(tmp_path / "usb")
    source = opened(tmp_path / "photos")
    store(engine, source)
    assert engine.count() == 4
    (tmp_path / "usb").rename(tmp_path / "unplugged")
    (tmp_path / "photos" / "usb-old.png").unlink()

    assert pruned(engine, source).removed == 1
    assert {uri.rpartition("/")[2] for uri in uris(engine)} == {"a.png", "b.png", "c.png"}


def test_what_the_listing_rejects_stays(engine: SharedEngine) -> None:
    source = MemorySource(dict.fromkeys(("a.png", "b.png", "c.png"), b"x"))
    store(engine, source)
    del source.files["a.png"], source.files["b.png"]
    source.rejects = [Reject(f"{source.root}/a.png", stage="list", reason="permission_denied", detail="told")]

    assert pruned(engine, source).removed == 1
    assert {uri.rpartition("/")[2] for uri in uris(engine)} == {"a.png", "c.png"}


def test_rows_that_nobody_understands_keep_everything(engine: SharedEngine, tmp_path: Path) -> None:
    write_images(tmp_path, ["a.png", "b.png"])
    table = tmp_path / "list.csv"
    table.write_text("path\na.png\nb.png\n")
    store(engine, opened(table))
    table.write_text('path,name\na.png,a\n"",b\n')

    done = pruned(engine, opened(table))

    assert (done.gone, done.removed) == (1, 0)
    assert done.refusal is not None
    assert "1 rows of" in done.refusal
    table.write_text("path,name\na.png,a\n")
    assert pruned(engine, opened(table)).removed == 1


def test_a_row_that_left_its_table_takes_its_point_along(engine: SharedEngine, tmp_path: Path) -> None:
    """By its own id, where the table has one."""
    write_images(tmp_path, ["a.png", "b.png"])
    table = tmp_path / "list.csv"
    table.write_text("sku,path\n1,a.png\n2,b.png\n")
    with_ids = {"table.id_column": "sku"}
    store(engine, opened(table, **with_ids))
    table.write_text("sku,path\n1,a.png\n3,b.png\n")

    assert pruned(engine, opened(table, **with_ids)).removed == 1
    assert {uri.rpartition("/")[2] for uri in uris(engine)} == {"a.png"}


def test_what_comes_in_after_the_listing_began_stays(engine: SharedEngine) -> None:
    """Another run may have brought it in meanwhile, from another machine even."""
    source = MemorySource({"a.png": b"x", "late.png": b"x"})
    store(engine, source, at=datetime.now(UTC) + timedelta(seconds=5))
    source.files.clear()

    assert pruned(engine, source).gone == 0
    assert engine.count() == 2


def test_what_is_written_again_between_looking_and_removing_stays(engine: SharedEngine) -> None:
    from workers.run.prune import MissingPoints

    source = MemorySource({"a.png": b"x", "b.png": b"x"})
    store(engine, source)
    source.files.clear()
    with ListedIds() as listed_ids:
        list(listed_ids.recording(source.list, source=source.root)())
        gone = MissingPoints.find(engine, listed_ids, source=source.root)
    source.files["b.png"] = b"x"
    store(engine, source, at=datetime.now(UTC) + timedelta(seconds=5))

    assert (gone.count, gone.remove(engine).removed) == (2, 1)
    assert {uri.rpartition("/")[2] for uri in uris(engine)} == {"b.png"}
    gone.close()


def test_a_listing_that_broke_off_says_nothing(engine: SharedEngine) -> None:
    class Broken(MemorySource):
        def list(self) -> Iterator[Ref | Reject]:
            yield self.refs()[0]
            raise SourceError("the bucket is gone")

    source = Broken({"a.png": b"x", "b.png": b"x"})
    store(engine, MemorySource(source.files))
    with ListedIds() as listed_ids:
        listing = listed_ids.recording(source.list, source=source.root)
        with pytest.raises(SourceError):
            list(listing())
        with pytest.raises(RunIncomplete, match="not listed to its end"):
            prune_points(engine, listed_ids, source=source.root, max_prune=1.0, remove=True)
    assert engine.count() == 2


# from the command line


@pytest.fixture
def album(cli: CommandLine, data_folder: Path, tmp_path: Path) -> Path:
    """A folder of six images that are stored, two of which are gone since."""
    del data_folder
    paths = write_images(tmp_path / "album", [f"{number}.png" for number in range(6)])
    ran = cli("ingest", tmp_path / "album", "--space", "mini", "--json")
    assert ran.json["stored"] == 6
    for path in paths[:2]:
        path.unlink()
    return tmp_path / "album"


def test_ingest_prunes_where_it_is_told_to(cli: CommandLine, album: Path) -> None:
    kept = cli("ingest", album, "--space", "mini", "--json")
    assert (kept.json["unchanged"], "pruned" in kept.json) == (4, False)

    refused = cli("ingest", album, "--space", "mini", "--prune", "--json")
    assert refused.code == 1
    assert refused.json["pruned"][0]["removed"] == 0
    assert "2 of the 6 images" in refused.err

    done = cli("ingest", album, "--space", "mini", "--prune", "--max-prune", "0.5", "--json")
    assert (done.code, done.json["pruned"][0]["removed"]) == (0, 2)
    assert cli("ingest", album, "--space", "mini", "--prune").out.endswith("have their image there\n")


def test_a_changed_image_is_embedded_again_under_its_id(cli: CommandLine, album: Path) -> None:
    before = cli("search", "dog", "--space", "mini", "--json").json["hits"]
    (album / "5.png").write_bytes((album / "4.png").read_bytes())
    done = cli("ingest", album, "--space", "mini", "--prune", "--max-prune", "1", "--json")
    after = {hit["payload"]["filename"]: hit for hit in cli("search", "dog", "--space", "mini", "--json").json["hits"]}

    assert (done.json["stored"], done.json["unchanged"]) == (1, 3)
    (was,) = [hit for hit in before if hit["payload"]["filename"] == "5.png"]
    assert after["5.png"]["id"] == was["id"]
    assert after["5.png"]["payload"]["content_hash"] == after["4.png"]["payload"]["content_hash"]
    assert after["5.png"]["score"] == pytest.approx(after["4.png"]["score"])


def test_prune_shows_or_removes_and_a_script_must_say_which(cli: CommandLine, album: Path) -> None:
    unclear = cli("prune", album, "--space", "mini")
    assert (unclear.code, "one of --yes and --dry-run" in unclear.err) == (2, True)

    shown = cli("prune", album, "--space", "mini", "--dry-run", "--json")
    assert (shown.code, shown.json["gone"], shown.json["removed"]) == (0, 2, 0)
    assert sorted(shown.json["uris"]) == [uri_of(album / "0.png"), uri_of(album / "1.png")]

    refused = cli("prune", album, "--space", "mini", "--yes")
    assert (refused.code, "--max-prune 1" in refused.err) == (1, True)

    done = cli("prune", album, "--space", "mini", "--yes", "--max-prune", "0.5")
    assert (done.code, done.out.splitlines()[-1]) == (0, "removed 2 points")


def test_a_place_that_is_away_removes_nothing(cli: CommandLine, album: Path) -> None:
    album.rename(album.with_name("away"))

    ran = cli("prune", album, "--space", "mini", "--yes", "--max-prune", "1")

    assert (ran.code, "does not exist" in ran.err) == (1, True)
    assert len(cli("search", "dog", "--space", "mini", "--json").json["hits"]) == 6


def test_hidden_images_are_not_gone_because_nobody_said_hidden(
    cli: CommandLine, data_folder: Path, tmp_path: Path
) -> None:
    """What the last run was told about reading the place holds for pruning it."""
    del data_folder
    write_images(tmp_path / "album", [".a.png", "b.png"])
    cli("ingest", tmp_path / "album", "--space", "mini", "--hidden")

    ran = cli("prune", tmp_path / "album", "--space", "mini", "--yes", "--max-prune", "1", "--json")

    assert (ran.json["points"], ran.json["gone"]) == (2, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of Unix")
@pytest.mark.parametrize(("answer", "left"), [("y", 4), pytest.param("n", 6, marks=pytest.mark.slow)])
def test_a_terminal_is_asked_first(cli: CommandLine, album: Path, answer: str, left: int) -> None:
    ours, theirs = pty.openpty()
    child = cli.start(
        *("prune", album, "--space", "mini", "--max-prune", "0.5"), under=["env", "TERM=dumb"], out=theirs, tty=theirs
    )
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    ran = finish(child)
    os.close(ours)

    assert ran.code == 0, ran.err
    assert len(cli("search", "dog", "--space", "mini", "--json").json["hits"]) == left


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of Unix")
@pytest.mark.parametrize(("flags", "left"), [((), 6), (("--yes",), 4)])
def test_on_a_terminal_ingest_only_shows_what_is_gone_unless_told_yes(
    cli: CommandLine, album: Path, flags: tuple[str, ...], left: int
) -> None:
    ours, theirs = pty.openpty()
    child = cli.start(
        *("ingest", album, "--space", "mini", "--prune", "--max-prune", "0.5", *flags), out=theirs, tty=theirs
    )
    os.close(theirs)
    ran = finish(child)
    said = os.read(ours, 100_000).decode()
    os.close(ours)

    assert (ran.code, "gone from" in said) == (0, True), ran.err
    assert len(cli("search", "dog", "--space", "mini", "--json").json["hits"]) == left
