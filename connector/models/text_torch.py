"""A text tower by torch: where there is a GPU, where it is wanted, and the first time, to export it.

The rule: nothing imports this module before torch is needed; its import takes seconds.
"""

import copy
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from connector.errors import ConfigError, ModelError
from connector.models.declaration import TextSpec
from connector.models.image_tower import has_bfloat16
from connector.models.loading import choose_device, first_line
from connector.models.onnx_files import missing_libraries
from connector.models.text_export import LARGEST, PROBES, export_once
from connector.models.text_kernels import LEAST_COSINE, WORTHWHILE
from connector.models.text_models import TextModel, load_text_model
from connector.models.text_onnx import Encode, TextRunner, is_runtime_there, weight_bytes
from connector.records import Vectors
from connector.settings import ModelSettings

log = logging.getLogger(__name__)


def load_runner(folder: Path, spec: TextSpec, *, model: ModelSettings) -> TextRunner:
    """The model in a folder, ready to run: by torch, or by ONNX Runtime where it could be exported just now.

    Raises ConfigError for a device that is not there, or where ONNX is wanted and cannot be made; ModelError where the
    folder is broken.
    """
    device = choose_device(model.device)
    wanted = device.type == "cpu" and is_export_wanted(model, weights=weight_bytes(folder))
    loaded = load_text_model(folder, spec)
    exported = _exported(loaded, folder=folder, exact=model.precision == "float32") if wanted else None
    return exported or torch_runner(loaded, device=device, precision=model.precision)


def is_export_wanted(model: ModelSettings, *, weights: int) -> bool:
    """Whether a model of so many bytes is to be exported.

    ``auto`` does where the exporter is installed and the model large enough to gain. Raises ConfigError where ``onnx``
    is wanted and the exporter is not there.
    """
    if model.text_runtime == "torch" or not is_runtime_there():
        return False
    missing = missing_libraries()
    if model.text_runtime == "onnx" and missing:
        raise ConfigError(
            f"model.text_runtime = onnx has to export this model once, which needs {', '.join(missing)}: "
            "pip install 'polyglance[onnx]'; or set it to torch."
        )
    large_enough = model.text_runtime == "onnx" or weights >= WORTHWHILE
    return not missing and large_enough and weights <= LARGEST


def torch_runner(model: TextModel, *, device: torch.device, precision: str = "float32") -> TextRunner:
    """The model by torch on a device.

    With ``precision`` auto a large model, with bfloat16 any, runs in bfloat16 on a processor that has it, where its
    vectors are those of float32 (cosine >= 0.999): it is then that a batch of texts costs less than each alone.
    """
    exact = _encoder(model, model.module.to(device), device=device)
    wanted = precision == "bfloat16" or (precision == "auto" and _bytes_of(model) >= WORTHWHILE)
    if wanted and device.type == "cpu" and has_bfloat16(device):
        half = _encoder(model, copy.deepcopy(model.module).bfloat16(), device=device)
        cosine = _least_cosine(half(PROBES), exact(PROBES))
        if cosine >= LEAST_COSINE:
            return TextRunner(half, "torch", "bfloat16")
        log.warning("text_precision_fallback precision=float32 bfloat16_cosine=%.4f least=%s", cosine, LEAST_COSINE)
    return TextRunner(exact, "torch", "float32")


def _exported(model: TextModel, *, folder: Path, exact: bool) -> TextRunner | None:
    try:
        return export_once(model, folder=folder, exact=exact)
    except Exception as error:  # noqa: BLE001  (the exporter's errors have no common type, and torch can always run it)
        log.warning("onnx_failed model=%s %s: %s: torch runs it", folder, type(error).__name__, first_line(error))
        return None


def _encoder(model: TextModel, module: torch.nn.Module, *, device: torch.device) -> Encode:
    def encode(texts: Sequence[str]) -> Vectors:
        tokens = model.tokenize(texts)
        try:
            with torch.inference_mode():
                vectors: Vectors = module(tokens.ids.to(device), tokens.mask.to(device)).float().cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"the device has too little memory for {len(texts)} texts: {first_line(error)} "
                "End what else runs on it, or set model.device = cpu."
            ) from error
        return vectors

    return encode


def _least_cosine(ours: Vectors, theirs: Vectors) -> float:
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(((ours * theirs).sum(axis=1) / lengths).min())


def _bytes_of(model: TextModel) -> int:
    return sum(each.numel() * each.element_size() for each in model.module.parameters())
