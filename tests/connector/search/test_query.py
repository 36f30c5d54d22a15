"""The ways to ask beyond one text or one image: mixtures, groups, counts, samples, orders; sync and async."""

import asyncio
import inspect
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector import (
    AsyncImageSearch,
    Hit,
    ImageSearch,
    InvalidQuery,
    Query,
    Settings,
    UnreadableImage,
    image,
    point,
    text,
)
from connector.search.hits import Hits
from connector.search.query import TextPart, WeightedPart
from workers.demo import tour

SAILBOAT = Path(str(tour.IMAGES)) / "travel-places/sailboat.png"


@pytest.fixture(scope="module")
def search(noto: Settings) -> Iterator[ImageSearch]:
    with ImageSearch.open(settings=noto) as opened:
        yield opened


# mixtures


def test_a_mixture_is_the_weighted_sum_of_its_parts(search: ImageSearch) -> None:
    dog, sea = search.embed_texts(["Hund", "море"])
    boat = search.embed_image(SAILBOAT)

    mixed = search.embed_query(2 * text("Hund") - 0.5 * text("море") + image(SAILBOAT))

    expected = 2 * dog - 0.5 * sea + boat
    assert mixed == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)


def test_a_mixture_finds_what_lies_between(search: ImageSearch) -> None:
    between = search.text("Katze", limit=1)[0]
    query = text("Hund") + point(between.id)

    found = search.query(query, limit=30)

    assert between.id not in {hit.id for hit in found}  # what was named is not an answer
    alone = {hit.id for hit in search.text("Hund", limit=5)} | {hit.id for hit in search.like(between.id, limit=5)}
    assert len(alone & {hit.id for hit in found}) >= 6


def test_a_negative_part_pushes_away(search: ImageSearch) -> None:
    pushed = search.embed_texts(["smiling cat face"])[0]

    def likeness(hits: Sequence[Hit]) -> float:
        vectors = [search.embed_image(Path(hit.uri.removeprefix("file://"))) for hit in hits]
        return float(np.mean(vectors @ pushed))

    plain = search.text("cat", limit=8)
    without = search.query(text("cat") - 0.8 * text("smiling cat face"), limit=8)
    assert likeness(without) < likeness(plain) - 0.05


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (Query(()), "the query has no parts"),
        (text("Hund") - text("Hund"), "cancel one another out"),
        (text("Hund") * float("nan"), "has the weight nan"),
        (Query((WeightedPart(TextPart("Hund"), 10**5000),)), "has the weight a number of more than 30 digits"),
        (text("Hund") + text("  "), "text 2 of 2 is empty"),
        (3, "the query is int; a text, or text"),
        (text("Hund") + point("no-id"), "'no-id' is no point id"),
        (text("Hund") + point(str(uuid.UUID(int=5))), "has no point 00000000"),
        (text("Hund") + image("nowhere.png"), "'nowhere.png' cannot be read"),
    ],
)
def test_a_mixture_that_means_nothing_is_told(search: ImageSearch, query: Any, says: str) -> None:
    with pytest.raises(InvalidQuery, match=says):
        search.query(query)


def test_only_the_ratio_of_the_weights_counts(search: ImageSearch) -> None:
    small = search.embed_query(1e-200 * text("Hund") + 2e-200 * text("море"))
    large = search.embed_query(1e300 * text("Hund") + 2e300 * text("море"))
    assert small == pytest.approx(large, abs=1e-6)


def test_many_questions_of_any_kind_are_answered_as_each_alone(search: ImageSearch) -> None:
    boat = search.image(SAILBOAT, limit=1)[0]
    asked: list[Query | str] = [
        "Hund",
        text("кошка") - 0.5 * text("море"),
        image(SAILBOAT),
        point(boat.id),
        point(boat.id) + text("sea"),
    ]
    alone = [search.text("Hund", limit=5), *(search.query(each, limit=5) for each in asked if isinstance(each, Query))]

    together = search.queries(asked, limit=5, where="width > 10")

    assert [[hit.id for hit in hits] for hits in together] == [[hit.id for hit in hits] for hits in alone]
    assert boat.id in {hit.id for hit in together[2]}
    assert boat.id not in {hit.id for hits in together[3:] for hit in hits}  # each leaves out its own points only
    assert search.queries([]) == []


def test_which_of_many_images_is_none_is_told(search: ImageSearch, tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>")
    with pytest.raises(UnreadableImage, match=r"page\.jpg'"):
        search.embed_images([SAILBOAT, tmp_path / "page.jpg"])


# changing what is known of an image


def test_what_is_known_of_an_image_can_be_changed(search: ImageSearch) -> None:
    (one,) = search.sample(1)
    search.set_payload(one.id.upper(), {"tenant": "me"})
    assert search.count(where='tenant == "me"') == 1
    (changed,) = search.points([one.id])
    assert changed.payload == {**one.payload, "tenant": "me"}
    with pytest.raises(InvalidQuery, match=f"has no point {uuid.UUID(int=1)}"):
        search.set_payload(str(uuid.UUID(int=1)), {"tenant": "me"})
    with pytest.raises(InvalidQuery, match="tenant is nan"):
        search.set_payload(one.id, {"tenant": float("nan")})
    search.set_payload(one.id, {"tenant": None})


def test_own_metadata_is_merged_into_what_is_there(search: ImageSearch) -> None:
    (one,) = search.sample(1)
    before = one.payload["meta"]
    search.set_payload(one.id, {"meta": {"rating": 5}})
    search.set_payload(one.id, {"meta": {"year": 1999}})
    assert search.points([one.id])[0].payload["meta"] == {**before, "rating": 5, "year": 1999}
    search.set_payload(one.id, {"meta": {"rating": None, "year": before["year"]}})
    assert search.points([one.id])[0].payload["meta"] == before


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"uri": "file:///elsewhere.png"}, "only an ingestion writes it"),
        ({"content_hash": "00"}, "only an ingestion writes it"),
        ({"source": []}, "only an ingestion writes it"),
        ({"tags": [1]}, r"tags is 1 \(int\); the schema holds keyword"),
        ({"taken_at": "yesterday"}, "2024-05-02T10:00:00"),
        ({"location": {"lat": 95, "lon": 0}}, "the schema holds geo"),
        ({"meta": {"year": "1999"}}, r"meta.year is '1999' \(str\); the schema holds integer"),
        ({"meta": ["no object"]}, "an object is wanted"),
        ({"price": 5}, "what is your own goes into meta"),
    ],
    ids=str,
)
def test_a_change_that_the_schema_does_not_allow_changes_nothing(
    search: ImageSearch, changes: dict[str, Any], why: str
) -> None:
    (one,) = search.sample(1)
    with pytest.raises(InvalidQuery, match=why):
        search.set_payload(one.id, {"camera": "iPhone 4", **changes})
    assert search.points([one.id]) == [one]


def test_what_is_there_already_is_no_change(search: ImageSearch) -> None:
    (one,) = search.sample(1)

    search.set_payload(one.id, {"uri": one.payload["uri"], "width": one.payload["width"]})

    assert search.points([one.id]) == [one]


def test_an_address_that_is_not_public_is_refused(search: ImageSearch) -> None:
    with pytest.raises(InvalidQuery, match=r"127\.0\.0\.1"):
        search.image("http://127.0.0.1:9/dog.jpg")


# diversity and paging


def test_diversity_shows_hits_that_are_less_alike(search: ImageSearch) -> None:
    def likeness(hits: Sequence[Hit]) -> float:
        vectors = np.stack([search.embed_image(Path(hit.uri.removeprefix("file://"))) for hit in hits])
        return float(np.mean((vectors @ vectors.T)[~np.eye(len(hits), dtype=bool)]))

    plain, diverse = search.text("face", limit=8), search.text("face", limit=8, diversity=0.7)

    assert diverse[0].id == plain[0].id
    assert likeness(diverse) < likeness(plain) - 0.05


@pytest.mark.parametrize("diversity", [0.0, 0.4])
def test_pages_follow_one_another(search: ImageSearch, diversity: float) -> None:
    whole = [hit.id for hit in search.text("fruit", limit=20, diversity=diversity)]
    pages = [hit.id for start in (0, 10) for hit in search.text("fruit", limit=10, offset=start, diversity=diversity)]

    assert len(set(whole)) == 20
    if diversity:
        assert pages[:10] == whole[:10]  # later pages look at more candidates
    else:
        assert pages == whole


@pytest.mark.parametrize("diversity", [-0.1, 1.5, float("nan")])
def test_diversity_has_its_bounds(search: ImageSearch, diversity: float) -> None:
    with pytest.raises(InvalidQuery, match=r"diversity is .*; it must be between 0 and 1"):
        search.text("x", diversity=diversity)


# groups and counts


def test_groups_hold_the_best_hits_of_each_value(search: ImageSearch) -> None:
    groups = search.groups("animal", by="folder", limit=3, size=2)

    assert len(groups) == 3
    assert len({group.value for group in groups}) == 3
    assert [group.hits[0].score for group in groups] == sorted((g.hits[0].score for g in groups), reverse=True)
    for group in groups:
        assert len(group.hits) <= 2
        assert all(hit.payload["folder"] == [group.value] for hit in group.hits)
        best = search.text("animal", where=f'folder == "{group.value}"', limit=len(group.hits))
        assert [hit.id for hit in best] == [hit.id for hit in group.hits]


def test_values_are_counted_in_the_collection_and_among_the_nearest(search: ImageSearch) -> None:
    everywhere = {each.value: each.count for each in search.facets("folder", limit=100)}
    assert sum(everywhere.values()) == search.count()

    nearest = search.facets("folder", of="fruit", where='folder startswith "food"', limit=3)
    hits = search.text("fruit", where='folder startswith "food"', limit=1000)
    assert {each.value: each.count for each in nearest} == dict(
        Counter(hit.payload["folder"][0] for hit in hits).most_common(3)
    )


@pytest.mark.parametrize("field", ["nonsense", "taken_at", "location"])
def test_only_fields_with_values_to_count_are_grouped(search: ImageSearch, field: str) -> None:
    with pytest.raises(InvalidQuery, match="cannot be counted"):
        search.groups("x", by=field)
    with pytest.raises(InvalidQuery, match="cannot be counted"):
        search.facets(field, of="x")


# without a question


def test_images_are_counted_sampled_ordered_and_read(search: ImageSearch) -> None:
    where = 'folder startswith "food"'
    assert 0 < search.count(where=where) < search.count()
    picked = search.sample(5, where=where)
    assert len({each.id for each in picked}) == 5
    assert all(each.payload["folder"][0].startswith("food") for each in picked)
    sizes = [int(each.payload["bytes"]) for each in search.ordered("-bytes", limit=20, offset=3)]
    assert sizes == sorted(sizes, reverse=True)
    assert [each.id for each in search.ordered("-bytes")] == [
        each.id for each in search.page(order_by="-bytes", limit=10).points
    ]
    assert search.ordered("bytes", limit=1)[0].payload["bytes"] == min(each.payload["bytes"] for each in search.each())
    ids = [each.id for each in reversed(picked)]
    assert [each.id for each in search.points(ids)] == ids
    with pytest.raises(InvalidQuery, match="has no point"):
        search.points([str(uuid.UUID(int=1))])


@pytest.mark.parametrize("limit", [0, -1, 10**9])
def test_limits_have_their_bounds_everywhere(search: ImageSearch, limit: int) -> None:
    for ask in (
        lambda: search.groups("x", by="folder", limit=limit),
        lambda: search.facets("folder", limit=limit),
        lambda: search.sample(limit),
        lambda: search.ordered("bytes", limit=limit),
        lambda: search.query(text("x"), limit=limit),
    ):
        with pytest.raises(InvalidQuery, match=f"limit is {limit}; it must be between 1 and"):
            ask()


# async


def test_async_answers_are_the_sync_ones_and_the_loop_stays_free(search: ImageSearch) -> None:
    texts = [
        "Hund",
        "кошка",
        "海",
        *(f"{number} dogs in the snow, and what they did there " * 20 for number in range(30)),
    ]

    async def ask() -> tuple[list[Hits], int]:
        opened, ticks = AsyncImageSearch(search), 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        ticking = asyncio.create_task(tick())
        answers = await asyncio.gather(*(opened.text(text, limit=3) for text in texts))
        ticking.cancel()
        return answers, ticks

    answers, ticks = asyncio.run(ask())
    assert [[hit.id for hit in answer] for answer in answers] == [
        [hit.id for hit in search.text(text, limit=3)] for text in texts
    ]
    assert ticks > 3


def test_every_public_method_is_there_twice_with_one_signature() -> None:
    sync = {name: each for name, each in vars(ImageSearch).items() if not name.startswith("_")}

    assert sync.keys() == {name for name in vars(AsyncImageSearch) if not name.startswith("_")}
    for name in sync:
        ours = inspect.signature(getattr(ImageSearch, name))
        awaited = inspect.signature(getattr(AsyncImageSearch, name))
        assert str(ours) == str(awaited), name
        assert getattr(AsyncImageSearch, name).__doc__, name


def test_a_stream_gives_every_image_and_leaves_the_loop_free(search: ImageSearch) -> None:
    where = 'folder == "food-drink"'

    async def collect(where: str) -> list[str]:
        return [point.id async for point in AsyncImageSearch(search).each(where=where, fields=["uri"])]

    assert asyncio.run(collect(where)) == [point.id for point in search.each(where=where)]
    with pytest.raises(InvalidQuery, match="The nearest one is 'folder'"):
        asyncio.run(collect('foldr == "x"'))


def test_async_opens_and_closes(noto: Settings, search: ImageSearch) -> None:
    search.close()  # the embedded engine serves one at a time; this is the module's last test

    async def count() -> int:
        async with await AsyncImageSearch.open(settings=noto) as opened:
            return await opened.count(where="width > 0")

    assert asyncio.run(count()) > 1000
