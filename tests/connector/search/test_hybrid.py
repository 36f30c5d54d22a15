"""What is seen and words in one answer: who is found, in which order, what fits, and why."""

import asyncio
import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from connector import AsyncImageSearch, ImageSearch, InvalidQuery, Settings, image, point, text
from connector.records import SEEN, Hit, Point, Reason
from connector.search.captions import Caption
from connector.search.evaluate import evaluate
from connector.search.fusion import RANK_CONSTANT, dbsf, ranks_of, recency, weighted_rrf
from connector.search.hits import Hits
from connector.search.query import feedback
from connector.search.relevance import RELEVANT
from connector.store.open import open_engine
from connector.store.schema import CollectionSchema, Words
from connector.words.settings import WEIGHTS
from tests.conftest import CommandLine
from tests.scratch import scratch_folder

CAPTIONS: Mapping[str, Mapping[str, Any]] = {
    "dog.png": {"ocr_text": "RE16 TGK", "rating": 5},
    "cat.png": {"meta": {"caption": "東京駅の案内看板"}},
    "fish.png": {"meta": {"caption": "Überraschung am Strand"}, "rating": 2},
    "sailboat.png": {"tags": ["Oma 80. Geburtstag🎂"], "title": "the end of the road"},
    "butterfly.png": {"description": "Schmetterling im Garten der Oma"},
}
"""What is known of some of the bundled images beside what they show; all go by names that say nothing."""


@pytest.fixture(scope="module")
def settings(noto: Settings) -> Iterator[Settings]:
    """A collection of 400 bundled images with dates, some with words: the same ones wherever they lie."""
    with scratch_folder() as folder:
        made = Settings.load({"model.space": "mini", "qdrant.path": str(folder / "data"), "qdrant.collection": "words"})
        with closing(open_engine(noto.qdrant, collection=noto.collection)) as engine:
            stored = engine.scroll(limit=2_000, vectors=True).points
            fingerprint = engine.info().schema.fingerprint
        kept = [each for each in stored if each.payload["filename"] in CAPTIONS]
        rest = [each for each in stored if each.payload["filename"] not in CAPTIONS]
        kept += sorted(rest, key=lambda each: blake2b(each.payload["filename"].encode()).digest())[: 400 - len(kept)]
        schema = CollectionSchema(fingerprint, meta_fields={"caption": "text"}, words=Words(dict(WEIGHTS)))
        points = []
        for number, each in enumerate(kept):
            assert each.vector is not None
            known = CAPTIONS.get(each.payload["filename"], {})
            payload = {"uri": each.uri, "filename": f"IMG_{number:04}.png", "folder": ["photos"], **known}
            if number % 30 == 7:
                payload["description"] = "Ernte"
            if number % 4:
                payload["taken_at"] = (datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=number)).isoformat()
            points.append(Point(each.id, each.vector, payload))
        with closing(open_engine(made.qdrant, collection=made.collection)) as engine:
            engine.create(schema)
            engine.upsert(points)
        yield made


@pytest.fixture(scope="module")
def search(settings: Settings) -> Iterator[ImageSearch]:
    with ImageSearch.open(settings=settings) as opened:
        yield opened


def name(hit: Hit) -> str:
    return hit.uri.rpartition("/")[2]


@pytest.mark.parametrize(
    ("asked", "found", "reason"),
    [
        ("RE16 TGK", "dog.png", Reason("ocr", ("RE16", "TGK"))),
        ("RE16", "dog.png", Reason("ocr", ("RE16",))),
        ("re16tgk", "dog.png", Reason("ocr", ("RE16 TGK",))),
        ("看板", "cat.png", Reason("caption", ("看板",))),
        ("uberraschung", "fish.png", Reason("caption", ("Überraschung",))),
        ("Oma 80. Geburtstag", "sailboat.png", Reason("tags", ("Oma", "80", "Geburtstag"))),
        ("🎂", "sailboat.png", Reason("tags", ("🎂",))),
        ("Oma im Garten", "butterfly.png", Reason("description", ("Garten", "Oma"))),
    ],
)
def test_words_find_what_eyes_do_not_and_say_where_they_stand(
    search: ImageSearch, asked: str, found: str, reason: Reason
) -> None:
    first = search.text(asked)[0]

    assert name(first) == found
    assert reason in first.reasons
    assert (first.relevance or 0) >= RELEVANT
    assert [name(hit) for hit in search.text(asked, relevant=True)][:1] == [found]


def test_a_question_that_only_eyes_can_answer_is_answered_as_by_eyes_alone(search: ImageSearch) -> None:
    for asked in ("собака", "mariposa", "ein Hund im Schnee"):
        seen = search.text(asked, limit=20, mode="visual")
        assert [(hit.id, hit.score) for hit in search.text(asked, limit=20)] == [(hit.id, hit.score) for hit in seen]


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ("sunflower Strand", ["sunflower.png", "fish.png"]),
        ("sunflower RE16 TGK", ["dog.png", "sunflower.png"]),  # most of the words
        ("a sunflower RE16", ["dog.png", "sunflower.png"]),  # a code is meant as it stands
    ],
)
def test_few_of_the_words_come_behind_what_the_eye_is_sure_of_and_before_all_else(
    search: ImageSearch, asked: str, first: list[str]
) -> None:
    assert [name(hit) for hit in search.text(asked, limit=2)] == first


def test_a_hit_says_that_it_was_seen_and_in_mode_visual_that_goes_without_saying(search: ImageSearch) -> None:
    assert search.text("собака", limit=1)[0].reasons == (SEEN,)
    assert search.text("собака", limit=1, mode="visual")[0].reasons == ()
    both = search.text("Schmetterling", limit=1)[0]
    (seen,) = search.text("Schmetterling", limit=1, mode="visual")
    assert seen.relevance is not None
    sure = (SEEN,) if seen.id == both.id and seen.relevance >= RELEVANT else ()
    assert both.reasons == (*sure, Reason("description", ("Schmetterling",)))


def test_where_nothing_fits_a_common_word_changes_nothing(search: ImageSearch) -> None:
    """*the*, *of* and *im* stand in titles and captions here."""
    for asked in ("the price of justice", "Umsatzsteuer im Sinne der Vorschrift"):
        assert search.text(asked, limit=1)[0].reasons != ()
        assert search.text(asked, relevant=True) == []
        assert search.text(asked, relevant=True, mode="words") == []


def test_words_alone_need_no_cosine_and_find_nothing_where_nobody_has_them(search: ImageSearch) -> None:
    (hit,) = search.text("看板", mode="words")
    assert name(hit) == "cat.png"
    assert hit.score > 1
    assert search.text("Umsatzsteuer", mode="words") == []


def test_every_cosine_is_known(search: ImageSearch) -> None:
    (vector,) = search.embed_texts(["RE16"])
    first = search.text("RE16")[0]
    (stored,) = search.points([first.id], vectors=True)
    assert stored.vector is not None
    assert first.score == pytest.approx(float(vector @ stored.vector), abs=1e-4)
    assert search.text("RE16", min_score=0.9) == []


@pytest.mark.parametrize("options", [{}, {"recent": True}, {"prefer": "rating >= 4"}, {"relevant": True}])
def test_pages_follow_one_another_whatever_their_size(search: ImageSearch, options: Any) -> None:
    whole = [hit.id for hit in search.text("Oma am Strand", limit=230, **options)]
    pages = [search.text("Oma am Strand", limit=46, offset=start, **options) for start in range(0, 230, 46)]
    assert [hit.id for page in pages for hit in page] == whole
    assert len({*whole}) == len(whole)


def test_the_relevant_ones_in_the_order_of_a_date(search: ImageSearch) -> None:
    relevant = {hit.id for hit in search.text("Ernte", limit=400, relevant=True)}
    latest = search.text("Ernte", limit=400, relevant=True, order_by="-taken_at")
    first = search.text("Ernte", limit=400, relevant=True, order_by="taken_at")

    dates = [hit.payload.get("taken_at", "") for hit in latest]
    assert {hit.id for hit in latest} == relevant
    assert len(relevant) > 10
    assert dates == sorted(dates, reverse=True)  # those without a date last
    dated = [hit.payload["taken_at"] for hit in first if "taken_at" in hit.payload]
    assert dated == sorted(dated)
    assert search.text("Ernte", limit=2, offset=1, relevant=True, order_by="-taken_at") == latest[1:3]


def test_what_is_preferred_comes_earlier_and_loses_nothing_else(search: ImageSearch) -> None:
    plain = search.text("animal", limit=100)
    place = next(number for number, hit in enumerate(plain) if number > 3 and hit.payload["filename"] != "")
    wanted = plain[place].payload["filename"]
    preferring = search.text("animal", limit=100, prefer=f'filename == "{wanted}"')

    assert [hit.payload["filename"] for hit in preferring].index(wanted) < place
    assert {hit.id for hit in preferring} == {hit.id for hit in plain}
    assert {hit.id: hit.relevance for hit in preferring} == {hit.id: hit.relevance for hit in plain}
    vectors = search.embed_texts(["animal"])
    (by_vector,) = search.nearest(vectors, modality="text", limit=100, prefer=f'filename == "{wanted}"')
    assert [hit.id for hit in by_vector] == [hit.id for hit in preferring]


def test_recent_is_a_mild_decay() -> None:
    now = datetime(2024, 1, 1, tzinfo=UTC)
    assert recency("2024-01-01T00:00:00Z", now=now) == 1
    assert recency("2025-06-01T00:00:00", now=now) == 1  # a clock that ran ahead
    assert recency("2022-12-31T18:00:00Z", now=now) == pytest.approx(0.5, abs=0.001)
    assert recency(None, now=now) == recency("soon", now=now) == 0


def test_words_that_are_to_be_pushed_away_speak_less_for_an_image(search: ImageSearch) -> None:
    plain = [name(hit) for hit in search.text("Oma", limit=2)]
    pushed = search.query(text("Oma") - 0.5 * text("Schmetterling Garten"), limit=2)
    assert {*plain} == {"sailboat.png", "butterfly.png"}
    assert name(pushed[0]) == "sailboat.png"


def test_an_image_and_words_make_one_question(search: ImageSearch) -> None:
    cat = next(hit for hit in search.each() if name(Hit(hit.id, 0, hit.payload)) == "cat.png")
    hits = search.query(image(Path(cat.uri.removeprefix("file://"))) + text("RE16"), limit=3)
    assert {"cat.png", "dog.png"} <= {name(hit) for hit in hits}
    groups = search.groups("RE16", by="folder", size=1)
    assert [name(hit) for hit in groups[0].hits] == ["dog.png"]


@pytest.mark.parametrize("mode", ["words", "hybrid"])
def test_diversity_holds_in_every_mode(search: ImageSearch, mode: Any) -> None:
    assert {name(hit) for hit in search.text("Oma", limit=2, mode=mode, diversity=0.3)} == {
        "sailboat.png",
        "butterfly.png",
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "both"}, r"mode is 'both'; 'visual', 'words', 'hybrid' or None"),
        ({"mode": "words", "min_score": 0.2}, "min_score is 0.2, a cosine; mode words compares no vectors"),
        ({"order_by": "taken_at"}, "order_by is 'taken_at', an order of the relevant ones; give relevant"),
        ({"order_by": "taken_at", "relevant": True, "recent": True}, "leaves no room for another order"),
        ({"order_by": "folder", "relevant": True}, "cannot be put in the order of 'folder'"),
        ({"order_by": "-", "relevant": True}, "order_by is '-'; a field that holds a number or a date"),
        ({"order_by": "+taken_at", "relevant": True}, r"order_by is '\+taken_at'; .* width for the least first"),
        ({"prefer": "rathing > 3"}, "unknown field 'rathing'"),
        ({"recent": "yes"}, "recent is 'yes'; True or False"),
    ],
)
def test_what_cannot_be_is_refused(search: ImageSearch, options: Any, says: str) -> None:
    with pytest.raises(InvalidQuery, match=says):
        search.text("a dog", **options)


def test_a_question_without_words_has_no_mode_of_words(search: ImageSearch) -> None:
    some = search.sample(1)[0].id
    with pytest.raises(InvalidQuery, match="mode words needs a text"):
        search.like(some, mode="words")
    with pytest.raises(InvalidQuery, match="mode hybrid needs a text"):
        search.like(some, mode="hybrid")
    with pytest.raises(InvalidQuery, match="mode words takes texts alone"):
        search.query(text("Oma") + point(some), mode="words")
    with pytest.raises(InvalidQuery, match="a vector has no words"):
        search.nearest(search.embed_texts(["Oma"]), mode="words")


def test_a_collection_without_words_is_searched_by_eyes_and_says_how_to_get_them(noto: Settings) -> None:
    with scratch_folder() as folder:
        made = Settings.load({"model.space": "mini", "qdrant.path": str(folder / "data"), "qdrant.collection": "old"})
        with closing(open_engine(noto.qdrant, collection=noto.collection)) as engine:
            stored = engine.scroll(limit=40, vectors=True).points
            fingerprint = engine.info().schema.fingerprint
        with closing(open_engine(made.qdrant, collection=made.collection)) as engine:
            engine.create(CollectionSchema(fingerprint))
            engine.upsert([Point(each.id, each.vector, each.payload) for each in stored if each.vector is not None])
        with ImageSearch.open(settings=made) as search:
            assert search.text("dog", limit=3) == search.text("dog", limit=3, mode="visual")
            for mode in ("words", "hybrid"):
                with pytest.raises(InvalidQuery, match=r"'old' has no words.*polyglance collection words"):
                    search.text("dog", mode=mode)
            found = evaluate(search, [Caption(stored[0].id, "dog", "en")])
            assert found.mean is not None
            assert found.mean.words is None


def test_asynchronous_callers_get_the_same(settings: Settings, search: ImageSearch) -> None:
    async def ask() -> list[Hits]:
        async with await AsyncImageSearch.open(settings=settings) as opened:
            return [await opened.text("看板", mode="words"), await opened.text("RE16", limit=5)]

    assert asyncio.run(ask()) == [search.text("看板", mode="words"), search.text("RE16", limit=5)]


def test_feedback_is_the_mean_of_what_is_liked_and_disliked() -> None:
    one, two = (f"00000000-0000-0000-0000-00000000000{n}" for n in (1, 2))
    made = feedback(text("a beach"), more=[one, two], less=[two])
    assert made == text("a beach") + 0.5 * point(one) + 0.5 * point(two) - 0.5 * point(two)
    assert feedback(None, more=[one]) == 1.0 * point(one)


def test_evaluation_has_the_modes_beside_one_another(search: ImageSearch) -> None:
    dog, cat = (hit.id for hit in (search.text("RE16")[0], search.text("看板")[0]))
    found = evaluate(search, [Caption(dog, "RE16 TGK", "de"), Caption(cat, "案内", "ja"), Caption(dog, "собака", "ru")])
    recalls = {each.language: each for each in found.languages}
    assert recalls["de"].words == recalls["de"].hybrid
    assert recalls["de"].hybrid is not None
    assert recalls["de"].hybrid.recall_1 == 1
    assert recalls["ru"].words is not None
    assert recalls["ru"].words.recall_10 == 0
    assert recalls["ru"].hybrid is not None
    assert recalls["ru"].hybrid.recall_10 == recalls["ru"].recall_10 == 1


def test_the_command_line_says_why(settings: Settings, cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGLANCE_QDRANT__PATH", str(settings.qdrant.path))
    monkeypatch.setenv("POLYGLANCE_QDRANT__COLLECTION", "words")
    monkeypatch.setenv("POLYGLANCE_MODEL__SPACE", "mini")

    assert "caption: 看板" in cli("search", "看板", "-n", 1).out
    (hit,) = cli("search", "看板", "--mode", "words", "--json").json["hits"]
    assert hit["reasons"] == [{"field": "caption", "words": ["看板"]}]
    ordered = cli("search", "Ernte", "--relevant", "--order-by", "-taken_at", "--json").json["hits"]
    dates = [each["payload"]["taken_at"] for each in ordered if "taken_at" in each["payload"]]
    assert dates == sorted(dates, reverse=True) != []
    assert len(cli("search", "fruit", "--recent", "--prefer", "rating >= 4", "--json").json["hits"]) == 10
    liked = [each["id"] for each in ordered[:3]]
    more = cli("search", "--like", liked[0], "--like", liked[1], "--unlike", liked[2], "--json").json["hits"]
    assert not {*liked} & {each["id"] for each in more}
    wrong = cli("search", "fruit", "--mode", "smell")
    assert (wrong.code, wrong.out) == (2, "")


def test_the_sums_are_those_of_their_sources() -> None:
    ranks: list[Mapping[str, int]] = [{"a": 1, "b": 2}, {"b": 1}]
    fused = weighted_rrf(ranks, weights=[1.0, {"b": 3.0}])
    assert fused == {"a": 1 / (RANK_CONSTANT + 1), "b": 1 / (RANK_CONSTANT + 2) + 3 / (RANK_CONSTANT + 1)}
    assert ranks_of([("a", 3.0), ("b", 2.0), ("c", 2.0), ("d", 1.0)]) == {"a": 1, "b": 2, "c": 2, "d": 4}
    assert ranks_of([]) == {}
    scores = {"a": 3.0, "b": 2.0, "c": 1.0}
    spread = math.sqrt(2 / 3)
    half = dbsf([scores], weights=[2.0])
    assert half["b"] == pytest.approx(1.0)
    assert half["a"] == pytest.approx(2 * (1 / (6 * spread) + 0.5))
    assert dbsf([{"a": 1.0}, {}], weights=[1.0, 1.0]) == {"a": 0.5}
