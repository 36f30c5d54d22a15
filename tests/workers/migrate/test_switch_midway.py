"""A job of many questions that meets a switch midway stays in the space that it began in."""

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from connector.search.captions import Caption
from connector.search.classify import Labels, classify_stored
from connector.search.client import ImageSearch
from connector.search.evaluate import BATCH, evaluate
from connector.search.options import GROUPED
from connector.settings import Settings
from connector.store.engine import Engine
from connector.store.open import open_engine
from tests.kill_migrations import settings_of
from tests.scratch import scratch_folder
from tests.second_space import NAME, write_turned
from workers.api import ingest
from workers.migrate import steps
from workers.migrate.migration import migrate
from workers.run.check import check

pytestmark = pytest.mark.slow
IMAGES = Path(__file__).parents[3] / "workers/demo/images/objects"
COUNT = 60
LABELS = ("dog", "Zug", "guitar", "鍵", "lámpara")


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """Settings of a collection of both spaces; the old one answers."""
    with scratch_folder() as folder:
        (folder / "images").mkdir()
        for each in sorted(IMAGES.glob("*.png"))[:COUNT]:
            shutil.copy2(each, folder / "images")
        settings = settings_of(folder / "data")
        ingest(folder / "images", settings=settings)
        migrate(settings, to=str(write_turned(folder, noise=0.5)))
        yield settings


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """The same collection, for the steps; the old space answers again afterwards."""
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as opened:
        yield opened
        if steps.status(opened).role == "previous":
            steps.roll_back(opened)


@pytest.fixture
def search(settings: Settings) -> Iterator[ImageSearch]:
    with ImageSearch.open(settings=settings) as opened:
        opened.text("a dog")  # its models are loaded
        yield opened


def switch(engine: Engine, search: ImageSearch) -> None:
    """Switch, and wait until the search answers by the new space."""
    steps.switch(engine)
    wait_for(search, space=NAME)


def wait_for(search: ImageSearch, *, space: str) -> None:
    until = time.monotonic() + 60
    while search.text("a dog", limit=1).space != space:
        assert time.monotonic() < until
        time.sleep(0.05)


def vectors_of(search: ImageSearch) -> dict[str, list[float]]:
    return {each.id: each.vector.tolist() for each in search.each(vectors=True) if each.vector is not None}


def test_an_evaluation_measures_one_space(search: ImageSearch, engine: Engine) -> None:
    best = [(each, search.text(each, limit=1, mode="visual")[0].id) for each in LABELS]
    times = BATCH // len(LABELS) + 1
    captions = [Caption(id, f"{text} {number}", "xx") for number in range(times) for text, id in best]
    before = evaluate(search, captions)
    switched: list[int] = []

    def meanwhile(done: int) -> None:
        if not switched:
            switch(engine, search)
        switched.append(done)

    assert evaluate(search, captions, on_progress=meanwhile) == before
    assert len(switched) > 1


def test_labels_are_compared_with_vectors_of_their_own_space(search: ImageSearch, engine: Engine) -> None:
    labels = Labels.embedded(search, LABELS)
    before = {point.id: best for point, best in classify_stored(search, labels=labels)}
    switch(engine, search)
    assert {point.id: best for point, best in classify_stored(search, labels=labels)} == before


def test_what_is_read_by_a_pinned_search_is_of_its_space(search: ImageSearch, engine: Engine) -> None:
    pinned = search.pinned()
    before = vectors_of(pinned)
    groups = pinned.groups("a dog", by="format", size=GROUPED, diversity=0.5)
    switch(engine, search)
    assert vectors_of(pinned) == before
    assert pinned.groups("a dog", by="format", size=GROUPED, diversity=0.5) == groups
    assert not any(np.allclose(vector, before[id]) for id, vector in vectors_of(search).items())


def test_a_check_holds_vectors_against_the_space_that_answers(settings: Settings, engine: Engine) -> None:
    steps.switch(engine)
    report = check(settings, read_data=1.0)
    assert (report.embedded, report.findings) == (COUNT, ())


def test_models_are_loaded_once_for_a_space_however_often_it_is_switched(search: ImageSearch, engine: Engine) -> None:
    old = search.following.now()
    switch(engine, search)
    steps.roll_back(engine)
    wait_for(search, space="mini")
    assert search.following.now() is old
