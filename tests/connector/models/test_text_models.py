"""M-CLIP's layout, on a tiny random-weight twin."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaModel

from connector.errors import ModelError
from connector.models.conversion import convert
from connector.models.text_tower import TextTower
from connector.settings import ModelSettings
from tests.twins import SENTENCES, write_mclip

TEXTS = [*SENTENCES[:6], "a"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mclip(tmp_path_factory.mktemp("mclip") / "XLM-Roberta-Large-Vit-B-32")


def load(folder: Path) -> TextTower:
    return TextTower.load(
        ModelSettings(text_tower="xlm-roberta-large", text_model=str(folder), device="cpu", text_runtime="torch")
    )


def test_the_vectors_are_those_of_the_published_code(folder: Path) -> None:
    """As in Multilingual-CLIP's own ``MultilingualCLIP.forward``: the mean by the mask, then the linear map."""
    tensors = load_file(folder / "model.safetensors")
    config = XLMRobertaConfig(
        vocab_size=400,
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=1,
        max_position_embeddings=130,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    transformer = XLMRobertaModel(config)
    transformer.train(False)
    transformer.load_state_dict(
        {n.removeprefix("transformer."): t for n, t in tensors.items() if n.startswith("transformer.")}
    )
    found = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = transformer(**found)[0]
        mask = found["attention_mask"]
        mean = (states * mask.unsqueeze(2)).sum(dim=1) / mask.sum(dim=1)[:, None]
        expected = mean @ tensors["LinearTransformation.weight"].T + tensors["LinearTransformation.bias"]
    expected = torch.nn.functional.normalize(expected).numpy()

    np.testing.assert_allclose(load(folder).embed(TEXTS), expected, atol=1e-5)


def test_a_text_alone_has_the_vector_it_has_among_others(folder: Path) -> None:
    tower = load(folder)

    np.testing.assert_allclose(tower.embed(TEXTS)[3:4], tower.embed(TEXTS[3:4]), atol=1e-5)


def test_a_text_beyond_the_models_positions_is_cut(folder: Path) -> None:
    assert np.isfinite(load(folder).embed(["a dog " * 2_000])).all()


def test_a_pickle_is_refused_and_once_converted_gives_the_same_vectors(folder: Path, tmp_path: Path) -> None:
    other = write_mclip(tmp_path / "other", weights="bin")
    with pytest.raises(ModelError, match=r"as a pickle, pytorch_model\.bin, .* `polyglance space convert"):
        load(other)

    convert(other)

    np.testing.assert_array_equal(load(other).embed(TEXTS), load(folder).embed(TEXTS))


def test_another_base_than_xlm_roberta_is_refused(tmp_path: Path) -> None:
    labse = write_mclip(tmp_path / "labse")
    told = json.loads((labse / "config.json").read_text())
    (labse / "config.json").write_text(json.dumps({**told, "modelBase": "sentence-transformers/LaBSE"}))

    with pytest.raises(ModelError, match="its base is sentence-transformers/LaBSE, no XLM-RoBERTa"):
        load(labse)


def test_a_model_of_other_dims_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gives 640 dims, space clip-vit-b-32 has 512"):
        load(write_mclip(tmp_path / "large", dims=640))


def test_missing_weights_are_one_clear_error(tmp_path: Path) -> None:
    broken = write_mclip(tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    del tensors["LinearTransformation.bias"]
    save_file(tensors, broken / "model.safetensors")

    with pytest.raises(
        ModelError, match="its map into the space has weight; one linear layer or two are wanted, with biases"
    ):
        load(broken)


def test_a_folder_without_weights_is_incomplete(tmp_path: Path) -> None:
    empty = write_mclip(tmp_path / "empty")
    (empty / "model.safetensors").unlink()

    with pytest.raises(ModelError, match="has no weights"):
        load(empty)
