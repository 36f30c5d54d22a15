"""JPEGs to pixels, by simplejpeg where the extra ``speed`` is installed, else by Pillow: the same pixels, bit for bit.

The rule: Pillow alone decides what is a JPEG and what is refused. It reads every header, and decodes whatever
simplejpeg, at its strictest, does not read without a warning.
"""

import io
import random
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from connector.images.formats import JPEG_END


def decode_smaller(image: JpegImageFile, *, data: bytes, size: int) -> JpegImageFile | NDArray[np.uint8]:
    """Decode an open JPEG, no finer than ``size`` needs: to half, a quarter or an eighth, never below twice ``size``.

    Gives (height, width, 3 or 1) uint8, or the loaded image where Pillow decoded it. One that lacks nothing but its
    end mark is read too. Raises what Pillow raises.
    """
    if data.endswith(bytes(64)) and data.rfind(JPEG_END) < data.rfind(_SCAN):
        raise EOFError("nothing but zeros where the rest of the image should be")
    image.draft(None, (2 * size, 2 * size))
    if (plane := _quick_plane(image, data)) is not None:
        return plane
    try:
        image.load()
    except OSError:
        if not _lacks_only_its_end(data):
            raise
        image = JpegImageFile(io.BytesIO(data + JPEG_END))
        image.draft(None, (2 * size, 2 * size))
        image.load()
    return image


_SCAN = b"\xff\xda"
_RESTARTS = b"\xff\xdd"
_COLOURS = {"RGB": "RGB", "L": "GRAY"}
"""Pillow's modes that simplejpeg decodes alike. CMYK is Pillow's, which knows Adobe's inverted inks."""


def _quick_plane(image: JpegImageFile, data: bytes) -> NDArray[np.uint8] | None:
    """The pixels in the size that ``image`` was drafted to; None for what Pillow has to decide."""
    decoder, colours = quick_decoder(), _COLOURS.get(image.mode)
    if decoder is None or colours is None:
        return None
    try:
        plane: NDArray[np.uint8] = decoder(data, colours, min_width=image.width, min_height=image.height, strict=True)
    except ValueError:  # whatever the file has against it
        return None
    return plane if plane.shape[:2] == (image.height, image.width) else None


@cache
def quick_decoder() -> Callable[..., Any] | None:
    """simplejpeg's decoder, or None where it is not installed."""
    try:
        from simplejpeg import decode_jpeg
    except ImportError:
        return None
    decoder: Callable[..., Any] = decode_jpeg
    return decoder


def _lacks_only_its_end(data: bytes) -> bool:
    """Whether every pixel of a JPEG without end mark is there: then whatever bits follow change none of them.

    Of several scans or restart intervals a later one could be missing whole: those are never complete without the end.
    """
    data = data.removesuffix(b"\xff")
    image = JpegImageFile(io.BytesIO(data))
    scan = data.rfind(_SCAN)
    if "progressive" in image.info or data[scan + 4] != image.layers or _RESTARTS in data[:scan]:
        return False
    return len({_checksum(data + bits + JPEG_END) for bits in _ANY_BITS}) == 1


# More than the largest unit of a JPEG, six blocks of 64 coefficients: blocks beyond the image's edge show nothing.
_ANY_BITS = (b"", *(random.Random(seed).randbytes(4096).replace(b"\xff", b"\xfe") for seed in range(3)))


def _checksum(data: bytes) -> int:
    image = JpegImageFile(io.BytesIO(data))
    return zlib.crc32(image.tobytes())
