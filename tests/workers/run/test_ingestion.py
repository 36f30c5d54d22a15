"""Ingestion as a library: what `polyglance ingest` reads thinly."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest

from connector import CollectionMissing, ConfigError, ModelError
from connector.errors import SourceError
from connector.settings import Settings
from connector.store.engine import CollectionInfo
from connector.store.open import open_engine
from tests.images import write_images
from workers.pipeline.counters import RunReport
from workers.records import Counts
from workers.run.ingestion import ingest
from workers.run.loop import Progress

pytestmark = pytest.mark.usefixtures("data_folder")


class Screen:
    """Remembers what it was shown."""

    def __init__(self) -> None:
        self.waits: list[str] = []
        self.runs: list[Progress] = []

    @contextmanager
    def show(self, progress: Callable[[], Progress]) -> Iterator[None]:
        assert progress().report.counts == Counts()
        yield
        self.runs.append(progress())

    @contextmanager
    def wait(self, what: str) -> Iterator[None]:
        yield
        self.waits.append(what)


@pytest.fixture
def screen() -> Screen:
    return Screen()


def bring(
    screen: Screen, *places: Path, recreate: bool = False, settings: Mapping[str, object] = MappingProxyType({})
) -> RunReport:
    loaded = Settings.load({"model.space": "mini", **settings})
    return ingest(
        [str(place) for place in places], settings=loaded, recreate=recreate, show=screen.show, wait=screen.wait
    ).report


def info() -> CollectionInfo:
    loaded = Settings.load({"model.space": "mini"})
    engine = open_engine(loaded.qdrant, collection=loaded.collection)
    try:
        return engine.info()
    finally:
        engine.close()


def test_every_place_is_a_run_of_its_own_in_one_report(screen: Screen, workplace: Path) -> None:
    write_images(workplace, ["a/1.png", "a/2.png", "b/3.png"])

    report = bring(screen, workplace / "a", workplace / "b")

    assert report.counts == Counts(listed=3, stored=3)
    assert [run.report.counts.stored for run in screen.runs] == [2, 1]
    assert all(run.listed_all for run in screen.runs)
    assert screen.waits == ["loading the image tower"]
    assert info().points == 3


def test_the_collection_knows_what_made_it(screen: Screen, workplace: Path) -> None:
    write_images(workplace / "a", ["1.png"])
    bring(screen, workplace / "a", settings={"qdrant.meta_fields": {"price": "float"}})

    schema = info().schema
    assert (schema.fingerprint.space, schema.fingerprint.dims) == ("mini", 128)
    assert len(schema.fingerprint.weights or "") == 16
    assert schema.meta_fields == {"price": "float"}


def test_enough_points_outside_the_graph_are_brought_into_it(screen: Screen, workplace: Path) -> None:
    """Also where they were stored by a run that did not come to its end."""
    write_images(workplace / "a", ["1.png", "2.png"])
    write_images(workplace / "b", ["3.png"])

    bring(screen, workplace / "a", settings={"ingest.optimize_from": 3})
    assert screen.waits == ["loading the image tower"]

    bring(screen, workplace / "b", settings={"ingest.optimize_from": 3})
    assert screen.waits[1:] == ["building the search graph"]

    bring(screen, workplace / "b", settings={"ingest.optimize_from": 3})
    assert len(screen.waits) == 2


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"model.space": "maxi"}, ConfigError),
        ({"model.device": "abacus"}, ConfigError),
        ({"model.image_model": "/nowhere/model"}, ModelError),
    ],
)
def test_what_cannot_work_is_told_before_a_collection_is_made(
    screen: Screen, workplace: Path, data_folder: Path, settings: dict[str, str], kind: type[Exception]
) -> None:
    write_images(workplace / "a", ["1.png"])

    with pytest.raises(kind):
        bring(screen, workplace / "a", settings=settings)

    assert not data_folder.exists()


def test_a_model_that_cannot_be_had_costs_no_collection(screen: Screen, workplace: Path) -> None:
    """Not even one that is to be made anew."""
    write_images(workplace / "a", ["1.png"])
    bring(screen, workplace / "a")

    with pytest.raises(ModelError):
        bring(screen, workplace / "a", recreate=True, settings={"model.image_model": "/nowhere/model"})

    assert info().points == 1


def test_a_place_that_is_none_costs_no_collection(screen: Screen, workplace: Path) -> None:
    write_images(workplace / "a", ["1.png"])
    with pytest.raises(SourceError):
        bring(screen, workplace / "a", workplace / "none", recreate=True)

    with pytest.raises(CollectionMissing):
        info()
