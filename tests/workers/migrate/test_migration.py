"""A collection that is brought to another space: it answers throughout, and never by a mixture of two."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from connector.errors import CollectionMismatch, ConfigError
from connector.images.shrink import shrink
from connector.records import path_of
from connector.search.client import ImageSearch
from connector.service.thumbnails import BoundedFolder, thumbnail_name
from connector.settings import Settings
from connector.store.engine import Engine
from connector.store.open import open_engine
from tests.scratch import scratch_folder
from tests.second_space import NAME, write_turned
from workers.api import ingest
from workers.collection.client import Collection
from workers.migrate import steps
from workers.migrate.compare import compare, write_page
from workers.migrate.fill import Filled
from workers.migrate.migration import kept_rejects, migrate

IMAGES = Path(__file__).parents[3] / "workers/demo/images"
COUNT = 80
QUESTIONS = ("a dog", "ein Zug", "苹果", "красная машина", "a kite", "une maison")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with the second space, and the images of one."""
    with scratch_folder() as made:
        write_turned(made)
        (made / "images").mkdir()
        for each in sorted((IMAGES / "objects").glob("*.png"))[:COUNT]:
            shutil.copy2(each, made / "images")
        yield made


@pytest.fixture(scope="module")
def filled(folder: Path) -> Settings:
    """A collection as ``mini`` built it, which no test changes."""
    settings = Settings.load(
        {
            "model.space": "mini",
            "qdrant.path": str(folder / "data"),
            "qdrant.collection": "filled",
            "serve.thumbnail_folder": str(folder / "thumbnails"),
            "ingest.workers": 0,
        }
    )
    ingest(folder / "images", settings=settings)
    return settings


@pytest.fixture
def settings(filled: Settings, folder: Path) -> Iterator[Settings]:
    """A copy of it."""
    copied = folder / "copied"
    shutil.copytree(folder / "data", copied)
    yield filled.model_copy(update={"qdrant": filled.qdrant.model_copy(update={"path": copied})})
    shutil.rmtree(copied)


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as opened:
        yield opened


def answers(search: ImageSearch) -> dict[str, list[str]]:
    return {each: [hit.id for hit in search.text(each, limit=5, mode="visual")] for each in QUESTIONS}


def test_a_collection_answers_by_the_old_space_until_it_is_switched_and_then_by_the_new_one(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    to = str(folder / f"{NAME}.toml")
    with ImageSearch.open(settings=settings) as search:
        before = answers(search)
        payloads = {each.id: each.payload for each in search.each()}
        done = migrate(settings, to=to)
        assert done.originals + done.copied == done.listed == len(payloads)
        assert not done.rejects
        assert search.following.now().space == "mini"
        assert answers(search) == before
        now = steps.switch(engine)
        assert (now.answers, now.second, now.role, now.left) == (NAME, "mini", "previous", 0)
        assert {each.id: each.payload for each in search.each()} == payloads
    with ImageSearch.open(settings=settings) as search:
        assert search.following.now().space == NAME
        assert answers(search) == before
        assert steps.roll_back(engine).answers == "mini"


def test_an_image_that_is_gone_is_embedded_from_its_thumbnail_or_named(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    first, second = engine.scroll(limit=2).points
    gone = [path_of(first.uri), path_of(second.uri)]
    kept = {path: path.read_bytes() for path in gone}
    size = settings.serve.thumbnail_px
    shelf = BoundedFolder(settings.serve.thumbnail_folder, max_bytes=settings.serve.thumbnail_disk_bytes)
    small = shrink(kept[gone[0]], size=size, max_pixels=10**6)
    shelf.put(thumbnail_name(first.id, first.payload, size=size), small)
    for path in gone:
        path.unlink()
    try:
        done = migrate(settings, to=str(folder / f"{NAME}.toml"))
    finally:
        for path, data in kept.items():
            path.write_bytes(data)

    assert done.thumbnails == 1
    assert [each.uri for each in done.rejects.values()] == [second.uri]
    assert [(each.uri, each.reason) for each in kept_rejects(settings, space=NAME)] == [(second.uri, "missing")]
    assert steps.status(engine).left == 1
    again = migrate(settings, to=str(folder / f"{NAME}.toml"))
    assert (again.listed, again.written, kept_rejects(settings, space=NAME)) == (1, 1, [])


def test_a_migration_that_ends_after_its_last_image_has_its_graph_built_by_the_next_call(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    def end(done: Filled) -> None:
        if done.settled == done.missing:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        migrate(settings, to=str(folder / f"{NAME}.toml"), on_progress=end)
    assert (steps.status(engine).left, engine.info().indexed) == (0, 0)
    assert migrate(settings, to=str(folder / f"{NAME}.toml")).listed == 0
    assert engine.info().indexed == COUNT


def test_what_is_added_meanwhile_gets_both_vectors_and_is_found_after_the_switch(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    with Collection.open(settings=settings) as collection:
        collection.add(IMAGES / "travel-places/sailboat.png")  # the tower is loaded before there is a second space
        migrate(settings, to=str(folder / f"{NAME}.toml"))
        new = collection.add(IMAGES / "food-drink/pizza.png")
        assert steps.status(engine).left == 0
        steps.switch(engine)
        newer = collection.add(IMAGES / "animals-nature/cat.png")
        assert steps.status(engine).left == 0
        for each, question in ((new, "pizza"), (newer, "a cat")):
            assert each in [hit.id for hit in collection.search.text(question, limit=10, mode="visual")]


def test_a_search_that_is_open_follows_and_asks_anew_where_its_space_is_gone(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    migrate(settings, to=str(folder / f"{NAME}.toml"))
    with ImageSearch.open(settings=settings) as search:
        before = answers(search)
        steps.switch(engine)
        steps.drop(engine)
        assert answers(search) == before
        assert search.following.now().space == NAME


def test_two_spaces_that_answer_alike_are_told_apart_from_two_that_do_not(
    settings: Settings, folder: Path, tmp_path: Path
) -> None:
    migrate(settings, to=str(folder / f"{NAME}.toml"))
    with ImageSearch.open(settings=settings) as search:
        found = compare(search, questions=QUESTIONS)
        assert found.overlap >= 0.95
        write_page(found, to=tmp_path / "page.html")
        assert compare(search).made_of == "images"
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(each in page for each in QUESTIONS)
    assert page.count("data:image/webp") >= 2 * 5 * len(QUESTIONS)


@pytest.mark.parametrize(
    ("to", "message"),
    [("mini", "answers by space mini already"), ("nothing", "unknown space 'nothing'"), ("./none.toml", "none.toml")],
)
def test_a_space_that_cannot_be_migrated_to_is_refused_and_nothing_changed(
    settings: Settings, engine: Engine, to: str, message: str
) -> None:
    was = engine.info().schema
    with pytest.raises(ConfigError, match=message):
        migrate(settings, to=to)
    assert engine.info().schema == was


def test_one_space_at_a_time_and_none_is_searched_or_ingested_before_it_answers(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    to = str(folder / f"{NAME}.toml")
    migrate(settings, to=to)
    by_new = settings.model_copy(update={"model": settings.model.model_copy(update={"space": to})})
    with pytest.raises(CollectionMismatch, match="answers until `polyglance migrate switch`"):
        ImageSearch.open(settings=by_new)
    with pytest.raises(CollectionMismatch, match="answers until `polyglance migrate switch`"):
        ingest(folder / "images", settings=by_new)
    with pytest.raises(ConfigError, match=f"being migrated to space {NAME}"):
        migrate(settings, to="clip-vit-b-32")
    assert steps.drop(engine) == NAME
    with pytest.raises(ConfigError, match="no way back"):
        steps.roll_back(engine)
    with pytest.raises(CollectionMismatch, match="built by space mini"):
        ImageSearch.open(settings=by_new)
