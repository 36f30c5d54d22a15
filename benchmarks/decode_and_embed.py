"""Decoding and embedding side by side, without a store: the channels of ingestion, and two of its stages."""

import itertools
import threading
from collections.abc import Sequence

import numpy as np
import torch

from connector.images.decode import decode
from connector.models.image_tower import ImageTower
from connector.records import Pixels
from workers.pipeline.channel import Channel, ThreadGroup

CHUNK = 32


def decode_and_embed(tower: ImageTower, blobs: Sequence[bytes], *, count: int, batch: int, threads: int) -> None:
    """Bring so many images, the same ones over and over, through decoders and the tower."""
    callers = tower.callers(cores=threads)
    images: Channel[Pixels] = Channel(2 * batch * callers, least=batch)
    endless, left, lock = itertools.cycle(blobs), count, threading.Lock()

    def take() -> list[bytes]:
        nonlocal left
        with lock:
            some = min(CHUNK, left)
            left -= some
            return list(itertools.islice(endless, some))

    def decoder() -> None:
        torch.set_num_threads(1)
        while chunk := take():
            images.put([decode(b, size=tower.space.image_size, max_pixels=10**9).pixels for b in chunk])

    def embedder() -> None:
        torch.set_num_threads(1)
        slot = tower.slot(batch)
        while ready := images.get(batch):
            np.stack(ready, out=slot[: len(ready)])
            tower.embed(slot[: len(ready)])

    with ThreadGroup([images]) as group:
        group.start("decode", decoder, count=threads, output=images)
        group.start("embed", embedder, count=callers, output=None)
        group.wait()
