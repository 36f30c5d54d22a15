"""The second look: what is kept of an image's pixels while images are compared with one another.

The rule: an image of one colour has nothing to compare; it says so, and is the same as no other by its pixels.
"""

from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from connector.images.decode import upright

LOOK = 256
"""Pixels of the longer edge, at most, in which images are compared."""
COARSE = 32
"""Pixels of the longer edge in which the place of a crop is searched for."""
FLAT = 4.0
"""Standard deviation of grey levels below which an image counts as one of one colour."""
SMALLEST = 24
"""Pixels of the shorter edge below which nothing can be told."""

Grey = NDArray[np.float32]
"""(height, width) float32, grey levels 0 to 255."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """An image as it is compared. ``width`` and ``height`` are the look's.

    ``hashes`` are the perceptual hashes (pHash, 64 bits) of its four quarter turns, counter-clockwise from upright.
    ``sharpness`` is the standard deviation of the grey levels' Laplacian, in the size that was decoded.
    """

    pixels: Image.Image
    hashes: tuple[NDArray[np.bool_], ...]
    sharpness: float
    flat: bool

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.pixels.width

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.pixels.height


def look_at(data: bytes, *, max_pixels: int) -> Look:
    """Decode a file for comparison. Raises UnreadableImage."""
    whole = upright(data, size=LOOK, max_pixels=max_pixels)
    sharpness = _sharpness(np.asarray(whole.convert("L"), dtype=np.float32))
    pixels = scaled(whole, longer=LOOK)
    grey = pixels.convert("L")
    flat = float(np.asarray(grey).std()) < FLAT or min(pixels.size) < SMALLEST
    hashes = tuple(imagehash.phash(turned(grey, turns)).hash for turns in range(4))
    return Look(pixels, hashes, sharpness, flat)


def scaled(image: Image.Image, *, longer: int) -> Image.Image:
    """The image with a longer edge of ``longer`` pixels; one that has fewer stays as it is."""
    factor = longer / max(image.size)
    if factor >= 1:
        return image
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.BOX if factor < 0.25 else Image.Resampling.LANCZOS)


_TURNS = (None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)


def turned(image: Image.Image, turns: int) -> Image.Image:
    """The image after so many quarter turns, counter-clockwise."""
    turn = _TURNS[turns]
    return image if turn is None else image.transpose(turn)


def _sharpness(grey: Grey) -> float:
    if min(grey.shape) < 3:
        return 0.0
    middle = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * middle
    return float(laplacian.std())
