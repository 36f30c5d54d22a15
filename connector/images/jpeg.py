"""JPEGs to pixels, by simplejpeg where the extra ``speed`` is installed, else by Pillow: the same pixels, bit for bit.

The rule: Pillow alone decides what is a JPEG and what is refused. It reads every header, and decodes whatever
simplejpeg, at its strictest, does not read without a warning.
"""

import contextlib
import io
import random
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from connector.images.jpeg_markers import END, Frame, Scans, frame_of, scans_of


def pixels_needed(frame: Frame, *, size: int) -> int:
    """How many pixels of memory it takes to decode a JPEG no finer than ``size`` needs.

    Of several scans libjpeg keeps every coefficient first, which counts as ``_COEFFICIENTS`` of a pixel.
    """
    draft = _draft(frame.width, frame.height, size=size)
    kept = int(frame.width * frame.height * _COEFFICIENTS) if frame.buffered and draft > 1 else 0
    return -(-frame.width // draft) * -(-frame.height // draft) + kept


def decode_smaller(image: JpegImageFile, *, data: bytes, size: int) -> JpegImageFile | NDArray[np.uint8]:
    """Decode an open JPEG, no finer than ``size`` needs: to half, a quarter or an eighth, never below twice ``size``.

    Gives (height, width, 3 or 1) uint8, or the loaded image where Pillow decoded it. One that lacks nothing but its
    end mark is read too; what stands behind that mark plays no part. Raises what Pillow raises, and EOFError.
    """
    image.draft(None, (2 * size, 2 * size))
    if (plane := _quick_plane(image, data)) is not None:
        return plane
    if not data.endswith(bytes(64)):  # libjpeg would take them for bits
        with contextlib.suppress(OSError):  # what it has against the file is found out below
            image.load()
            if not _ends_flat(image):
                return image
    frame = frame_of(data)
    if frame is None:
        image.load()
        return image
    return _whole(data, frame, scans=scans_of(data, frame), size=size)


def _ends_flat(image: JpegImageFile) -> bool:
    """Whether the last corner is of one colour: a flat image, or what libjpeg fills in for bits that are missing."""
    corner = np.asarray(image.crop((max(0, image.width - 8), max(0, image.height - 8), *image.size)))
    return int(np.ptp(corner, axis=(0, 1)).max()) <= _FLAT


_FLAT = 4
"""Grey levels within a corner of one colour: libjpeg smooths a progressive one between its blocks."""


def _whole(data: bytes, frame: Frame, *, scans: Scans, size: int) -> JpegImageFile:
    """The image, where every one of its bits is there.

    libjpeg fills what is missing with grey once it meets a marker. So it meets none: behind the bits of a lone scan
    stand a few that mean nothing, and it stops for want of more. Of several scans the last one is put to the test.
    """
    bits = data[: scans.end]
    if not scans.closed and bits.endswith(bytes(64)):
        raise EOFError("nothing but zeros where the rest of the image should be")
    if frame.buffered:
        if not scans.closed or not _is_settled(bits, size=size):
            raise EOFError("its last scan is not all there")
        return _loaded(bits + END, size=size)
    if not scans.closed and not _is_settled(bits.removesuffix(b"\xff"), size=size):
        raise EOFError("its last lines are not all there")
    return _loaded(bits.removesuffix(b"\xff") + _NO_BITS, size=size)


_NO_BITS = b"\xff\x00" * 8
"""As many bits as libjpeg reads ahead; they are no code of any table."""


def _loaded(data: bytes, *, size: int) -> JpegImageFile:
    image = JpegImageFile(io.BytesIO(data))
    image.draft(None, (2 * size, 2 * size))
    image.load()
    return image


def _draft(width: int, height: int, *, size: int) -> int:
    """By what a JPEG is decoded smaller: 8, 4, 2 or 1, as Pillow's ``draft`` chooses."""
    spare = min(width, height) // (2 * size)
    return next((scale for scale in (8, 4, 2) if spare >= scale), 1)


_COEFFICIENTS = 0.25
"""Share of ``BYTES_PER_PIXEL`` that a pixel's coefficients take: 8 bytes of four colours, 6 of three."""
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


def _is_settled(bits: bytes, *, size: int) -> bool:
    """Whether whatever bits follow change no pixel: then none of the last scan are missing."""
    return len({_checksum(bits + more + END, size=size) for more in _ANY_BITS}) == 1


# More than the largest unit of a JPEG, six blocks of 64 coefficients: blocks beyond the image's edge show nothing.
_ANY_BITS = (b"", *(random.Random(seed).randbytes(4096).replace(b"\xff", b"\xfe") for seed in range(3)))


def _checksum(data: bytes, *, size: int) -> int:
    return zlib.crc32(_loaded(data, size=size).tobytes())
