"""Decoding and embedding side by side, without a store: the channels of ingestion, and two of its stages."""

import itertools
import threading
from collections.abc import Sequence

import numpy as np
import torch

from connector.records import Pixels
from connector.spaces.image_tower import ImageTower
from connector.spaces.pixels import decode
from workers.channel import Channel, Crew

CHUNK = 32


def decode_and_embed(tower: ImageTower, blobs: Sequence[bytes], *, images: int, batch: int, threads: int) -> None:
    """Bring so many pictures, the same ones over and over, through decoders and the tower."""
    callers = tower.callers(cores=threads)
    pictures: Channel[Pixels] = Channel(2 * batch * callers, least=batch)
    endless, left, lock = itertools.cycle(blobs), images, threading.Lock()

    def take() -> list[bytes]:
        nonlocal left
        with lock:
            count = min(CHUNK, left)
            left -= count
            return list(itertools.islice(endless, count))

    def decoder() -> None:
        torch.set_num_threads(1)
        while chunk := take():
            pictures.put([decode(b, size=tower.space.image_size, max_pixels=10**9).pixels for b in chunk])

    def embedder() -> None:
        torch.set_num_threads(1)
        slot = tower.slot(batch)
        while ready := pictures.get(batch):
            np.stack(ready, out=slot[: len(ready)])
            tower.embed(slot[: len(ready)])

    with Crew([pictures]) as crew:
        crew.start("decode", decoder, count=threads, output=pictures)
        crew.start("embed", embedder, count=callers, output=None)
        crew.wait()
