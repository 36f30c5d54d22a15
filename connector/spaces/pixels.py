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
from functools import partial
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
from connector.records import Pixels

BYTES_PER_PIXEL = 24
"""Peak memory of one decode, in bytes for each pixel of the original; the dearest case is a palette with alpha."""

_Rgb: TypeAlias = NDArray[np.uint8]  # (height, width, 3)

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

# Orientation: how the stored rows and columns become the picture: flip rows, flip columns, then transpose.
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
    """A picture ready for a tower. ``width`` and ``height`` are the original's, as a viewer shows it.

    ``format`` is jpeg, png, webp, avif, gif, tiff, bmp, jpeg2000 or heic. ``exif`` is empty where absent or broken.
    """

    pixels: Pixels  # (size, size, 3) uint8 RGB
    width: int
    height: int
    format: str
    exif: Image.Exif


def decode(data: bytes, *, size: int, max_pixels: int) -> Decoded:
    """Decode a file's bytes to ``(size, size, 3)`` uint8 RGB: the first frame or page, upright, alpha on white.

    A picture of more than ``max_pixels`` is refused from its header. Raises UnreadableImage with its ``reason``.
    """
    name = recognise(data)
    _hush_pillow()
    with _translated(name, data):
        image = _OPENERS[name](io.BytesIO(data))
    width, height = image.size
    if width * height > max_pixels:
        raise UnreadableImage(
            f"{width}x{height} is {width * height:,} pixels, more than limits.max_pixels = {max_pixels:,}.",
            reason="too_many_pixels",
        )
    with _translated(name, data):
        image = _load(image, size=size)
        exif = _exif(image)
        turn = _orientation(exif)
        rgb = _rgb(image)
    pixels = _fit(rgb, of=(width, height), size=size, orientation=turn)
    if _ORIENTATIONS[turn][2]:
        width, height = height, width
    return Decoded(pixels=pixels, width=width, height=height, format=name, exif=exif)


def prepare(image: Image.Image, *, size: int) -> Pixels:
    """The same pixels from a picture that is already open in Pillow. Raises UnreadableImage if it cannot be loaded."""
    _hush_pillow()
    with _translated(image.format or "picture", b""):
        image.load()
        orientation = _orientation(_exif(image))
        rgb = _rgb(image)
    return _fit(rgb, of=image.size, size=size, orientation=orientation)


# ---------------------------------------------------------------------------------------------- which format is it


def recognise(data: bytes) -> str:
    """The format by content, such as ``jpeg``. Raises UnreadableImage: empty, not_an_image or unsupported_format."""
    if not data:
        raise UnreadableImage("the file is empty: 0 bytes.", reason="empty")
    head = data[:4096]
    for name, signature in _SUPPORTED:
        if signature.match(head):
            return name
    if brand := _media_brand(head):
        return brand
    for name, signature in _KNOWN_BUT_UNSUPPORTED:
        if signature.match(head):
            raise UnreadableImage(
                f"{name} is not supported; convert it to one of {', '.join(FORMATS)}.", reason="unsupported_format"
            )
    raise UnreadableImage(f"no picture of any known format: the file begins with {data[:12]!r}.", reason="not_an_image")


def _media_brand(head: bytes) -> str | None:
    """AVIF and HEIC share one container; their brands tell them apart."""
    if head[4:8] != b"ftyp":
        return None
    length = min(int.from_bytes(head[:4]), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, length - 3, 4))]
    for brand in brands:
        if brand in (b"avif", b"avis"):
            return "avif"
        if brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"):
            return "heic"
    return None


def _signature(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)


_SUPPORTED = (
    ("jpeg", _signature(rb"\xff\xd8\xff")),
    ("png", _signature(rb"\x89PNG\r\n\x1a\n")),
    ("webp", _signature(rb"RIFF....WEBP")),
    ("gif", _signature(rb"GIF8[79]a")),
    ("tiff", _signature(rb"II[*+]\x00|MM\x00[*+]")),
    ("bmp", _signature(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00")),
    ("jpeg2000", _signature(rb"\x00\x00\x00\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51")),
)
_KNOWN_BUT_UNSUPPORTED = (
    ("SVG", _signature(rb"(\xef\xbb\xbf)?\s*(<\?xml.*?)?(<!--.*?-->\s*)*(<!DOCTYPE svg.*?)?<svg[\s>]")),
    ("PDF", _signature(rb"%PDF-")),
    ("EPS or PostScript", _signature(rb"%!PS|\xc5\xd0\xd3\xc6")),
    ("Photoshop", _signature(rb"8BPS")),
    ("GIMP", _signature(rb"gimp xcf")),
    ("icon (ICO)", _signature(rb"\x00\x00[\x01\x02]\x00.\x00")),
    ("icon (ICNS)", _signature(rb"icns")),
    ("JPEG XL", _signature(rb"\xff\x0a|\x00\x00\x00\x0cJXL ")),
    ("OpenEXR", _signature(rb"\x76\x2f\x31\x01")),
    ("Radiance HDR", _signature(rb"#\?RADIANCE|#\?RGBE")),
    ("Netpbm", _signature(rb"P[1-7FfHh]\s")),
    ("QOI", _signature(rb"qoif")),
    ("DDS", _signature(rb"DDS ")),
    ("DjVu", _signature(rb"AT&TFORM")),
    ("camera raw", _signature(rb"IIU\x00|IIR[OS]|MMOR|FUJIFILMCCD-RAW")),
    ("Windows metafile", _signature(rb"\xd7\xcd\xc6\x9a|\x01\x00\x00\x00.{36} EMF")),
    ("DICOM", _signature(rb".{128}DICM")),
    ("video or another ISO media file", _signature(rb"....ftyp")),
)


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
FORMATS = tuple(_OPENERS)
"""The formats this module decodes, by the names it gives them."""


# ------------------------------------------------------------------------------------------- loading, and its errors


def _load(image: ImageFile, *, size: int) -> ImageFile:
    """Decode the pixels; a JPEG only as finely as ``size`` needs."""
    if isinstance(image, JpegImageFile):
        image.draft(None, (2 * size, 2 * size))
    image.load()
    return image


def _hush_pillow() -> None:
    """Keep Pillow's warnings about broken metadata from the user: the picture is what counts.

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
        raise UnreadableImage(f"broken {name}: {_said(error)}", reason=_fault(error, name, data)) from error


def _said(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__


def _fault(error: BaseException, name: str, data: bytes) -> ImageFault:
    """Whether a broken file merely ends too early."""
    if "truncated" in str(error).lower() or isinstance(error, EOFError):
        return "truncated"
    ends_early = _ENDS_EARLY.get(name)
    return "truncated" if ends_early is not None and ends_early(data) else "corrupt"


def _chunks_end_early(data: bytes) -> bool:
    at = 8
    while at + 12 <= len(data):
        at += int.from_bytes(data[at : at + 4]) + 12
    return at != len(data)


def _boxes_end_early(data: bytes) -> bool:
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16])
        if length < 8:  # 0: up to the end of the file
            return False
        at += length
    return at > len(data)


def _shorter_than_declared(data: bytes, *, at: int, plus: int = 0) -> bool:
    return int.from_bytes(data[at : at + 4], "little") + plus > len(data)


_ENDS_EARLY: dict[str, Callable[[bytes], bool]] = {
    "jpeg": lambda data: b"\xff\xd9" not in data[-64:],
    "png": _chunks_end_early,
    "webp": partial(_shorter_than_declared, at=4, plus=8),
    "avif": _boxes_end_early,
    "heic": _boxes_end_early,
    "jpeg2000": _boxes_end_early,
    "gif": lambda data: not data.endswith(b";"),
    "bmp": partial(_shorter_than_declared, at=2),
}


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


def _rgb(image: Image.Image) -> _Rgb:
    """Any mode as (height, width, 3): alpha on white, deep greys scaled; the rest as Pillow converts it."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _scaled_greys(image)
    if image.has_transparency_data:
        image = _on_white(image)
    if image.mode != "RGB":
        image = image.convert("RGB")
    return np.asarray(image)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        image = image.convert("RGBA")
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert("RGB")
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=alpha)
    return canvas


def _scaled_greys(image: Image.Image) -> _Rgb:
    """16-bit greys over their whole range; 32-bit and float ones over the range they use, if it is beyond 8 bits."""
    greys = np.asarray(image)
    if greys.dtype.kind == "u":
        scaled = ((greys.astype(np.uint32) + 128) // 257).astype(np.uint8)
    else:
        scaled = _stretched(greys.astype(np.float32))
    return np.repeat(scaled[:, :, np.newaxis], 3, axis=2)


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
    """One axis: resize source pixels ``start:stop`` to ``length``, then keep ``skip : skip + size``."""

    start: int
    stop: int
    length: int
    skip: int


def _fit(rgb: _Rgb, *, of: tuple[int, int], size: int, orientation: int) -> Pixels:
    """Shortest edge to ``size``, centre crop, upright. ``of`` is the original's (width, height) before a draft."""
    flip_rows, flip_columns, transpose = _ORIENTATIONS[orientation]
    width, height = of
    short = min(of)
    draft = round(short / min(rgb.shape[:2]))  # 1, 2, 4 or 8
    rows = _span(rgb.shape[0], true=height / draft, out=size * height // short, size=size, flip=flip_rows)
    columns = _span(rgb.shape[1], true=width / draft, out=size * width // short, size=size, flip=flip_columns)
    source = torch.from_numpy(np.array(rgb[rows.start : rows.stop, columns.start : columns.stop]))
    resized = torch.nn.functional.interpolate(
        source.permute(2, 0, 1).unsqueeze(0),  # (1, 3, h, w), channels last in memory: the fast path
        size=(rows.length, columns.length),
        mode="bicubic",
        antialias=True,
    )
    pixels = resized[0].permute(1, 2, 0).numpy()[rows.skip : rows.skip + size, columns.skip : columns.skip + size]
    pixels = pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    return np.ascontiguousarray(pixels.swapaxes(0, 1) if transpose else pixels)


def _span(stored: int, *, true: float, out: int, size: int, flip: bool) -> _Span:
    """Which part of an axis to resize. A long axis is cut where output and source pixels begin together."""
    skip = (out - size) // 2
    if flip:
        skip = out - size - skip
    if out <= 2 * size:
        return _Span(start=0, stop=min(stored, round(true)), length=out, skip=skip)
    scale = true / out
    margin = math.ceil(2 * max(1.0, 1 / scale)) + 2  # bicubic reaches two pixels of the coarser side
    first = _meeting(np.arange(max(0, skip - margin), max(-1, skip - margin - _REACH), -1), scale=scale)
    end = skip + size + margin
    last = _meeting(np.arange(min(out, end), min(out, end + _REACH) + 1), scale=scale)
    start, stop = round(first * scale), min(stored, round(last * scale))
    return _Span(start=start, stop=stop, length=last - first, skip=skip - first)


_REACH = 2048
"""How many output pixels beyond the crop we look for a place where both grids meet."""


def _meeting(candidates: NDArray[np.int64], *, scale: float) -> int:
    """The first output pixel whose edge falls on a source pixel's edge, to 1/512 of the coarser; else the nearest."""
    at = candidates * scale
    miss = np.abs(at - np.rint(at)) / max(1.0, scale)
    good = np.flatnonzero(miss <= 1 / 512)
    return int(candidates[good[0] if good.size else miss.argmin()])
