"""Every family of models against its reference: the published class of transformers, given the same random weights.

The yardstick is the relative error of the vector before it is normalised: a cosine of .9999 misses a swapped
activation or a wrong epsilon. What breaks each family on purpose is held to be seen.
"""

import json
import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPModel,
    SiglipImageProcessorPil,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from connector.errors import ConfigError, ModelError
from connector.images.decode import prepare
from connector.models.catalog import find_space
from connector.models.declaration import ImageSpec, Space, TextSpec
from connector.models.image_families import load_image_model
from connector.models.image_tower import ImageTower, canonical_pixels
from connector.models.score import score_bias, score_scale
from connector.models.text_models import load_text_model
from connector.models.text_tower import TextTower
from connector.models.vision import Vision
from connector.settings import ModelSettings
from tests.family_twins import UNEVEN, Twin, write_family, write_gemma_tokenizer
from tests.twins import write_clip_tokenizer

EXACT = 1e-5
FAMILIES = ("clip", "siglip", "open-clip", "mexma")
TEXTS = ("a dog in the snow", "Ein HUND im Schnee", "собака", "cat", "a &amp; b   c")


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Twin]:
    root = tmp_path_factory.mktemp("families")
    return {family: write_family(family, root) for family in FAMILIES}


def space_of(twin: Twin) -> Space:
    return find_space(str(twin.space))


def copied(twin: Twin, root: Path) -> Twin:
    """The same twin anew, to be broken."""
    return write_family(twin.family, root)


def pixels_of(space: Space) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(canonical_pixels(space.image_size)))


def normalised(space: Space) -> torch.Tensor:
    """The canonical images as the reference takes them: (4, 3, size, size)."""
    mean, std = (torch.tensor(each) for each in (space.image.mean, space.image.std))
    return ((pixels_of(space).float() / 255 - mean) / std).permute(0, 3, 1, 2)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference over the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


@torch.inference_mode()
def our_image(twin: Twin, spec: ImageSpec | None = None) -> torch.Tensor:
    space = space_of(twin)
    vectors: torch.Tensor = Vision(load_image_model(twin.folder, spec or space.image))(pixels_of(space))
    return vectors


@torch.inference_mode()
def our_text(twin: Twin, spec: TextSpec | None = None) -> torch.Tensor:
    model = load_text_model(twin.folder, spec or space_of(twin).text["multilingual"])
    vectors: torch.Tensor = model.module(*model.tokenize(TEXTS))
    return vectors


# ----------------------------------------------------------------------------------------------------- the references


@torch.inference_mode()
def reference_image(twin: Twin) -> torch.Tensor:
    """What the published class makes of the canonical images."""
    space, images = space_of(twin), normalised(space_of(twin))
    made: Any
    if twin.family == "clip":
        made = CLIPModel.from_pretrained(twin.folder)
        return made.get_image_features(pixel_values=images).pooler_output  # type: ignore[no-any-return]
    if twin.family == "siglip":
        made = SiglipModel.from_pretrained(twin.folder)
        return made.get_image_features(pixel_values=images).pooler_output  # type: ignore[no-any-return]
    tensors = load_file(next(twin.folder.glob("*.safetensors")))
    shape = space.image.shape
    assert shape is not None
    sizes = {
        "hidden_size": shape.width,
        "intermediate_size": 4 * shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "image_size": space.image_size,
        "patch_size": shape.patch,
    }
    if twin.family == "mexma":
        kind: Any = SiglipVisionConfig
        made = SiglipVisionModel(kind(**sizes)).train(False)
        made.load_state_dict({n[13:]: t for n, t in tensors.items() if n.startswith("vision_model.")})
        return made(pixel_values=images).pooler_output  # type: ignore[no-any-return]
    return open_clip_tower(tensors, sizes=sizes)(images)  # type: ignore[no-any-return]


def open_clip_tower(tensors: Mapping[str, torch.Tensor], *, sizes: Mapping[str, int]) -> Any:
    """open_clip's ``VisionTransformer`` as its code runs: ``nn.MultiheadAttention`` with the weights joined."""
    width, layers = sizes["hidden_size"], sizes["num_hidden_layers"]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = tensors[f"visual.{name}.weight"], tensors[f"visual.{name}.bias"]
        return torch.nn.functional.layer_norm(x, (width,), weight, bias, 1e-5)

    def run(images: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.conv2d(images, tensors["visual.conv1.weight"], stride=sizes["patch_size"])
        x = x.flatten(2).transpose(1, 2)
        first = tensors["visual.class_embedding"].expand(len(x), 1, -1)
        x = norm(torch.cat([first, x], dim=1) + tensors["visual.positional_embedding"], "ln_pre")
        for layer in range(layers):
            name = f"transformer.resblocks.{layer}"
            own = {n.split(f"{name}.attn.")[1]: t for n, t in tensors.items() if f"{name}.attn." in n}
            attention = torch.nn.MultiheadAttention(width, sizes["num_attention_heads"], batch_first=True).eval()
            attention.load_state_dict(own)
            normal = norm(x, f"{name}.ln_1")
            x = x + attention(normal, normal, normal, need_weights=False)[0]
            mlp = {n.split(f"{name}.mlp.")[1]: t for n, t in tensors.items() if f"{name}.mlp." in n}
            up = torch.nn.functional.linear(norm(x, f"{name}.ln_2"), mlp["c_fc.weight"], mlp["c_fc.bias"])
            x = x + torch.nn.functional.linear(torch.nn.functional.gelu(up), mlp["c_proj.weight"], mlp["c_proj.bias"])
        return norm(x[:, 0], "ln_post") @ tensors["visual.proj"]

    return run


@torch.inference_mode()
def reference_text(twin: Twin) -> torch.Tensor:
    """What the published class makes of the texts, from tokens that are made as its authors say."""
    made: Any
    if twin.family == "clip":
        made = CLIPModel.from_pretrained(twin.folder)
        tokens = load_text_model(twin.folder, space_of(twin).text["multilingual"]).tokenizer(
            list(TEXTS), padding=True, truncation=True, return_tensors="pt"
        )
        return made.get_text_features(**tokens).pooler_output  # type: ignore[no-any-return]
    if twin.family == "siglip":
        made = SiglipModel.from_pretrained(twin.folder)
        return made.get_text_features(input_ids=torch.tensor(siglip_ids(twin))).pooler_output  # type: ignore[no-any-return]
    tensors = load_file(next(twin.folder.glob("*.safetensors")))
    prefix, size = ("text.transformer.", 64) if twin.family == "open-clip" else ("text_model.", 64)
    config = XLMRobertaConfig(
        vocab_size=400,
        hidden_size=size,
        intermediate_size=4 * size,
        num_hidden_layers=2,
        num_attention_heads=1,
        max_position_embeddings=130,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    transformer: Any = XLMRobertaModel(config, add_pooling_layer=False).train(False)
    own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix) and "position_ids" not in n}
    transformer.load_state_dict(own)
    tokens = load_text_model(twin.folder, space_of(twin).text["multilingual"]).tokenize(TEXTS)
    states = transformer(input_ids=tokens.ids, attention_mask=(tokens.ids != 1).long()).last_hidden_state
    if twin.family == "mexma":
        return states[:, 0] @ tensors["text_projector.weight"].T  # type: ignore[no-any-return]
    there = (tokens.ids != 1).unsqueeze(-1).float()
    mean = (states * there).sum(1) / there.sum(1)
    up = torch.nn.functional.gelu(mean @ tensors["text.proj.0.weight"].T)
    return up @ tensors["text.proj.2.weight"].T


def siglip_ids(twin: Twin) -> list[list[int]]:
    """SigLIP 2's tokens: lower case, an end, filled up to 64 at the right, by the tokenizers' library alone."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(twin.folder / "tokenizer.json"))
    made = [tokenizer.encode(text.lower()).ids[:64] for text in TEXTS]
    return [ids + [0] * (64 - len(ids)) for ids in made]


# ------------------------------------------------------------------------------------------------------ the same


@pytest.mark.parametrize("family", FAMILIES)
def test_the_rebuilt_pass_gives_the_references_vectors(twins: Mapping[str, Twin], family: str) -> None:
    assert error(our_image(twins[family]), reference_image(twins[family])) <= EXACT


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_have_the_references_vectors(twins: Mapping[str, Twin], family: str) -> None:
    assert error(our_text(twins[family]), reference_text(twins[family])) <= EXACT


def test_an_image_that_is_no_multiple_of_the_patch_loses_its_edge_as_in_a_convolution(tmp_path: Path) -> None:
    twin = write_family("siglip", tmp_path, size=UNEVEN)

    assert error(our_image(twin), reference_image(twin)) <= EXACT


def test_siglips_tokens_are_lower_case_and_filled_up_to_64(twins: Mapping[str, Twin]) -> None:
    model = load_text_model(twins["siglip"].folder, space_of(twins["siglip"]).text["multilingual"])

    assert model.tokenize(TEXTS).ids.tolist() == siglip_ids(twins["siglip"])


def test_a_text_has_the_same_vector_alone_and_among_longer_ones(twins: Mapping[str, Twin]) -> None:
    for twin in twins.values():
        tower = TextTower.load(ModelSettings(space=str(twin.space), device="cpu", text_runtime="torch"))
        long = "a very long text about dogs and cats in the deep snow"
        np.testing.assert_allclose(tower.embed(["cat"])[0], tower.embed(["cat", long])[0], atol=1e-5)


# ----------------------------------------------------------------------------------------- broken on purpose, and seen


def change_config(folder: Path, half: str, **changes: Any) -> None:
    file = folder / "config.json"
    told = json.loads(file.read_text())
    told[half] = {**told.get(half, {}), **changes}
    file.write_text(json.dumps(told))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    change(tensors)
    save_file({name: each.contiguous() for name, each in tensors.items()}, file)


def swap(tensors: dict[str, torch.Tensor], left: str, right: str) -> None:
    for name in [each for each in tensors if left in each]:
        other = name.replace(left, right)
        tensors[name], tensors[other] = tensors[other], tensors[name]


def zero(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name] = torch.zeros_like(tensors[name])


KEYS = "vision_model.encoder.layers.1.self_attn.k_proj"
VALUES = KEYS.replace("k_proj", "v_proj")

IMAGE_FAULTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "another activation": ("clip", lambda f: change_config(f, "vision_config", hidden_act="gelu")),
    "another epsilon": ("clip", lambda f: change_config(f, "vision_config", layer_norm_eps=1e-6)),
    "no norm before the layers": ("clip", lambda f: change_tensors(f, lambda t: zero(t, PRE_NORM))),
    "keys for values": ("clip", lambda f: change_tensors(f, lambda t: swap(t, KEYS, VALUES))),
    "erf for tanh": ("siglip", lambda f: change_config(f, "vision_config", hidden_act="gelu")),
    "the epsilon of CLIP": ("siglip", lambda f: change_config(f, "vision_config", layer_norm_eps=1e-5)),
    "no bias of the patches": ("siglip", lambda f: change_tensors(f, lambda t: zero(t, PATCH_BIAS))),
    "no bias of the head": ("siglip", lambda f: change_tensors(f, lambda t: zero(t, HEAD_BIAS))),
}
PRE_NORM = "vision_model.pre_layrnorm.bias"
PATCH_BIAS = "vision_model.embeddings.patch_embedding.bias"
HEAD_BIAS = "vision_model.head.attention.in_proj_bias"


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_what_breaks_an_image_tower_is_seen(twins: Mapping[str, Twin], tmp_path: Path, fault: str) -> None:
    family, do = IMAGE_FAULTS[fault]
    broken = copied(twins[family], tmp_path)
    assert error(our_image(broken), reference_image(twins[family])) <= EXACT  # the same seed gives the same twin
    do(broken.folder)

    assert error(our_image(broken), reference_image(twins[family])) > 5 * EXACT


SHAPE_FAULTS: dict[str, dict[str, Any]] = {
    "quick_gelu": {"activation": "quick_gelu"},
    "another epsilon": {"eps": 1e-6},
    "other heads": {"heads": 2},
}


@pytest.mark.parametrize("fault", SHAPE_FAULTS)
def test_what_breaks_a_declared_shape_is_seen(twins: Mapping[str, Twin], fault: str) -> None:
    twin = twins["open-clip"]
    spec = space_of(twin).image
    assert spec.shape is not None
    broken = spec.model_copy(update={"shape": spec.shape.model_copy(update=SHAPE_FAULTS[fault])})

    assert error(our_image(twin, broken), reference_image(twin)) > 5 * EXACT


TEXT_FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "capitals kept": ("siglip", {"lowercase": False}),
    "a mask": ("siglip", {"mask": True}),
    "padded to the longest": ("siglip", {"padding": "longest"}),
    "entities kept": ("open-clip", {"clean": "no"}),
    "the first token": ("open-clip", {"pooling": "first"}),
    "the mean": ("mexma", {"pooling": "mean"}),
}


@pytest.mark.parametrize("fault", TEXT_FAULTS)
def test_what_breaks_a_text_tower_is_seen(twins: Mapping[str, Twin], fault: str) -> None:
    family, changes = TEXT_FAULTS[fault]
    twin = twins[family]
    broken = space_of(twin).text["multilingual"].model_copy(update=changes)

    model = load_text_model(twin.folder, broken)
    with torch.inference_mode():
        found = model.module(*model.tokenize(TEXTS))
    # the others' reference is given our own tokens, so it is asked with the right ones
    expected = reference_text(twin) if family == "siglip" else our_text(twin)
    assert error(found, expected) > 5 * EXACT


# ------------------------------------------------------------------------------------------------------------- pixels


def textured(size: tuple[int, int], *, seed: int) -> Image.Image:
    """An image of fine and coarse detail: on smooth ones bilinear and bicubic pass for each other."""
    draw = np.random.default_rng(seed)
    fine = draw.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    coarse = Image.fromarray(draw.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return Image.blend(Image.fromarray(fine), coarse, 0.6)


@pytest.mark.parametrize("size", [(300, 200), (240, 80), (80, 240), (64, 64), (40, 30), (1000, 700)])
def test_squashed_pixels_are_the_references_to_a_grey_level(twins: Mapping[str, Twin], size: tuple[int, int]) -> None:
    image, space = textured(size, seed=size[0]), space_of(twins["siglip"])
    processor = SiglipImageProcessorPil.from_pretrained(twins["siglip"].folder)
    wanted = np.asarray(processor(image)["pixel_values"][0]).transpose(1, 2, 0) * 127.5 + 127.5

    ours = prepare(image, size=space.image_size, resizing=space.image.resizing)

    assert difference(ours, wanted).max() <= 1.01
    other = prepare(image, size=space.image_size)
    if size != (64, 64):
        assert difference(other, wanted).mean() > 1.5  # bicubic and cropped is another image


def difference(ours: NDArray[np.uint8], wanted: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(np.abs(ours.astype(np.float64) - wanted))


# ------------------------------------------------------------------------------------------------- loading and refusing


def test_both_halves_meet_in_one_space(twins: Mapping[str, Twin]) -> None:
    for twin in twins.values():
        settings = ModelSettings(space=str(twin.space), device="cpu", precision="float32", text_runtime="torch")
        image, text = ImageTower.load(settings), TextTower.load(settings)
        space = space_of(twin)

        vectors = image.embed(canonical_pixels(space.image_size))
        assert vectors.shape == (4, space.dims) and text.embed(["a dog"]).shape == (1, space.dims)  # noqa: PT018
        assert image.fingerprint.space == f"{twin.family}-twin"
        assert image.fingerprint.preparation == space.image.preparation


def test_what_a_score_means_is_read_from_the_weights(twins: Mapping[str, Twin]) -> None:
    settings = ModelSettings(space=str(twins["siglip"].space))

    assert score_scale(settings) == pytest.approx(np.exp(4.7), rel=1e-5)
    assert score_bias(settings) == pytest.approx(-16.0)


@pytest.mark.slow
def test_a_text_tower_without_a_mask_runs_by_onnx_too(twins: Mapping[str, Twin]) -> None:
    settings = {"space": str(twins["siglip"].space), "device": "cpu", "precision": "float32"}
    torchs = TextTower.load(ModelSettings.model_validate({**settings, "text_runtime": "torch"}))
    onnx = TextTower.load(ModelSettings.model_validate({**settings, "text_runtime": "onnx"}))

    assert onnx.runtime == "onnx"
    np.testing.assert_allclose(onnx.embed(TEXTS), torchs.embed(TEXTS), atol=1e-4)


REFUSALS: dict[str, tuple[str, Callable[[Twin], object], str]] = {
    "another preprocessor": (
        "siglip",
        lambda t: change_file(t.folder / "preprocessor_config.json", resample=3),
        r"preprocessor_config\.json says interpolation bicubic, the declaration bilinear",
    ),
    "NaFlex": (
        "siglip",
        lambda t: change_file(t.folder / "config.json", model_type="siglip2"),
        "siglip2 is NaFlex",
    ),
    "another family": (
        "clip",
        lambda t: change_file(t.folder / "config.json", model_type="siglip"),
        "says model_type siglip, not clip",
    ),
    "code of its own": (
        "siglip",
        lambda t: change_file(t.folder / "config.json", auto_map={"AutoModel": "x.Y"}),
        "needs code of its own",
    ),
    "a tensor is missing": (
        "siglip",
        lambda t: change_tensors(t.folder, lambda each: each.pop("vision_model.head.probe")),
        r"its weights lack head\.probe",
    ),
    "half a download": (
        "siglip",
        lambda t: cut(t.folder / "model.safetensors"),
        "damaged or half a download: it has .* bytes, its header says",
    ),
    "other dims": (
        "clip",
        lambda t: t.space.write_text(t.space.read_text().replace("dims = 32", "dims = 48")),
        "gives 32 dims, space clip-twin has 48",
    ),
    "another size": (
        "siglip",
        lambda t: t.space.write_text(t.space.read_text().replace("size = 64", "size = 80")),
        "says size 64, the declaration 80",
    ),
    "another checksum": (
        "clip",
        lambda t: t.space.write_text(t.space.read_text().replace("[image]\n", f'[image]\nsha256 = "{"0" * 64}"\n')),
        "are not those that were declared: their SHA-256 is",
    ),
    "another probe": (
        "clip",
        lambda t: t.space.write_text(t.space.read_text() + "\n[probe]\nimage = [0.5, 0.5]\n"),
        "is not the one that its space was declared with",
    ),
    "a squash where crops were trained on": (
        "siglip",
        lambda t: t.space.write_text(t.space.read_text().replace('resize = "squash"', 'resize = "crop"')),
        "says resize squash, the declaration crop",
    ),
    "pixels that are not normalised": (
        "clip",
        lambda t: change_file(t.folder / "preprocessor_config.json", do_normalize=False),
        "says do_normalize false",
    ),
    "a preprocessor that is none": (
        "clip",
        lambda t: (t.folder / "preprocessor_config.json").write_text("<html>"),
        r"preprocessor_config\.json cannot be read",
    ),
    "layers without end": (
        "clip",
        lambda t: change_half(t.folder / "config.json", "vision_config", num_hidden_layers=10**9),
        "its weights have 2 layers, by its configuration or the declaration it has 1000000000",
    ),
    "memory without end": (
        "clip",
        lambda t: change_half(t.folder / "config.json", "text_config", vocab_size=10**12),
        r"token_embedding\.weight of shape \(1024, 64\), by its configuration .* \(1000000000000, 64\)",
    ),
    "heads that do not divide": (
        "clip",
        lambda t: change_half(t.folder / "config.json", "vision_config", num_attention_heads=5),
        "cannot be loaded as clip .*Validation",
    ),
    "heads below none": (
        "siglip",
        lambda t: change_half(t.folder / "config.json", "text_config", num_attention_heads=-4),
        "cannot be loaded as siglip",
    ),
    "a configuration nested without end": (
        "siglip",
        lambda t: (t.folder / "config.json").write_text("[" * 100_000),
        "cannot be loaded as siglip",
    ),
    "weights that are no numbers": (
        "clip",
        lambda t: change_tensors(t.folder, lambda each: [tensor.fill_(torch.nan) for tensor in each.values()]),
        "gives vectors without a length: its weights are damaged",
    ),
    "a pickle under another name": (
        "clip",
        lambda t: (t.folder / "model.safetensors").write_bytes(pickle.dumps({"weights": [1.0]})),
        "damaged or half a download",
    ),
    "a header that is none": (
        "siglip",
        lambda t: (t.folder / "model.safetensors").write_bytes((4).to_bytes(8, "little") + b"null"),
        "damaged or half a download: its header is none of safetensors",
    ),
    "a folder for weights": (
        "clip",
        lambda t: gone(t.folder / "model.safetensors").mkdir(),
        r"is damaged: .*model\.safetensors is a folder",
    ),
    "a pipe for a configuration": (
        "clip",
        lambda t: os.mkfifo(gone(t.folder / "config.json")),
        r"is damaged: .*config\.json is no file",
    ),
    "a link to itself": (
        "clip",
        lambda t: gone(t.folder / "model.safetensors").symlink_to("model.safetensors"),
        r"is damaged: .*model\.safetensors is a link to nothing",
    ),
    "the same tensor twice": (
        "siglip",
        lambda t: shutil.copy(t.folder / "model.safetensors", t.folder / "other.safetensors"),
        "stands in more than one file: name the one that is meant as weights",
    ),
    "a tokenizer that needs code": (
        "siglip",
        lambda t: change_file(t.folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["x.Y", None]}),
        r"needs code of its own \(auto_map in .*tokenizer_config\.json\)",
    ),
    "no tokenizer": (
        "siglip",
        lambda t: (t.folder / "tokenizer.json").unlink(),
        "its tokenizer has 5 tokens, its table of them",
    ),
    "a damaged tokenizer": (
        "open-clip",
        lambda t: (t.folder / "tokenizer.json").write_text("{}"),
        "its tokenizer cannot be read",
    ),
    "another family's tokenizer": (
        "open-clip",
        lambda t: write_gemma_tokenizer(t.folder),
        "its tokenizer (is none of XLM-RoBERTa's|has .* tokens, its table of them 400)",
    ),
    "a tokenizer of other tokens": (
        "clip",
        lambda t: write_clip_tokenizer(t.folder, size=1000),
        "its tokenizer ends a text with token 999, its configuration with 1023",
    ),
    "fewer tokens than the last place": (
        "siglip",
        lambda t: t.space.write_text(t.space.read_text().replace("max_length = 64", "max_length = 63")),
        "max_length = 63 is declared, and it reads what stands at position 64",
    ),
    "a licence that was not accepted": (
        "clip",
        lambda t: t.space.write_text("commercial = false\n" + t.space.read_text()),
        "does not allow commercial use",
    ),
}


def change_file(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def change_half(file: Path, half: str, **changes: Any) -> None:
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, half: {**told[half], **changes}}))


def gone(file: Path) -> Path:
    file.unlink()
    return file


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def load_both(twin: Twin) -> None:
    ImageTower.load(ModelSettings(space=str(twin.space), device="cpu", precision="float32"))
    TextTower.load(ModelSettings(space=str(twin.space), device="cpu", text_runtime="torch"))


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_is_not_as_declared_is_one_clear_error(tmp_path: Path, refusal: str) -> None:
    family, do, message = REFUSALS[refusal]
    twin = write_family(family, tmp_path)
    do(twin)

    with pytest.raises((ModelError, ConfigError), match=message):
        load_both(twin)


def test_the_scale_is_read_from_bfloat16_and_refused_where_it_is_no_number(tmp_path: Path) -> None:
    twin = write_family("siglip", tmp_path)
    settings = ModelSettings(space=str(twin.space))
    change_tensors(twin.folder, lambda each: each.update({name: each[name].bfloat16() for name in each}))
    assert score_scale(settings) == pytest.approx(np.exp(4.6875))  # the nearest to 4.7 that bfloat16 has

    change_tensors(twin.folder, lambda each: each.update({"logit_scale": torch.tensor([torch.nan])}))
    with pytest.raises(ModelError, match="have logit_scale = nan; declare it as a number under"):
        score_scale(settings)


def test_the_text_half_of_another_width_is_refused(tmp_path: Path) -> None:
    twin = write_family("clip", tmp_path)
    change_tensors(twin.folder, lambda each: each.update({"text_projection.weight": torch.randn(48, 64)}))

    with pytest.raises(ModelError, match="gives 48 dims, space clip-twin has 32"):
        TextTower.load(ModelSettings(space=str(twin.space), device="cpu", text_runtime="torch"))
