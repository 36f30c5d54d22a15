"""Backup and restore of both engines: a copy that is whole, while the collection is in use."""

import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from connector.errors import CollectionMissing, ConfigError, NotAllowed, StoreError, StoreRefused, StoreUnavailable
from connector.records import Point
from connector.settings import QdrantSettings
from connector.store.edge.sums import verify
from connector.store.engine import Engine, NearestQuery
from connector.store.open import back_up, open_engine, restore
from connector.store.schema import CollectionSchema, Fingerprint
from tests.conftest import CommandLine
from tests.points import DIMS, points
from tests.qdrant_standin.standin import running
from tests.scratch import scratch_folder

SCHEMA = CollectionSchema(Fingerprint("mini", dims=DIMS, image_size=64), {"price": "float"})
MADE = points(200)
ABOUT = {"collection": "x", "points": 1, "made_at": "2026-11-30T00:00:00+00:00", "polyglance": "1", "format": 1}


@pytest.fixture(params=["embedded", "server"])
def qdrant(request: pytest.FixtureRequest) -> Iterator[QdrantSettings]:
    """An empty store of either kind."""
    with scratch_folder() as folder:
        if request.param == "embedded":
            yield QdrantSettings(path=folder / "data")
        else:
            with running() as standin:
                yield standin.settings("grpc").model_copy(update={"path": folder / "data"})


@pytest.fixture
def engine(qdrant: QdrantSettings) -> Iterator[Engine]:
    """A collection in use."""
    with closing(open_engine(qdrant, collection="photos")) as opened:
        opened.create(SCHEMA)
        opened.upsert(MADE)
        yield opened


def _all(engine: Engine) -> dict[str, Point]:
    found = engine.scroll(limit=1000, vectors=True).points
    return {each.id: Point(each.id, each.vector, each.payload) for each in found if each.vector is not None}


def test_a_backup_that_is_restored_is_the_collection(qdrant: QdrantSettings, engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "photos.backup"
    back_up(qdrant, collection="photos", file=file)
    before = _all(engine)
    engine.delete([MADE[0].id])
    assert restore(qdrant, collection="again", default="unused", file=file) == "again"
    with closing(open_engine(qdrant, collection="again")) as restored:
        found = _all(restored)
        assert found.keys() == before.keys()
        for point_id, point in before.items():
            assert found[point_id].payload == point.payload
            np.testing.assert_allclose(found[point_id].vector, point.vector, atol=1e-3)
        assert restored.info().schema == engine.info().schema
        question = NearestQuery(MADE[5].vector, limit=3, exact=True)
        assert restored.query([question])[0][0].id == MADE[5].id
        restored.upsert(MADE[:1])  # it is written to like any other
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos.backup"]


def test_what_is_there_is_not_written_over(qdrant: QdrantSettings, engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "photos.backup"
    back_up(qdrant, collection="photos", file=file)
    with pytest.raises(ConfigError, match="'photos' is there already"):
        restore(qdrant, collection="photos", default="unused", file=file)
    assert engine.count() == len(MADE)
    back_up(qdrant, collection="photos", file=file)  # but for the backup itself


@pytest.mark.usefixtures("engine")
def test_what_cannot_be_leaves_nothing_behind(qdrant: QdrantSettings, tmp_path: Path) -> None:
    with pytest.raises(CollectionMissing):
        back_up(qdrant, collection="nowhere", file=tmp_path / "a")
    with pytest.raises((ConfigError, StoreError)):
        back_up(qdrant, collection="photos", file=tmp_path / "no such folder" / "a")
    broken = tmp_path / "broken"
    broken.write_bytes(b"no backup")
    with pytest.raises((ConfigError, StoreRefused)):
        restore(qdrant, collection="again", default="unused", file=broken)
    with pytest.raises(ConfigError):
        restore(qdrant, collection="again", default="unused", file=tmp_path / "missing")
    with closing(open_engine(qdrant, collection="again")) as none, pytest.raises(CollectionMissing):
        none.info()
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


@pytest.fixture
def embedded() -> Iterator[QdrantSettings]:
    with scratch_folder() as folder:
        yield QdrantSettings(path=folder / "data")


@pytest.mark.slow
def test_a_backup_made_while_points_arrive_holds_each_that_was_acknowledged(
    embedded: QdrantSettings, tmp_path: Path
) -> None:
    with closing(open_engine(embedded, collection="photos")) as engine:
        engine.create(SCHEMA)
        written, over = [MADE[0].id], threading.Event()
        engine.upsert(MADE[:1])

        def write() -> None:
            for point in MADE[1:]:
                engine.upsert([point])
                written.append(point.id)
            over.set()

        thread = threading.Thread(target=write)
        thread.start()
        number = 0
        while number < 2 or not over.is_set():
            acknowledged = [*written]
            back_up(embedded, collection="photos", file=tmp_path / "now")
            number += 1
            restore(embedded, collection=f"copy-{number}", default="", file=tmp_path / "now")
            with closing(open_engine(embedded, collection=f"copy-{number}")) as copy:
                assert len(copy.retrieve(acknowledged)) == len(acknowledged)
                assert copy.count() == copy.info().points
        thread.join()


def test_a_damaged_backup_is_refused_whole(embedded: QdrantSettings, tmp_path: Path) -> None:
    file = tmp_path / "photos.backup"
    with closing(open_engine(embedded, collection="photos")) as engine:
        engine.create(SCHEMA)
        engine.upsert(MADE)
        back_up(embedded, collection="photos", file=file)
    data = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as packed:
        page = next(each for each in packed.infolist() if each.filename.endswith("payload_storage/page_0.dat"))
    data[page.header_offset + 200] ^= 1
    file.write_bytes(data)
    with pytest.raises(StoreRefused, match="is damaged"):
        restore(embedded, collection="again", default="", file=file)
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr(
            "backup.json", '{"collection": "x", "points": 1, "made_at": "", "polyglance": "9", "format": 99}'
        )
    with pytest.raises(ConfigError, match="a later version wrote it"):
        restore(embedded, collection="again", default="", file=file)
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr(
            "backup.json", '{"collection": "x", "points": 1, "made_at": "", "polyglance": "0", "format": 1}'
        )
        packed.writestr("shard/../../outside", "x")
    with pytest.raises(StoreRefused, match="no file of a collection"):
        restore(embedded, collection="again", default="", file=file)
    assert sorted(path.name for path in embedded.path.iterdir()) == ["photos"]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (6, 99),
        (8, 1),
        (10, 99),
        (16, 0xAA),
        (20, 0),
        (24, 0),
        (24, 0xFF),
        (42, 0xFF),
        (43, 0xFF),
        (46, 0xFF),
        (28, 0xFF),
    ],
    ids=["version", "encrypted", "compression", "sum", "packed", "short", "long", "at", "far", "name", "name's length"],
)
def test_a_backup_whose_directory_is_damaged_is_refused_whole(
    embedded: QdrantSettings, tmp_path: Path, place: int, value: int
) -> None:
    """Zip files raise another error for each of these; what is said is that the backup is damaged, or is none."""
    file = tmp_path / "photos.backup"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("collection.json", "{}" * 40)
        packed.writestr("backup.json", '{"collection": "x", "points": 1, "made_at": "", "polyglance": "0"}')
    data = bytearray(file.read_bytes())
    data[data.index(b"PK\x01\x02") + place] = value
    file.write_bytes(data)

    with pytest.raises((StoreRefused, ConfigError), match=r"is damaged|is no backup"):
        restore(embedded, collection="again", default="", file=file)

    assert not embedded.path.exists() or [*embedded.path.iterdir()] == []


def test_a_backup_that_cannot_be_written_says_which_file_and_leaves_none(
    embedded: QdrantSettings, tmp_path: Path
) -> None:
    with closing(open_engine(embedded, collection="photos")) as engine:
        engine.create(SCHEMA)
    (tmp_path / "folder" / "full").mkdir(parents=True)
    for name in ("no/such/folder/photos.backup", "folder", "x" * 300):
        with pytest.raises(ConfigError, match=re.escape(f"the backup cannot be written to {tmp_path / name}: ")):
            back_up(embedded, collection="photos", file=tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*") if path.name.endswith(".part")] == []


def test_a_restored_collection_has_its_sums(embedded: QdrantSettings, tmp_path: Path) -> None:
    with closing(open_engine(embedded, collection="photos")) as engine:
        engine.create(SCHEMA)
        engine.upsert(MADE)
        back_up(embedded, collection="photos", file=tmp_path / "a")
    restore(embedded, collection="again", default="", file=tmp_path / "a")
    found = verify(embedded.path / "again" / "shard", share=1)
    assert (found.faults, found.unknown) == ((), 0)


def test_a_server_says_what_a_key_may_not_and_when_it_is_away(tmp_path: Path) -> None:
    with running() as standin:
        settings = standin.settings("grpc")
        several = settings.model_copy(update={"url": f"{settings.url},http://localhost:1"})
        with pytest.raises(ConfigError, match="several nodes"):
            back_up(several, collection="photos", file=tmp_path / "a")
    away = settings.model_copy(update={"retry_s": 0.1})
    with pytest.raises(StoreUnavailable):
        back_up(away, collection="photos", file=tmp_path / "a")
    (tmp_path / "b").write_bytes(b"x")
    with pytest.raises(StoreUnavailable, match="gave no answer"):
        restore(away, collection="photos", default="", file=tmp_path / "b")
    with running("--api-key", "full") as standin, pytest.raises(NotAllowed):
        back_up(standin.settings("grpc"), collection="photos", file=tmp_path / "a")


def test_the_commands_keep_the_name(cli: CommandLine, embedded: QdrantSettings, tmp_path: Path) -> None:
    with closing(open_engine(embedded, collection="photos")) as engine:
        engine.create(SCHEMA)
        engine.upsert(MADE)
    where = ("--set", f"qdrant.path={embedded.path}", "--space", "mini")
    ran = cli("collection", "backup", tmp_path / "photos.backup", "--collection", "photos", *where)
    assert (ran.code, "bytes" in ran.out) == (0, True)
    assert cli("collection", "delete", "--yes", "--collection", "photos", *where).code == 0
    ran = cli("collection", "restore", tmp_path / "photos.backup", *where)
    assert (ran.code, ran.out) == (0, "collection photos is restored: 200 points of space mini.\n")
    ran = cli("collection", "restore", tmp_path / "photos.backup", *where)
    assert (ran.code, "is there already" in ran.err) == (2, True)
