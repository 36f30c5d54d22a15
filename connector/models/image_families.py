"""The image half of a model, whichever family it is of: its reference forward pass, and what ``Vision`` rebuilds.

The rule: the reference is the library's own class (sentence-transformers, transformers), given the weights by name and
strictly: a tensor that is missing or left over is an error. Weights are float32 whatever the file holds.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from connector.errors import ModelError
from connector.models.declaration import ImageSpec, Shape
from connector.models.efficientnet import EfficientNetLite, read_config
from connector.models.loading import BROKEN, first_line, load_model
from connector.models.vision import Reference, VisionParts
from connector.models.weights import read_json, weight_files

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_LAYER = re.compile(r"encoder\.layers?\.(\d+)\.")
INTERPOLATIONS: Mapping[int, str] = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, as ``preprocessor_config.json`` has them."""


def load_image_model(folder: Path, tower: ImageSpec) -> Reference:
    """The reference of a model on the CPU, ready to run. Raises ModelError where it is broken or of another family."""
    load = {
        "sentence-transformers": _sentence_transformers,
        "clip": _clip,
        "siglip": _siglip,
        "open-clip": _open_clip,
        "efficientnet-lite": _efficientnet_lite,
    }[tower.family]
    try:
        return load(folder, tower)
    except BROKEN as error:
        raise ModelError(
            f"the image model in {folder} cannot be loaded as {tower.family} ({type(error).__name__}: "
            f"{first_line(error)}). Its files are damaged or of another family; fetch it again, or correct the "
            "space's file."
        ) from error


# ------------------------------------------------------------------------------------------------------- the families


def _sentence_transformers(folder: Path, tower: ImageSpec) -> Reference:
    model = load_model(folder, half="image")
    keep_vision_half(model)
    inner: Any = model[0]
    clip, processor = inner.model, getattr(inner.processor, "image_processor", None)
    config = getattr(clip.config, "vision_config", None)
    known = clip.config.model_type == "clip" and config is not None
    return Reference(
        _Sentences(model),
        parts=VisionParts(clip.vision_model, clip.visual_projection, config) if known else None,
        kind=str(clip.config.model_type),
        image_size=getattr(config, "image_size", None),
        mean=tuple(getattr(processor, "image_mean", None) or tower.mean),
        std=tuple(getattr(processor, "image_std", None) or tower.std),
    )


def _clip(folder: Path, tower: ImageSpec) -> Reference:
    from transformers import CLIPConfig, CLIPVisionModel

    check_type(folder, "clip")
    config: Any = CLIPConfig.from_pretrained(folder, local_files_only=True).vision_config
    _check_preprocessor(folder, tower)
    vision = filled(CLIPVisionModel, config, read_tensors(folder, tower.weights, prefix="vision_model."))
    projection = read_tensors(folder, tower.weights, prefix="visual_projection.")["weight"]
    return _reference(tower, vision, linear(projection))


def _siglip(folder: Path, tower: ImageSpec) -> Reference:
    from transformers import SiglipConfig, SiglipVisionConfig, SiglipVisionModel

    config: Any
    if tower.shape is None:
        check_type(folder, "siglip")
        config = SiglipConfig.from_pretrained(folder, local_files_only=True).vision_config
    else:
        config = SiglipVisionConfig(**_as_config(tower.shape, size=tower.size))
    _check_preprocessor(folder, tower)
    vision = filled(SiglipVisionModel, config, read_tensors(folder, tower.weights, prefix="vision_model."))
    return _reference(tower, vision, None)


def _open_clip(folder: Path, tower: ImageSpec) -> Reference:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    if tower.shape is None:
        raise ValueError("open-clip keeps no configuration: declare [image.shape]")
    config = CLIPVisionConfig(**_as_config(tower.shape, size=tower.size))
    _check_preprocessor(folder, tower)
    tensors = open_clip_names(read_tensors(folder, tower.weights, prefix="visual."))
    projection = tensors.pop("proj").T
    return _reference(tower, filled(CLIPVisionModel, config, tensors), linear(projection))


def _efficientnet_lite(folder: Path, tower: ImageSpec) -> Reference:
    config = read_config(read_json(folder / "config.json"))
    tensors = read_tensors(folder, tower.weights, prefix="")
    return Reference(
        filled(EfficientNetLite, config, tensors),
        parts=None,
        kind=tower.family,
        image_size=config.image_size,
        mean=tower.mean,
        std=tower.std,
        final=True,
    )


_OPEN_CLIP_NAMES = (
    (r"class_embedding", "embeddings.class_embedding"),
    (r"positional_embedding", "embeddings.position_embedding.weight"),
    (r"conv1\.weight", "embeddings.patch_embedding.weight"),
    (r"ln_pre\.", "pre_layrnorm."),
    (r"ln_post\.", "post_layernorm."),
    (r"transformer\.resblocks\.(\d+)\.ln_([12])\.", r"encoder.layers.\1.layer_norm\2."),
    (r"transformer\.resblocks\.(\d+)\.attn\.", r"encoder.layers.\1.self_attn."),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.", r"encoder.layers.\1.mlp.fc1."),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.", r"encoder.layers.\1.mlp.fc2."),
)


def open_clip_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's vision transformer under transformers' names; what is joined there, query, key and value, is cut."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        new = next((re.sub(f"^{old}", to, name) for old, to in _OPEN_CLIP_NAMES if re.match(old, name)), name)
        stem, joined, kind = new.partition(".in_proj_")
        if joined:
            parts = zip("qkv", tensor.chunk(3), strict=True)
            renamed |= {f"{stem}.{letter}_proj.{kind}": part.contiguous() for letter, part in parts}
        else:
            renamed[new] = tensor
    return renamed


# ---------------------------------------------------------------------------------------------------------- the pieces


class _Sentences(nn.Module):
    """Normalised images to vectors as sentence-transformers runs them."""

    def __init__(self, model: "SentenceTransformer") -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, size, size) -> (n, dims)."""
        vectors: Tensor = self.model({"pixel_values": images, "modality": "image"})["sentence_embedding"]
        return vectors


class _Pooled(nn.Module):
    """Normalised images to vectors as transformers runs them: what is pooled, and the map into the space."""

    def __init__(self, vision: nn.Module, projection: nn.Linear | None) -> None:
        super().__init__()
        self.vision, self.projection = vision, projection

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, size, size) -> (n, dims)."""
        pooled: Tensor = self.vision(pixel_values=images).pooler_output
        return pooled if self.projection is None else self.projection(pooled)


def _reference(tower: ImageSpec, vision: Any, projection: nn.Linear | None) -> Reference:
    return Reference(
        _Pooled(vision, projection).eval().requires_grad_(False),
        parts=VisionParts(vision, projection, vision.config),
        kind=tower.family,
        image_size=vision.config.image_size,
        mean=tower.mean,
        std=tower.std,
    )


def keep_vision_half(model: "SentenceTransformer") -> None:
    """Let go of CLIP's text half, which is 250 MB in ViT-B/32; the English text tower loads its own."""
    clip: Any = model[0].model
    for name in ("text_model", "text_projection"):
        if hasattr(clip, name):
            delattr(clip, name)


def read_tensors(folder: Path, name: str | None, *, prefix: str) -> dict[str, Tensor]:
    """The tensors of a folder whose names begin with a prefix, without it, in float32: no other is read."""
    found: dict[str, Tensor] = {}
    for file in weight_files(folder, name=name):
        with safe_open(file, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118  (it is no mapping)
                if key.startswith(prefix):
                    if key.removeprefix(prefix) in found:
                        raise ValueError(f"{key} stands in more than one file: name the one that is meant as weights")
                    tensor = opened.get_tensor(key)
                    found[key.removeprefix(prefix)] = tensor.float() if tensor.is_floating_point() else tensor
    if not found:
        raise ValueError(f"no tensor's name begins with {prefix}")
    return found


def filled(
    make: Callable[[Any], nn.Module], config: Any, tensors: Mapping[str, Tensor], *, unused: Iterable[str] = ()
) -> nn.Module:
    """A model of this configuration with these weights.

    Raises ValueError that names a tensor that is missing, too many or of another shape: before memory is taken for it.
    """
    from transformers.initialization import no_init_weights

    left = {name: each for name, each in tensors.items() if not name.endswith("position_ids") and name not in unused}
    _check_layers(config, left)
    with torch.device("meta"):
        outline = make(config).state_dict()
    wanted = {name: each for name, each in outline.items() if not name.endswith("position_ids")}
    lacking, unknown = wanted.keys() - left.keys(), left.keys() - wanted.keys()
    for what, names in (("lack", sorted(lacking)), ("have, of another architecture,", sorted(unknown))):
        if names:
            raise ValueError(f"its weights {what} {names[0]}" + (f" and {len(names) - 1} more" if names[1:] else ""))
    for name, each in left.items():
        if each.shape != wanted[name].shape:
            raise ValueError(
                f"its weights have {name} of shape {tuple(each.shape)}, by its configuration or the declaration it is "
                f"{tuple(wanted[name].shape)}"
            )
    with no_init_weights():
        model = make(config)
    model.load_state_dict(left, strict=False, assign=True)
    return model.eval().requires_grad_(False)


def _check_layers(config: Any, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError where a configuration has more or fewer layers than the weights."""
    declared = getattr(config, "num_hidden_layers", None)
    found = len({number.group(1) for name in tensors if (number := _LAYER.match(name))})
    if declared is not None and declared != found:
        raise ValueError(f"its weights have {found} layers, by its configuration or the declaration it has {declared}")


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A linear layer of these weights."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight.contiguous())
    if bias is not None:
        made.bias = nn.Parameter(bias)
    return made


def check_type(folder: Path, wanted: str) -> None:
    """Raise ValueError where a configuration says another type than the family's."""
    found = read_json(folder / "config.json").get("model_type", wanted)
    if found == "siglip2":
        raise ValueError("model_type siglip2 is NaFlex, images of any shape; fixed resolutions say siglip")
    if found != wanted:
        raise ValueError(f"its config.json says model_type {found}, not {wanted}")


def _as_config(shape: Shape, *, size: int) -> dict[str, Any]:
    return {
        "hidden_size": shape.width,
        "intermediate_size": shape.mlp or 4 * shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "patch_size": shape.patch,
        "image_size": size,
        "hidden_act": shape.activation,
        "layer_norm_eps": shape.eps,
    }


def _check_preprocessor(folder: Path, tower: ImageSpec) -> None:
    """Raise ValueError where the folder's own preprocessor prepares images otherwise than the declaration."""
    file = folder / "preprocessor_config.json"
    told = read_json(file)
    if file.exists() and not told:
        raise ValueError(f"its {file.name} cannot be read")
    if told.get("resample", 0) not in (0, *INTERPOLATIONS):
        raise ValueError(f"its {file.name} says resample {told['resample']}; 2 and 3 are known, bilinear and bicubic")
    left_out = next((name for name in ("do_resize", "do_rescale", "do_normalize") if told.get(name) is False), None)
    if left_out is not None:
        raise ValueError(f"its preprocessor_config.json says {left_out} false; images are always prepared so here")
    if abs(float(told.get("rescale_factor", 1 / 255)) * 255 - 1) > 1e-6:
        raise ValueError(f"its preprocessor_config.json says rescale_factor {told['rescale_factor']}, not 1 / 255")
    given: dict[str, object] = {
        "resize": _resize_of(told),
        "interpolation": INTERPOLATIONS.get(told.get("resample", 0)),
        "mean": tuple(told["image_mean"]) if "image_mean" in told else None,
        "std": tuple(told["image_std"]) if "image_std" in told else None,
        "size": _size_of(told),
    }
    for name, value in given.items():
        declared = getattr(tower, name)
        if value is not None and value != declared:
            raise ValueError(f"its preprocessor_config.json says {name} {value}, the declaration {declared}")


def _resize_of(told: Mapping[str, Any]) -> str | None:
    size = told.get("size")
    if told.get("do_center_crop", "crop_size" in told):
        return "crop"
    return "squash" if isinstance(size, Mapping) and {"height", "width"} <= size.keys() else None


def _size_of(told: Mapping[str, Any]) -> int | None:
    size = told.get("crop_size", told.get("size"))
    if isinstance(size, Mapping):
        if size.get("height") != size.get("width"):
            raise ValueError(f"its preprocessor_config.json wants images of {dict(size)}, which are not square")
        size = size.get("height", size.get("shortest_edge"))
    if not isinstance(size, int | None):
        raise TypeError(f"its preprocessor_config.json says size {size!r}, which is no number of pixels")
    return size
