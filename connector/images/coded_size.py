"""How many pixels a file makes its decoder hold, where that is more than its header says: JPEG XL, AVIF and TIFF.

The rule: what is bounded is what will be decoded. A header may say 64x64 above a codestream of 16384x16384, or stand
before tiles of that size.
"""

from dataclasses import dataclass
from itertools import chain

from connector.errors import UnreadableImage
from connector.images import boxes, tiff

_HEAD = 256
"""Bytes of a codestream that are looked at; its size stands in the first 40."""
_SEQUENCE_HEADER = 1
_MOST_UNITS = 8
"""Units of an AV1 stream before its sequence header."""
Size = tuple[int, int]


def coded_pixels(data: bytes, *, name: str) -> int:
    """The most pixels that one part of the file makes its decoder hold at once; 0 where its header tells."""
    if name == "tiff":
        return tiff.tile_pixels(data)
    if name == "jpegxl":
        width, height = jpeg_xl_size(data)
        return width * height
    if name == "avif":
        heads = chain(boxes.item_heads(data, most=_HEAD), boxes.track_heads(data, most=_HEAD))
        return max(map(_av1_pixels, heads), default=0)
    return 0


# ----------------------------------------------------------------------------------------------------------- JPEG XL


@dataclass(slots=True)
class _LowestFirst:
    """The bits of a JPEG XL's header; past its end there are zeros."""

    bits: int

    def take(self, count: int) -> int:
        value = self.bits & ((1 << count) - 1)
        self.bits >>= count
        return value


def jpeg_xl_size(data: bytes) -> Size:
    """Width and height of a JPEG XL by the first bytes of its codestream (ISO/IEC 18181-1, D.2).

    Raises UnreadableImage where it has no codestream.
    """
    head = boxes.codestream_head(data, most=_HEAD)
    if not head.startswith(b"\xff\x0a"):
        raise UnreadableImage("the file ends before its image does: it has no codestream.", reason="truncated")
    bits = _LowestFirst(int.from_bytes(head[2:], "little"))
    small = bits.take(1)
    height = _jpeg_xl_side(bits, small)
    ratio = bits.take(3)
    if not ratio:
        return _jpeg_xl_side(bits, small), height
    across, down = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height * across // down, height


def _jpeg_xl_side(bits: _LowestFirst, small: int) -> int:
    if small:
        return (bits.take(5) + 1) * 8
    return bits.take((9, 13, 18, 30)[bits.take(2)]) + 1


# --------------------------------------------------------------------------------------------------------------- AVIF


class _HighestFirst:
    """The bits of an AV1 sequence header; past its end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data)
        self._left = len(data) * 8

    def take(self, count: int) -> int:
        self._left -= count
        shifted = self._value >> self._left if self._left >= 0 else self._value << -self._left
        return shifted & ((1 << count) - 1)


def _av1_pixels(stream: bytes) -> int:
    """The pixels of a frame by the sequence header of an AV1 stream (5.5.1 of its specification); 0 without one."""
    at = 0
    for _ in range(_MOST_UNITS):
        if at + 2 > len(stream):
            return 0
        kind, extended, sized = stream[at] >> 3 & 15, stream[at] >> 2 & 1, stream[at] >> 1 & 1
        at += 1 + extended
        length, at = _leb128(stream, at) if sized else (len(stream) - at, at)
        if kind == _SEQUENCE_HEADER:
            return _frame_pixels(_HighestFirst(stream[at : at + length]))
        at += length
    return 0


def _leb128(stream: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(stream[at : at + 8]):
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at + place + 1
    return len(stream), len(stream)


def _frame_pixels(bits: _HighestFirst) -> int:
    bits.take(4)  # profile, still picture
    if bits.take(1):  # a reduced header
        bits.take(5)
    else:
        _skip_operating_points(bits)
    wide, high = bits.take(4) + 1, bits.take(4) + 1
    return (bits.take(wide) + 1) * (bits.take(high) + 1)


def _skip_operating_points(bits: _HighestFirst) -> None:
    model, delay_bits = 0, 0
    if bits.take(1):  # timing
        bits.take(64)
        if bits.take(1):
            _skip_uvlc(bits)
        model = bits.take(1)
        if model:
            delay_bits = bits.take(5) + 1
            bits.take(32 + 5 + 5)
    initial_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if model and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if initial_delay and bits.take(1):
            bits.take(4)


def _skip_uvlc(bits: _HighestFirst) -> None:
    zeros = 0
    while zeros < 32 and not bits.take(1):
        zeros += 1
    bits.take(zeros if zeros < 32 else 0)
