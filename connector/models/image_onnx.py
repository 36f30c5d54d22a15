"""The image tower in 8-bit integers by ONNX Runtime, on a CPU: only where it is asked for, and only where it holds.

The rule: it is never a default. On random weights 8 bits flatter; so every load compares the vectors of fixed images
with float32's, and refuses the tower below ``LEAST_COSINE``. A processor with AMX is quicker in bfloat16.
"""

import hashlib
import logging
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from connector.errors import ConfigError, ModelError
from connector.files import replacing
from connector.models.onnx_files import LIBRARIES, cache_folder, missing_libraries, open_session, quiet
from connector.models.vision import Vision

log = logging.getLogger(__name__)

EXPORT = 1
"""Raised whenever the export below makes another file of the same weights."""

LEAST_COSINE = 0.999
FORMS: Mapping[str, Mapping[str, bool]] = {"int8": {}, "int8-of-7-bits": {"reduce_range": True}}
"""In the order in which they are tried. Sums of 16 bits overflow on processors without VNNI; of 7-bit weights not."""


def int8_forward(model: nn.Module, *, device: torch.device, weights: str, form: str) -> Callable[[Tensor], Tensor]:
    """The tower's forward pass in one of ``FORMS``; ``weights`` is their digest, after which the file is named.

    Raises ConfigError without the extra ``onnx`` or on another device, ModelError for a model that is no CLIP.
    """
    if missing := missing_libraries():
        raise ConfigError(
            f"model.precision = int8 needs {', '.join(missing)}: pip install 'polyglance[onnx]'; or set it to auto."
        )
    if device.type != "cpu":
        raise ConfigError(f"model.precision = int8 runs on a CPU, not on {device}; set it to auto.")
    if not isinstance(model, Vision):
        raise ModelError("model.precision = int8 is for CLIP's towers; set it to auto for this one.")
    path = _cached_path(weights, form=form)
    session = open_session(path, threads=1) if path.exists() else None
    if session is None:
        log.info("int8_export path=%s (once)", path)
        with replacing(path) as draft:
            _export(model, draft, form=form)
        session = open_session(path, threads=1)
    return _forward_of(session, model)


def _cached_path(weights: str, *, form: str) -> Path:
    parts = [str(EXPORT), weights, *(f"{name} {version(name)}" for name in LIBRARIES)]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return cache_folder() / f"image-{form}-{key}.onnx"


class _FromPatches(nn.Module):
    """What is exported: everything behind the cutting of patches."""

    def __init__(self, vision: Vision) -> None:
        super().__init__()
        self.vision = vision

    def forward(self, patches: Tensor) -> Tensor:
        return self.vision.from_patches(patches)


def _export(model: Vision, path: Path, *, form: str) -> None:
    """Write the model with 8-bit weights, by channel, the activations as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    patches = model.cut(torch.zeros((2, model.image_size, model.image_size, 3), dtype=torch.uint8))
    with tempfile.TemporaryDirectory(dir=path.parent) as work, quiet():
        whole = Path(work) / "whole.onnx"
        torch.onnx.export(
            _FromPatches(model).eval(),
            (patches,),
            str(whole),
            input_names=["patches"],
            output_names=["vectors"],
            dynamic_shapes=({0: "images"},),
            external_data=False,
            dynamo=True,
            verbose=False,
        )
        quantize_dynamic(whole, path, weight_type=QuantType.QInt8, per_channel=True, **FORMS[form])


def _forward_of(session: Any, model: Vision) -> Callable[[Tensor], Tensor]:
    def forward(pixels: Tensor) -> Tensor:
        (vectors,) = session.run(None, {"patches": model.cut(pixels).numpy()})
        return torch.from_numpy(np.asarray(vectors))

    return forward
