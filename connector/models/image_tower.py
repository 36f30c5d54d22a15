"""Pixels to vectors: the image half of a space, in batches, on a CPU or a GPU.

The rule: images do not go through ``encode()``. Pixels arrive as uint8; the vectors are those of the reference
pipeline to a cosine of 0.9999, on every device, in every precision but int8 and at every batch size and thread count,
which is checked at load (docs/decisions/0002-towers.md).
"""

import copy
import gc
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from connector.errors import ModelError
from connector.models.catalog import find_space, fingerprint_of, image_tower_of
from connector.models.declaration import Space
from connector.models.image_batching import compiled_pays, find_batch, transfer_to
from connector.models.image_families import load_image_model
from connector.models.image_kernels import (
    LEAST_COSINE,
    Precision,
    choose,
    least_cosine,
    load_choice,
    processor,
    remember,
)
from connector.models.image_onnx import FORMS, int8_forward
from connector.models.image_onnx import LEAST_COSINE as INT8_COSINE
from connector.models.kernel_choice import Choice
from connector.models.licences import check_licence
from connector.models.loading import BROKEN, WithinMemory, choose_device, first_line
from connector.models.lookup import find_model, tower_digest
from connector.models.probe import EXACT, check_probe
from connector.models.verification import check_verified
from connector.models.vision import Reference, Vision
from connector.models.weights import check_sha256
from connector.process import give_back
from connector.records import Pixels, Vectors
from connector.settings import ModelSettings

log = logging.getLogger(__name__)

COLLECTED = 64 * 1024**2
"""Bytes of weights from which loading collects what it left in cycles: that stops the process for .3 s or longer."""
CPU_BATCH = 16
"""Images in one forward pass on a CPU: more are no faster there, and fewer spread evenly over the cores."""

MPS_BATCH = 64

GPU_CALLERS = 2
"""Threads that keep a GPU busy: one fills its slot and sends it while the batch of the other is computed."""

Forward = Callable[[Tensor], Tensor]
"""(n, size, size, 3) uint8 -> (n, dims), both on the device."""


class ImageTower:
    """The image half of a space, loaded and ready; a call is one forward pass.

    Many threads may call at once; ``callers`` says how many are best. On a CPU each should have one torch thread.
    """

    def __init__(
        self,
        forward: Forward,
        *,
        space: Space,
        device: torch.device,
        precision: Precision,
        weights: str,
        compiling: Literal["auto", "on", "off"] = "off",
    ) -> None:
        self.space = space
        self.device = str(device)
        self.precision: Precision = precision
        self.fingerprint = replace(fingerprint_of(space), weights=weights)
        self._eager = forward
        self._compiling = compiling
        self._compiled: tuple[int, Forward] | None = None  # for batches of exactly this many
        self._transfer = transfer_to(device)
        self._within_memory = WithinMemory()

    @classmethod
    def load(cls, model: ModelSettings, *, declared: Space | None = None) -> "ImageTower":
        """The image tower of ``model.space``, from ``model.image_model`` where that is set.

        ``declared`` stands in for the declaration of that space.

        Raises ConfigError for an unknown space or device, ModelError where the weights are missing, broken, of
        another kind or shape, or do not survive the device or an explicit precision.
        """
        space = declared or find_space(model.space)
        device = choose_device(model.device)
        tower = image_tower_of(model, space=space)
        check_licence(space)
        check_verified(space)
        folder = find_model(tower)
        check_sha256(folder, tower)
        reference = load_image_model(folder, tower)
        exact = _exact_vectors(reference, space=space, name=tower.model)
        if tower is space.image:  # of another model that stands in for it nothing is known
            check_probe(exact[0], space.probe.image, what=f"image model {tower.model}", most=EXACT)
        vision = _rebuilt(reference, exact=exact, space=space)
        weights = tower_digest(folder, tower)
        precision: Precision
        forward: Forward
        if model.precision == "int8":
            precision, forward = "int8", _in_8_bits(vision, exact=exact, space=space, device=device, weights=weights)
        else:
            precision, forward = _choose_precision(
                vision, exact=exact, space=space, device=device, wanted=model.precision, weights=weights
            )
        log.info("image_tower model=%s device=%s kernel=%s", tower.model, device, precision)
        size = sum(each.nbytes for each in vision.parameters())
        del reference, vision
        if size >= COLLECTED:
            gc.collect()  # the libraries' models are cycles, which would stay with the weights that were read
        give_back()  # what loading took beyond the model itself, up to twice its size
        return cls(forward, space=space, device=device, precision=precision, weights=weights, compiling=model.compiling)

    def prepare(self, batch_size: int) -> int:
        """Get ready for many batches of ``batch_size``, 0 for a size that suits the device; returns the size.

        On a GPU this finds the batch by trying, and compiles the model where that is asked for and pays.
        """
        on_gpu = self.device.startswith("cuda")
        if not on_gpu:
            batch_size = batch_size or (CPU_BATCH if self.device == "cpu" else MPS_BATCH)
        elif not batch_size:
            trials = find_batch(self._trial(self._eager))
            torch.cuda.empty_cache()  # of the sizes that were too large
            log.info("batch_found batch=%d rates=%s", trials.batch, {b: round(r) for b, r in trials.rates.items()})
            batch_size = trials.batch
        if self._compiling == "on" or (self._compiling == "auto" and on_gpu):
            self._compile(batch_size)
        return batch_size

    @property
    def compiled(self) -> bool:
        """Whether full batches run through the compiled model."""
        return self._compiled is not None

    def callers(self, *, cores: int) -> int:
        """How many threads should call at once on a machine of so many cores."""
        if self.device == "cpu":  # one single-threaded pass a core beats one pass spread over all: no barriers
            return cores
        return GPU_CALLERS if self.device.startswith("cuda") else 1

    def slot(self, batch_size: int) -> Pixels:
        """Memory for a batch, to be filled again once ``embed`` has returned; pinned where the device is a GPU."""
        size = self.space.image_size
        return self._transfer.slot((batch_size, size, size, 3))

    def embed(self, pixels: Pixels) -> Vectors:
        """The vectors of a batch of images: (n, size, size, 3) uint8 -> (n, dims) float32, L2-normalised.

        A batch the device has no memory for is done in smaller pieces. Raises ModelError where not even one fits.
        """
        size = self.space.image_size
        if pixels.shape[1:] != (size, size, 3) or pixels.dtype != np.uint8:
            raise ValueError(
                f"pixels are {pixels.shape} {pixels.dtype}; space {self.space.name} takes (n, {size}, {size}, 3) uint8."
            )
        if len(pixels) == 0:
            return np.empty((0, self.space.dims), dtype=np.float32)
        return self._within_memory.run(self._whole, pixels)

    def _whole(self, pixels: Pixels) -> Vectors:
        """The vectors of a batch in one pass."""
        if self._compiled is not None and len(pixels) == self._compiled[0]:
            return self._run(self._compiled[1], pixels)
        return self._run(self._eager, pixels)

    @torch.inference_mode()
    def _run(self, forward: Forward, pixels: Pixels) -> Vectors:
        owned = np.require(pixels, requirements=("C", "W"))  # torch refuses to share what cannot be written
        return self._transfer.run(lambda sent: _unit(forward(sent)), torch.from_numpy(owned))

    def _compile(self, batch_size: int) -> None:
        """Compile for batches of this size, and keep the result where it is quicker and gives the same vectors."""
        compiled = cast(Forward, torch.compile(self._eager, dynamic=False))
        if not compiled_pays(self._trial(self._eager), self._trial(compiled), batch=batch_size):
            return
        pixels = np.resize(canonical_pixels(self.space.image_size), (batch_size, *self._shape))
        cosine = least_cosine(self._run(compiled, pixels), self._run(self._eager, pixels))
        if cosine < LEAST_COSINE:
            log.warning("compile_fallback reason=other vectors, cosine %.5f", cosine)
            return
        self._compiled = (batch_size, compiled)

    def _trial(self, forward: Forward) -> Callable[[int], float]:
        def seconds(batch: int) -> float:
            pixels = self.slot(batch)
            started = time.perf_counter()
            self._run(forward, pixels)
            return time.perf_counter() - started

        return seconds

    @property
    def _shape(self) -> tuple[int, int, int]:
        return (self.space.image_size, self.space.image_size, 3)


def canonical_pixels(size: int) -> Pixels:
    """Four images no library can change: noise from coarse to fine, (4, size, size, 3) uint8.

    Every value comes from the raw stream of PCG64, which numpy keeps stable.
    """
    images = []
    for index, cells in enumerate((4, 8, 16, 32)):
        raw = np.random.PCG64(index).random_raw(cells * cells * 3)
        coarse = (raw >> 56).astype(np.uint8).reshape(cells, cells, 3)
        rows = np.arange(size) * cells // size
        images.append(coarse[rows][:, rows])
    return np.stack(images)


def has_bfloat16(device: torch.device, capabilities: Mapping[str, Any] | None = None) -> bool:
    """Whether bfloat16 is worth trying there: the processor has the instructions, nothing is emulated.

    ``capabilities`` is what ``torch.cpu.get_capabilities`` says, unless told otherwise.
    """
    if device.type == "cuda":
        return bool(torch.cuda.get_device_capability(device) >= (8, 0))
    if device.type != "cpu":
        return False
    known = torch.cpu.get_capabilities() if capabilities is None else capabilities
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _unit(vectors: Tensor) -> Tensor:
    """L2-normalised, in float32 whatever the model computes in."""
    return nn.functional.normalize(vectors.float(), dim=1)


@torch.inference_mode()
def _canonical(forward: Forward, *, space: Space, device: torch.device) -> Vectors:
    """The vectors of the canonical batch."""
    raw = torch.from_numpy(np.ascontiguousarray(canonical_pixels(space.image_size))).to(device)
    vectors: Vectors = _unit(forward(raw)).cpu().numpy()
    return vectors


def _exact_vectors(reference: Reference, *, space: Space, name: str) -> Vectors:
    """The canonical vectors in float32 on the CPU. Raises ModelError for images or vectors of another size."""
    if reference.image_size != space.image_size:
        raise ModelError(
            f"the image model {name} takes images of {reference.image_size} pixels, "
            f"space {space.name} {space.image_size}."
        )
    try:
        exact = _canonical(reference, space=space, device=torch.device("cpu"))
    except BROKEN as error:
        raise ModelError(f"the image model {name} cannot be run: {first_line(error)} Fetch it again.") from error
    if not np.allclose(np.linalg.norm(exact, axis=1), 1, atol=1e-3):  # NaN, or nothing at all
        raise ModelError(
            f"the image model {name} gives vectors without a length: its weights are damaged. Fetch it again."
        )
    if exact.shape[1] != space.dims:
        raise ModelError(f"the image model {name} gives {exact.shape[1]} dims, space {space.name} has {space.dims}.")
    return exact


def _rebuilt(reference: Reference, *, exact: Vectors, space: Space) -> nn.Module:
    """The quick forward pass where the model is one that we know, else the reference's own; the log says which."""
    if reference.final:
        return reference
    try:
        vision = Vision(reference)
        cosine = least_cosine(_canonical(vision, space=space, device=torch.device("cpu")), exact)
    except (TypeError, AttributeError) as error:
        log.warning("vision_fallback reason=%s", error)
        return reference
    if cosine < LEAST_COSINE:
        log.warning("vision_fallback reason=other vectors, cosine %.5f", cosine)
        return reference
    return vision


def _in_8_bits(vision: nn.Module, *, exact: Vectors, space: Space, device: torch.device, weights: str) -> Forward:
    """The first form in 8 bits whose vectors are float32's. Raises ModelError where none is."""
    cosines: dict[str, float] = {}
    for form in FORMS:
        forward = int8_forward(vision, device=device, weights=weights, form=form)
        cosines[form] = least_cosine(_canonical(forward, space=space, device=torch.device("cpu")), exact)
        if cosines[form] >= INT8_COSINE:
            log.info("image_kernel_chosen kernel=%s tried: %s", form, cosines)
            return forward
    raise ModelError(
        f"model.precision = int8 brings this model's vectors only to cosine {max(cosines.values()):.5f} of float32, "
        f"less than {INT8_COSINE}. Set model.precision = auto."
    )


def _choose_precision(
    model: nn.Module, *, exact: Vectors, space: Space, device: torch.device, wanted: str, weights: str
) -> tuple[Precision, nn.Module]:
    """The precision to run in, and the model in it on the device; each has to give the exact vectors' like."""
    if wanted == "bfloat16":
        half, cosine = _half(model, exact=exact, space=space, device=device)
        if cosine >= LEAST_COSINE:
            return "bfloat16", half
        raise ModelError(
            f"model.precision = bfloat16 brings this model's vectors only to cosine {cosine:.5f} of float32, "
            f"less than {LEAST_COSINE}. Set model.precision = float32."
        )
    if wanted == "auto" and (found := _measured_half(model, exact=exact, space=space, device=device, weights=weights)):
        return "bfloat16", found
    if device.type == "cpu":  # where the model was held against the reference when it was rebuilt
        return "float32", model
    model = model.to(device)
    cosine = least_cosine(_canonical(model, space=space, device=device), exact)
    if cosine < LEAST_COSINE:
        raise ModelError(
            f"device {device} gives vectors of only cosine {cosine:.5f} to this processor's, less than {LEAST_COSINE}. "
            "Set model.device = cpu."
        )
    return "float32", model


def _measured_half(
    model: nn.Module, *, exact: Vectors, space: Space, device: torch.device, weights: str
) -> nn.Module | None:
    """The model in bfloat16 where that was or is found to hold and to gain on this device, else None."""
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    choice = load_choice(weights, device=place)
    if choice is None and not has_bfloat16(device):
        choice = Choice("float32")
        remember(choice, weights, device=place)
    if choice is not None and choice.kernel != "bfloat16":
        return None
    half, cosine = _half(model, exact=exact, space=space, device=device)
    if choice is None:
        whole = model if device.type == "cpu" else copy.deepcopy(model).to(device)
        passes = (partial(_canonical, each, space=space, device=device) for each in (whole, half))
        choice = choose(*passes, exact=exact)
        remember(choice, weights, device=place)
    if choice.kernel == "bfloat16" and cosine >= LEAST_COSINE:
        return half
    log.warning("precision_fallback precision=float32 bfloat16_cosine=%.5f tried: %s", cosine, choice)
    return None


def _half(model: nn.Module, *, exact: Vectors, space: Space, device: torch.device) -> tuple[nn.Module, float]:
    """The model in bfloat16 on the device, and the least cosine of its vectors."""
    half = copy.deepcopy(model).bfloat16().to(device)
    return half, least_cosine(_canonical(half, space=space, device=device), exact)
