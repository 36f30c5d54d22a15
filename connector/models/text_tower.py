"""Words to vectors: the text half of a space, in any of its languages.

The rule: a text tower speaks into the space of one image tower, whatever it was published as and whichever runtime
runs it; torch is imported only where ONNX Runtime cannot. What is longer than the model's limit (128 word pieces, 77
for CLIP's own English) is cut off at its end.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from connector.errors import ConfigError, ModelError
from connector.models.catalog import Space, find_space
from connector.models.lookup import find_model, is_present
from connector.models.text_kernels import WORTHWHILE, load_choice, open_best
from connector.models.text_onnx import TextRunner, find_exports, is_runtime_there, weight_bytes
from connector.process import has_gpu
from connector.records import Vectors
from connector.settings import ModelSettings

log = logging.getLogger(__name__)

BATCH = 64
"""Texts in one forward pass."""


class TextTower:
    """The text half of a space, loaded and ready. One caller at a time."""

    def __init__(self, runner: TextRunner, *, space: Space) -> None:
        self.space = space
        self.runtime = runner.runtime
        self.kernel = runner.kernel
        self._encode = runner.encode

    @classmethod
    def load(cls, model: ModelSettings, *, tower: str | None = None) -> Self:
        """A tower of ``model.space``: ``model.text_tower``, from ``model.text_model`` where that is set, or another.

        Raises ConfigError for an unknown space, tower or device, ModelError where the weights are missing, broken,
        of another kind or of other dims.
        """
        space = find_space(model.space)
        name = model_name(model, space=space, tower=tower)
        runner = _runner(find_model(name, half="text"), model=model)
        log.info("text_tower model=%s runtime=%s kernel=%s", name, runner.runtime, runner.kernel)
        made = cls(runner, space=space)
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
        found = np.concatenate([self._encode([clean[number] for number in batch]) for batch in batches])
        vectors = np.empty_like(found)
        vectors[order] = found
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


def _runner(folder: Path, *, model: ModelSettings) -> TextRunner:
    """What runs the model in a folder: ONNX Runtime where its files are there and hold, else torch."""
    if is_onnx_first(model, folder=folder):
        for exported in find_exports(folder):
            if (found := open_best(exported, exact=model.precision == "float32")) is not None:
                return found
    from connector.models.text_torch import load_runner

    return load_runner(folder, model=model)


def is_onnx_first(model: ModelSettings, *, folder: Path) -> bool:
    """Whether files for ONNX Runtime are to be looked for: on a CPU, and where a GPU would gain little."""
    if model.text_runtime == "torch" or model.device not in ("auto", "cpu") or not is_runtime_there():
        return False
    on_cpu = model.device == "cpu" or model.text_runtime == "onnx" or not has_gpu()
    return on_cpu or weight_bytes(folder) < WORTHWHILE


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


def plan_runner(model: ModelSettings) -> str:
    """What will run the text tower of the settings and why, from its files alone: nothing is loaded or fetched.

    Raises ConfigError for an unknown space or tower.
    """
    name = model_name(model, space=find_space(model.space))
    if not is_present(name, half="text"):
        return f"not known yet: {name} is not on this machine"
    folder = find_model(name, half="text")
    if model.text_runtime == "torch":
        return "torch: model.text_runtime says so"
    if not is_onnx_first(model, folder=folder):
        return f"torch: model.device is {model.device}, and a GPU may serve it"
    exported = next(find_exports(folder), None)
    if exported is None:
        return f"torch, unless it can be exported: there are no files for ONNX Runtime of {folder.name} yet"
    choice = load_choice(exported)
    if model.precision == "float32" or choice is None:
        return f"onnx float32: its files are in {exported.folder}"
    return f"onnx {choice.kernel}: measured here ({choice})"


def is_tower_present(model: ModelSettings, *, space: Space, tower: str) -> bool:
    """Whether a tower's weights are on this machine; nothing is fetched."""
    return tower in space.text_models and is_present(model_name(model, space=space, tower=tower), half="text")
