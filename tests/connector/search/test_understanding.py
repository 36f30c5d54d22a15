"""A date in a question is a filter: shown as a chip, taken back by a word, and never a silent nothing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector import AsyncImageSearch, ImageSearch, Settings
from connector.search.query import image, text
from tests.conftest import CommandLine
from tests.images import image as png
from tests.images import photo
from tests.scratch import scratch_folder
from workers.api import ingest

ROME = (41.8902, 12.4922)
TAKEN = {
    "beach-1": "2023:07:14 10:00:00",
    "beach-2": "2023:07:20 21:00:00",
    "old": "2019:05:01 09:00:00",
    "undated": None,
}


def settings_for(folder: Path) -> Settings:
    return Settings.load({"model.space": "mini", "ingest.workers": 0, "qdrant.path": str(folder / "data")})


@pytest.fixture(scope="module")
def dated() -> Iterator[Settings]:
    with scratch_folder() as folder:
        for seed, (name, taken) in enumerate(TAKEN.items()):
            (folder / f"{name}.jpg").write_bytes(
                photo(seed, taken=taken, at=ROME if name in ("beach-1", "undated") else None)
            )
        settings = settings_for(folder)
        ingest(str(folder), settings=settings)
        yield settings


@pytest.fixture(scope="module")
def search(dated: Settings) -> Iterator[ImageSearch]:
    with ImageSearch.open(settings=dated) as opened:
        yield opened


def names(hits: list) -> list[str]:  # type: ignore[type-arg]
    return [each.payload["filename"].removesuffix(".jpg") for each in hits]


def test_a_date_in_the_text_is_a_filter_and_the_rest_is_what_is_compared(search: ImageSearch) -> None:
    hits = search.text("am Strand im Juli 2023")

    assert sorted(names(hits)) == ["beach-1", "beach-2"]
    (chip,) = hits.understood
    assert (chip.kind, chip.words, chip.shown, chip.where) == (
        "date",
        "im Juli 2023",
        "July 2023",
        'taken_on in "2023-07"',
    )
    assert "am Strand im Juli 2023"[chip.start : chip.end] == chip.words
    alone = search.text("am Strand", where='taken_on in "2023-07"')
    assert [(each.id, each.score) for each in alone] == [(each.id, each.score) for each in hits]
    assert alone.understood == ()
    assert hits[:1].understood == hits.understood


def test_a_question_that_is_all_date_lists_the_latest_first(search: ImageSearch) -> None:
    for question in ("Juli 2023", "Fotos vom Juli 2023", "photos from July 2023", "2023年7月の写真"):
        hits = search.text(question)
        assert names(hits) == ["beach-2", "beach-1"], question
        assert {each.score for each in hits} == {0.0}
    assert names(search.text("since 2019", limit=2, offset=1)) == ["beach-1", "old"]


def test_it_is_taken_back_whole_or_by_its_words(search: ImageSearch) -> None:
    off = search.text("am Strand im Juli 2023", understand=False)
    assert (len(off), off.understood) == (4, ())
    taken_back = search.text("am Strand im Juli 2023 oder 2019", literal="im Juli 2023")
    assert [each.shown for each in taken_back.understood] == ["2019"]
    vectors = search.embed_texts(["am Strand im Juli 2023"])
    assert [each.score for each in search.nearest(vectors)[0]] == pytest.approx([each.score for each in off])


def test_a_date_that_no_image_has_leaves_nothing_and_says_so(search: ImageSearch) -> None:
    hits = search.text("a dog in March 2021")
    assert hits == []
    assert [each.shown for each in hits.understood] == ["March 2021"]


def test_a_filter_of_ones_own_holds_beside_it(search: ImageSearch) -> None:
    assert names(search.text("Juli 2023", where="taken_hour >= 18")) == ["beach-2"]


def test_it_is_read_in_a_mixture_of_one_text_and_images(search: ImageSearch) -> None:
    mixed = text("a boat in 2019") + image(png(9)) - 0.5 * text("people in 2023")
    hits = search.query(mixed)
    assert names(hits) == ["old"]
    assert [each.words for each in hits.understood] == ["in 2019"]
    assert names(search.query(text("in 2019") + image(png(9)))) == ["old"]
    two = search.query(text("a boat in 2019") + text("a dog in 2023"))
    assert (len(two), two.understood) == (4, ()), "of two texts nobody knows whose date counts"


def test_every_text_of_many_has_its_own(search: ImageSearch) -> None:
    found = search.texts(["Juli 2023", "a boat", "a boat in 2019"])
    assert [names(found[0]), len(found[1]), names(found[2])] == [["beach-2", "beach-1"], 4, ["old"]]


def test_groups_and_counts_are_of_what_was_understood(search: ImageSearch) -> None:
    groups = search.groups("Strand im Juli 2023", by="taken_month")
    assert [(each.value, len(each.hits)) for each in groups] == [(7, 2)]
    assert [each.shown for each in groups.understood] == ["July 2023"]
    assert search.facets("taken_hour", of="Strand im Juli 2023", limit=2) == search.facets(
        "taken_hour", where='taken_on in "2023-07"', limit=2
    )


def test_awaited_questions_are_understood_alike(search: ImageSearch) -> None:
    async def ask() -> list[list[str]]:
        one = AsyncImageSearch(search)
        return [names(each) for each in await asyncio.gather(one.text("Juli 2023"), one.query("a boat in 2019"))]

    assert asyncio.run(ask()) == [["beach-2", "beach-1"], ["old"]]


def test_a_place_in_the_text_is_a_filter_too(search: ImageSearch) -> None:
    hits = search.text("a woman in Rom im Juli 2023")
    assert names(hits) == ["beach-1"]
    assert [(each.kind, each.words) for each in hits.understood] == [("date", "im Juli 2023"), ("place", "in Rom")]
    assert names(search.text("ローマの写真")) == ["beach-1", "undated"], "what has no date comes last"
    assert names(search.text("photos from Italy", offset=1)) == ["undated"]
    assert search.text("Paris Hilton").understood == ()
    assert names(search.text("a woman", where='"Rome" in place and exists(taken_at)')) == ["beach-1"]
    assert ("Italy", 2) in [(each.value, each.count) for each in search.facets("place")]


def test_where_no_image_has_a_date_the_text_stays_whole(noto: Settings) -> None:
    with ImageSearch.open(settings=noto) as undated:
        hits = undated.text("a dog in July 2023", limit=5)
        assert hits.understood == ()
        assert hits == undated.text("a dog in July 2023", limit=5, understand=False)


def test_the_command_says_what_it_understood_and_how_to_take_it_back(
    dated: Settings, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYGLANCE_QDRANT__PATH", str(dated.qdrant.path))
    monkeypatch.setenv("POLYGLANCE_MODEL__SPACE", "mini")

    ran = cli("search", "am Strand im Juli 2023")
    assert ran.out.startswith("date: July 2023, from 'im Juli 2023' (--no-understand: the words as they stand)")
    assert cli("search", "am Strand im Juli 2023", "--no-understand").out.count("beach") == 2
    found = cli("search", "am Strand im Juli 2023", "--json").json
    assert found["understood"] == [
        {
            "kind": "date",
            "words": "im Juli 2023",
            "start": 10,
            "end": 22,
            "shown": "July 2023",
            "where": 'taken_on in "2023-07"',
        }
    ]
    assert cli("search", "am Strand im Juli 2023", "--literal", "im Juli 2023", "--json").json["understood"] == []
    paths = cli("search", "Juli 2023", "--paths")
    assert (len(paths.out.splitlines()), paths.err.startswith("date: July 2023")) == (2, True)
    nothing = cli("search", "am Strand im März 2021")
    assert "date: March 2021, from 'im März 2021'" in nothing.out
    assert "no image matches" in nothing.err
