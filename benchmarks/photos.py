"""JPEGs that cost what photographs cost: smooth areas, edges and a little noise, made by code."""

import itertools
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = {"500x375": (500, 375), "1920x1080": (1920, 1080), "4000x3000": (4000, 3000)}


def make_photos(folder: Path, *, size: tuple[int, int], count: int, first: int = 0, quality: int = 88) -> Path:
    """Fill ``folder`` with ``count`` JPEGs of ``size`` (width, height), each another; what is there already is kept.

    They are numbered from ``first``; those of one number are alike.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        if path.exists():
            continue
        path.parent.mkdir(exist_ok=True)
        _photo(size, seed=number).save(path, quality=quality)
    return folder


def make_many(folder: Path, *, of: Path, count: int) -> Path:
    """Fill ``folder`` with ``count`` JPEGs, the images of ``of`` over and over, each with a comment of its own.

    To ingestion no two are alike, and they are made as fast as a disk writes.
    """
    originals = [path.read_bytes() for path in sorted(of.rglob("*.jpg"))]
    for number, data in zip(range(count), itertools.cycle(originals), strict=False):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_commented(data, f"{number:08d}"))
    return folder


def _commented(data: bytes, comment: str) -> bytes:
    """A JPEG as Pillow writes it, with a comment (marker COM, ITU-T T.81, B.2.4.5) behind its first segment."""
    end = 4 + int.from_bytes(data[4:6]) if data[2:4] == b"\xff\xe0" else 2
    return data[:end] + b"\xff\xfe" + (2 + len(comment)).to_bytes(2) + comment.encode() + data[end:]


def _photo(size: tuple[int, int], *, seed: int) -> Image.Image:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
    edges = Image.fromarray(generator.integers(0, 2, (24, 32), dtype=np.uint8) * 255).resize(
        size, Image.Resampling.NEAREST
    )
    grain = generator.integers(-6, 7, (size[1], size[0], 1), dtype=np.int16)
    pixels = smooth + grain + (np.asarray(edges, dtype=np.int16)[..., None] // 6)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
