"""Every way to ask has the same answer in this process and on a server: only the store differs, never the meaning."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from connector import Hit, ImageSearch, InvalidQuery, Settings, image, point, text
from connector.records import Point
from connector.search.classify import Labels
from connector.search.options import GROUPED
from connector.search.tagging import tag
from connector.store.edge.shared import SharedEngine
from connector.store.engine import Engine
from connector.store.server.engine import ServerEngine
from tests.qdrant_standin.standin import Standin, Transport
from tests.scratch import scratch_folder
from workers.demo import tour

SAILBOAT = Path(str(tour.IMAGES)) / "travel-places/sailboat.png"
FOOD = 'folder == "food-drink"'
Way: TypeAlias = Callable[[ImageSearch], Any]


@pytest.fixture(scope="module")
def some(noto: Settings) -> list[Point]:
    """Three hundred of the bundled images, the sailboat among them."""
    with ImageSearch.open(settings=noto) as search:
        near = {hit.id for hit in search.image(SAILBOAT, limit=150)} | {
            hit.id for hit in search.text("food", limit=150)
        }
        found = search.points(sorted(near), vectors=True)
        return [Point(each.id, each.vector, each.payload) for each in found if each.vector is not None]


def filled(engine: Engine, *, settings: Settings, points: list[Point]) -> ImageSearch:
    with ImageSearch.open(settings=settings) as source:
        schema = source.info().schema
    engine.create(schema)
    engine.upsert(points)
    return ImageSearch(settings=settings, engine=engine)


@pytest.fixture(scope="module")
def here(noto: Settings, some: list[Point]) -> Iterator[ImageSearch]:
    """The images in the embedded engine."""
    with (
        scratch_folder() as folder,
        filled(SharedEngine.open(folder, collection="ways"), settings=noto, points=some) as search,
    ):
        yield search


@pytest.fixture(scope="module", params=["grpc", "rest"])
def there(
    noto: Settings, some: list[Point], shared_standin: Standin, request: pytest.FixtureRequest
) -> Iterator[ImageSearch]:
    """The same images on a server."""
    transport: Transport = request.param
    engine = ServerEngine.connect(shared_standin.settings(transport), collection=f"ways-{transport}")
    with filled(engine, settings=noto, points=some) as search:
        yield search
        engine.drop()


def seen(hits: list[Hit]) -> list[str]:
    return [hit.id for hit in hits]


def first(search: ImageSearch) -> str:
    """The id of the sailboat."""
    return search.image(SAILBOAT, limit=1)[0].id


WAYS: Mapping[str, Way] = {
    "text": lambda search: seen(search.text("ein Boot", limit=20)),
    "a page": lambda search: seen(search.text("ein Boot", limit=7, offset=5)),
    "filter": lambda search: seen(search.text("ein Boot", limit=20, where=FOOD)),
    "min_score": lambda search: seen(
        search.text("ein Boot", limit=100, min_score=search.text("ein Boot")[5].score - 1e-4)
    ),
    "diversity": lambda search: seen(search.text("food", limit=10, diversity=0.5)),
    "texts": lambda search: [seen(hits) for hits in search.texts(["boat", "яблоко", "猫"], limit=5)],
    "image": lambda search: seen(search.image(SAILBOAT, limit=20)),
    "like": lambda search: seen(search.like(first(search), limit=20, where="width > 10")),
    "query": lambda search: seen(search.query(text("boat") + image(SAILBOAT) - 0.5 * text("person"), limit=20)),
    "mixed kinds": lambda search: [
        seen(hits) for hits in search.queries(["boat", image(SAILBOAT), point(first(search)) + text("sea")], where=FOOD)
    ],
    "exact": lambda search: [seen(hits) for hits in search.exact(search.embed_texts(["boat"]), limit=20)],
    "groups": lambda search: [
        (group.value, seen(list(group.hits))) for group in search.groups("food", by="meta.subcategory", limit=5)
    ],
    "facets": lambda search: search.facets("meta.subcategory", limit=8),
    "facets of a filter": lambda search: search.facets("meta.year", where=FOOD),
    "facets of a question": lambda search: search.facets("folder", of="food", where="width > 10"),
    "count": lambda search: (search.count(), search.count(where=FOOD), search.count(where=f"not ({FOOD})")),
    "order": lambda search: [each.payload["bytes"] for each in search.ordered("-bytes", limit=30, offset=3)],
    "order, ascending": lambda search: [
        each.payload["bytes"] for each in search.ordered("bytes", limit=30, where=FOOD)
    ],
    "every image": lambda search: [(each.id, each.payload) for each in search.each(where=FOOD, fields=["uri", "meta"])],
    "points": lambda search: search.points([first(search)]),
    "sample": lambda search: (
        len({each.id for each in search.sample(GROUPED)}),
        {folder for each in search.sample(5, where=FOOD) for folder in each.payload["folder"]},
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_way_to_ask_has_one_answer_everywhere(here: ImageSearch, there: ImageSearch, way: str) -> None:
    expected = WAYS[way](here)

    assert expected
    assert WAYS[way](there) == expected


WRONG: Mapping[str, Way] = {
    "unknown field": lambda search: search.count(where="widht > 1"),
    "unindexed field": lambda search: search.count(where='exposure == "1"'),
    "unknown point": lambda search: search.like(str(uuid.UUID(int=3))),
    "no point id": lambda search: search.points(["x"]),
    "change of an unknown point": lambda search: search.set_payload(str(uuid.UUID(int=3)), {"tenant": "a"}),
    "a payload that is none": lambda search: search.set_payload(first(search), {"tenant": float("inf")}),
    "facet of a place": lambda search: search.facets("location"),
    "facet of the unknown": lambda search: search.facets("nothing", of="food"),
    "order of words": lambda search: search.ordered("folder"),
    "group by a date": lambda search: search.groups("food", by="taken_at"),
    "vector of another length": lambda search: search.nearest(search.embed_texts(["x"])[:, :5]),
}


@pytest.mark.parametrize("way", WRONG)
def test_what_is_wrong_is_told_in_the_same_words_everywhere(here: ImageSearch, there: ImageSearch, way: str) -> None:
    messages = []
    for search in (here, there):
        with pytest.raises(InvalidQuery) as caught:
            WRONG[way](search)
        messages.append(str(caught.value).replace("ways-grpc", "ways").replace("ways-rest", "ways"))

    assert messages[0] == messages[1]


def test_tags_are_written_alike_everywhere(here: ImageSearch, there: ImageSearch) -> None:
    done = [
        tag(search, labels=Labels.embedded(search, ["food", "boat"]), threshold=0.7, where=FOOD)
        for search in (here, there)
    ]
    assert done[0].seen == done[1].seen
    assert done[0].images == done[1].images
    assert here.count(where='"food" in tags') == there.count(where='"food" in tags') == done[0].images["food"] > 10
    for search in (here, there):  # tags are words: other tests ask the same images
        for each in [*search.each(where="exists(tags)", fields=["tags"])]:
            search.set_payload(each.id, {"tags": [tag for tag in each.payload["tags"] if tag not in ("food", "boat")]})
