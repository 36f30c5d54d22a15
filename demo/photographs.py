"""Make the image tower of the bundled space `mini-photos`: `python -m demo.photographs CACHE`.

EfficientNet-Lite0, which knows the thousand classes of ImageNet, is put into the space of `mini`'s words. Its classes
get the words of the concepts that they are (`demo/photo_classes.json`), so that a photograph needs none to be trained
on; a linear map of what it sees is solved from the drawings that `mini` was taught with. The network is not changed.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from connector.models.efficientnet import EfficientNetLite, LiteConfig, read_config
from connector.models.text_tower import TextTower
from connector.settings import ModelSettings
from demo.concepts import Concept, read_concepts, read_vocabulary
from demo.photo_sources import read_network
from demo.render import Style, read_style
from demo.sources import Use, styles

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
SPACE = HERE.parent / "connector" / "models" / "mini-photos"
SIZE = 224
MEAN, STD = 127 / 255, 128 / 255  # of EfficientNet-Lite: (x - 127) / 128
# repeats, kernel, stride, expansion and width of each stage: EfficientNet-B0's, of which Lite0 keeps the sizes
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))  # fmt: skip
GRIDS = (15, 10)  # the last block of all, and the last one of 14 x 14
EPSILON = 1e-3  # of its batch normalisation
BATCH = 16


@dataclass(frozen=True, slots=True)
class Teaching:
    """Everything that decides what the two maps become."""

    share: float = 0.6  # of looks beside names
    second: float = 0.6  # weight of a class' further concepts beside its first
    floor: float = 0.1  # added to the deviation that features are divided by
    ridge: float = 0.2  # for each feature


def configuration(share: float, dims: int) -> LiteConfig:
    """Of EfficientNet-Lite0."""
    blocks, inputs = [], 32
    for repeats, kernel, stride, expansion, width in STAGES:
        for number in range(repeats):
            step = stride if number == 0 else 1
            shape = {"inputs": inputs, "outputs": width, "expansion": expansion, "kernel": kernel, "stride": step}
            blocks.append(shape)
            inputs = width
    return read_config(
        {
            "model_type": "efficientnet-lite",
            "image_size": SIZE,
            "stem": 32,
            "blocks": blocks,
            "features": 1280,
            "classes": 1000,
            "dims": dims,
            "grids": GRIDS,
            "looks_share": share,
        }
    )


def network_tensors(told: Mapping[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """Its maker's tensors under our names, batch normalisation moved into the convolutions."""
    found: dict[str, Tensor] = {"classifier.weight": told["_fc.weight"], "classifier.bias": told["_fc.bias"]}

    def fold(name: str, convolution: str, norm: str) -> None:
        gain = told[f"{norm}.weight"] / torch.sqrt(told[f"{norm}.running_var"] + EPSILON)
        found[f"{name}.weight"] = told[f"{convolution}.weight"] * gain[:, None, None, None]
        found[f"{name}.bias"] = told[f"{norm}.bias"] - told[f"{norm}.running_mean"] * gain

    fold("stem", "_conv_stem", "_bn0")
    fold("top", "_conv_head", "_bn1")
    for number in range(blocks):
        ours, theirs = f"blocks.{number}", f"_blocks.{number}"
        if number:  # the first block does not widen
            fold(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
        fold(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
        fold(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
    return found


def concept_vectors(cache: Path, concepts: Sequence[Concept]) -> Tensor:
    """What `mini`'s words say of each concept: the mean over its names in every language, (concepts, dims)."""
    tower = TextTower.load(ModelSettings(space="mini", device="cpu"))
    total = np.zeros((len(concepts), tower.space.dims), dtype=np.float32)
    for vocabulary in read_vocabulary(cache / "packages").values():
        named = [place for place, concept in enumerate(concepts) if concept.code in vocabulary]
        total[named] += tower.embed([vocabulary[concepts[place].code].name for place in named])
    return normalize(torch.from_numpy(total), dim=1)


def class_vectors(vectors: Tensor, concepts: Sequence[Concept], *, second: float) -> Tensor:
    """A vector for every class of ImageNet, of length 1, or of 0 where no concept fits: (classes, dims)."""
    places = {concept.name: place for place, concept in enumerate(concepts)}
    lines = json.loads((HERE / "photo_classes.json").read_text(encoding="utf-8"))
    made = torch.zeros(len(lines), vectors.shape[1])
    for row, line in enumerate(lines):
        for number, name in enumerate(line["concepts"]):
            made[row] += vectors[places[name]] * (second if number else 1.0)
    return normalize(made, dim=1)


@torch.inference_mode()
def see_style(tower: EfficientNetLite, style: Style, kept: Path) -> Tensor:
    """What the network sees in a style's drawings, as the linear map reads it, kept in a file: (n, seen)."""
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        parts = [
            torch.cat(tower.see(_normalised(style.images[start : start + BATCH])), dim=1).half().numpy()
            for start in range(0, len(style.codes), BATCH)
        ]
        np.save(kept, np.concatenate(parts))
    return torch.from_numpy(np.load(kept)).float()


def _normalised(rgba: Any) -> Tensor:
    """(n, 128, 128, 4) straight RGBA on white, enlarged: (n, 3, size, size)."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    flat = (rgba[..., :3] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
    large = [np.asarray(Image.fromarray(each).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for each in flat]
    return ((torch.from_numpy(np.stack(large)).float() / 255 - MEAN) / STD).permute(0, 3, 1, 2)


def teach_looks(seen: Tensor, shown: Tensor, vectors: Tensor, teaching: Teaching) -> nn.Linear:
    """The linear map of ``seen``, (n, seen), onto the vectors of the concepts ``shown``, (n,).

    Ridge regression from the mean of each concept's drawings, solved in its dual form: as many unknowns as concepts.
    """
    mean, deviation = seen.mean(dim=0), seen.std(dim=0) + teaching.floor
    counts = torch.bincount(shown, minlength=len(vectors))
    total = torch.zeros(len(vectors), seen.shape[1]).index_add_(0, shown, seen)
    drawn = counts > 0
    means = (total[drawn] / counts[drawn, None] - mean) / deviation
    bias = vectors[drawn].mean(dim=0)
    kernel = (means @ means.T).double() + teaching.ridge * seen.shape[1] * torch.eye(len(means), dtype=torch.float64)
    weight = (means.T @ torch.linalg.solve(kernel, (vectors[drawn] - bias).double()).float()).T / deviation
    made = nn.Linear(seen.shape[1], vectors.shape[1])
    made.weight, made.bias = nn.Parameter(weight.contiguous()), nn.Parameter(bias - weight @ mean)
    return made


def make(cache: Path, teaching: Teaching, folder: Path) -> None:
    """Fetch the network, look at every drawing, teach the map, and write the tower's folder."""
    concepts = read_concepts(cache / "packages")
    places = {concept.code: place for place, concept in enumerate(concepts)}
    vectors = concept_vectors(cache, concepts)
    config = configuration(teaching.share, vectors.shape[1])
    tower = EfficientNetLite(config).eval().requires_grad_(False)
    tower.load_state_dict(network_tensors(read_network(cache / "photographs"), len(config.blocks)), strict=False)
    tower.names.weight = nn.Parameter(class_vectors(vectors, concepts, second=teaching.second).T.contiguous())
    seen, shown = [], []
    for source in styles(Use.BUNDLED, Use.TRAINED):
        style = read_style(cache / "images", source)
        seen.append(see_style(tower, style, cache / "seen" / f"{style.name}.npy"))
        shown += [places[code] for code in style.codes]
        log.info("%d drawings of %s", len(style.codes), style.name)
    tower.looks = teach_looks(torch.cat(seen), torch.tensor(shown), vectors, teaching)
    write(tower, config, folder)


def write(tower: EfficientNetLite, config: LiteConfig, folder: Path) -> None:
    """Write the tower, in half precision."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config.model_dump(), indent=1) + "\n", encoding="utf-8")
    tensors = {name: each.detach().half().contiguous() for name, each in tower.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def main(
    cache: Annotated[Path, typer.Argument(help="Folder with packages and images (demo.fetch, demo.render).")],
    folder: Annotated[Path, typer.Option(help="Where the tower goes.")] = SPACE,
) -> None:
    """Make the image tower of the bundled space `mini-photos`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    make(cache, Teaching(), folder)


if __name__ == "__main__":
    typer.run(main)
