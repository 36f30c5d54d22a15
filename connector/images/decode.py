"""Bytes to pixels: the one decoder, for queries and for ingestion.

The rule: the result is CLIP's own preprocessing in Pillow (RGB, bicubic, shortest edge, centre crop) to within a few
grey levels, but for the four differences in ``docs/decisions/0001-pixels.md``. Content decides the format, never the
name. Everything Pillow raises is translated here and nowhere else. Memory: at most ``BYTES_PER_PIXEL * max_pixels``
beyond a constant. Any number of threads may decode at once; each should have called ``torch.set_num_threads(1)``.
"""

import io
import math
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from connector.errors import ImageFault, UnreadableImage
from connector.images.formats import ends_early, recognise
from connector.images.jpeg import decode_smaller
from connector.records import Pixels

BYTES_PER_PIXEL = 32
"""Bound of one decode's peak memory, in bytes for each pixel of the original.

Measured: JPEG 0.2 (progressive 6, CMYK 8), PNG 7 to 14, TIFF up to 18, WebP 23, JPEG 2000 with alpha 25.
"""

_Plane: TypeAlias = NDArray[np.uint8]  # (height, width, 3), or (height, width, 1) for greys

_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,
)
"""What Pillow and its codecs have been seen to raise on broken files."""

# Orientation: how the stored rows and columns become the image: flip rows, flip columns, then transpose.
_ORIENTATIONS = {
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
class Decoded:
    """An image ready for a tower. ``width`` and ``height`` are the original's, as a viewer shows it.

    ``format`` is jpeg, png, webp, avif, gif, tiff, bmp, jpeg2000 or heic. ``exif`` is empty where absent or broken;
    that of a TIFF keeps the file's bytes alive.
    """

    pixels: Pixels  # (size, size, 3) uint8 RGB
    width: int
    height: int
    format: str
    exif: Image.Exif


def decode(data: bytes, *, size: int, max_pixels: int) -> Decoded:
    """Decode a file's bytes to ``(size, size, 3)`` uint8 RGB: the first frame or page, upright, alpha on white.

    An image of more than ``max_pixels`` is refused from its header. Raises UnreadableImage with its ``reason``.
    """
    name = recognise(data)
    image = _open(data, name=name, max_pixels=max_pixels)
    width, height = image.size
    with _translated(name, data):
        loaded = _load(image, data=data, size=size)
        exif = _exif(image)
        turn = _orientation(exif)
        plane = _plane(loaded)
    del image, loaded  # a large image is here twice by now
    pixels = _fit(plane, of=(width, height), size=size, orientation=turn)
    if _ORIENTATIONS[turn][2]:
        width, height = height, width
    return Decoded(pixels=pixels, width=width, height=height, format=name, exif=exif)


def upright(data: bytes, *, size: int, max_pixels: int) -> Image.Image:
    """The whole image as a viewer shows it: the first frame or page, upright, RGB, alpha on white.

    A JPEG comes no finer than twice ``size`` asks for. Raises UnreadableImage with its ``reason``, as ``decode`` does.
    """
    name = recognise(data)
    image = _open(data, name=name, max_pixels=max_pixels)
    with _translated(name, data):
        loaded = _load(image, data=data, size=size)
        flip_rows, flip_columns, transpose = _ORIENTATIONS[_orientation(_exif(image))]
        plane = _plane(loaded)
    plane = plane[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    if transpose:
        plane = plane.swapaxes(0, 1)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(plane, (*plane.shape[:2], 3))))


def _open(data: bytes, *, name: str, max_pixels: int) -> ImageFile:
    """A file's header; its pixels are not decoded yet, and never if there are more than ``max_pixels``."""
    _hush_pillow()
    with _translated(name, data):
        image = _OPENERS[name](io.BytesIO(data))
    width, height = image.size
    if width * height > max_pixels:
        raise UnreadableImage(
            f"{width}x{height} is {width * height:,} pixels, more than limits.max_pixels = {max_pixels:,}.",
            reason="too_many_pixels",
        )
    return image


def prepare(image: Image.Image, *, size: int) -> Pixels:
    """The same pixels from an image that is already open in Pillow. Raises UnreadableImage if it cannot be loaded."""
    _hush_pillow()
    with _translated(image.format or "image", b""):
        image.load()
        orientation = _orientation(_exif(image))
        plane = _plane(image)
    return _fit(plane, of=image.size, size=size, orientation=orientation)


def _open_heic(file: io.BytesIO) -> ImageFile:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise UnreadableImage(
            'HEIC needs one more package: pip install "polyglance[heic]"', reason="unsupported_format"
        ) from error
    return cast(ImageFile, HeifImageFile(file))  # type: ignore[no-untyped-call]


# The plugins' classes, not Image.open: that would try others, and warn at a limit that is not ours.
_OPENERS: dict[str, Callable[[io.BytesIO], ImageFile]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
    "avif": AvifImageFile,
    "gif": GifImageFile,
    "tiff": TiffImageFile,
    "bmp": BmpImageFile,
    "jpeg2000": Jpeg2KImageFile,
    "heic": _open_heic,
}


# ------------------------------------------------------------------------------------------- loading, and its errors


def _load(image: ImageFile, *, data: bytes, size: int) -> Image.Image | _Plane:
    """Decode the pixels; a JPEG only as finely as ``size`` needs."""
    if isinstance(image, JpegImageFile):
        return decode_smaller(image, data=data, size=size)
    if isinstance(image, Jpeg2KImageFile) and ends_early(data, name="jpeg2000"):
        raise EOFError("the file ends before its image does")  # OpenJPEG would leave the missing tiles black
    image.load()
    return image


def _hush_pillow() -> None:
    """Keep Pillow's warnings about broken metadata from the user: the image is what counts.

    ``warnings.catch_warnings`` is not safe among threads, so this is one lasting filter for Pillow's modules alone.
    """
    if warnings.filters[:1] != [_QUIET]:
        warnings.filterwarnings("ignore", category=UserWarning, module=_QUIET_MODULES)


_QUIET_MODULES = r"PIL\."
_QUIET: Any = ("ignore", None, UserWarning, re.compile(_QUIET_MODULES), 0)


@contextmanager
def _translated(name: str, data: bytes) -> Iterator[None]:
    try:
        yield
    except UnreadableImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(f"this {name} claims too many pixels: {error}", reason="too_many_pixels") from error
    except MemoryError as error:
        raise UnreadableImage(f"no memory to decode this {name} of {len(data):,} bytes.", reason="corrupt") from error
    except _BROKEN as error:
        raise UnreadableImage(f"broken {name}: {_message(error)}", reason=_fault(error, name, data)) from error


def _message(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__


def _fault(error: BaseException, name: str, data: bytes) -> ImageFault:
    """Whether a broken file merely ends too early."""
    if "truncated" in str(error).lower() or isinstance(error, EOFError):
        return "truncated"
    return "truncated" if data and ends_early(data, name=name) else "corrupt"


# -------------------------------------------------------------------------------------------------- metadata we need


def _exif(image: Image.Image) -> Image.Exif:
    try:
        return image.getexif()
    except _BROKEN:
        return Image.Exif()


def _orientation(exif: Image.Exif) -> int:
    """1 to 8; anything else a file may claim counts as 1."""
    try:
        value = exif.get(Base.Orientation, 1)
    except _BROKEN:
        return 1
    return value if isinstance(value, int) and value in _ORIENTATIONS else 1


# ------------------------------------------------------------------------------------------------------- to 8-bit RGB


def _plane(image: Image.Image | _Plane) -> _Plane:
    """Any mode as 8-bit RGB or grey: alpha on white, deep greys scaled; the rest as Pillow converts it."""
    if isinstance(image, np.ndarray):
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _scaled_greys(image)[:, :, np.newaxis]
    if image.has_transparency_data:
        image = _on_white(image)
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"))[:, :, np.newaxis]
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _on_white(image: Image.Image) -> Image.Image:
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        image = image.copy()  # of 16 bits a channel Pillow keeps the upper 8 in its pixels, but all in the colour key
        image.info["transparency"] = tuple(value >> 8 for value in key)
    if image.mode != "RGBA":
        image = image.convert("RGBA")
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert("RGB")
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=alpha)
    return canvas


def _scaled_greys(image: Image.Image) -> NDArray[np.uint8]:
    """16-bit greys over their whole range; 32-bit and float ones over the range they use, if it is beyond 8 bits."""
    greys = np.asarray(image)
    if greys.dtype.kind != "u":
        return _stretched(greys.astype(np.float32))
    scaled = ((greys.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if isinstance(key := image.info.get("transparency"), int):
        scaled[greys == key] = 255
    return scaled


def _stretched(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    finite = np.isfinite(values)
    low, high = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 0.0)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    elif low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    np.nan_to_num(values, copy=False, nan=low, posinf=high, neginf=low)
    values -= low
    values *= 255 / (high - low)
    return np.rint(values).astype(np.uint8)


# ------------------------------------------------------------------------------------------------- resize and crop


@dataclass(frozen=True, slots=True)
class _Span:
    """One axis: resample source pixels ``start:stop`` by ``factor``, then keep ``skip : skip + size``."""

    start: int
    stop: int
    factor: float
    skip: int


def _fit(plane: _Plane, *, of: tuple[int, int], size: int, orientation: int) -> Pixels:
    """Shortest edge to ``size``, centre crop, upright. ``of`` is the original's (width, height) before a draft."""
    flip_rows, flip_columns, transpose = _ORIENTATIONS[orientation]
    width, height = of
    short = min(of)
    draft = round(short / min(plane.shape[:2]))  # 1, 2, 4 or 8: a JPEG decoded smaller
    rows = _span(height / draft, out=size * height // short, size=size, flip=flip_rows)
    columns = _span(width / draft, out=size * width // short, size=size, flip=flip_columns)
    source = torch.from_numpy(np.array(plane[rows.start : rows.stop, columns.start : columns.stop]))
    resized = torch.nn.functional.interpolate(
        source.unsqueeze(0).permute(0, 3, 1, 2),  # (1, channels, h, w), channels last in memory: the fast path
        scale_factor=(rows.factor, columns.factor),
        mode="bicubic",
        antialias=True,
    )
    pixels = resized.numpy()[0].transpose(1, 2, 0)[rows.skip : rows.skip + size, columns.skip : columns.skip + size]
    pixels = pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    if transpose:
        pixels = pixels.swapaxes(0, 1)
    if pixels.shape[2] == 1:
        pixels = np.broadcast_to(pixels, (size, size, 3))
    return np.ascontiguousarray(pixels)


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
