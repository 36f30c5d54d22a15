"""Batches to the device and vectors back: at once on a CPU, beside the computing on a GPU.

The rule: whoever calls owns a slot, fills it, and may fill it again as soon as the vectors are there. With two callers
one batch travels while the other is computed.
"""

import torch
from torch import Tensor

from connector.records import Pixels, Vectors


class Direct:
    """Devices whose memory needs no preparation."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def slot(self, shape: tuple[int, ...]) -> Pixels:
        """Memory for one batch, to be filled again and again: uint8 of this shape."""
        return _numpy(torch.empty(shape, dtype=torch.uint8))

    def bring(self, pixels: Tensor) -> Tensor:
        """A batch on the device."""
        return pixels.to(self._device)

    def fetch(self, vectors: Tensor) -> Vectors:
        """What was computed, in this process's memory."""
        return _fetched(vectors)


class SideStream:
    """A CUDA device: batches travel from pinned memory on a stream of their own. Any number of threads may call."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def slot(self, shape: tuple[int, ...]) -> Pixels:
        """Pinned memory for one batch, which alone travels without holding up its thread: uint8 of this shape."""
        return _numpy(torch.empty(shape, dtype=torch.uint8, pin_memory=True))

    def bring(self, pixels: Tensor) -> Tensor:
        """A batch on the device, as far as the computing stream is concerned; ``pixels`` must live until ``fetch``."""
        with torch.cuda.stream(self._copying):
            arrived = pixels.to(self._device, non_blocking=True)
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(self._copying)
        arrived.record_stream(computing)  # its memory is not given to the next batch before this one is computed
        return arrived

    def fetch(self, vectors: Tensor) -> Vectors:
        """What was computed, in this process's memory; the thread sleeps until it is."""
        done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(self._device))
        done.synchronize()
        return _fetched(vectors)


def transfer_to(device: torch.device) -> Direct | SideStream:
    """The way to this device and back."""
    return SideStream(device) if device.type == "cuda" else Direct(device)


def _fetched(vectors: Tensor) -> Vectors:
    result: Vectors = vectors.cpu().numpy()
    return result


def _numpy(memory: Tensor) -> Pixels:
    pixels: Pixels = memory.numpy()
    return pixels
