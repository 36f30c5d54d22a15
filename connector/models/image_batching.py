"""How many images a GPU takes at a time, and whether compiling pays: found by trying, on this very device.

Nothing here knows a device: a trial is a function that embeds so many images and returns the seconds it took.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from connector.records import Pixels, Vectors

log = logging.getLogger(__name__)

Trial = Callable[[int], float]
"""Embeds so many images; returns the seconds, and raises torch.OutOfMemoryError where they do not fit."""

BATCHES = (64, 128, 256, 512, 1024)
"""Sizes that are tried on a GPU; published figures for ViT-B/32 stop growing between 256 and 512."""

WORTH = 1.03
"""How much quicker a larger batch or a compiled model must be: less than that is noise."""

REPEATS = 3


@dataclass(frozen=True, slots=True)
class Trials:
    """What trying gave: the batch to use, and images a second by batch."""

    batch: int
    rates: dict[int, float]


def find_batch(trial: Trial, *, candidates: Sequence[int] = BATCHES) -> Trials:
    """The smallest of the candidates, in rising order, than which no larger one is quicker by ``WORTH``.

    Growing ends where memory does. Where not even the first fits it is halved until it does; raises
    torch.OutOfMemoryError where not even one image fits.
    """
    rates: dict[int, float] = {}
    for batch in candidates:
        try:
            rates[batch] = rate(trial, batch)
        except torch.OutOfMemoryError:
            break
        if rates[batch] * WORTH < max(rates.values()):
            break
    batch = candidates[0]
    while not rates:
        batch //= 2
        try:
            rates[batch] = rate(trial, batch)
        except torch.OutOfMemoryError:
            if batch <= 1:
                raise
    best = max(rates.values())
    chosen = min(batch for batch, found in rates.items() if found * WORTH >= best)
    return Trials(batch=chosen, rates=rates)


def rate(trial: Trial, batch: int) -> float:
    """Images a second in batches of this size: the best of a few, after one to warm up."""
    trial(batch)
    return batch / min(trial(batch) for _ in range(REPEATS))


def compiled_pays(eager: Trial, compiled: Trial, *, batch: int) -> bool:
    """Whether the compiled model embeds batches of this size quicker by ``WORTH``; the log has both rates.

    Compiling that fails, for lack of a compiler or for any other reason, does not pay either; the log says why.
    """
    before = rate(eager, batch)
    try:
        after = rate(compiled, batch)
    except Exception as error:  # noqa: BLE001  (whatever the compiler raises: the model runs without it)
        lines = str(error).strip().splitlines()
        log.warning("compile_fallback reason=%s: %s", type(error).__name__, lines[0] if lines else "no message")
        return False
    log.info("compile_measured batch=%d eager=%.0f/s compiled=%.0f/s", batch, before, after)
    if after < WORTH * before:
        log.info("compile_fallback reason=no quicker")
        return False
    return True


Work = Callable[[Tensor], Tensor]
"""A batch on the device -> its vectors there, float32."""


class Direct:
    """Devices whose memory needs no preparation."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def slot(self, shape: tuple[int, ...]) -> Pixels:
        """Memory for one batch, to be filled again and again: uint8 of this shape."""
        return _numpy(torch.empty(shape, dtype=torch.uint8))

    def run(self, work: Work, pixels: Tensor) -> Vectors:
        """What ``work`` makes of a batch, in this process's memory."""
        vectors: Vectors = work(pixels.to(self._device)).cpu().numpy()
        return vectors


class SideStream:
    """A CUDA device: batches travel from pinned memory on a stream of their own. Any number of threads may call.

    A batch's work is queued as a whole, the way back included, before that of another: whoever waits for its vectors
    never waits for a batch that came later, and the device has the next one before it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._queueing = threading.Lock()

    def slot(self, shape: tuple[int, ...]) -> Pixels:
        """Pinned memory for one batch, which alone travels without holding up its thread: uint8 of this shape."""
        return _numpy(torch.empty(shape, dtype=torch.uint8, pin_memory=True))

    def run(self, work: Work, pixels: Tensor) -> Vectors:
        """What ``work`` makes of a batch, in this process's memory; the thread sleeps until it is there."""
        with torch.cuda.stream(self._copying):
            sent = pixels.to(self._device, non_blocking=True)
            arrived = self._copying.record_event()
        with self._queueing:
            computing = torch.cuda.current_stream(self._device)
            computing.wait_event(arrived)
            sent.record_stream(computing)  # its memory is not given to another batch before this one is computed
            vectors = work(sent)
            back = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
            back.copy_(vectors, non_blocking=True)
            done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            done.record(computing)
        done.synchronize()
        found: Vectors = back.numpy().copy()  # pinned memory is for what travels
        return found


def transfer_to(device: torch.device) -> Direct | SideStream:
    """The way to this device and back."""
    return SideStream(device) if device.type == "cuda" else Direct(device)


def _numpy(memory: Tensor) -> Pixels:
    pixels: Pixels = memory.numpy()
    return pixels
