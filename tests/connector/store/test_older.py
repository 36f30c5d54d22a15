"""A collection of the first schema, made by polyglance as it was in its first week: pixels 1, one source as a text.

``tests/data/older/pixels-1.tar.xz`` holds ``images-2026``: four bundled images that lay in ``/photos``, in a space mini
of other weights than today's.
"""

import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from connector import ImageSearch
from connector.errors import CollectionMismatch, StoreRefused
from connector.settings import Settings
from connector.store.edge.sums import verify
from connector.store.engine import WordsQuery
from connector.store.open import back_up, open_engine, restore
from connector.store.schema import PIXELS_VERSION, Words
from tests.conftest import CommandLine
from tests.scratch import scratch_folder
from workers.run.check import check

FILE = Path(__file__).parents[2] / "data" / "older" / "pixels-1.tar.xz"


@pytest.fixture
def older() -> Iterator[Settings]:
    with scratch_folder() as folder:
        with tarfile.open(FILE) as packed:
            packed.extractall(folder, filter="data")
        yield Settings.load(
            {"model.space": "mini", "qdrant.path": str(folder), "qdrant.collection": "images-2026", "ingest.workers": 0}
        )


def test_it_is_searched_and_filtered_as_it_is(older: Settings) -> None:
    with ImageSearch.open(settings=older) as search:
        assert search.info().schema.fingerprint.pixels == 1
        assert len(search.text("a train", where='source == "file:///photos"')) == 4
        assert [hit.payload["filename"] for hit in search.text("a train", where='filename startswith "rail"')] == [
            "railway-track.png"
        ]
        assert {each.fault for each in search.each()} == {None}


def test_the_first_that_creates_it_anew_gives_it_what_it_lacks(older: Settings) -> None:
    with closing(open_engine(older.qdrant, collection="images-2026")) as engine:
        there = engine.info().schema
        engine.create(replace(there, meta_fields={"price": "float"}))
        assert engine.facet("taken_weekday") == []  # an index that the first schema did not have
        assert engine.info().schema.meta_fields == {"price": "float"}
        assert engine.count() == 4
        assert engine.info().schema.fingerprint.pixels == 1 < PIXELS_VERSION


def test_a_model_of_other_weights_is_refused_with_what_to_do(older: Settings) -> None:
    with closing(open_engine(older.qdrant, collection="images-2026")) as engine:
        there = engine.info().schema
        other = replace(there, fingerprint=replace(there.fingerprint, weights="f66d7c9453da6052"))
        with pytest.raises(CollectionMismatch, match="weights: f66d7c9453da6052 here, 0c95c0318091ca9f there"):
            engine.create(other)
        assert engine.count() == 4


def test_it_is_checked_and_backed_up_like_any_other(older: Settings, tmp_path: Path) -> None:
    report = check(older)
    assert [each.kind for each in report.findings] == ["unknown"], "it has no sums yet"
    assert report.sound
    assert check(older).findings == (), "whoever closed it noted them"
    back_up(older.qdrant, collection="images-2026", file=tmp_path / "a")
    assert restore(older.qdrant, collection="again", default="", file=tmp_path / "a") == "again"
    assert verify(older.qdrant.path / "again" / "shard", share=1).faults == ()


def test_whoever_ingests_into_it_is_told_that_it_has_no_words(
    older: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(open_engine(older.qdrant, collection="images-2026")) as engine:
        there = engine.info().schema
        engine.create(replace(there, words=Words({"tags": 1.0})))
        assert engine.info().schema == there
        assert caplog.text.count("was made before words were indexed") == 1
        assert "`polyglance collection words`" in caplog.text
        engine.set_payload([engine.scroll(limit=1).points[0].id], {"tags": ["train"]})


def test_its_words_are_added_in_place(older: Settings, cli: CommandLine) -> None:
    given = ("--collection", "images-2026", "--space", "mini", "--set", f"qdrant.path={older.qdrant.path}")
    with closing(open_engine(older.qdrant, collection="images-2026")) as engine:
        before = {each.id: each for each in engine.scroll(limit=9, vectors=True).points}
        with pytest.raises(StoreRefused, match="polyglance collection words"):
            engine.query([WordsQuery("railway")])
    assert "made before they were indexed" in cli("collection", "info", *given).out

    assert cli("collection", "words", *given, "--json").json == {"points": 4, "changed": 4}
    assert "4 points; 0 of them" in cli("collection", "words", *given).out

    with closing(open_engine(older.qdrant, collection="images-2026")) as engine:
        (hits,) = engine.query([WordsQuery("railway track")])
        assert [hit.payload["filename"] for hit in hits] == ["railway-track.png"]
        after = {each.id: each for each in engine.scroll(limit=9, vectors=True).points}
    assert before == after, "neither payload nor vector was touched"
