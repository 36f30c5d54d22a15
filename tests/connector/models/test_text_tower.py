import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from sentence_transformers import SentenceTransformer

from connector.errors import ConfigError, ModelError
from connector.models.catalog import find_space, text_tower_of
from connector.models.conversion import convert
from connector.models.image_tower import has_bfloat16
from connector.models.text_models import load_text_model
from connector.models.text_torch import torch_runner
from connector.models.text_tower import TextTower, plan_runner
from connector.settings import ModelSettings
from tests.twins import SENTENCES, SHAPES, Twins, write_multilingual, write_twins

CANONICAL = Path(__file__).parents[2] / "data" / "canonical_vectors.json"
CANONICAL_TEXTS = ["ein Hund im Schnee", "собака на снегу", "雪の中の犬", "two cats sitting on a red sofa"]


@pytest.fixture(scope="module")
def tower(tiny_twins: Twins) -> TextTower:
    return TextTower.load(ModelSettings(text_model=str(tiny_twins.text), device="cpu"))


@pytest.fixture(scope="module")
def english(tiny_twins: Twins) -> TextTower:
    return TextTower.load(ModelSettings(image_model=str(tiny_twins.image), text_tower="english", device="cpu"))


def test_the_vectors_are_the_reference_pipelines(tower: TextTower, tiny_twins: Twins) -> None:
    reference = SentenceTransformer(str(tiny_twins.text), device="cpu", local_files_only=True)
    expected = reference.encode(list(SENTENCES), normalize_embeddings=True, show_progress_bar=False)

    np.testing.assert_allclose(tower.embed(SENTENCES), expected, atol=1e-6)


def test_the_english_tower_is_clips_own_text_half(english: TextTower, tiny_twins: Twins) -> None:
    reference = SentenceTransformer(str(tiny_twins.image), device="cpu", local_files_only=True)
    texts = ["a photo of a dog in the snow", "two cats"]
    expected = reference.encode(texts, normalize_embeddings=True, show_progress_bar=False)

    np.testing.assert_allclose(english.embed(texts), expected, atol=1e-6)


@pytest.mark.parametrize("size", ["tiny", "mini"])
def test_the_canonical_vectors_hold(size: str, tiny_twins: Twins, mini_twins: Twins) -> None:
    twins, space = {"tiny": (tiny_twins, "clip-vit-b-32"), "mini": (mini_twins, "mini")}[size]
    tower = TextTower.load(ModelSettings(space=space, text_model=str(twins.text), device="cpu"))

    vectors = tower.embed(CANONICAL_TEXTS)

    np.testing.assert_allclose(vectors[:, :8], json.loads(CANONICAL.read_text())["text"][size], atol=2e-5)


def test_vectors_have_length_one_and_are_float32(tower: TextTower) -> None:
    vectors = tower.embed(SENTENCES)

    assert vectors.dtype == np.float32
    assert vectors.shape == (len(SENTENCES), 512)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_many_texts_come_back_in_order_and_as_if_asked_one_by_one(tower: TextTower) -> None:
    texts = [f"{sentence} {'na ' * (index % 9)}" for index, sentence in enumerate(SENTENCES * 10)]
    assert len(texts) > 2 * 64

    together = tower.embed(texts)

    alone = np.concatenate([tower.embed([text]) for text in texts[:20]])
    np.testing.assert_allclose(together[:20], alone, atol=1e-5)


def test_no_texts_give_no_vectors(tower: TextTower) -> None:
    assert tower.embed([]).shape == (0, 512)


@pytest.mark.parametrize(
    "text", ["", " ", "\n\t", "\x00", "👩‍👩‍👧‍👦🏽", "e\u0301\u0301\u0301", "ﷺ", "\u202eolleh", "\ud800"]
)
def test_any_string_has_a_vector(tower: TextTower, english: TextTower, text: str) -> None:
    for speaker in (tower, english):
        assert np.isfinite(speaker.embed([text])).all()


def test_half_a_surrogate_pair_counts_as_a_question_mark(tower: TextTower) -> None:
    np.testing.assert_array_equal(tower.embed(["a \ud800 dog"]), tower.embed(["a ? dog"]))


@pytest.mark.parametrize(("speaker", "limit"), [("tower", 128), ("english", 77)])
def test_a_text_beyond_the_models_limit_is_cut_at_its_end(
    speaker: str, limit: int, request: pytest.FixtureRequest
) -> None:
    chosen: TextTower = request.getfixturevalue(speaker)
    start = "a " * limit

    np.testing.assert_allclose(chosen.embed([start + "dog " * 5000]), chosen.embed([start + "cat"]), atol=1e-5)


def test_the_old_file_format_once_converted_gives_the_same_vectors(tower: TextTower, tmp_path: Path) -> None:
    folder = write_twins(tmp_path, weights="bin").text
    made = convert(folder)
    old = TextTower.load(ModelSettings(text_model=str(folder), device="cpu"))

    assert made == [folder / "model.safetensors", folder / "2_Dense" / "model.safetensors"]

    np.testing.assert_array_equal(old.embed(SENTENCES), tower.embed(SENTENCES))


def test_another_image_folder_stands_in_for_its_text_half_too(tiny_twins: Twins) -> None:
    space = find_space("clip-vit-b-32")
    local = str(tiny_twins.image)

    assert text_tower_of(ModelSettings(text_tower="english", image_model=local), space=space).model == local
    assert text_tower_of(ModelSettings(image_model=local), space=space) == space.text["multilingual"]
    assert text_tower_of(ModelSettings(text_model="x/y", image_model=local), space=space).model == "x/y"


def test_an_unknown_text_tower_names_those_there_are() -> None:
    with pytest.raises(
        ConfigError, match="space clip-vit-b-32 has no text tower 'klingon'; it has: multilingual, english"
    ):
        TextTower.load(ModelSettings(text_tower="klingon"))


def test_a_model_of_other_dims_is_refused(tmp_path: Path) -> None:
    shape = replace(SHAPES["tiny"], dims=256)
    folder = write_multilingual(tmp_path / "text", shape=shape, weights="safetensors", seed=0)

    with pytest.raises(ModelError, match="gives 256 dims, space clip-vit-b-32 has 512"):
        TextTower.load(ModelSettings(text_model=str(folder), device="cpu"))


def test_a_folder_without_its_dense_layer_is_one_clear_error(copied_twins: Twins) -> None:
    (copied_twins.text / "2_Dense" / "model.safetensors").unlink()

    with pytest.raises(ModelError, match=r"the text model in .* cannot be loaded"):
        TextTower.load(ModelSettings(text_model=str(copied_twins.text), device="cpu"))


def test_a_folder_that_does_not_exist_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="POLYGLANCE_MODEL__TEXT_MODEL=/path/to/folder"):
        TextTower.load(ModelSettings(text_model=str(tmp_path / "nowhere"), device="cpu"))


def test_a_device_that_is_not_there_is_a_config_error(tiny_twins: Twins) -> None:
    with pytest.raises(ConfigError, match=r"model\.device = 'cuda:99'"):
        TextTower.load(ModelSettings(text_model=str(tiny_twins.text), device="cuda:99"))


@pytest.mark.weights
def test_the_published_weights_bring_a_sentence_near_its_translation() -> None:
    name = os.environ.get("POLYGLANCE_TEST_TEXT_MODEL", find_space("clip-vit-b-32").text["multilingual"].model)
    try:
        folder = name if Path(name).is_dir() else snapshot_download(name, local_files_only=True)
    except LocalEntryNotFoundError:
        pytest.skip(f"{name} is not on this machine; POLYGLANCE_TEST_TEXT_MODEL=/path/to/folder names a copy")

    dog, hund, sofa = TextTower.load(ModelSettings(text_model=folder)).embed(
        ["a dog in the snow", "ein Hund im Schnee", "a red sofa"]
    )

    assert dog @ hund > 0.9 > dog @ sofa


@pytest.mark.skipif(not has_bfloat16(torch.device("cpu")), reason="needs a processor with bfloat16")
def test_in_bfloat16_the_vectors_are_nearly_those_of_float32(tiny_twins: Twins) -> None:
    model = load_text_model(tiny_twins.text)
    exact, half = (
        torch_runner(model, device=torch.device("cpu"), precision=precision).encode(SENTENCES)
        for precision in ("float32", "bfloat16")
    )
    cosines = (exact * half).sum(axis=1) / (np.linalg.norm(exact, axis=1) * np.linalg.norm(half, axis=1))
    assert 0.999 <= cosines.min() < 1
    assert not np.array_equal(exact, half)


def test_what_will_run_is_told_from_the_files_alone(tiny_twins: Twins, tmp_path: Path) -> None:
    here = ModelSettings(text_model=str(tiny_twins.text), device="cpu")
    copied = {"text_model": str(tmp_path / "nowhere")}

    assert plan_runner(ModelSettings(space="mini", device="cpu")).startswith("onnx float32: its files are in ")
    assert "model.text_runtime says so" in plan_runner(here.model_copy(update={"text_runtime": "torch"}))
    assert "model.device is cuda" in plan_runner(here.model_copy(update={"device": "cuda"}))
    assert plan_runner(here).startswith("torch, unless it can be exported")
    assert "is not on this machine" in plan_runner(here.model_copy(update=copied))
