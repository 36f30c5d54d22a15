"""The boxes of HEIC, AVIF, JPEG 2000 and JPEG XL: whether the bytes of the image are all there.

The rule: lengths are compared with the file's, and nothing is decoded. Only what the image needs counts: a thumbnail,
a depth map or metadata beyond the end costs nothing.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from connector.errors import UnreadableImage

MOST_BOXES = 10_000
"""Boxes at one level; a phone's photograph has under 100, items and their properties included."""
MOST_ITEMS = 100_000
"""Items and references that are looked at; a grid of 256x256 tiles has 65,536."""
MOST_ALPHAS = 16
"""Auxiliary images that are looked at; each costs a walk over the properties."""
ZEROS = 64
"""Bytes at the end of an item that are never all zeros; of a shorter item all of its own, ``LEAST_ZEROS`` at least."""
LEAST_ZEROS = 16
MOST_TRACKS = 16
"""Tracks of a sequence that are looked at; there is one for colours, and one for alpha."""
MOST_TILE_PARTS = 200_000
"""Tile-parts of a JPEG 2000 codestream; the format numbers 65,535 tiles."""

_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1\0")
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
_END_OF_CODESTREAM = b"\xff\xd9"
Span: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Box:
    """A box: its name, where its body begins and ends. ``stop`` may lie beyond the file."""

    name: bytes
    start: int
    stop: int


def boxes(data: bytes, start: int, stop: int) -> Iterator[Box]:
    """The boxes of one level, up to ``MOST_BOXES``; what is no box ends them."""
    at = start
    for _ in range(MOST_BOXES):
        if at + 8 > stop:
            return
        length, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1 and at + 16 <= stop:
            length, head = int.from_bytes(data[at + 8 : at + 16]), 16
        end = stop if length == 0 else at + length  # 0: up to the end
        if end < at + head:
            return
        yield Box(name, at + head, end)
        at = end


def boxes_end_early(data: bytes) -> bool:
    """Whether a box of the file's top level reaches beyond its end, or the one with the pixels is missing."""
    top = [*boxes(data, 0, len(data))]
    names = {box.name for box in top}
    return any(box.stop > len(data) for box in top) or not names & {b"mdat", b"idat", b"jp2c", b"jxlc", b"jxlp"}


# ----------------------------------------------------------------------------------------------------- HEIC and AVIF


@dataclass(slots=True)
class _Items:
    """What a ``meta`` box says: each item's extents in the file, and which are made of which."""

    primary: int = 0
    extents: dict[int, list[Span]] = field(default_factory=dict)
    tiles: dict[int, list[int]] = field(default_factory=dict)
    alphas: list[int] = field(default_factory=list)


def check_items(data: bytes) -> None:
    """Raise UnreadableImage where an item that the image is made of lies beyond the end of the file, or is not there.

    Those are the primary item, the tiles of its grid, and their alpha.
    """
    meta = next((box for box in boxes(data, 0, len(data)) if box.name == b"meta"), None)
    if meta is None:
        return
    if meta.stop > len(data):
        raise UnreadableImage(_CUT.format("its index", meta.stop - len(data)), reason="truncated")
    items = _items(data, meta)
    for item in _needed(items):
        for _, stop in items.extents.get(item, ()):
            if stop > len(data):
                raise UnreadableImage(_CUT.format(f"its item {item}", stop - len(data)), reason="truncated")
        if item not in items.tiles and _ends_in_zeros(data, items.extents.get(item, [])):
            raise UnreadableImage(f"its item {item} ends in zeros: the rest of it never came.", reason="truncated")


def _ends_in_zeros(data: bytes, extents: list[Span]) -> bool:
    """Whether an item's bytes end in zeros, as in a file that was given its length before its bytes came.

    HEVC allows no three zeros in a row; AV1 ends its codes with a bit that is set.
    """
    start, stop = extents[-1] if extents else (0, 0)
    tail = data[max(start, stop - ZEROS) : stop]
    return len(tail) >= LEAST_ZEROS and not any(tail)


def item_heads(data: bytes, *, most: int) -> Iterator[bytes]:
    """The first bytes, ``most`` at most, of every item that the image is made of."""
    meta = next((box for box in boxes(data, 0, len(data)) if box.name == b"meta"), None)
    if meta is None or meta.stop > len(data):
        return
    items = _items(data, meta)
    for item in _needed(items):
        for start, stop in items.extents.get(item, ())[:1]:
            yield data[start : min(stop, start + most)]


def track_heads(data: bytes, *, most: int) -> Iterator[bytes]:
    """The first bytes, ``most`` at most, of every track of a sequence."""
    found = [Box(b"", 0, len(data))]
    for names in ((b"moov",), (b"trak",), (b"mdia",), (b"minf",), (b"stbl",), (b"stco", b"co64")):
        inner = (each for box in found for each in boxes(data, box.start, min(box.stop, len(data))))
        found = [*islice((box for box in inner if box.name in names), MOST_TRACKS)]
    for box in found:
        size = 4 if box.name == b"stco" else 8
        start = int.from_bytes(data[box.start + 8 : box.start + 8 + size])
        yield data[start : start + most]


def codestream_head(data: bytes, *, most: int) -> bytes:
    """The first bytes, ``most`` at most, of a JPEG XL's codestream, whose parts may lie in several boxes."""
    if data.startswith(b"\xff\x0a"):
        return data[:most]
    head = b""
    for box in boxes(data, 0, len(data)):
        if box.name in (b"jxlc", b"jxlp"):
            start = box.start + (4 if box.name == b"jxlp" else 0)  # a part is numbered
            head += data[start : min(box.stop, start + most)]
        if len(head) >= most or box.name == b"jxlc":
            break
    return head[:most]


_CUT = "the file ends before its image does: {} lacks {:,} bytes."


def _items(data: bytes, meta: Box) -> _Items:
    items = _Items()
    inner = {box.name: box for box in reversed([*boxes(data, meta.start + 4, meta.stop)])}
    idat = inner.get(b"idat", Box(b"idat", 0, 0))
    readers = {b"pitm": _read_primary, b"iref": _read_references}
    try:
        for name, read in readers.items():
            if name in inner:
                read(data, inner[name], items)
        if b"iloc" in inner:
            _read_extents(data, inner[b"iloc"], idat, items)
        if b"iprp" in inner:
            _keep_alphas(data, inner[b"iprp"], items)
    except (struct.error, IndexError):
        return items  # broken: the decoder says how
    return items


def _needed(items: _Items) -> Iterator[int]:
    """The items that the image is made of, each once."""
    waiting = [items.primary, *items.alphas]
    seen: set[int] = set()
    while waiting and len(seen) < MOST_ITEMS:
        item = waiting.pop()
        if item not in seen:
            seen.add(item)
            yield item
            waiting += items.tiles.get(item, [])


def _read_primary(data: bytes, box: Box, items: _Items) -> None:
    wide = data[box.start] > 0
    items.primary = int.from_bytes(data[box.start + 4 : box.start + (8 if wide else 6)])


def _read_references(data: bytes, box: Box, items: _Items) -> None:
    number = ">I" if data[box.start] else ">H"
    size = struct.calcsize(number)
    budget = MOST_ITEMS
    for each in boxes(data, box.start + 4, box.stop):
        if each.name not in (b"dimg", b"auxl"):
            continue
        (source,) = struct.unpack_from(number, data, each.start)
        (count,) = struct.unpack_from(">H", data, each.start + size)
        budget -= count
        if budget < 0:
            return
        targets = [t[0] for t in struct.iter_unpack(number, data[each.start + size + 2 :][: count * size])]
        if each.name == b"dimg":
            items.tiles.setdefault(source, []).extend(targets)
        elif items.primary in targets:
            items.alphas.append(source)


def _read_extents(data: bytes, box: Box, idat: Box, items: _Items) -> None:
    """``iloc``: where the bytes of each item lie, in the file or in ``idat``."""
    version = data[box.start]
    sizes = int.from_bytes(data[box.start + 4 : box.start + 6])
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    at = box.start + 6
    wide = 4 if version == 2 else 2
    count, at = int.from_bytes(data[at : at + wide]), at + wide
    budget = MOST_ITEMS
    for _ in range(min(count, MOST_ITEMS)):
        item, at = int.from_bytes(data[at : at + wide]), at + wide
        method = 0
        if version:
            method, at = data[at + 1] & 15, at + 2
        at += 2  # which file: 0 is this one
        base, at = int.from_bytes(data[at : at + base_size]), at + base_size
        extents, at = int.from_bytes(data[at : at + 2]), at + 2
        budget -= extents
        if at > box.stop or budget < 0:
            return
        start = {0: 0, 1: idat.start}.get(method)
        for _ in range(extents):
            at += index_size if version else 0
            offset, at = int.from_bytes(data[at : at + offset_size]), at + offset_size
            length, at = int.from_bytes(data[at : at + length_size]), at + length_size
            if start is not None:
                first = start + base + offset
                items.extents.setdefault(item, []).append((first, first + max(length, 1)))


def _keep_alphas(data: bytes, box: Box, items: _Items) -> None:
    """Of the auxiliary images keep those that are alpha: gain maps and depths are no part of the image."""
    items.alphas = items.alphas[:MOST_ALPHAS]
    inner = {each.name: each for each in boxes(data, box.start, box.stop)}
    if b"ipco" not in inner or b"ipma" not in inner:
        return
    properties = [*boxes(data, inner[b"ipco"].start, inner[b"ipco"].stop)]
    alpha = {
        number
        for number, each in enumerate(properties, start=1)
        if each.name == b"auxC" and data[each.start + 4 : each.start + 64].startswith(_ALPHA)
    }
    items.alphas = [item for item in items.alphas if alpha & _properties_of(data, inner[b"ipma"], item)]


def _properties_of(data: bytes, box: Box, item: int) -> set[int]:
    """The numbers of an item's properties, by ``ipma``."""
    version, wide = data[box.start], data[box.start + 3] & 1
    (count,) = struct.unpack_from(">I", data, box.start + 4)
    at, size = box.start + 8, 4 if version else 2
    for _ in range(min(count, MOST_ITEMS)):
        found, entries = int.from_bytes(data[at : at + size]), data[at + size]
        at += size + 1
        step = 2 if wide else 1
        if found == item:
            values = [int.from_bytes(data[at + step * n : at + step * (n + 1)]) for n in range(entries)]
            return {value & (0x7FFF if wide else 0x7F) for value in values}
        at += step * entries
    return set()


# --------------------------------------------------------------------------------------------------------- JPEG 2000


def without_trailer(data: bytes) -> bytes:
    """A JPEG 2000 up to the end of its codestream's box: OpenJPEG stumbles over what is no box of its own."""
    if not data.startswith(_JP2_SIGNATURE):
        return data
    box = next((box for box in boxes(data, 0, len(data)) if box.name == b"jp2c"), None)
    return data if box is None or box.stop >= len(data) else data[: box.stop]


def check_codestream(data: bytes) -> None:
    """Raise UnreadableImage where a JPEG 2000 lacks tiles: OpenJPEG would leave them black.

    A box of length 0 reaches to the end of the file, and whatever follows the codestream is no part of it.
    """
    start, stop = 0, len(data)
    if data.startswith(_JP2_SIGNATURE):
        box = next((box for box in boxes(data, 0, len(data)) if box.name == b"jp2c"), None)
        if box is None:
            raise UnreadableImage("the file ends before its image does: it has no codestream.", reason="truncated")
        start, stop = box.start, min(box.stop, len(data))
    missing = _missing_tiles(data, start, stop)
    if missing:
        raise UnreadableImage(f"the file ends before its image does: {missing}.", reason="truncated")


def _missing_tiles(data: bytes, start: int, stop: int) -> str | None:
    """What a codestream lacks, in words; None where nothing, or where it is too broken to tell."""
    at, tiles = start + 2, 0
    for _ in range(MOST_BOXES):  # the main header's segments
        if at + 4 > stop:
            return "it is cut within its header"
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == 0xFF90:
            break
        if marker == 0xFF51:
            tiles = _tiles_of(data[at + 4 : at + 2 + length])
        if marker < 0xFF00 or length < 2:
            return None
        at += 2 + length
    return _missing_parts(data, at, stop, tiles=tiles)


def _tiles_of(siz: bytes) -> int:
    """How many tiles an image has, by its SIZ segment."""
    if len(siz) < 34:
        return 0
    sides: tuple[int, ...] = struct.unpack_from(">8I", siz, 2)
    width, height, left, top, across, down, tile_left, tile_top = sides
    if not across or not down or left >= width or top >= height:
        return 0
    return -(-(width - tile_left) // across) * -(-(height - tile_top) // down)


def _missing_parts(data: bytes, at: int, stop: int, *, tiles: int) -> str | None:
    seen: dict[int, tuple[int, int]] = {}  # by tile: the parts that are there, and how many there should be
    for _ in range(MOST_TILE_PARTS):
        if at + 12 > stop or data[at : at + 2] != b"\xff\x90":
            break
        tile, length, _, parts = struct.unpack_from(">HIBB", data, at + 4)
        there, wanted = seen.get(tile, (0, 0))
        seen[tile] = (there + 1, max(wanted, parts))
        if length == 0:  # up to the end mark
            end = data.rfind(_END_OF_CODESTREAM, at + 12, stop)
            if end < 0:
                return "its last tile has no end"
            break
        if length < 12 or at + length > stop:
            return f"a tile lacks {at + length - stop:,} bytes" if length >= 12 else None
        at += length
    if len(seen) < tiles:
        return f"{len(seen)} of {tiles} tiles are there"
    cut = sum(there < wanted for there, wanted in seen.values())
    return f"{cut} tiles are not all there" if cut else None
