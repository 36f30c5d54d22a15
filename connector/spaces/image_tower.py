"""Pixels to vectors: the image half of a space, in batches, on a CPU or a GPU.

The rule: pictures do not go through ``encode()``. Pixels arrive as uint8 and are normalised on the device, in one
multiply-add; the vectors are those of the reference pipeline to a cosine of 0.9999, at every batch size and thread
count (docs/decisions/0002-towers.md).
"""

import copy
import logging
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from connector.errors import ModelError
from connector.qdrant.schema import Fingerprint
from connector.records import Pixels, Vectors
from connector.settings import ModelSettings
from connector.spaces.catalog import Space, find_space
from connector.spaces.loading import WithinMemory, choose_device, load_model
from connector.spaces.weights import digest, find_model, module_folders

log = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16"]

LEAST_COSINE = 0.9999
"""How near every vector of the canonical batch must come to float32 for another precision to be used."""


class ImageTower:
    """The image half of a space, loaded and ready; a call is one forward pass.

    On a CPU many threads may call at once, best with one torch thread each; on a GPU one at a time.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        space: Space,
        device: torch.device,
        precision: Precision,
        weights: str,
    ) -> None:
        self.space = space
        self.device = str(device)
        self.precision: Precision = precision
        self.fingerprint = Fingerprint(space=space.name, dims=space.dims, image_size=space.image_size, weights=weights)
        self._forward = _Forward(model, space=space, device=device)
        self._within_memory = WithinMemory(self._forward)

    @classmethod
    def load(cls, model: ModelSettings) -> "ImageTower":
        """The image tower of ``model.space``, from ``model.image_model`` where that is set.

        Raises ConfigError for an unknown space or device, ModelError where the weights are missing, broken, of
        another kind or shape, or do not survive an explicit bfloat16.
        """
        space = find_space(model.space)
        device = choose_device(model.device)
        name = model.image_model or space.image_model
        folder = find_model(name, half="image")
        loaded = load_model(folder, half="image")
        _keep_vision_half(loaded)
        _check_shape(loaded, space=space, name=name)
        precision, ready = _choose_precision(loaded, space=space, device=device, wanted=model.precision)
        return cls(ready, space=space, device=device, precision=precision, weights=digest(module_folders(folder)[0]))

    def embed(self, pixels: Pixels) -> Vectors:
        """The vectors of a batch of pictures: (n, size, size, 3) uint8 -> (n, dims) float32, L2-normalised.

        A batch the device has no memory for is done in smaller pieces. Raises ModelError where not even one fits.
        """
        size = self.space.image_size
        if pixels.shape[1:] != (size, size, 3) or pixels.dtype != np.uint8:
            raise ValueError(
                f"pixels are {pixels.shape} {pixels.dtype}; space {self.space.name} takes (n, {size}, {size}, 3) uint8."
            )
        if len(pixels) == 0:
            return np.empty((0, self.space.dims), dtype=np.float32)
        return self._within_memory(pixels)


class _Forward:
    """One forward pass: normalise on the device, embed, L2-normalise in float32."""

    def __init__(self, model: SentenceTransformer, *, space: Space, device: torch.device) -> None:
        self._model = model.to(device)
        self._device = device
        self._dtype = next(model.parameters()).dtype
        mean, std = _normalisation(model, space=space)
        # (x / 255 - mean) / std == x * scale + shift, per channel
        self._scale = torch.tensor([1.0 / (255.0 * s) for s in std], device=device)
        self._shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=device)

    @torch.inference_mode()
    def __call__(self, pixels: Pixels) -> Vectors:
        owned = np.require(pixels, requirements=("C", "W"))  # torch refuses to share what cannot be written
        raw = torch.from_numpy(owned).to(self._device)  # (n, size, size, 3) uint8
        normal = torch.addcmul(self._shift, raw.float(), self._scale).to(self._dtype)
        features = self._model({"pixel_values": normal.permute(0, 3, 1, 2).contiguous(), "modality": "image"})
        vectors = torch.nn.functional.normalize(features["sentence_embedding"].float(), dim=1)
        result: Vectors = vectors.cpu().numpy()  # (n, dims) float32
        return result


def canonical_pixels(size: int) -> Pixels:
    """Four pictures no library can change: noise from coarse to fine, (4, size, size, 3) uint8.

    Every value comes from the raw stream of PCG64, which numpy keeps stable.
    """
    pictures = []
    for index, cells in enumerate((4, 8, 16, 32)):
        raw = np.random.PCG64(index).random_raw(cells * cells * 3)
        coarse = (raw >> 56).astype(np.uint8).reshape(cells, cells, 3)
        rows = np.arange(size) * cells // size
        pictures.append(coarse[rows][:, rows])
    return np.stack(pictures)


def _choose_precision(
    model: SentenceTransformer, *, space: Space, device: torch.device, wanted: str
) -> tuple[Precision, SentenceTransformer]:
    """The precision to run in, and the model in it; bfloat16 has to earn its place on the canonical batch."""
    if wanted == "float32" or (wanted == "auto" and not has_bfloat16(device)):
        return "float32", model
    candidate = copy.deepcopy(model).bfloat16()
    pixels = canonical_pixels(space.image_size)
    exact = _Forward(model, space=space, device=device)(pixels)
    cosine = float((exact * _Forward(candidate, space=space, device=device)(pixels)).sum(axis=1).min())
    if cosine >= LEAST_COSINE:
        return "bfloat16", candidate
    if wanted == "bfloat16":
        raise ModelError(
            f"model.precision = bfloat16 brings this model's vectors only to cosine {cosine:.5f} of float32, "
            f"less than {LEAST_COSINE}. Set model.precision = float32."
        )
    log.warning("precision_fallback precision=float32 bfloat16_cosine=%.5f least=%s", cosine, LEAST_COSINE)
    return "float32", model


def has_bfloat16(device: torch.device, capabilities: Mapping[str, Any] | None = None) -> bool:
    """Whether bfloat16 is faster than float32 there: the processor has the instructions, nothing is emulated.

    ``capabilities`` is what ``torch.cpu.get_capabilities`` says, unless told otherwise.
    """
    if device.type == "cuda":
        return bool(torch.cuda.get_device_capability(device) >= (8, 0))
    if device.type != "cpu":
        return False
    known = torch.cpu.get_capabilities() if capabilities is None else capabilities
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _keep_vision_half(model: SentenceTransformer) -> None:
    """Let go of CLIP's text half, which is 250 MB in ViT-B/32; the English text tower loads its own."""
    clip: Any = model[0].model
    for name in ("text_model", "text_projection"):
        if hasattr(clip, name):
            delattr(clip, name)


def _normalisation(model: SentenceTransformer, *, space: Space) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel, from the model's own preprocessor where it has one."""
    processor = getattr(model[0].processor, "image_processor", None)
    mean = getattr(processor, "image_mean", None) or space.mean
    std = getattr(processor, "image_std", None) or space.std
    return tuple(mean), tuple(std)


def _check_shape(model: SentenceTransformer, *, space: Space, name: str) -> None:
    """Refuse a model whose pictures or vectors are of another size than the space's."""
    clip: Any = model[0].model
    size = getattr(getattr(clip.config, "vision_config", None), "image_size", None)
    if size != space.image_size:
        raise ModelError(
            f"the image model {name} takes pictures of {size} pixels, space {space.name} {space.image_size}."
        )
    blank = np.zeros((1, size, size, 3), dtype=np.uint8)
    dims = _Forward(model, space=space, device=torch.device("cpu"))(blank).shape[1]
    if dims != space.dims:
        raise ModelError(f"the image model {name} gives {dims} dims, space {space.name} has {space.dims}.")
