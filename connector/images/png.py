"""A PNG's chunks: check sums of what makes the pixels, and no metadata that could cost the image.

The rule: the decoder is given the chunks that matter to the image, and those of orientation and colour where they are
sound and small. Text, times and private chunks are left out, so that none of them can break or swell anything.
"""

import zlib

from connector.errors import UnreadableImage

MAX_TEXT_BYTES = 1024 * 1024
"""What a text or a colour profile may unpack to; Pillow's own bound, above which it refuses the image."""
MOST_CHUNKS = 1_000_000
"""Chunks of one file, a bound of the walk; writers put 8 kB or more of pixels into one."""
_SIGNATURE_BYTES = 8
_PIXELS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"IEND"})
_ORIENTATION_TEXTS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0", b"Raw profile type APP1\0")


def essential(data: bytes) -> bytes:
    """The PNG with nothing but what its image needs; the same bytes where that is all of it.

    Raises UnreadableImage: ``corrupt`` for a check sum that does not fit, ``truncated`` for a chunk of pixels that is
    not all there, ``unsupported_format`` for Apple's variant.
    """
    view = memoryview(data)
    kept: list[memoryview] = []
    start, at, pixels = 0, _SIGNATURE_BYTES, False
    for _ in range(MOST_CHUNKS):
        if at + 8 > len(data):
            break
        kind = data[at + 4 : at + 8]
        body, stop = at + 8, at + 12 + int.from_bytes(data[at : at + 4])
        if stop > len(data):
            if kind in _PIXELS - {b"IEND"} or not pixels:
                raise UnreadableImage(_short(kind, stop - len(data)), reason="truncated")
            break  # metadata behind the pixels, or the end mark
        if not _wanted(kind, view[body : stop - 4], sound=_sound(view[at + 4 : stop - 4], data[stop - 4 : stop])):
            kept.append(view[start:at])
            start = stop
        pixels |= kind == b"IDAT"
        at = stop
        if kind == b"IEND":
            break
    kept.append(view[start:at])
    return data if at == len(data) and len(kept) == 1 else b"".join(kept)


def _sound(chunk: memoryview, crc: bytes) -> bool:
    return zlib.crc32(chunk) == int.from_bytes(crc)


def _short(kind: bytes, missing: int) -> str:
    name = kind.decode("ascii") if kind.isalpha() else "unnamed"
    return f"the file ends before its image does: its chunk {name} lacks {missing:,} bytes."


def _wanted(kind: bytes, body: memoryview, *, sound: bool) -> bool:
    if kind == b"CgBI":
        raise UnreadableImage("Apple's variant of PNG (CgBI) is not supported.", reason="unsupported_format")
    if kind in _PIXELS:
        if not sound and kind != b"IEND":
            name = kind.decode("ascii")
            raise UnreadableImage(
                f"broken png: the check sum of a chunk {name} does not fit its {len(body):,} bytes.", reason="corrupt"
            )
        return True
    if not sound:
        return False
    if kind == b"iCCP":
        return _unpacks(_after(body, zeros=1)[1:])
    return kind == b"eXIf" or (kind in (b"tEXt", b"zTXt", b"iTXt") and _is_orientation(kind, body))


def _is_orientation(kind: bytes, body: memoryview) -> bool:
    """Whether a text holds EXIF or XMP, where some writers put the orientation, and is of a sane size."""
    if len(body) > MAX_TEXT_BYTES or not bytes(body[:40]).startswith(_ORIENTATION_TEXTS):
        return False
    text = _after(body, zeros=1)
    if kind == b"zTXt":
        return _unpacks(text[1:])
    return kind == b"tEXt" or bytes(text[:1]) != b"\1" or _unpacks(_after(text[2:], zeros=2))


def _after(body: memoryview, *, zeros: int) -> memoryview:
    """What follows so many strings that end in a zero, each of 1,000 bytes at most; nothing where they do not."""
    for _ in range(zeros):
        name, zero, _ = bytes(body[:1000]).partition(b"\0")
        body = body[len(name) + 1 :] if zero else body[:0]
    return body


def _unpacks(packed: memoryview) -> bool:
    """Whether it is deflated, and to no more than Pillow takes."""
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed, MAX_TEXT_BYTES)
    except zlib.error:
        return False
    return unpacker.eof
