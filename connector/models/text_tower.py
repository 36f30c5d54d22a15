"""Words to vectors: the text half of a space, in any of its languages.

The rule: a text tower speaks into the space of one image tower, whatever it was published as and whichever runtime
runs it. What is longer than the model's limit (128 word pieces, 77 for CLIP's own English) is cut off at its end.
"""

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Self, TypeAlias

import numpy as np
import torch

from connector.errors import ConfigError, ModelError
from connector.models.catalog import Space, find_space
from connector.models.image_tower import has_bfloat16
from connector.models.loading import choose_device, first_line
from connector.models.text_models import TextModel, Tokens, load_text_model
from connector.models.text_onnx import LEAST_COSINE, WORTHWHILE, least_cosine, onnx_forward
from connector.models.weights import find_model, is_present
from connector.records import Vectors
from connector.settings import ModelSettings

log = logging.getLogger(__name__)

BATCH = 64
"""Texts in one forward pass."""

Forward: TypeAlias = Callable[[Tokens], Vectors]


class TextTower:
    """The text half of a space, loaded and ready. One caller at a time."""

    def __init__(
        self, tokenize: Callable[[Sequence[str]], Tokens], forward: Forward, *, space: Space, runtime: str
    ) -> None:
        self.space = space
        self.runtime = runtime
        self._tokenize = tokenize
        self._forward = forward

    @classmethod
    def load(cls, model: ModelSettings, *, tower: str | None = None) -> Self:
        """A tower of ``model.space``: ``model.text_tower``, from ``model.text_model`` where that is set, or another.

        Raises ConfigError for an unknown space, tower or device, ModelError where the weights are missing, broken,
        of another kind or of other dims.
        """
        space = find_space(model.space)
        device = choose_device(model.device)
        name = model_name(model, space=space, tower=tower)
        folder = find_model(name, half="text")
        loaded = load_text_model(folder)
        forward = onnx_forward(loaded, folder=folder, wanted=model.text_runtime) if device.type == "cpu" else None
        if forward is None:
            forward = torch_forward(loaded, device=device, precision=model.precision)
            made = cls(loaded.tokenize, forward, space=space, runtime="torch")
        else:
            loaded.module.to("meta")  # lets go of torch's weights; the tokenizer hangs on the same model
            made = cls(loaded.tokenize, forward, space=space, runtime="onnx")
        dims = made.embed(["a"]).shape[1]
        if dims != space.dims:
            raise ModelError(f"the text model {name} gives {dims} dims, space {space.name} has {space.dims}.")
        return made

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of many texts, in order: (n, dims) float32, L2-normalised; no texts give (0, dims).

        Half a surrogate pair, as a terminal makes of bytes that are no UTF-8, counts as a question mark.
        Raises ModelError where the device has no memory for a batch of them.
        """
        if not texts:
            return np.empty((0, self.space.dims), dtype=np.float32)
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        order = sorted(range(len(clean)), key=lambda number: len(clean[number]))  # like lengths pad one another least
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        found = np.concatenate([self._batch([clean[number] for number in batch]) for batch in batches])
        vectors = np.empty_like(found)
        vectors[order] = found
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def _batch(self, texts: Sequence[str]) -> Vectors:
        try:
            return self._forward(self._tokenize(texts))
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"the device has too little memory for {len(texts)} texts: {first_line(error)} "
                "End what else runs on it, or set model.device = cpu."
            ) from error


def torch_forward(model: TextModel, *, device: torch.device, precision: str = "float32") -> Forward:
    """The model by torch on a device.

    With ``precision`` auto a large model, with bfloat16 any, runs in bfloat16 on a processor that has it, where its
    vectors are those of float32 (cosine >= 0.999): it is then that a batch of texts costs less than each alone.
    """
    exact = _torch_forward(model.module.to(device), device=device)
    wanted = precision == "bfloat16" or (precision == "auto" and _bytes_of(model) >= WORTHWHILE)
    if not wanted or device.type != "cpu" or not has_bfloat16(device):
        return exact
    forward = _torch_forward(copy.deepcopy(model.module).bfloat16(), device=device)
    cosine = least_cosine(model, forward)
    if cosine >= LEAST_COSINE:
        return forward
    log.warning("text_precision_fallback precision=float32 bfloat16_cosine=%.4f least=%s", cosine, LEAST_COSINE)
    return exact


def _torch_forward(module: torch.nn.Module, *, device: torch.device) -> Forward:
    def forward(tokens: Tokens) -> Vectors:
        with torch.inference_mode():
            vectors: Vectors = module(tokens.ids.to(device), tokens.mask.to(device)).float().cpu().numpy()
        return vectors

    return forward


def _bytes_of(model: TextModel) -> int:
    return sum(each.numel() * each.element_size() for each in model.module.parameters())


def model_name(model: ModelSettings, *, space: Space, tower: str | None = None) -> str:
    """The name or folder of a text tower, by default of ``model.text_tower``. Raises ConfigError for an unknown one.

    ``model.text_model`` stands in for the tower that the settings name; ``model.image_model`` for one that is the text
    half of the image model.
    """
    tower = tower or model.text_tower
    if model.text_model is not None and tower == model.text_tower:
        return model.text_model
    try:
        name = space.text_models[tower]
    except KeyError:
        known = ", ".join(space.text_models)
        raise ConfigError(f"space {space.name} has no text tower {tower!r}; it has: {known}.") from None
    return model.image_model if model.image_model is not None and name == space.image_model else name


def is_tower_present(model: ModelSettings, *, space: Space, tower: str) -> bool:
    """Whether a tower's weights are on this machine; nothing is fetched."""
    return tower in space.text_models and is_present(model_name(model, space=space, tower=tower), half="text")
