"""Which 8-bit form of an exported text tower runs on this processor: found by measuring, never by the processor's name.

The rule: a form is taken where its vectors are torch's (cosine >= 0.999 on fixed texts) and it is quicker than
float32; where none is, float32 runs. The usual form overflows its 16-bit sums on processors without VNNI (cosine .9),
which weights of 7 bits, or without a sign, do not; the last form keeps its weights in 8 bits and computes in float32.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from connector.files import replacing
from connector.models.kernel_choice import Choice, Measured, keep_choice, median_seconds, read_choice
from connector.models.onnx_files import quiet
from connector.models.text_onnx import LEAST_COSINE as LEAST_WHOLE
from connector.models.text_onnx import Encode, ExportedTower, TextRunner, encoder_of, least_cosine

log = logging.getLogger(__name__)

LEAST_COSINE = 0.999
WORTHWHILE = 64 * 1024 * 1024
"""Bytes of a float32 graph from which 8 bits are tried: a smaller one is quick enough."""
FLOAT32 = "float32"
CHOICE = "kernel.json"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A form of the tower: its name, which is its file's, and how it is made of the float32 graph."""

    name: str
    make: Callable[[Path, Path], object]


Measure: TypeAlias = Callable[[Encode, ExportedTower], Measured]


def _dynamic(**options: Any) -> Callable[[Path, Path], object]:
    """Weights in 8 bits, activations as they come; ``options`` are those of ``quantize_dynamic``."""

    def make(whole: Path, path: Path) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        kind = QuantType.QUInt8 if options.get("unsigned") else QuantType.QInt8
        given = {name: value for name, value in options.items() if name != "unsigned"}
        quantize_dynamic(whole, path, weight_type=kind, **given)

    return make


def _weights_only(whole: Path, path: Path) -> None:
    """Weights in 8 bits by blocks of 32, arithmetic in float32."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(str(whole), bits=8, block_size=32, is_symmetric=True)
    quantizer.process()
    quantizer.model.save_model_to_file(str(path))


KERNELS = (
    Kernel("int8", _dynamic(per_channel=True)),
    Kernel("int8-of-7-bits", _dynamic(per_channel=True, reduce_range=True)),
    Kernel("uint8", _dynamic(unsigned=True)),
    Kernel("int8-weights", _weights_only),
)
"""In the order in which they are tried: the quickest first, where the processor has what it needs."""


def load_choice(exported: ExportedTower) -> Choice | None:
    """What was chosen before for this export, on this machine or one that shares its cache."""
    return read_choice(exported.folder / CHOICE)


def open_best(exported: ExportedTower, *, exact: bool = False, worthwhile: int = WORTHWHILE) -> TextRunner | None:
    """The form of an export that this processor runs best and right, and its name; None where not even float32 holds.

    ``exact`` leaves 8 bits out, as a graph of fewer bytes than ``worthwhile`` does. What was chosen before is compared
    with torch's vectors again at every load.
    """
    if not exact and exported.whole.stat().st_size >= worthwhile:
        choice = load_choice(exported)
        if choice is not None and choice.kernel != FLOAT32:
            encode = encoder_of(exported, exported.folder / f"{choice.kernel}.onnx")
            if encode is not None and least_cosine(encode, exported) >= LEAST_COSINE:
                return TextRunner(encode, "onnx", choice.kernel)
        if choice is None or choice.kernel != FLOAT32:
            found = choose(exported)
            if found is not None:
                return found
    return _open_whole(exported)


def choose(
    exported: ExportedTower, *, kernels: Sequence[Kernel] = KERNELS, measure: "Measure | None" = None
) -> TextRunner | None:
    """Try the forms in their order, keep the first that holds and gains, and remember it; None where none does."""
    measure = measure or measured
    whole = _open_whole(exported)
    if whole is None:
        return None
    tried = {FLOAT32: measure(whole.encode, exported)}
    for kernel in kernels:
        encode = _made(kernel, exported)
        if encode is None:
            continue
        tried[kernel.name] = measure(encode, exported)
        if tried[kernel.name].cosine >= LEAST_COSINE and tried[kernel.name].seconds < tried[FLOAT32].seconds:
            _remember(Choice(kernel.name, tried), exported)
            return TextRunner(encode, "onnx", kernel.name)
        (exported.folder / f"{kernel.name}.onnx").unlink(missing_ok=True)
    if len(tried) > 1:
        _remember(Choice(FLOAT32, tried), exported)
    return None


def measured(encode: Encode, exported: ExportedTower) -> Measured:
    """What one form does with the probes: the median of a few rounds, after one that warms up."""
    cosine = least_cosine(encode, exported)
    return Measured(round(cosine, 6), round(median_seconds(lambda: encode(exported.probes)), 6))


def _open_whole(exported: ExportedTower) -> TextRunner | None:
    encode = encoder_of(exported, exported.whole)
    if encode is None:
        return None
    cosine = least_cosine(encode, exported)
    if cosine >= LEAST_WHOLE:
        return TextRunner(encode, "onnx", FLOAT32)
    log.warning("onnx_refused path=%s cosine=%.5f least=%s", exported.folder, cosine, LEAST_WHOLE)
    return None


def _made(kernel: Kernel, exported: ExportedTower) -> Encode | None:
    """One form, made of the float32 graph where it is not there yet; None where that cannot be done."""
    file = exported.folder / f"{kernel.name}.onnx"
    encode = encoder_of(exported, file) if file.exists() else None
    if encode is not None:
        return encode
    try:
        with quiet(), replacing(file) as draft:
            kernel.make(exported.whole, draft)
    except Exception as error:  # noqa: BLE001  (the quantizers' errors have no common type, and float32 can always run)
        log.warning("kernel_failed kernel=%s path=%s %s: %s", kernel.name, file, type(error).__name__, error)
        return None
    return encoder_of(exported, file)


def _remember(choice: Choice, exported: ExportedTower) -> None:
    log.info("kernel_chosen kernel=%s path=%s tried: %s", choice.kernel, exported.folder, choice)
    keep_choice(choice, exported.folder / CHOICE)
