"""What a file's bytes say of themselves: which format, and whether the file ends too early. Content alone decides."""

import re
import struct
from collections.abc import Callable
from functools import partial
from typing import Literal

from connector.errors import UnreadableImage

FORMATS = ("jpeg", "png", "webp", "avif", "heic", "gif", "tiff", "bmp", "jpeg2000")
"""The formats we decode, by the names we give them."""


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
    raise UnreadableImage("no image: the file begins like none of the formats that are known.", reason="not_an_image")


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


JPEG_END = b"\xff\xd9"
"""The end mark of JPEG and of JPEG 2000 codestreams."""


def ends_early(data: bytes, *, name: str) -> bool:
    """Whether a file of this format is shorter than it says itself; meant for files known to be broken."""
    return _ENDS_EARLY[name](data)


def _png_ends_early(data: bytes) -> bool:
    at = 8
    while at + 12 <= len(data):
        at += int.from_bytes(data[at : at + 4]) + 12
    return at > len(data) or b"IEND" not in data[-12:]


def _boxes_end_early(data: bytes) -> bool:
    """Of AVIF, HEIC and JPEG 2000: boxes of (length, name, body), one of them with the pixels."""
    at, names = 0, set()
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        names.add(name)
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16])
        at += length if length >= 8 else len(data)  # 0: up to the end of the file
    return at > len(data) or not names & {b"mdat", b"idat", b"jp2c"}


def _jpeg2000_ends_early(data: bytes) -> bool:
    return not data.endswith(JPEG_END) if data.startswith(b"\xff") else _boxes_end_early(data)


def _tiff_ends_early(data: bytes) -> bool:
    if len(data) < 8 or b"+" in data[2:4]:  # BigTIFF has longer fields
        return len(data) < 16
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    at = int.from_bytes(data[4:8], order)
    return at + 2 + 12 * int.from_bytes(data[at : at + 2], order) > len(data)


def _shorter_than_declared(data: bytes, *, at: int, plus: int = 0) -> bool:
    return int.from_bytes(data[at : at + 4], "little") + plus > len(data)


_ENDS_EARLY: dict[str, Callable[[bytes], bool]] = {
    "jpeg": lambda data: JPEG_END not in data[-64:],
    "png": _png_ends_early,
    "webp": partial(_shorter_than_declared, at=4, plus=8),
    "avif": _boxes_end_early,
    "heic": _boxes_end_early,
    "jpeg2000": _jpeg2000_ends_early,
    "gif": lambda data: not data.endswith(b";"),
    "bmp": partial(_shorter_than_declared, at=2),
    "tiff": _tiff_ends_early,
}
