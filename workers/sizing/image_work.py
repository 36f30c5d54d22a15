"""How large a space's image tower is, and how much it computes for an image: from its shape, nothing is loaded.

The formulas count a vision transformer's weights and the products of its matrices (Dosovitskiy et al., 2021), or those
of an EfficientNet-Lite's convolutions, a multiplication and an addition as two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from connector.models.declaration import ImageSpec
from connector.models.lookup import find_model, is_present
from connector.models.weights import module_folders, read_json

BYTES = 4
"""A weight in float32."""
CELLS = 9
"""Places in which a coarse grid of an EfficientNet-Lite sees each channel."""


@dataclass(frozen=True, slots=True)
class Layers:
    """A vision transformer's shape; ``mlp`` is the width between the two linear layers of each."""

    width: int
    layers: int
    mlp: int
    patch: int


@dataclass(frozen=True, slots=True)
class ImageWork:
    """What an image tower takes: ``weights`` in bytes of float32, ``gflop`` for an image, ``activations`` in bytes."""

    weights: int
    gflop: float
    activations: int


BASE_32, BASE_16 = Layers(768, 12, 3072, 32), Layers(768, 12, 3072, 16)
LARGE_14 = Layers(1024, 24, 4096, 14)
SHAPES: Mapping[str, Layers] = MappingProxyType(
    {
        "sentence-transformers/clip-ViT-B-32": BASE_32,
        "sentence-transformers/clip-ViT-B-16": BASE_16,
        "sentence-transformers/clip-ViT-L-14": LARGE_14,
        "google/siglip2-base-patch32-256": BASE_32,
        "google/siglip2-base-patch16-224": BASE_16,
        "google/siglip2-base-patch16-256": BASE_16,
        "google/siglip2-so400m-patch16-256": Layers(1152, 27, 4304, 16),
        "google/siglip2-so400m-patch14-384": Layers(1152, 27, 4304, 14),
    }
)
"""Of models that a space names and that may not be on this machine yet: their published configurations."""
_CLIP_TEXT: Mapping[str, int] = MappingProxyType({"sentence-transformers": 63_400_000})
"""Weights of CLIP's own text half, which sentence-transformers loads beside the image half before it is let go."""


def image_work(tower: ImageSpec) -> ImageWork:
    """What the image tower of a declaration takes; of one whose shape nobody told, what ViT-B/32 does."""
    if tower.family == "efficientnet-lite" and is_present(tower):
        return _convolutions(read_json(module_folders(find_model(tower))[0] / "config.json"), size=tower.size)
    shape = _shape(tower)
    grid = tower.size // shape.patch
    tokens = grid * grid + 1
    inner = 4 * shape.width**2 + 2 * shape.width * shape.mlp  # query, key, value, output; up and down
    pixels = 3 * shape.patch**2
    head = inner if tower.family == "siglip" else shape.width**2
    weights = shape.layers * inner + pixels * shape.width + tokens * shape.width + head
    attention = 2 * tokens**2 * shape.width
    flop = 2 * (shape.layers * (tokens * inner + attention) + tokens * pixels * shape.width)
    return ImageWork(
        weights=BYTES * (weights + _CLIP_TEXT.get(tower.family, 0) * (shape.width >= BASE_32.width)),
        gflop=flop / 1e9,
        activations=BYTES * tokens * (4 * shape.width + shape.mlp),
    )


def _convolutions(told: Mapping[str, Any], *, size: int) -> ImageWork:
    """What an EfficientNet-Lite's configuration says (``connector.models.efficientnet``)."""
    blocks, side = told["blocks"], size // 2
    held, products, widest = 28 * told["stem"], 27 * told["stem"] * side**2, (3 * 4 + told["stem"]) * side**2
    for block in blocks:
        into, out, reach = block["inputs"], block["outputs"], block["kernel"] ** 2
        wide, then = into * block["expansion"], side // block["stride"]
        expand = into * wide if block["expansion"] > 1 else 0
        held += expand + (wide if expand else 0) + (reach + 1) * wide + (wide + 1) * out
        products += expand * side**2 + (reach * wide + wide * out) * then**2
        widest, side = max(widest, (into + wide) * side**2, wide * (side**2 + then**2)), then
    seen = told["features"] + CELLS * sum(blocks[number]["outputs"] for number in told["grids"])
    linear = told["features"] * told["classes"] + told["classes"] * told["dims"] + seen * told["dims"]
    last = blocks[-1]["outputs"] * told["features"]
    held += last + told["features"] + linear + told["classes"] + told["dims"]
    products += last * side**2 + linear
    return ImageWork(weights=BYTES * held, gflop=2 * products / 1e9, activations=BYTES * widest)


def _shape(tower: ImageSpec) -> Layers:
    """What is declared, published, or written in the folder's configuration, in this order."""
    if tower.shape is not None:
        told = tower.shape
        return Layers(told.width, told.layers, told.mlp or 4 * told.width, told.patch)
    if tower.model in SHAPES or not is_present(tower):
        return SHAPES.get(tower.model, BASE_32)
    vision = read_json(module_folders(find_model(tower))[0] / "config.json").get("vision_config")
    return _configured(vision if isinstance(vision, Mapping) else {})


def _configured(vision: Mapping[str, Any]) -> Layers:
    """What a configuration says; what it does not say is as the classes of CLIP and SigLIP have it."""
    width = int(vision.get("hidden_size", 768))
    return Layers(
        width,
        int(vision.get("num_hidden_layers", 12)),
        int(vision.get("intermediate_size", 3072)),
        int(vision.get("patch_size", 16)),
    )
