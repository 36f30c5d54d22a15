"""How the corpus is made: one image, and writers for what Pillow cannot write."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from connector.errors import ImageFault


@dataclass(frozen=True, slots=True)
class Case:
    """One file: its bytes come from ``make``, and ``expect`` is ``ok`` or the fault it must be refused for.

    ``name`` is a file name; where its ending lies, that is the point of the case.
    """

    name: str
    format: str
    what: str
    make: Callable[[], bytes]
    expect: ImageFault | str = "ok"


def scene(width: int, height: int, *, seed: int = 0) -> Image.Image:
    """An image such as a camera gives: gradients, shapes with hard edges, fine texture and a little noise. RGB."""
    return _scene(width, height, seed).copy()


@cache
def _scene(width: int, height: int, seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(width, height)
    colours = np.stack([x, y, (x + y) / 2], axis=-1) * 200 + 20
    for _ in range(12):
        centre_x, centre_y, radius = random.random(3) * [width, height, 0.2 * min(width, height)] / max(width, height)
        colours[(x - centre_x) ** 2 + (y - centre_y) ** 2 < radius**2] = random.random(3) * 255
    colours += np.sin(x * 60)[..., np.newaxis] * 20 + random.normal(0, 6, colours.shape)
    return Image.fromarray(colours.clip(0, 255).astype(np.uint8))


def scene_with_alpha(width: int, height: int) -> Image.Image:
    """The scene, fading to nothing from bottom to top. RGBA."""
    image = scene(width, height)
    image.putalpha(Image.linear_gradient("L").resize((width, height)))
    return image


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The image as a file of this Pillow format."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(tags: dict[int, Any]) -> Image.Exif:
    """An EXIF block of these tags."""
    block = Image.Exif()
    for tag, value in tags.items():
        block[tag] = value
    return block


# ------------------------------------------------------------------------------------------------------------- PNG


def png_chunk(kind: bytes, body: bytes, *, crc: int | None = None) -> bytes:
    """One PNG chunk; ``crc`` in place of the right one."""
    check = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)


def png_header(width: int, height: int, *, depth: int = 8, colour: int = 0, interlace: int = 0) -> bytes:
    """Signature and IHDR. Colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""
    body = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", body)


def png_lines(samples: NDArray[Any]) -> bytes:
    """Unfiltered lines of (height, width, channels) samples of 8 or 16 bits."""
    wide = samples.astype(samples.dtype.newbyteorder(">"))
    return b"".join(b"\0" + line.tobytes() for line in wide)


def png(samples: NDArray[Any], *, colour: int, interlace: bool = False, chunks: bytes = b"") -> bytes:
    """A PNG of (height, width, channels) samples, 8 or 16 bits deep, by our own writer."""
    height, width = samples.shape[:2]
    adam7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    passes = [samples[top::down, left::right] for top, left, down, right in adam7] if interlace else [samples]
    lines = b"".join(png_lines(part) for part in passes if part.size)
    header = png_header(width, height, depth=samples.dtype.itemsize * 8, colour=colour, interlace=int(interlace))
    return header + chunks + png_chunk(b"IDAT", zlib.compress(lines)) + png_chunk(b"IEND", b"")


# ------------------------------------------------------------------------------------------------------------ TIFF


@dataclass(frozen=True, slots=True)
class Tag:
    """One entry of a TIFF directory. ``kind``: 3 short, 4 long; ``values`` inline where they fit."""

    code: int
    kind: int
    values: Sequence[int]


def tiff(tags: Sequence[Tag], *, data: bytes = b"", following: int = 0, big_endian: bool = False) -> bytes:
    """A TIFF of one directory at byte 8; values that do not fit, then ``data``, lie behind it.

    ``following`` is the offset of the next directory: 8 makes a circle. A strip offset of -1 means where ``data`` is.
    """
    order = ">" if big_endian else "<"
    behind = 8 + 2 + 12 * len(tags) + 4
    extra = b"".join(_packed(tag, order) for tag in tags if len(_packed(tag, order)) > 4)
    start_of_data = behind + len(extra)
    entries = b""
    for tag in tags:
        values = [start_of_data if value == -1 else value for value in tag.values]
        packed = _packed(Tag(tag.code, tag.kind, values), order)
        if len(packed) > 4:
            field, behind = struct.pack(order + "I", behind), behind + len(packed)
        else:
            field = packed.ljust(4, b"\0")
        entries += struct.pack(order + "HHI", tag.code, tag.kind, len(values)) + field
    magic = b"MM\0*" if big_endian else b"II*\0"
    directory = struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", following)
    return magic + struct.pack(order + "I", 8) + directory + extra + data


def _packed(tag: Tag, order: str) -> bytes:
    values = [max(value, 0) for value in tag.values]
    return struct.pack(order + {3: "H", 4: "I"}[tag.kind] * len(values), *values)


def grey_tiff_tags(width: int, height: int, *, bits: int = 8, offset: int = -1, length: int | None = None) -> list[Tag]:
    """The tags of an uncompressed grey page in one strip."""
    return [
        Tag(256, 4, [width]),
        Tag(257, 4, [height]),
        Tag(258, 3, [bits]),
        Tag(259, 3, [1]),
        Tag(262, 3, [1]),
        Tag(273, 4, [offset]),
        Tag(277, 3, [1]),
        Tag(278, 4, [height]),
        Tag(279, 4, [width * height * bits // 8 if length is None else length]),
    ]


# ------------------------------------------------------------------------------------------------- BMP, WebP, others


def bmp(
    size: tuple[int, int], pixels: bytes, *, bits: int, compression: int = 0, palette: bytes = b"", masks: bytes = b""
) -> bytes:
    """A BMP with a 40-byte header around these rows; a negative height is top-down."""
    start = 14 + 40 + len(masks) + len(palette)
    width, height = size
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 2835, 2835, 0, 0)
    return struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start) + info + masks + palette + pixels


def webp_canvas(width: int, height: int, frame: bytes) -> bytes:
    """An extended WebP that claims this canvas around the chunks of a simple one."""
    extended = b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0"
    extended += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP" + extended + frame[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg_with_size(data: bytes, *, width: int, height: int) -> bytes:
    """The JPEG, claiming another size in its frame header."""
    at = next(i for i in range(len(data)) if data[i : i + 2] in (b"\xff\xc0", b"\xff\xc2"))
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def jpeg_with_segment(data: bytes, *, marker: int, body: bytes) -> bytes:
    """The JPEG with one more segment right after its start."""
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + data[2:]


def without(data: bytes, *, marker: int) -> bytes:
    """The JPEG without its segments of this marker."""
    at, kept = 2, data[:2]
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        kept += b"" if data[at + 1] == marker else data[at:end]
        at = end
    return kept + data[at:]
