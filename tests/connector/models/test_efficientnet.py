"""EfficientNet-Lite as an image tower: against its pass written out, and the bundled one over real photographs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from connector.errors import ModelError
from connector.images.decode import decode
from connector.models.catalog import find_space
from connector.models.declaration import ImageSpec
from connector.models.efficientnet import EfficientNetLite, read_config
from connector.models.image_families import load_image_model
from connector.models.image_tower import ImageTower, canonical_pixels
from connector.models.text_tower import TextTower
from connector.settings import ModelSettings

PHOTOGRAPHS = Path(__file__).parents[2] / "data" / "photographs"
SHARE = 0.5
BLOCKS = ((8, 8, 1, 3, 1), (8, 16, 4, 5, 2), (16, 16, 4, 5, 1), (16, 24, 4, 3, 2))
"""Inputs, outputs, expansion, kernel, stride."""
CONFIG = {
    "model_type": "efficientnet-lite",
    "image_size": 64,
    "stem": 8,
    "blocks": [dict(zip(("inputs", "outputs", "expansion", "kernel", "stride"), b, strict=True)) for b in BLOCKS],
    "features": 32,
    "classes": 10,
    "dims": 16,
    "grids": [3, 1],
    "looks_share": SHARE,
}
SPEC = ImageSpec(family="efficientnet-lite", model="twin", size=64, mean=(0.5, 0.5, 0.5), std=(0.4, 0.5, 0.6))

Convolve = Callable[..., Tensor]


@pytest.fixture
def twin(tmp_path: Path) -> Path:
    """A tower of random weights large enough that values are clipped at 6."""
    torch.manual_seed(3)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    tensors = EfficientNetLite(read_config(CONFIG)).state_dict()
    save_file({name: torch.randn_like(each) * 0.5 for name, each in tensors.items()}, tmp_path / "model.safetensors")
    return tmp_path


def as_tensorflow_pads(images: Tensor, weight: Tensor, bias: Tensor, *, stride: int, groups: int = 1) -> Tensor:
    """A convolution with the padding that TensorFlow calls SAME, by its definition, at any size."""
    size, kernel = images.shape[2], weight.shape[2]
    missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    padding = (missing // 2, missing - missing // 2)
    return functional.conv2d(functional.pad(images, (*padding, *padding)), weight, bias, stride=stride, groups=groups)


def as_torch_pads(images: Tensor, weight: Tensor, bias: Tensor, *, stride: int, groups: int = 1) -> Tensor:
    """The same, padded alike on all sides."""
    return functional.conv2d(images, weight, bias, stride=stride, padding=weight.shape[2] // 2, groups=groups)


def written_out(
    folder: Path,
    *,
    convolve: Convolve = as_tensorflow_pads,
    clip: float = 6.0,
    share: float = SHARE,
    adds: bool = True,
    grids: tuple[int, ...] = (3, 1),
) -> Tensor:
    """The canonical images' vectors, by the network as its paper describes it."""
    tensors = load_file(folder / "model.safetensors")

    def layer(x: Tensor, name: str, *, stride: int = 1, groups: int = 1, clipped: bool = True) -> Tensor:
        made = convolve(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], stride=stride, groups=groups)
        return made.clamp(0, clip) if clipped else made

    mean, std = torch.tensor(SPEC.mean), torch.tensor(SPEC.std)
    x = ((torch.from_numpy(canonical_pixels(64)).float() / 255 - mean) / std).permute(0, 3, 1, 2)
    x = layer(x, "stem", stride=2)
    outputs_of: list[Tensor] = []
    for number, (inputs, outputs, expansion, _, stride) in enumerate(BLOCKS):
        name = f"blocks.{number}"
        wide = layer(x, f"{name}.expand") if expansion > 1 else x
        wide = layer(wide, f"{name}.depthwise", stride=stride, groups=wide.shape[1])
        narrow = layer(wide, f"{name}.project", clipped=False)
        x = x + narrow if adds and stride == 1 and inputs == outputs else narrow
        outputs_of.append(x)
    features = layer(x, "top").mean(dim=(2, 3))
    classes = functional.linear(features, tensors["classifier.weight"], tensors["classifier.bias"]).softmax(dim=1)
    seen = torch.cat([features, *(cells(outputs_of[number]) for number in grids)], dim=1)
    looks = functional.linear(seen, tensors["looks.weight"], tensors["looks.bias"])
    vectors: Tensor = classes @ tensors["names.weight"].T + share * functional.normalize(looks, dim=1)
    return vectors


def cells(x: Tensor) -> Tensor:
    """Nine means, over cells that begin at 0, 2 and 4 of 8: (n, channels, 8, 8) -> (n, channels * 9)."""
    assert x.shape[2] == 8 or x.shape[2] == 16
    unit = x.shape[2] // 8
    starts = (0, 2 * unit, 4 * unit)
    means = [
        x[:, :, row : row + 4 * unit, column : column + 4 * unit].mean(dim=(2, 3))
        for row in starts
        for column in starts
    ]
    return torch.stack(means, dim=2).flatten(1)


def error(found: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


@torch.inference_mode()
def ours(folder: Path) -> Tensor:
    vectors: Tensor = load_image_model(folder, SPEC)(torch.from_numpy(canonical_pixels(64)))
    return vectors


def test_the_pass_is_that_of_the_paper(twin: Path) -> None:
    assert error(ours(twin), written_out(twin)) <= 1e-5


@pytest.mark.parametrize(
    "broken",
    [{"convolve": as_torch_pads}, {"clip": 1e9}, {"share": 0.4}, {"adds": False}],
    ids=lambda each: next(iter(each)),
)
def test_another_pass_is_seen(twin: Path, broken: dict[str, object]) -> None:
    assert error(ours(twin), written_out(twin, **broken)) > 1e-3  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "clip"}, "model_type clip, not efficientnet-lite"),
        ({"image_size": 60}, "image_size"),
        ({"blocks": []}, "blocks"),
        ({"stem": 16}, r"have stem\.bias of shape \(8,\), by its configuration .* \(16,\)"),
        ({"classes": 11}, r"have classifier\.bias of shape \(10,\), .* \(11,\)"),
        ({"grids": [3]}, r"have looks\.weight of shape \(16, 392\), .* \(16, 248\)"),
        ({"grids": [3, 4]}, "grids names block 4 of 4"),
    ],
)
def test_a_folder_that_does_not_hold_is_refused(twin: Path, change: dict[str, object], says: str) -> None:
    (twin / "config.json").write_text(json.dumps({**CONFIG, **change}))

    with pytest.raises(ModelError, match=says):
        load_image_model(twin, SPEC)


def test_a_tensor_that_is_missing_is_named(twin: Path) -> None:
    tensors = load_file(twin / "model.safetensors")
    del tensors["names.weight"]
    save_file(tensors, twin / "model.safetensors")

    with pytest.raises(ModelError, match=r"lack names\.weight"):
        load_image_model(twin, SPEC)


# ------------------------------------------------------------------------------------------------- the bundled tower


@pytest.fixture(scope="module")
def tower() -> ImageTower:
    return ImageTower.load(ModelSettings(space="mini-photos", device="cpu", precision="float32"))


@pytest.fixture(scope="module")
def words() -> TextTower:
    return TextTower.load(ModelSettings(space="mini-photos", device="cpu"))


def test_photographs_answer_everyday_words_in_many_languages(tower: ImageTower, words: TextTower) -> None:
    files = sorted(PHOTOGRAPHS.glob("*.webp"))
    pixels = np.stack(
        [decode(file.read_bytes(), size=tower.space.image_size, max_pixels=10_000_000).pixels for file in files]
    )
    asked = {
        "bucket": ("bucket", "Eimer", "ведро", "バケツ"),
        "bulb": ("light bulb", "Glühbirne", "лампочка", "電球"),
        "cup": ("teacup without handle", "Teetasse ohne Henkel", "чашка без ручки", "湯のみ"),
        "duck": ("duck", "Ente", "утка", "カモ"),
        "owl": ("owl", "Eule", "сова", "フクロウ"),
        "parrot": ("parrot", "Papagei", "попугай", "オウム"),
    }
    queries = [(word, name) for name, each in asked.items() for word in each]

    nearest = (words.embed([word for word, _ in queries]) @ tower.embed(pixels).T).argmax(axis=1)

    wrong = [
        (word, files[place].stem)
        for (word, name), place in zip(queries, nearest, strict=True)
        if files[place].stem != name
    ]
    assert len(wrong) <= 2, wrong


def test_the_space_shares_the_words_of_mini() -> None:
    mini, photos = find_space("mini"), find_space("mini-photos")

    assert photos.text == mini.text
    assert photos.dims == mini.dims
