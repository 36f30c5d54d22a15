"""JPEGs that cost what photographs cost: smooth areas, edges and a little noise, made by code."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZES = {"500x375": (500, 375), "1920x1080": (1920, 1080), "4000x3000": (4000, 3000)}


def make_photos(folder: Path, *, size: tuple[int, int], count: int, quality: int = 88) -> Path:
    """Fill ``folder`` with ``count`` JPEGs of ``size`` (width, height), each another; what is there already is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        if path.exists():
            continue
        path.parent.mkdir(exist_ok=True)
        _photo(size, seed=number).save(path, quality=quality)
    return folder


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
