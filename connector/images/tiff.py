"""A TIFF's first directory: where its strips and tiles lie, and what kind of image it describes.

The rule: camera raw is told by its tags, never stored as the small preview in front of it; and what is valid but not
read is named, not called broken.
"""

import struct
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Order: TypeAlias = Literal["<", ">"]

MOST_TAGS = 4096
"""Entries of one directory that are looked at."""
MOST_DIRECTORIES = 16
"""Sub-directories that are looked at for camera raw."""

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SUBFILE = 256, 257, 258, 259, 262, 254
_SAMPLES, _PLANAR, _SUB_DIRECTORIES, _SAMPLE_FORMAT, _DNG_VERSION = 277, 284, 330, 339, 50706
_OFFSETS, _COUNTS = (273, 324), (279, 325)
_TILE = (322, 323)
"""Width and length of a tile."""
_RAW_PHOTOMETRIC = frozenset({32803, 34892})
"""A colour filter array, and linear raw."""
_PHOTOMETRICS = {
    0: "grey",
    1: "grey",
    2: "RGB",
    3: "palette",
    4: "mask",
    5: "CMYK",
    6: "YCbCr",
    8: "CIELAB",
    9: "ICCLAB",
    10: "ITULAB",
    32844: "LogL",
    32845: "LogLuv",
}
_COMPRESSIONS = {
    1: "none",
    2: "CCITT",
    3: "fax group 3",
    4: "fax group 4",
    5: "LZW",
    6: "old JPEG",
    7: "JPEG",
    8: "deflate",
    32773: "PackBits",
    32809: "ThunderScan",
    32946: "deflate",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG",
    34925: "LZMA",
    50000: "ZSTD",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_FORMATS = {1: "", 2: "signed ", 3: "floating-point ", 4: "", 5: "complex ", 6: "complex "}
_KINDS = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory: the integer values of its tags, each list no longer than the file."""

    data: bytes
    order: Order
    entries: dict[int, tuple[str, int, int]]  # by tag: type of its numbers, how many, and where

    def values(self, tag: int) -> NDArray[Any]:
        """The integers of a tag; none where it is missing or lies beyond the file."""
        kind, count, at = self.entries.get(tag, ("B", 0, 0))
        fitting = max(0, (len(self.data) - at) // struct.calcsize(kind))
        return np.frombuffer(self.data, self.order + kind, min(count, fitting), at) if fitting else np.zeros(0, "u8")

    def value(self, tag: int, default: int) -> int:
        """The first integer of a tag."""
        found = self.values(tag)
        return int(found[0]) if found.size else default


def read_directory(data: bytes, at: int | None = None) -> Directory | None:
    """The first directory, or the one at ``at``; None where it is not all there."""
    order: Order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    head, entry, inline = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    try:
        if at is None:
            (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        (count,) = struct.unpack_from(order + head, data, at)
        entries = {}
        for number in range(min(count, MOST_TAGS)):
            start = at + struct.calcsize(order + head) + number * (12 if inline == 4 else 20)
            tag, kind, many = struct.unpack_from(order + entry, data, start)
            where = start + struct.calcsize(order + entry)
            if (name := _KINDS.get(kind)) is None:
                continue
            if many * struct.calcsize(name) > inline:
                (where,) = struct.unpack_from(order + ("Q" if big else "I"), data, where)
            entries[tag] = (name, many, min(where, len(data)))
    except (struct.error, OverflowError):
        return None
    return Directory(data, order, entries)


def ends_early(data: bytes) -> bool:
    """Whether the first directory, or a strip or tile of it, lies beyond the end of the file."""
    directory = read_directory(data)
    return directory is None or (valid_kind(data) is not None and _bytes_beyond(directory))


def _bytes_beyond(directory: Directory) -> bool:
    for offsets, counts in zip(_OFFSETS, _COUNTS, strict=True):
        starts, sizes = directory.values(offsets), directory.values(counts)
        if starts.size != directory.entries.get(offsets, ("", 0, 0))[1]:
            return True
        if starts.size and starts.size == sizes.size:
            ends = starts.astype(np.float64) + sizes.astype(np.float64)
            return bool((ends > len(directory.data)).any())
        if starts.size:
            return bool((starts >= len(directory.data)).any())
    return False


def tile_pixels(data: bytes) -> int:
    """Pixels of one tile, which a decoder holds whole however small the image is; 0 for strips."""
    directory = read_directory(data)
    if directory is None or not (directory.values(_OFFSETS[1]).size or directory.values(_TILE[0]).size):
        return 0
    return directory.value(_TILE[0], 0) * directory.value(_TILE[1], 0)


def camera_raw(data: bytes) -> str | None:
    """Which camera raw this TIFF is, None for any other."""
    if data[8:10] == b"CR":
        return "camera raw (CR2)"
    if data[8:12] in (b"IIII", b"MMMM"):
        return "camera raw (IIQ)"
    first = read_directory(data)
    if first is None:
        return None
    if _DNG_VERSION in first.entries:
        return "camera raw (DNG)"
    inner = [int(at) for at in first.values(_SUB_DIRECTORIES)[:MOST_DIRECTORIES]]
    all_of_them = [first, *(read_directory(data, at) for at in inner)]
    photometrics = {each.value(_PHOTOMETRIC, -1) for each in all_of_them if each is not None}
    if photometrics & _RAW_PHOTOMETRIC:
        return "camera raw"
    preview = first.value(_SUBFILE, 0) & 1 and inner
    return "camera raw, or another file whose image stands behind its preview" if preview else None


def valid_kind(data: bytes) -> str | None:
    """What kind of image a TIFF is, in words, where its tags are within the standard; None where they are not."""
    directory = read_directory(data)
    if directory is None:
        return None
    bits = sorted({int(each) for each in directory.values(_BITS)[:64]}) or [1]
    samples, planar = directory.value(_SAMPLES, 1), directory.value(_PLANAR, 1)
    format_ = _FORMATS.get(directory.value(_SAMPLE_FORMAT, 1))
    photometric = _PHOTOMETRICS.get(directory.value(_PHOTOMETRIC, -1))
    compression = _COMPRESSIONS.get(directory.value(_COMPRESSION, 1))
    sound = bits[0] >= 1 and bits[-1] <= 64 and samples in range(1, 17) and planar in (1, 2)
    sound &= directory.value(_WIDTH, 0) > 0 and directory.value(_HEIGHT, 0) > 0
    if not sound or format_ is None or photometric is None or compression is None:
        return None
    deep = "/".join(map(str, bits))
    return f"{photometric}, {samples} x {deep}-bit {format_}samples, compression {compression}"
