"""Batches to the device and vectors back: at once on a CPU, beside the computing on a GPU.

The rule: whoever calls owns a slot, fills it, and may fill it again as soon as the vectors are there. With two callers
one fills and sends its batch while the other's is computed.
"""

import threading
from collections.abc import Callable

import torch
from torch import Tensor

from connector.records import Pixels, Vectors

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
