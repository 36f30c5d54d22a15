"""Parquet files: every image with its vector and all that is known of it, in bounded memory."""

import json
import uuid
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connector import ImageSearch, InvalidQuery, Settings
from connector.records import StoredPoint
from connector.search.export import ROW_GROUP, Row, export, export_hits, write_rows
from connector.store.schema import CollectionSchema, Fingerprint
from tests.conftest import CommandLine

SCHEMA = CollectionSchema(
    Fingerprint("mini", dims=4, image_size=64), {"price": "float", "sold": "bool", "size": "integer"}
)


@pytest.fixture(scope="module")
def search(noto: Settings) -> Iterator[ImageSearch]:
    with ImageSearch.open(settings=noto) as opened:
        yield opened


def test_a_collection_is_written_with_vectors_and_payload(search: ImageSearch, tmp_path: Path) -> None:
    on_progress: list[int] = []

    written = export(search, tmp_path / "all.parquet", on_progress=on_progress.append)

    table = pq.read_table(tmp_path / "all.parquet")
    assert written == table.num_rows == on_progress[-1] == search.count()
    row = table.slice(17, 1).to_pylist()[0]
    (point,) = search.points([row["id"]], vectors=True)
    assert json.loads(row["payload"]) == point.payload
    assert row["vector"] == pytest.approx(point.vector)
    assert (row["width"], row["filename"]) == (point.payload["width"], point.payload["filename"])
    assert row["meta.name"] == point.payload["meta"]["name"]
    assert row["score"] is None
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 128)
    assert json.loads(table.schema.metadata[b"polyglance"])["space"] == "mini"
    assert [each.name for each in tmp_path.iterdir()] == ["all.parquet"]


def test_an_answer_is_written_best_first(search: ImageSearch, tmp_path: Path) -> None:
    hits = search.text("Hund", limit=20)

    assert export_hits(search, hits, tmp_path / "dogs.parquet", vectors=False) == 20

    table = pq.read_table(tmp_path / "dogs.parquet")
    assert table.column("id").to_pylist() == [hit.id for hit in hits]
    assert table.column("score").to_pylist() == pytest.approx([hit.score for hit in hits])
    assert table.column("relevance").to_pylist() == pytest.approx([hit.relevance for hit in hits], abs=1e-6)
    assert "vector" not in table.column_names


def row(number: int, **payload: Any) -> Row:
    vector = np.full(4, 0.5, dtype=np.float32)
    return Row(StoredPoint(str(uuid.UUID(int=number)), {"uri": f"file:///{number}.png", **payload}, vector))


def test_values_keep_their_types_and_what_does_not_fit_stays_in_the_payload(tmp_path: Path) -> None:
    known = {
        "width": 3,
        "taken_at": "2024-05-01T12:30:00+02:00",
        "location": {"lat": 48.2, "lon": 16.4},
        "tags": ["犬", "beach"],
        "meta": {"price": 2, "sold": True, "size": 2**60, "other": [1, None, {"x": "y"}]},
    }
    odd: dict[str, Any] = {
        "width": "wide",
        "taken_at": "yesterday",
        "location": "here",
        "tags": "one",
        "meta": {"price": True, "size": 1.5},
    }

    write_rows([row(1, **known), row(2, **odd), Row(StoredPoint("x", {}))], tmp_path / "a.parquet", schema=SCHEMA)

    first, second, third = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert first["taken_at"] == datetime(2024, 5, 1, 10, 30, tzinfo=UTC)
    assert (first["location"], first["tags"]) == (known["location"], known["tags"])
    assert (first["meta.price"], first["meta.sold"], first["meta.size"], first["width"]) == (2.0, True, 2**60, 3)
    assert [second[name] for name in ("width", "taken_at", "location", "meta.price", "meta.size")] == [None] * 5
    assert second["tags"] == ["one"]
    assert json.loads(first["payload"]) == {"uri": "file:///1.png", **known}
    assert json.loads(second["payload"]) == {"uri": "file:///2.png", **odd}
    assert (third["vector"], third["payload"]) == (None, "{}")


def test_rows_leave_memory_group_by_group(tmp_path: Path) -> None:
    alive, most = 0, 0

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def rows() -> Iterator[Row]:
        nonlocal alive, most
        for number in range(5 * ROW_GROUP):
            made = row(number)
            alive += 1
            most = max(most, alive)
            weakref.finalize(made.point.vector, gone)
            yield made

    assert write_rows(rows(), tmp_path / "a.parquet", schema=SCHEMA) == 5 * ROW_GROUP
    assert most <= 2 * ROW_GROUP + 2
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 5


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def rows() -> Iterator[Row]:
        yield row(1)
        raise InvalidQuery("told by the test")

    with pytest.raises(InvalidQuery, match="told by the test"):
        write_rows(rows(), tmp_path / "a.parquet", schema=SCHEMA)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidQuery, match="cannot be written"):
        write_rows([], tmp_path / "no" / "a.parquet", schema=SCHEMA)
    assert write_rows([], tmp_path / "a.parquet", schema=SCHEMA) == 0
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 0


def test_the_command_writes_collections_and_answers(
    noto: Settings, search: ImageSearch, cli: CommandLine, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search.close()  # the embedded engine serves one at a time; this is the module's last test
    monkeypatch.setenv("POLYGLANCE_QDRANT__PATH", str(noto.qdrant.path))
    monkeypatch.setenv("POLYGLANCE_MODEL__SPACE", "mini")

    done = cli("export", "food.parquet", "--where", 'folder == "food-drink"', "--json").json
    assert done["rows"] == pq.read_table(workplace / "food.parquet").num_rows > 50
    assert "dogs.parquet has 7 images" in cli("export", "dogs.parquet", "Hund", "-n", 7, "--no-vectors").out
    for arguments, says in (
        (["a.parquet", "-n", 7], "--limit needs a question"),
        (["a.parquet", "Hund", "-n", 0], "limit is 0"),
        (["a.parquet", "--where", "widht > 1"], "The nearest one is 'width'"),
        (["no/a.parquet"], "'no/a.parquet' cannot be written"),
        (["/"], "'/' cannot be written"),
    ):
        ran = cli("export", *arguments)
        assert (ran.code, ran.out) == (2, "")
        assert says in ran.err
