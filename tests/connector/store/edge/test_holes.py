"""Copies of files with holes in them."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from connector.store.edge.engine import EmbeddedEngine
from connector.store.edge.holes import bytes_on_disk, copy_data
from tests.connector.store.edge.test_engine import SCHEMA
from tests.points import points

BLOCK = 64 * 1024


def keeps_holes(folder: Path) -> bool:
    """Whether this file system has holes at all."""
    probe = folder / "probe"
    with probe.open("wb") as file:
        file.truncate(64 * BLOCK)
    return sys.platform in ("linux", "darwin") and bytes_on_disk(iter([probe])) < BLOCK


@pytest.mark.parametrize(
    "pieces",
    [[], [0], [63], [0, 63], [3, 4, 5, 40], [*range(64)]],
    ids=["a hole alone", "data first", "data last", "both ends", "in between", "no hole"],
)
def test_a_copy_has_the_bytes_and_the_holes(tmp_path: Path, pieces: list[int]) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        for piece in pieces:
            file.seek(piece * BLOCK)
            file.write(os.urandom(BLOCK))
        file.truncate(64 * BLOCK)
    copy_data(str(source), str(target))
    assert target.read_bytes() == source.read_bytes()
    if keeps_holes(tmp_path):
        assert bytes_on_disk(iter([target])) <= bytes_on_disk(iter([source])) + BLOCK


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK + 1])
def test_a_copy_ends_where_its_original_ends(tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(size))
    target.write_bytes(b"x" * 3 * BLOCK)  # of an earlier copy
    copy_data(str(source), str(target))
    assert target.read_bytes() == source.read_bytes()


def test_a_small_collection_stays_small_when_its_graph_is_built() -> None:
    with tempfile.TemporaryDirectory() as on_disk:  # in memory a page that was only read takes room
        folder = Path(on_disk)
        if not keeps_holes(folder):
            pytest.skip("this file system has no holes")
        engine = EmbeddedEngine.open(folder, collection="images")
        engine.create(SCHEMA)
        engine.upsert(points(100))
        before = disk_usage(folder)
        engine.optimize()
        found = engine.count()
        engine.close()
        assert found == 100
        assert disk_usage(folder) < 2 * before + 16 * 1024**2


def disk_usage(folder: Path) -> int:
    return bytes_on_disk(path for path in folder.rglob("*") if path.is_file())
