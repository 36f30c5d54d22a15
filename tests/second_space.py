"""A second space of the bundled model's size: both towers turned by one rotation of their vectors.

    python -m tests.second_space FOLDER [--noise 0.02]

Within the space every cosine is what it was, so its answers are those of ``mini``. A question of one space among the
vectors of the other finds anything: whoever mixes the two is seen at once. With noise in the weights it is another
model, whose answers are a little different.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

MINI = Path(__file__).parents[1] / "connector/models/mini"
NAME = "turned"
DIMS = 128
_DECLARED = """dims = {dims}
licence = "Apache-2.0"
languages = "53 languages"

[image]
family = "sentence-transformers"
model = "./{name}/image"
size = 64

[text.multilingual]
family = "sentence-transformers"
model = "./{name}/text"
languages = "53 languages"

[score]
kind = "softmax"
scale = 20.0
"""


def write_turned(folder: Path, *, name: str = NAME, seed: int = 7, noise: float = 0.0, dims: int = DIMS) -> Path:
    """The file that declares the space, in ``folder`` beside its models. Fewer ``dims`` keep a part of each vector."""
    home = folder / name
    shutil.copytree(MINI / "image", home / "image")
    shutil.copytree(MINI / "text", home / "text", ignore=shutil.ignore_patterns("onnx"))
    random = np.random.default_rng(seed)
    rotation = np.linalg.qr(random.normal(size=(DIMS, DIMS)))[0][:dims].astype(np.float32)
    _turn(
        home / "image/0_CLIPModel/model.safetensors", "visual_projection", rotation=rotation, noise=noise, random=random
    )
    _turn(home / "text/2_Dense/model.safetensors", "linear", rotation=rotation, noise=noise, random=random)
    if dims != DIMS:
        _resize(home, dims=dims)
    declared = folder / f"{name}.toml"
    declared.write_text(_DECLARED.format(dims=dims, name=name), encoding="utf-8")
    return declared


def _turn(file: Path, layer: str, *, rotation: NDArray[np.float32], noise: float, random: np.random.Generator) -> None:
    tensors = load_file(file)
    for name in [each for each in tensors if each.startswith(f"{layer}.")]:
        turned = rotation @ tensors[name].astype(np.float32)
        if noise:
            turned += noise * turned.std() * random.normal(size=turned.shape).astype(np.float32)
        tensors[name] = turned.astype(tensors[name].dtype)
    save_file(tensors, file, metadata={"format": "pt"})


def _resize(home: Path, *, dims: int) -> None:
    for file in (home / "image/0_CLIPModel/config.json", home / "text/2_Dense/config.json"):
        text = file.read_text(encoding="utf-8")
        file.write_text(
            text.replace(f'"projection_dim": {DIMS}', f'"projection_dim": {dims}').replace(
                f'"out_features": {DIMS}', f'"out_features": {dims}'
            ),
            encoding="utf-8",
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--noise", type=float, default=0.0)
    given = parser.parse_args()
    write_turned(given.folder, noise=given.noise)
