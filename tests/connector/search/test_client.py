"""ImageSearch over the bundled images, in space mini."""

import gc
import io
import subprocess
import sys
import uuid
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from qdrant_client import models

import connector
from connector import ImageSearch, InvalidQuery, Settings
from connector.errors import CollectionMismatch, CollectionMissing, ConfigError, StoreRefused, UnreadableImage
from connector.records import Hit
from connector.store.edge.shared import SharedEngine
from connector.store.engine import Engine
from connector.store.open import open_engine
from connector.store.schema import CollectionSchema, Fingerprint
from tests.images import image
from workers.demo import tour

SAILBOAT = Path(str(tour.IMAGES)) / "travel-places/sailboat.png"
DOGS = {"dog", "dog face", "guide dog", "service dog", "poodle"}


@pytest.fixture(scope="module")
def engine(noto: Settings) -> Iterator[Engine]:
    """The bundled images' collection, open for the tests of this module."""
    opened = open_engine(noto.qdrant, collection=noto.collection)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def search(noto: Settings, engine: Engine) -> ImageSearch:
    """A search in it, its towers loaded by whoever asks first."""
    return ImageSearch(settings=noto, engine=engine)


def names(hits: Sequence[Hit]) -> list[str]:
    return [str(hit.payload["meta"]["name"]) for hit in hits]


# by words


@pytest.mark.parametrize(
    "word",
    ["собака", "ein Hund", "كلب", "कुत्ता", "狗", "개", "כלב", "σκύλος", "ძაღლი"],
    ids=["Cyrillic", "Latin", "Arabic", "Devanagari", "Han", "Hangul", "Hebrew", "Greek", "Georgian"],
)
def test_a_dog_is_found_in_every_script(search: ImageSearch, word: str) -> None:
    """Holds the bundled weights to what the README promises."""
    assert DOGS & set(names(search.text(word, limit=3)))


def test_hits_come_best_first_with_all_that_is_known(search: ImageSearch) -> None:
    hits = search.text("ein Hund", limit=10)

    assert len(hits) == 10
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(-1 <= hit.score <= 1 for hit in hits)
    assert hits[0].uri.startswith("file:///")
    assert {"uri", "source", "folder", "filename", "width", "height", "meta", "version"} <= hits[0].payload.keys()
    assert uuid.UUID(hits[0].id)


def test_many_texts_are_answered_as_each_alone(search: ImageSearch) -> None:
    words = ["Hund", "кошка", "a very long question about a red sailboat on the blue sea"]

    for together, word in zip(search.texts(words, limit=5), words, strict=True):
        alone = search.text(word, limit=5)
        assert [hit.id for hit in together] == [hit.id for hit in alone]
        assert [hit.score for hit in together] == pytest.approx([hit.score for hit in alone], abs=1e-5)


def test_no_texts_have_no_answers(search: ImageSearch) -> None:
    assert search.texts([]) == []


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\u3000"])
def test_an_empty_text_is_no_question(search: ImageSearch, text: str) -> None:
    with pytest.raises(InvalidQuery, match="the text is empty; say what the image shows"):
        search.text(text)


def test_which_of_many_texts_is_wrong_is_told(search: ImageSearch) -> None:
    with pytest.raises(InvalidQuery, match="text 2 of 3 is empty"):
        search.texts(["a", "", "b"])


def test_ten_thousand_characters_are_a_question_and_one_more_is_not(search: ImageSearch) -> None:
    assert search.text("x" * 10_000, limit=1)
    with pytest.raises(InvalidQuery, match="has 10001 characters; 10000 are allowed"):
        search.text("x" * 10_001)


def test_one_string_for_many_texts_is_a_mistake_that_is_told(search: ImageSearch) -> None:
    with pytest.raises(InvalidQuery, match=r"for a single text there is text\(\)"):
        search.texts("dog")


def test_what_is_no_string_is_no_text(search: ImageSearch) -> None:
    with pytest.raises(InvalidQuery, match="the text is NoneType, not a string"):
        search.text(None)  # type: ignore[arg-type]


# by an image


def test_an_image_finds_itself_in_whatever_form_it_comes(search: ImageSearch) -> None:
    data = SAILBOAT.read_bytes()
    answers = [search.image(form, limit=5) for form in (SAILBOAT, str(SAILBOAT), data, Image.open(io.BytesIO(data)))]

    for hits in answers:
        assert names(hits)[0] == "sailboat"
        assert hits[0].score == pytest.approx(1, abs=1e-3)
        assert [hit.id for hit in hits] == [hit.id for hit in answers[0]]


def test_what_is_no_image_is_told_with_its_reason(search: ImageSearch, tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    for form in (tmp_path / "page.jpg", b"<html>404</html>"):
        with pytest.raises(UnreadableImage) as caught:
            search.image(form)
        assert caught.value.reason == "not_an_image"


def test_an_image_that_cannot_be_read_is_named(search: ImageSearch, tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none.jpg", r"none.jpg' cannot be read: .*No such file"),
        (tmp_path, "is no file"),
        (Path("/dev/zero"), "is no file"),
        ("a\0b.jpg", "cannot be read: .*null"),
    ):
        with pytest.raises(InvalidQuery, match=message):
            search.image(path)


def test_an_image_above_the_limits_is_refused_unread(noto: Settings, engine: Engine) -> None:
    large = noto.model_copy(update={"limits": noto.limits.model_copy(update={"max_bytes": 100, "max_pixels": 100})})
    strict = ImageSearch(settings=large, engine=engine)

    with pytest.raises(InvalidQuery, match=r"limits\.max_bytes allows 100"):
        strict.image(SAILBOAT)
    with pytest.raises(UnreadableImage) as caught:
        strict.image(SAILBOAT.read_bytes())
    assert caught.value.reason == "too_many_pixels"


@pytest.mark.parametrize("thing", [None, 3, ["a.jpg"]])
def test_what_cannot_be_an_image_is_told(search: ImageSearch, thing: Any) -> None:
    with pytest.raises(InvalidQuery, match="a path, bytes or a PIL image is wanted"):
        search.image(thing)


# like a stored one


def test_like_finds_neighbours_and_leaves_the_image_itself_out(search: ImageSearch) -> None:
    first, *others = search.image(SAILBOAT, limit=6)

    hits = search.like(first.id, limit=5)

    assert [hit.id for hit in hits] == [hit.id for hit in others]
    assert first.id not in {hit.id for hit in search.like(first.id, limit=100)}


@pytest.mark.parametrize("form", [str.upper, lambda text: text.replace("-", ""), lambda text: f"urn:uuid:{text}"])
def test_every_way_to_write_an_id_means_the_same_image(search: ImageSearch, form: Any) -> None:
    known = search.image(SAILBOAT, limit=1)[0].id

    assert [hit.id for hit in search.like(form(known))] == [hit.id for hit in search.like(known)]
    assert known not in {hit.id for hit in search.like(form(known))}


def test_an_unknown_id_is_told(search: ImageSearch) -> None:
    unknown = str(uuid.UUID(int=7))

    with pytest.raises(InvalidQuery, match=f"collection 'images-mini' has no point {unknown}"):
        search.like(unknown)


@pytest.mark.parametrize("malformed", ["", "dog.jpg", "-7", "123e4567", None, 7])
def test_a_malformed_id_is_told(search: ImageSearch, malformed: Any) -> None:
    with pytest.raises(InvalidQuery, match="is no point id; one looks like 00000000-"):
        search.like(malformed)


# filters and reach


FOOD = "Food & Drink"
NATIVE = models.Filter(must=[models.FieldCondition(key="meta.category", match=models.MatchValue(value=FOOD))])


@pytest.mark.parametrize("where", [f'meta.category == "{FOOD}"', NATIVE], ids=["text", "native"])
def test_a_filter_holds_for_words_images_and_likeness(search: ImageSearch, where: Any) -> None:
    boat = search.image(SAILBOAT, limit=1)[0].id

    for hits in (
        search.text("dog", where=where, limit=20),
        search.image(SAILBOAT, where=where, limit=20),
        search.like(boat, where=where, limit=20),
    ):
        assert len(hits) == 20
        assert {hit.payload["meta"]["category"] for hit in hits} == {FOOD}


def test_a_native_filter_nests_inside_likeness(search: ImageSearch) -> None:
    """The filter's own must_not and should still hold beside the one that leaves the image out."""
    boat = search.image(SAILBOAT, limit=1)[0]
    neighbours = search.like(boat.id, limit=5)
    years = [models.FieldCondition(key="meta.year", match=models.MatchValue(value=year)) for year in (2014, 2016)]
    where = models.Filter(must_not=[models.HasIdCondition(has_id=[neighbours[0].id])], should=years)

    hits = search.like(boat.id, limit=50, where=where)

    assert not {boat.id, neighbours[0].id} & {hit.id for hit in hits}
    assert {hit.payload["meta"]["year"] for hit in hits} <= {2014, 2016}
    assert len(hits) == 50


def test_a_filter_that_nothing_passes_gives_no_hits(search: ImageSearch) -> None:
    assert search.text("dog", where="width > 100000") == []


@pytest.mark.parametrize("where", ["width >=", "colour == 1", "width == 'wide'", ""])
def test_a_wrong_filter_is_told_before_a_model_is_asked(search: ImageSearch, where: str) -> None:
    with pytest.raises(InvalidQuery):
        search.text("dog", where=where)


def test_offset_turns_the_page(search: ImageSearch) -> None:
    whole = search.text("dog", limit=10)

    assert [hit.id for hit in search.text("dog", limit=4, offset=6)] == [hit.id for hit in whole[6:]]
    assert search.text("dog", limit=10, offset=10_000) == []


def test_min_score_cuts_the_tail(search: ImageSearch) -> None:
    whole = search.text("dog", limit=20)
    cut = (whole[7].score + whole[8].score) / 2

    assert [hit.id for hit in search.text("dog", limit=20, min_score=cut)] == [hit.id for hit in whole[:8]]
    assert search.text("dog", min_score=1) == []
    assert len(search.text("dog", limit=20, min_score=-1)) == 20
    for nonsense in (1.1, -2, float("nan"), float("inf"), True, "0.5"):
        with pytest.raises(InvalidQuery, match=r"min_score is .*; a cosine lies between -1 and 1"):
            search.text("dog", min_score=nonsense)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reach", "message"),
    [
        ({"limit": 0}, "limit is 0; it must be between 1 and 10000"),
        ({"limit": -1}, "limit is -1"),
        ({"limit": 10_001}, "limit is 10001"),
        ({"offset": -1}, "offset is -1; it must be between 0 and 10000"),
        ({"offset": 10_001}, "offset is 10001"),
    ],
)
def test_reach_has_bounds_for_every_question(search: ImageSearch, reach: dict[str, Any], message: str) -> None:
    for ask in (
        lambda: search.text("dog", **reach),
        lambda: search.texts(["dog"], **reach),
        lambda: search.image(SAILBOAT, **reach),
        lambda: search.like(str(uuid.UUID(int=0)), **reach),
    ):
        with pytest.raises(InvalidQuery, match=message):
            ask()


def test_more_than_there_is_gives_all_there_is(search: ImageSearch) -> None:
    assert len(search.text("dog", limit=10_000)) == search.info().points


# opening and closing


FIRST = """
import sys, threading
from connector import ImageSearch

sys.setswitchinterval(1e-5)
with ImageSearch.open(overrides={"model.space": "mini", "qdrant.path": sys.argv[1]}) as search:
    calls = [
        lambda: search.page(order_by="-width", limit=3),
        lambda: search.count(where="width > 1"),
        lambda: search.facets("folder", where="width > 1"),
        lambda: search.sample(3, where="width > 1"),
        lambda: search.like(search.sample(1)[0].id),
    ] * 2
    begin = threading.Barrier(len(calls))
    answered = []

    def ask(call):
        begin.wait()
        answered.append(call())

    threads = [threading.Thread(target=ask, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.exit(len(calls) - len(answered))
"""


def test_the_first_questions_of_a_process_may_come_all_at_once(noto: Settings) -> None:
    for _ in range(2):
        ran = subprocess.run(
            [sys.executable, "-c", FIRST, str(noto.qdrant.path)], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr


def test_many_threads_get_the_answers_that_one_gets(noto: Settings, engine: Engine, search: ImageSearch) -> None:
    """From the first question on: the towers are loaded once, under fire."""
    fresh = ImageSearch(settings=noto, engine=engine)
    boat = search.image(SAILBOAT, limit=1)[0].id
    questions = [
        lambda: fresh.text("ein Hund"),
        lambda: fresh.text("a much longer question about cats"),
        lambda: fresh.image(SAILBOAT),
        lambda: fresh.like(boat),
    ]
    alone = [ids(search.text("ein Hund")), ids(search.text("a much longer question about cats"))]
    alone += [ids(search.image(SAILBOAT)), ids(search.like(boat))]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: ids(questions[number % 4]()), range(80)))

    assert answers == alone * 20


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.id for hit in hits]


def test_opening_loads_no_model(data_folder: Path) -> None:
    engine = SharedEngine.open(data_folder, collection="images-mini")
    engine.create(CollectionSchema(Fingerprint("mini", dims=128, image_size=64)))
    engine.close()
    code = (
        "import sys\nfrom connector import ImageSearch\n"
        "with ImageSearch.open(space='mini') as search: assert search.info().points == 0\n"
        "print([name for name in ('torch', 'transformers', 'PIL', 'qdrant_client') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_closing_may_be_repeated_and_asking_afterwards_is_told(data_folder: Path) -> None:
    engine = SharedEngine.open(data_folder, collection="images-mini")
    engine.create(CollectionSchema(Fingerprint("mini", dims=128, image_size=64)))
    engine.close()

    search = ImageSearch.open(space="mini")
    with search:
        assert search.text("dog") == []
    search.close()
    search.close()
    with pytest.raises(StoreRefused, match="was closed"):
        search.info()
    ImageSearch.open(space="mini").close()


def test_before_anything_is_ingested_the_way_there_is_told(data_folder: Path) -> None:
    with pytest.raises(CollectionMissing, match="`polyglance ingest FOLDER` makes and fills it"):
        ImageSearch.open(space="mini")

    assert not data_folder.exists()


def test_a_collection_of_another_space_is_refused_and_let_go(data_folder: Path) -> None:
    schema = CollectionSchema(Fingerprint("clip-vit-b-32", dims=512, image_size=224))
    engine = SharedEngine.open(data_folder, collection="mine")
    engine.create(schema)
    engine.close()

    with pytest.raises(CollectionMismatch, match=r"built by space clip-vit-b-32 \(512 dims\).* mini \(128\)"):
        ImageSearch.open(space="mini", collection="mine")

    engine = SharedEngine.open(data_folder, collection="mine")
    assert engine.info().schema == schema
    engine.close()


def test_other_weights_of_the_same_space_answer_words_but_no_images(data_folder: Path) -> None:
    """A text query does not know the image tower's weights; an image's does, and must not be compared."""
    engine = SharedEngine.open(data_folder, collection="images-mini")
    engine.create(CollectionSchema(Fingerprint("mini", dims=128, image_size=64, weights="0123456789abcdef")))
    engine.close()

    with ImageSearch.open(space="mini") as search:
        assert search.text("dog") == []
        with pytest.raises(CollectionMismatch, match=r"weights: \w{16} here, 0123456789abcdef there"):
            search.image(image(1))


def test_a_second_search_on_the_same_data_finds_the_same(search: ImageSearch, noto: Settings) -> None:
    with ImageSearch.open(settings=noto) as second:
        assert second.text("a dog") == search.text("a dog")
    assert search.info().points


def test_an_unknown_space_names_those_there_are(data_folder: Path) -> None:
    known = "known: clip-vit-b-16, clip-vit-b-32, clip-vit-l-14, mexma-siglip2, mini, mini-photos, siglip2-b16"
    with pytest.raises(connector.ConfigError, match=f"unknown space 'maxi'; {known}"):
        ImageSearch.open(space="maxi")

    assert not data_folder.exists()


def test_settings_come_either_whole_or_in_pieces(noto: Settings) -> None:
    with pytest.raises(ConfigError, match="either settings, or space"):
        ImageSearch.open(settings=noto, space="mini")


def test_a_closed_search_keeps_no_model(noto: Settings) -> None:
    """Models are released as the search is closed, not when the garbage is collected, which seldom comes to them."""
    towers: list[weakref.ref[object]] = []
    gc.disable()
    try:
        for _ in range(3):
            with ImageSearch.open(settings=noto) as opened:
                opened.text("dog")
                opened.image(SAILBOAT)
                here = opened.following.now()
                towers += [weakref.ref(here.encoder._tower()), weakref.ref(here.text_encoder._tower("multilingual"))]
                del here
            del opened
        assert [each() for each in towers[2:]] == [None] * 4  # what the first imports tripped over may keep the first
    finally:
        gc.enable()
