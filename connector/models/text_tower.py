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

from connector.errors import ModelError
from connector.models.catalog import find_space, text_tower_of
from connector.models.declaration import Space, TextSpec
from connector.models.licences import check_licence
from connector.models.lookup import find_model, is_present
from connector.models.probe import ROUNDED, check_probe
from connector.models.text_kernels import WORTHWHILE, load_choice, open_best
from connector.models.text_onnx import TextRunner, find_exports, is_runtime_there, weight_bytes
from connector.models.verification import check_verified
from connector.models.weights import check_sha256
from connector.process import has_gpu
from connector.records import Vectors
from connector.settings import ModelSettings

log = logging.getLogger(__name__)

BATCH = 64
"""Texts in one forward pass."""


class TextTower:
    """The text half of a space, loaded and ready. One caller at a time."""

    def __init__(self, runner: TextRunner, *, space: Space, prompt: str = "{}") -> None:
        self.space = space
        self.runtime = runner.runtime
        self.kernel = runner.kernel
        self._encode = runner.encode
        self._prompt = prompt

    @classmethod
    def load(cls, model: ModelSettings, *, tower: str | None = None, declared: Space | None = None) -> Self:
        """A tower of ``model.space``: ``model.text_tower``, from ``model.text_model`` where that is set, or another.

        ``declared`` stands in for the declaration of that space.

        Raises ConfigError for an unknown space, tower or device, or a licence that was not accepted; ModelError where
        the weights are missing, broken, of another kind or of other dims.
        """
        space = declared or find_space(model.space)
        spec = text_tower_of(model, space=space, name=tower)
        check_licence(space)
        check_verified(space)
        folder = find_model(spec)
        check_sha256(folder, spec)
        runner = _runner(folder, spec, model=model)
        log.info("text_tower model=%s runtime=%s kernel=%s", spec.model, runner.runtime, runner.kernel)
        made = cls(runner, space=space, prompt=spec.prompt)
        probe = made.embed([space.probe.text])[0]
        dims = len(probe)
        if not np.isfinite(probe).all():
            raise ModelError(f"the text model {spec.model} gives vectors without a length: its weights are damaged.")
        if dims != space.dims:
            raise ModelError(f"the text model {spec.model} gives {dims} dims, space {space.name} has {space.dims}.")
        if spec is space.text.get(space.probe.tower):
            check_probe(probe, space.probe.vector, what=f"text model {spec.model}", most=ROUNDED)
        return made

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of many texts, in order: (n, dims) float32, L2-normalised; no texts give (0, dims).

        Half a surrogate pair, as a terminal makes of bytes that are no UTF-8, counts as a question mark.
        Raises ModelError where the device has no memory for a batch of them.
        """
        if not texts:
            return np.empty((0, self.space.dims), dtype=np.float32)
        clean = [self._prompt.replace("{}", text.encode("utf-8", "replace").decode("utf-8")) for text in texts]
        order = sorted(range(len(clean)), key=lambda number: len(clean[number]))  # like lengths pad one another least
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        found = np.concatenate([self._encode([clean[number] for number in batch]) for batch in batches])
        vectors = np.empty_like(found)
        vectors[order] = found
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


def _runner(folder: Path, spec: TextSpec, *, model: ModelSettings) -> TextRunner:
    """What runs the model in a folder: ONNX Runtime where its files are there and hold, else torch."""
    if is_onnx_first(model, folder=folder):
        for exported in find_exports(folder, reading=spec.reading):
            if (found := open_best(exported, exact=model.precision == "float32")) is not None:
                return found
    from connector.models.text_torch import load_runner

    return load_runner(folder, spec, model=model)


def is_onnx_first(model: ModelSettings, *, folder: Path) -> bool:
    """Whether files for ONNX Runtime are to be looked for: on a CPU, and where a GPU would gain little."""
    if model.text_runtime == "torch" or model.device not in ("auto", "cpu") or not is_runtime_there():
        return False
    on_cpu = model.device == "cpu" or model.text_runtime == "onnx" or not has_gpu()
    return on_cpu or weight_bytes(folder) < WORTHWHILE


def plan_runner(model: ModelSettings) -> str:
    """What will run the text tower of the settings and why, from its files alone: nothing is loaded or fetched.

    Raises ConfigError for an unknown space or tower.
    """
    spec = text_tower_of(model, space=find_space(model.space))
    if not is_present(spec):
        return f"not known yet: {spec.model} is not on this machine"
    folder = find_model(spec)
    if model.text_runtime == "torch":
        return "torch: model.text_runtime says so"
    if not is_onnx_first(model, folder=folder):
        return f"torch: model.device is {model.device}, and a GPU may serve it"
    exported = next(find_exports(folder, reading=spec.reading), None)
    if exported is None:
        return f"torch, unless it can be exported: there are no files for ONNX Runtime of {folder.name} yet"
    choice = load_choice(exported)
    if model.precision == "float32" or choice is None:
        return f"onnx float32: its files are in {exported.folder}"
    return f"onnx {choice.kernel}: measured here ({choice})"


def is_tower_present(model: ModelSettings, *, space: Space, tower: str) -> bool:
    """Whether a tower's weights are on this machine; nothing is fetched."""
    return tower in space.text and is_present(text_tower_of(model, space=space, name=tower))
