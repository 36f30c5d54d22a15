"""Bytes to pixels: the one decoder, for queries and for ingestion.

The rule: the result is CLIP's own preprocessing in Pillow (RGB, bicubic, shortest edge, centre crop) to within a few
grey levels, but for the differences in ``docs/decisions/0001-pixels.md``. Content decides the format, never the name.
Whatever decoding raises is an UnreadableImage (``faults``). Memory: at most ``BYTES_PER_PIXEL * max_pixels`` beyond a
constant. Any number of threads may decode at once; each should have called ``torch.set_num_threads(1)``.
"""

import io
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.IptcImagePlugin import getiptcinfo
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from connector.errors import UnreadableImage
from connector.extras import advice
from connector.images.boxes import check_codestream
from connector.images.coded_size import coded_pixels, jpeg_xl_size
from connector.images.faults import one_image
from connector.images.formats import recognise
from connector.images.jpeg import decode_smaller, pixels_needed
from connector.images.jpeg_markers import check_length, check_scans, frame_of
from connector.images.planes import Plane, plane_of
from connector.images.resize import ORIENTATIONS, fit
from connector.images.structure import checked
from connector.records import CLIP_RESIZING, Pixels, Resizing

BYTES_PER_PIXEL = 32
"""Bound of one decode's peak memory, in bytes for each pixel that ``limits.max_pixels`` counts.

Measured: JPEG 0.2 (progressive 6, CMYK 8), PNG 7 to 14, TIFF up to 18, WebP 23, JPEG 2000 with alpha 25.
"""


Iptc: TypeAlias = Mapping[tuple[int, int], bytes | list[bytes]]
"""The data sets of IPTC by record and number."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image ready for a tower. ``width`` and ``height`` are the original's, as a viewer shows it.

    ``format`` is one of ``connector.images.formats.FORMATS``. ``exif`` is empty where absent or broken; that of a TIFF
    keeps the file's bytes alive. ``xmp`` and ``iptc`` are as they stand in the file, None where they do not.
    """

    pixels: Pixels  # (size, size, 3) uint8 RGB
    width: int
    height: int
    format: str
    exif: Image.Exif
    xmp: bytes | str | None = None
    iptc: Iptc | None = None


@dataclass(frozen=True, slots=True)
class Embedded:
    """The metadata in a file, as they stand there."""

    exif: Image.Exif
    xmp: bytes | str | None
    iptc: Iptc | None


@dataclass(frozen=True, slots=True)
class _Loaded:
    """An image whose pixels are decoded: 8-bit sRGB or grey, perhaps smaller than the original."""

    plane: Plane
    width: int
    height: int
    embedded: Embedded
    orientation: int


def decode(data: bytes, *, size: int, max_pixels: int, resizing: Resizing = CLIP_RESIZING) -> Decoded:
    """Decode a file's bytes to ``(size, size, 3)`` uint8 RGB: the first frame or page, upright, sRGB, alpha on white.

    An image that takes more than ``max_pixels`` is refused from its header; of a JPEG that is decoded smaller only
    those count that are decoded. Raises UnreadableImage with its ``reason``, and nothing else.
    """
    name = recognise(data)
    with one_image(name, data):
        loaded = _load(data, name=name, size=size, max_pixels=max_pixels)
        width, height = loaded.width, loaded.height
        pixels = fit(loaded.plane, of=(width, height), size=size, orientation=loaded.orientation, resizing=resizing)
        if ORIENTATIONS[loaded.orientation][2]:
            width, height = height, width
        found = loaded.embedded
        return Decoded(pixels, width, height, format=name, exif=found.exif, xmp=found.xmp, iptc=found.iptc)


def upright(data: bytes, *, size: int, max_pixels: int) -> Image.Image:
    """The whole image as a viewer shows it: the first frame or page, upright, sRGB, alpha on white.

    A JPEG comes no finer than twice ``size`` asks for. Raises UnreadableImage with its ``reason``, as ``decode`` does.
    """
    name = recognise(data)
    with one_image(name, data):
        loaded = _load(data, name=name, size=size, max_pixels=max_pixels)
        flip_rows, flip_columns, transpose = ORIENTATIONS[loaded.orientation]
        plane = loaded.plane[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
        if transpose:
            plane = plane.swapaxes(0, 1)
        return Image.fromarray(np.ascontiguousarray(np.broadcast_to(plane, (*plane.shape[:2], 3))))


def prepare(image: Image.Image, *, size: int, resizing: Resizing = CLIP_RESIZING) -> Pixels:
    """The same pixels from an image that is already open in Pillow. Raises UnreadableImage if it cannot be loaded."""
    _hush_pillow()
    with one_image(image.format or "image", b""):
        image.load()
        orientation = _orientation(_exif(image))
        plane = plane_of(image, profile=image.info.get("icc_profile"))
        return fit(plane, of=image.size, size=size, orientation=orientation, resizing=resizing)


# ------------------------------------------------------------------------------------------------ opening and loading


def _load(data: bytes, *, name: str, size: int, max_pixels: int) -> _Loaded:
    """Decode a file, a JPEG only as finely as ``size`` needs; a large image is never here twice."""
    image, data = _open(data, name=name, size=size, max_pixels=max_pixels)
    width, height = image.size
    if isinstance(image, JpegImageFile):
        pixels: Image.Image | Plane = decode_smaller(image, data=data, size=size)
    else:
        image.load()
        pixels = image
        if image.size != (width, height):
            raise UnreadableImage(
                f"broken {name}: its header says {width}x{height}, its pixels are {image.width}x{image.height}.",
                reason="corrupt",
            )
    embedded = _embedded(image)
    plane = plane_of(pixels, profile=image.info.get("icc_profile"))
    return _Loaded(plane, width=width, height=height, embedded=embedded, orientation=_orientation(embedded.exif))


def _open(data: bytes, *, name: str, size: int, max_pixels: int) -> tuple[ImageFile, bytes]:
    """A file's header, and the bytes that the decoder is given; no pixels are decoded if there are too many."""
    _hush_pillow()
    if name == "jpegxl":  # its decoder opens no header alone
        _bound(jpeg_xl_size(data), pixels=None, max_pixels=max_pixels)
    data = checked(data, name=name)
    image = OPENERS[name](io.BytesIO(data))
    frame = frame_of(data) if name == "jpeg" else None
    needed = None if frame is None else pixels_needed(frame, size=size)
    _bound(image.size, pixels=needed, max_pixels=max_pixels)
    if (coded := coded_pixels(data, name=name)) > max_pixels:
        said = f"its header says {image.width}x{image.height}, but to decode it takes {coded:,} pixels"
        raise UnreadableImage(f"{said}, more than limits.max_pixels = {max_pixels:,}.", reason="too_many_pixels")
    if frame is not None:
        check_length(data, frame)
        check_scans(data, frame)
    if name == "jpeg2000":
        check_codestream(data)
    return image, data


MOST_CLAIMED = 16
"""How many times ``max_pixels`` a JPEG may have that is decoded smaller: it takes time, if no memory."""


def _bound(size: tuple[int, int], *, pixels: int | None, max_pixels: int) -> None:
    """Refuse what takes too much memory. ``pixels`` is what decoding needs, None for all of the image's."""
    width, height = size
    needed = width * height if pixels is None else max(pixels, width * height // MOST_CLAIMED)
    if needed > max_pixels:
        smaller = "" if needed == width * height else f", decoded smaller {needed:,}"
        raise UnreadableImage(
            f"{width}x{height} is {width * height:,} pixels{smaller}, more than limits.max_pixels = {max_pixels:,}.",
            reason="too_many_pixels",
        )


def _open_heic(file: io.BytesIO) -> ImageFile:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise UnreadableImage(advice("heic", what="HEIC"), reason="unsupported_format") from error
    return cast(ImageFile, HeifImageFile(file))  # type: ignore[no-untyped-call]


def _open_jpeg_xl(file: io.BytesIO) -> ImageFile:
    try:
        from pillow_jxl.JpegXLImagePlugin import JXLImageFile
    except ImportError as error:
        raise UnreadableImage(advice("jxl", what="JPEG XL"), reason="unsupported_format") from error
    return cast(ImageFile, JXLImageFile(file))


# The plugins' classes, not Image.open: that would try others, and warn at a limit that is not ours.
OPENERS: dict[str, Callable[[io.BytesIO], ImageFile]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
    "avif": AvifImageFile,
    "gif": GifImageFile,
    "tiff": TiffImageFile,
    "bmp": BmpImageFile,
    "jpeg2000": Jpeg2KImageFile,
    "heic": _open_heic,
    "jpegxl": _open_jpeg_xl,
}


def _hush_pillow() -> None:
    """Keep Pillow's warnings about broken metadata from the user: the image is what counts.

    ``warnings.catch_warnings`` is not safe among threads, so this is one lasting filter for Pillow's modules alone.
    """
    if warnings.filters[:1] != [_QUIET]:
        warnings.filterwarnings("ignore", category=UserWarning, module=_QUIET_MODULES)


_QUIET_MODULES = r"PIL\."
_QUIET: Any = ("ignore", None, UserWarning, re.compile(_QUIET_MODULES), 0)


# -------------------------------------------------------------------------------------------------- metadata we need


def embedded_in(data: bytes) -> Embedded | None:
    """The metadata of a file without decoding its pixels; None for what is no image that can be opened."""
    _hush_pillow()
    try:
        name = recognise(data)
        return _embedded(OPENERS[name](io.BytesIO(checked(data, name=name))))
    except Exception:  # noqa: BLE001  (whatever a decoder raises costs the metadata)
        return None


def _embedded(image: Image.Image) -> Embedded:
    xmp = image.info.get("xmp")
    return Embedded(
        exif=_exif(image),
        xmp=xmp if isinstance(xmp, bytes | str) else None,
        iptc=_iptc(image),
    )


def _iptc(image: Image.Image) -> Iptc | None:
    try:
        return getiptcinfo(image) if isinstance(image, JpegImageFile | TiffImageFile) else None
    except Exception:  # noqa: BLE001  (whatever broken metadata raises costs the metadata, never the image)
        return None


def _exif(image: Image.Image) -> Image.Exif:
    try:
        return image.getexif()
    except Exception:  # noqa: BLE001  (whatever broken metadata raises costs the metadata, never the image)
        return Image.Exif()


def _orientation(exif: Image.Exif) -> int:
    """1 to 8; anything else a file may claim counts as 1."""
    try:
        value = exif.get(Base.Orientation, 1)
    except Exception:  # noqa: BLE001  (Pillow parses late)
        return 1
    return value if isinstance(value, int) and value in ORIENTATIONS else 1


# ------------------------------------------------------------------------------------------- what decoding will take


_LEAN = {"png": 20, "gif": 20, "bmp": 20}
"""Bytes for each pixel of formats that take less than the bound of all: decoded, converted, turned upright."""
_COEFFICIENTS = 6
"""Bytes for each pixel of the original that a progressive JPEG keeps, however small it is decoded."""


def decode_memory(data: bytes, *, size: int) -> int:
    """Bytes that decoding a file for an image of ``size`` takes at most. Raises UnreadableImage for what is none."""
    name = recognise(data)
    _hush_pillow()
    try:
        coded = coded_pixels(data, name=name)
        if name == "jpegxl":  # its decoder opens no header alone
            return len(data) + coded * BYTES_PER_PIXEL
        image = OPENERS[name](io.BytesIO(data))
    except UnreadableImage:
        raise
    except Exception:  # noqa: BLE001  (a header that cannot be read: decoding says why, and takes no memory for it)
        return len(data)
    width, height = image.size
    if not isinstance(image, JpegImageFile):
        return len(data) + max(width * height, coded) * _LEAN.get(name, BYTES_PER_PIXEL)
    kept = width * height * _COEFFICIENTS if image.info.get("progressive") else 0
    image.draft("RGB", (2 * size, 2 * size))
    return len(data) + kept + image.width * image.height * BYTES_PER_PIXEL
