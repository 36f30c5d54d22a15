"""Which tower speaks, and what is remembered of it."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from connector import ImageSearch, Settings
from connector.errors import InvalidQuery
from connector.models.catalog import find_space, fingerprint_of
from connector.models.text_tower import TextTower
from connector.records import Vectors
from connector.search.query import text
from connector.search.text_encoder import REMEMBERED, TextEncoder
from connector.settings import ModelSettings
from connector.store.edge.shared import SharedEngine
from connector.store.schema import CollectionSchema
from tests.twins import SENTENCES, Twins, write_mclip


def text_encoder(twins: Twins, **other: str) -> TextEncoder:
    settings = {"image_model": str(twins.image), "text_model": str(twins.text), "device": "cpu", **other}
    return TextEncoder(ModelSettings.model_validate(settings))


def test_english_is_spoken_by_clips_own_tower_where_it_is_there(tiny_twins: Twins) -> None:
    speaks = text_encoder(tiny_twins)

    assert [speaks.tower_for(tag) for tag in ("en", "EN", "en-GB", "de", "zh-TW", None)] == [
        *["english"] * 3,
        *["multilingual"] * 3,
    ]


def test_where_its_weights_are_not_on_this_machine_the_usual_tower_speaks(tiny_twins: Twins, tmp_path: Path) -> None:
    assert text_encoder(tiny_twins, image_model=str(tmp_path / "nowhere")).tower_for("en") == "multilingual"


def test_a_space_without_an_english_tower_has_one_for_all() -> None:
    assert TextEncoder(ModelSettings(space="mini", device="cpu")).tower_for("en") == "multilingual"


@pytest.mark.parametrize("language", ["", "english", "e", "en_GB", "en-", 3])
def test_what_is_no_language_tag_is_told(tiny_twins: Twins, language: str) -> None:
    with pytest.raises(InvalidQuery, match="a tag such as en, de or zh-TW is wanted"):
        text_encoder(tiny_twins).tower_for(language)


def test_every_tower_speaks_into_the_same_space(tiny_twins: Twins, tmp_path: Path) -> None:
    large = write_mclip(tmp_path / "large")
    plain = text_encoder(tiny_twins)
    other = text_encoder(tiny_twins, text_tower="xlm-roberta-large", text_model=str(large))

    vectors = [
        plain.embed(["a dog"], tower="multilingual"),
        plain.embed(["a dog"], tower="english"),
        other.embed(["a dog"], tower="xlm-roberta-large"),
    ]

    assert {each.shape for each in vectors} == {(1, 512)}
    assert not np.allclose(vectors[0], vectors[1])


class Attentive(TextTower):
    """A tower that knows what it was asked."""

    asked: ClassVar[list[str]] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked.extend(texts)
        return super().embed(texts)


def test_what_was_asked_before_is_not_embedded_again(tiny_twins: Twins) -> None:
    settings = ModelSettings(text_model=str(tiny_twins.text), device="cpu")
    speaks = TextEncoder(settings, load=lambda tower: Attentive.load(settings, tower=tower))
    asked = Attentive.asked
    first = speaks.embed(["a dog", "a cat", "a dog"], tower="multilingual")
    asked.clear()
    again = speaks.embed(["a cat", "a dog", "a bird"], tower="multilingual")

    assert asked == ["a bird"]
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(first[[1, 0]], again[:2])


def test_the_parts_of_a_query_are_embedded_by_the_towers_of_their_languages(tiny_twins: Twins, tmp_path: Path) -> None:
    names = {"model.image_model": str(tiny_twins.image), "model.text_model": str(tiny_twins.text)}
    settings = Settings.load({**names, "model.device": "cpu"})
    engine = SharedEngine.open(tmp_path, collection="none")
    engine.create(CollectionSchema(fingerprint_of(find_space(settings.model.space))))
    with ImageSearch(settings=settings, engine=engine) as search:
        english = search.embed_texts(["a dog"], language="en")[0]
        german = search.embed_texts(["ein Hund"], language="de")[0]
        both = search.embed_queries([text("a dog", language="en") + text("ein Hund"), text("ein Hund")])

    np.testing.assert_allclose(both[0], (english + german) / np.linalg.norm(english + german), atol=1e-5)
    np.testing.assert_allclose(both[1], german, atol=1e-5)
    assert not np.allclose(english, german)


def test_a_caller_who_changes_a_vector_changes_it_for_nobody_else(tiny_twins: Twins) -> None:
    speaks = text_encoder(tiny_twins)
    first = speaks.embed(["a dog"], tower="multilingual")
    kept = first.copy()
    first[:] = 0

    np.testing.assert_array_equal(speaks.embed(["a dog"], tower="multilingual"), kept)


def test_the_memory_is_bounded_and_many_threads_share_it(tiny_twins: Twins) -> None:
    speaks = text_encoder(tiny_twins)
    texts = [f"{SENTENCES[number % 15]} {number}" for number in range(200)]
    expected = TextTower.load(ModelSettings(text_model=str(tiny_twins.text), device="cpu")).embed(texts)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: speaks.embed([texts[row]], tower="multilingual")[0], [*range(200)] * 3))

    np.testing.assert_allclose(np.stack(found), np.tile(expected, (3, 1)), atol=1e-5)
    assert REMEMBERED <= 10_000


class SlowTower:
    """A tower that notes its batches, and holds the first of many texts until it is told to go on."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.batches.append([*texts])
        self.begun.set()
        assert self.may_go_on.wait(30)
        return np.ones((len(texts), 128), dtype=np.float32)


def test_a_question_waits_for_one_batch_of_many_texts_and_no_more() -> None:
    tower = SlowTower()
    encoder = TextEncoder(ModelSettings(space="mini"), load=lambda _: tower)  # type: ignore[arg-type, return-value]
    many = [f"label {number} " + "x" * 6_000 for number in range(200)]
    with ThreadPoolExecutor(2) as threads:
        bulk = threads.submit(encoder.embed, many, tower="multilingual")
        assert tower.begun.wait(30)
        question = threads.submit(encoder.embed, ["a dog"], tower="multilingual")
        while not encoder.turns.waiting:
            pass
        tower.may_go_on.set()
        assert bulk.result(30).shape == (200, 128)
        question.result(30)
    asked = next(number for number, batch in enumerate(tower.batches) if batch == ["a dog"])
    assert asked == 1
    assert len(tower.batches) > 20


def test_many_questions_go_through_the_tower_together() -> None:
    tower = SlowTower()
    tower.may_go_on.set()
    encoder = TextEncoder(ModelSettings(space="mini"), load=lambda _: tower)  # type: ignore[arg-type, return-value]
    encoder.embed([f"a dog, number {number}" for number in range(64)], tower="multilingual")
    assert len(tower.batches) == 1
