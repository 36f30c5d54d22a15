"""What a file's first bytes say of themselves: which format it is. Content alone decides, never the name."""

import re

from connector.errors import UnreadableImage

FORMATS = ("jpeg", "png", "webp", "avif", "heic", "gif", "tiff", "bmp", "jpeg2000", "jpegxl")
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
    ("jpegxl", _signature(rb"\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n")),
)
_SVG = rb"(?:\xef\xbb\xbf)?\s*+(?:(?><\?.*?\?>|<!--.*?-->|<!DOCTYPE svg[^\[>]*+(?:\[.*?\]\s*+)?>)\s*+)*+<svg[\s>]"
"""Declarations and comments, then the element; what one of them has taken is never tried in another way."""
_KNOWN_BUT_UNSUPPORTED = (
    ("SVG", _signature(_SVG)),
    ("PDF", _signature(rb"%PDF-")),
    ("EPS or PostScript", _signature(rb"%!PS|\xc5\xd0\xd3\xc6")),
    ("Photoshop", _signature(rb"8BPS")),
    ("GIMP", _signature(rb"gimp xcf")),
    ("icon (ICO)", _signature(rb"\x00\x00[\x01\x02]\x00.\x00")),
    ("icon (ICNS)", _signature(rb"icns")),
    ("OpenEXR", _signature(rb"\x76\x2f\x31\x01")),
    ("Radiance HDR", _signature(rb"#\?RADIANCE|#\?RGBE")),
    ("Netpbm", _signature(rb"P[1-7FfHh]\s")),
    ("QOI", _signature(rb"qoif")),
    ("DDS", _signature(rb"DDS ")),
    ("DjVu", _signature(rb"AT&TFORM")),
    ("camera raw", _signature(rb"IIU\x00|IIR[OS]|MMOR|FUJIFILMCCD-RAW|FOVb|\x00MRM|....ftypcrx ")),
    ("Windows metafile", _signature(rb"\xd7\xcd\xc6\x9a|\x01\x00\x00\x00.{36} EMF")),
    ("DICOM", _signature(rb".{128}DICM")),
    ("video or another ISO media file", _signature(rb"....ftyp")),
)
