"""What a file's own structure proves of it before and after decoding: bytes missing, or a kind that is not read.

The rule: half an image is refused, a whole one never is. Every walk here is bounded: lengths are compared, nothing is
decoded, no loop runs longer than the file allows.
"""

import struct
from collections.abc import Callable, Sequence

from connector.errors import UnreadableImage
from connector.images import boxes, jpeg_markers, png, tiff

_HEADER = 12
_WEBP_PIXELS = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})
MOST_CHUNKS = 100_000
"""Chunks of one WebP that are looked at; each frame of an animation is one."""


def checked(data: bytes, *, name: str) -> bytes:
    """The bytes to open: ``data``, or what is left of it without metadata that could cost the image.

    Raises UnreadableImage where the structure proves that pixels are missing or damaged, or that this kind of the
    format is not read.
    """
    check = _CHECKS.get(name)
    return data if check is None else check(data)


def ends_early(data: bytes, *, name: str) -> bool:
    """Whether a file that could not be decoded is shorter than it says itself."""
    return _ENDS_EARLY[name](data) if name in _ENDS_EARLY else False


def unread_kind(data: bytes, *, name: str, said: str) -> str | None:
    """What a file that could not be decoded is, if it is sound, but of a kind that the decoder does not read."""
    if not any(words in said.lower() for words in _UNREAD):
        return None
    if name == "tiff":
        return tiff.valid_kind(data)
    if name == "bmp":
        return _valid_bmp(data)
    return name if name in ("heic", "avif", "jpegxl", "jpeg2000") else None


_UNREAD = ("unsupported", "not supported", "unknown pixel mode", "unknown raw mode", "not implemented", "no codec")


# ------------------------------------------------------------------------------------------------- before decoding


def _check_webp(data: bytes) -> bytes:
    """A WebP of which only metadata is cut off is mended: libwebp wants the length in its header to be there."""
    length = int.from_bytes(data[4:8], "little") + 8
    if length <= len(data) or len(data) < _HEADER:
        return data
    kept: list[bytes] = []
    at = _HEADER
    pixels: set[bytes] = set()
    for _ in range(MOST_CHUNKS):
        if at + 8 > len(data):
            break
        kind, size = struct.unpack_from("<4sI", data, at)
        stop = at + 8 + size
        if stop > len(data):
            if kind in _WEBP_PIXELS:
                break
            return _riff(kept) if pixels & {b"VP8 ", b"VP8L"} else data
        kept.append(data[at:stop] + b"\0" * (size & 1))
        pixels.add(kind)
        at = stop + (size & 1)
    if pixels & {b"VP8 ", b"VP8L"} and at >= len(data) and b"ANMF" not in pixels:
        return _riff(kept)
    raise UnreadableImage(
        f"the file ends before its image does: its header says {length:,} bytes, {len(data):,} are there.",
        reason="truncated",
    )


def _riff(kept: Sequence[bytes]) -> bytes:
    chunks = b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _check_tiff(data: bytes) -> bytes:
    if kind := tiff.camera_raw(data):
        raise UnreadableImage(
            f"{kind} is not supported: what stands in front of it is a small preview; develop it to another format.",
            reason="unsupported_format",
        )
    return data


def _check_items(data: bytes) -> bytes:
    boxes.check_items(data)
    return data


_CHECKS: dict[str, Callable[[bytes], bytes]] = {
    "png": png.essential,
    "webp": _check_webp,
    "avif": _check_items,
    "heic": _check_items,
    "tiff": _check_tiff,
    "jpeg2000": boxes.without_trailer,
}


# -------------------------------------------------------------------------------------------------- after a failure


def _png_ends_early(data: bytes) -> bool:
    at = 8
    for _ in range(png.MOST_CHUNKS):
        if at + 12 > len(data):
            break
        at += int.from_bytes(data[at : at + 4]) + 12
    return at > len(data) or b"IEND" not in data[-12:]


def _jpeg_ends_early(data: bytes) -> bool:
    frame = jpeg_markers.frame_of(data)
    if frame is None:
        return jpeg_markers.END not in data[-64:]
    return not jpeg_markers.scans_of(data, frame).closed


def _declared(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _valid_bmp(data: bytes) -> str | None:
    """What kind of BMP it is, where depth and compression are some that the format has."""
    depth, compression = struct.unpack_from("<HI", data.ljust(40, b"\0"), 28)
    sound = _declared(data, 14) >= 40 and depth in (1, 2, 4, 8, 16, 24, 32, 64)
    return f"{depth} bits a pixel, compression {compression}" if sound and compression in _BMP_COMPRESSIONS else None


_BMP_COMPRESSIONS = (*range(7), 11, 12, 13)


def _jpeg_xl_ends_early(data: bytes) -> bool:
    """A bare codestream does not tell whether it is cut or damaged; the former is what happens to files."""
    return data.startswith(b"\xff\x0a") or boxes.boxes_end_early(data)


def _codestream_ends_early(data: bytes) -> bool:
    if data.startswith(b"\xff"):
        return not data.endswith(jpeg_markers.END)
    return boxes.boxes_end_early(data)


_ENDS_EARLY: dict[str, Callable[[bytes], bool]] = {
    "jpeg": _jpeg_ends_early,
    "png": _png_ends_early,
    "webp": lambda data: _declared(data, 4) + 8 > len(data),
    "avif": boxes.boxes_end_early,
    "heic": boxes.boxes_end_early,
    "jpegxl": _jpeg_xl_ends_early,
    "jpeg2000": _codestream_ends_early,
    "gif": lambda data: not data.endswith(b";"),
    "bmp": lambda data: _declared(data, 2) > len(data),
    "tiff": tiff.ends_early,
}
