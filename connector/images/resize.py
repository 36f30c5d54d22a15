"""Resize: the shortest edge to the tower's size and the square in the middle, or the whole image squashed, upright.

The rule: what the crop does not need is cut off first, where the source's and the result's pixel grids meet, so that
the pixels stay the reference's.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from connector.images.planes import Plane
from connector.records import CLIP_RESIZING, Pixels, Resizing

# Orientation: how the stored rows and columns become the image: flip rows, flip columns, then transpose.
ORIENTATIONS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (True, True, False),
    4: (True, False, False),
    5: (False, False, True),
    6: (True, False, True),
    7: (True, True, True),
    8: (False, True, True),
}


@dataclass(frozen=True, slots=True)
class _Span:
    """One axis: resample source pixels ``start:stop`` by ``factor``, then keep ``skip : skip + size``."""

    start: int
    stop: int
    factor: float
    skip: int


def fit(
    plane: Plane, *, of: tuple[int, int], size: int, orientation: int, resizing: Resizing = CLIP_RESIZING
) -> Pixels:
    """A square of ``size``, upright. ``of`` is the original's (width, height) before a draft."""
    import torch  # here: what is no image, or becomes a thumbnail, does without it

    flip_rows, flip_columns, transpose = ORIENTATIONS[orientation]
    width, height = of
    short = min(of)
    draft = round(short / min(plane.shape[:2]))  # 1, 2, 4 or 8: a JPEG decoded smaller
    if resizing.shape == "squash":
        rows, columns = _whole(height / draft, size=size), _whole(width / draft, size=size)
    else:
        rows = _span(height / draft, out=size * height // short, size=size, flip=flip_rows)
        columns = _span(width / draft, out=size * width // short, size=size, flip=flip_columns)
    source = torch.from_numpy(np.array(plane[rows.start : rows.stop, columns.start : columns.stop]))
    resized = torch.nn.functional.interpolate(
        source.unsqueeze(0).permute(0, 3, 1, 2),  # (1, channels, h, w), channels last in memory: the fast path
        scale_factor=(rows.factor, columns.factor),
        mode=resizing.interpolation,
        antialias=True,
    )
    pixels = resized.numpy()[0].transpose(1, 2, 0)[rows.skip : rows.skip + size, columns.skip : columns.skip + size]
    pixels = pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    if transpose:
        pixels = pixels.swapaxes(0, 1)
    if pixels.shape[2] == 1:
        pixels = np.broadcast_to(pixels, (size, size, 3))
    return np.ascontiguousarray(pixels)


def _whole(length: float, *, size: int) -> _Span:
    """All of an axis of ``length``, resized to ``size``."""
    return _Span(start=0, stop=math.ceil(length), factor=(1 + 1e-9) * size / length, skip=0)


@lru_cache(maxsize=1024)
def _span(length: float, *, out: int, size: int, flip: bool) -> _Span:
    """Which source pixels the crop needs of an axis of ``length`` that is resized to ``out``.

    The cut is where both grids begin a pixel together, so that it changes nothing in the crop. ``length`` is not whole
    for a JPEG decoded smaller: its last row or column is then only in part within the image.
    """
    skip = (out - size) // 2
    if flip:
        skip = out - size - skip
    scale = length / out
    margin = math.ceil(2 * max(1.0, 1 / scale)) + 2  # bicubic reaches two pixels of the coarser grid
    candidates = np.arange(max(0, skip - margin), max(-1, skip - margin - _REACH), -1)
    at = candidates * scale
    miss = np.abs(at - np.rint(at)) / max(1.0, scale)
    good = np.flatnonzero(miss <= _MISS)
    first = int(candidates[good[0] if good.size else miss.argmin()])
    start = round(first * scale)
    stop = min(math.ceil(length), start + math.ceil((skip - first + size + margin) * scale))
    return _Span(start=start, stop=stop, factor=(1 + 1e-9) / scale, skip=skip - first)


_REACH = 2048
"""How many output pixels before the crop we look for a place where both grids meet."""
_MISS = 1 / 512
"""How far apart they may be there, in pixels of the coarser grid."""
