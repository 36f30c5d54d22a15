"""A text tower by ONNX Runtime, in 8-bit integers, on the CPU: several times as fast as torch.

The rule: it is exported here, once, from the very weights that are loaded, and used only where its vectors are those of
torch (cosine >= 0.999 on fixed texts, checked at every load). Where they are not, torch stays, and the log says so.
"""

import hashlib
import logging
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from connector.errors import ConfigError
from connector.models.loading import first_line
from connector.models.onnx_files import LIBRARIES, cache_folder, missing_libraries, open_session, publish, quiet
from connector.models.text_models import TextModel, Tokens
from connector.models.weights import digest, module_folders, weight_files
from connector.records import Vectors

log = logging.getLogger(__name__)

Runtime: TypeAlias = Literal["auto", "torch", "onnx"]

EXPORT = 1
"""Raised whenever the export below makes another file of the same weights."""
LEAST_COSINE = 0.999
WORTHWHILE = 64 * 1024 * 1024
"""Bytes of weights from which ``auto`` exports: a smaller model is quick enough in torch."""
LARGEST = 1_800_000_000
"""Bytes of weights to which we export: one ONNX file holds 2 GB."""
PROBES = (
    "a",
    "a photo of a dog in the snow",
    "two red bicycles leaning on a wall, seen from above on a rainy day in an old town",
    "ein Hund im Schnee",
    "der Sonnenuntergang über dem Meer",
    "un gato negro",
    "une plage avec des palmiers",
    "собака на снегу",
    "старый дом в лесу",
    "雪の中の犬",
    "夜の東京",
    "雪地里的一只狗",
    "红色的汽车",
    "눈 속의 강아지",
    "كلب في الثلج",
    "חתול על הספה",
    "कुत्ता बर्फ में",
    "kar içinde bir köpek",
    "pies na śniegu",
    "một con chó",
    "ძაღლი თოვლში",
    "σκύλος στο χιόνι",
    "😀🐶",
    "1999 IMG_2041.jpg",
)
"""Texts in many scripts, of one to two dozen tokens."""


def onnx_forward(model: TextModel, *, folder: Path, wanted: Runtime) -> Callable[[Tokens], Vectors] | None:
    """The model by ONNX Runtime; None where torch should run it.

    ``auto`` takes ONNX Runtime where it is installed and the model is large enough to gain. Raises ConfigError where
    ``onnx`` is wanted and not installed.
    """
    if wanted == "torch" or not _is_wanted(wanted, weights=_weights(folder)):
        return None
    try:
        return _checked(model, folder=folder)
    except Exception as error:  # noqa: BLE001  (the exporter's errors have no common type, and torch can always run it)
        log.warning("onnx_failed model=%s %s: %s: torch runs it", folder, type(error).__name__, first_line(error))
        return None


def _checked(model: TextModel, *, folder: Path) -> Callable[[Tokens], Vectors] | None:
    """The model from the cache, exported where it is not there; None where its vectors are not torch's."""
    path = cached_path(folder)
    refused = path.with_suffix(".refused")
    if refused.exists():
        log.info("onnx_refused model=%s cosine=%s", folder, refused.read_text(encoding="ascii"))
        return None
    session = open_session(path, threads=torch.get_num_threads()) if path.exists() else None
    if session is None:
        log.info("onnx_export model=%s path=%s (once)", folder, path)
        publish(path, lambda draft: export(model, draft))
        session = open_session(path, threads=torch.get_num_threads())
    forward = _forward_of(session)
    cosine = least_cosine(model, forward)
    if cosine >= LEAST_COSINE:
        return forward
    log.warning("onnx_refused model=%s cosine=%.4f least=%s: torch runs it", folder, cosine, LEAST_COSINE)
    publish(refused, lambda draft: draft.write_text(f"{cosine:.4f}", encoding="ascii"))
    path.unlink(missing_ok=True)
    return None


def cached_path(folder: Path) -> Path:
    """Where the export of a model folder is kept, named after its weights and every library that had a hand in it."""
    parts = [digest(each) for each in module_folders(folder) if weight_files(each)]
    parts += [f"{name} {version(name)}" for name in LIBRARIES]
    key = hashlib.sha256("\n".join([str(EXPORT), *parts]).encode()).hexdigest()[:16]
    return cache_folder() / f"{folder.resolve().name}-{key}.onnx"


def export(model: TextModel, path: Path) -> None:
    """Write the model with 8-bit weights: the matrices by channel, the activations as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    tokens = model.tokenize(PROBES)
    with tempfile.TemporaryDirectory(dir=path.parent) as work, quiet():
        whole = Path(work) / "whole.onnx"
        torch.onnx.export(
            model.module,
            (tokens.ids, tokens.mask),
            str(whole),
            input_names=["ids", "mask"],
            output_names=["vectors"],
            dynamic_shapes=({0: "texts", 1: "tokens"}, {0: "texts", 1: "tokens"}),
            external_data=False,
            dynamo=True,
            verbose=False,
        )
        quantize_dynamic(whole, path, weight_type=QuantType.QInt8, per_channel=True)


def least_cosine(model: TextModel, forward: Callable[[Tokens], Vectors]) -> float:
    """The least cosine between both runtimes' vectors of a text, alone and among others."""
    cosines = []
    for texts in (PROBES, *[PROBES[number : number + 1] for number in (0, 2, 9)]):
        tokens = model.tokenize(texts)
        with torch.inference_mode():
            expected = model.module(tokens.ids, tokens.mask).float().numpy()
        found = forward(tokens)
        lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
        cosines.append(float(((expected * found).sum(axis=1) / lengths).min()))
    return min(cosines)


def _is_wanted(wanted: Runtime, *, weights: int) -> bool:
    missing = missing_libraries()
    if wanted == "onnx" and missing:
        raise ConfigError(
            f"model.text_runtime = onnx needs {', '.join(missing)}: pip install 'polyglance[onnx]'; or set it to torch."
        )
    large_enough = wanted == "onnx" or weights >= WORTHWHILE
    return not missing and large_enough and weights <= LARGEST


def _weights(folder: Path) -> int:
    return sum(file.stat().st_size for each in module_folders(folder) for file in weight_files(each))


def _forward_of(session: Any) -> Callable[[Tokens], Vectors]:
    def forward(tokens: Tokens) -> Vectors:
        (vectors,) = session.run(None, {"ids": tokens.ids.numpy(), "mask": tokens.mask.numpy()})
        return np.asarray(vectors, dtype=np.float32)

    return forward
