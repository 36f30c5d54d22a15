"""Half an image is refused, a whole one never: cuts of every format, tiled and plain, and oddities that are sound."""

import io
import struct
from collections.abc import Callable
from functools import cache

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401  (so that Pillow writes JPEG XL)
import pytest
from PIL import Image

from connector.errors import UnreadableImage
from connector.images.decode import decode
from connector.records import Pixels
from tests import corpus_files as files
from tests.corpus_files import saved, scene

WIDTH, HEIGHT = 640, 480
PERCENT = range(10, 100, 10)


def pixels_of(data: bytes) -> Pixels:
    return decode(data, size=64, max_pixels=10_000_000).pixels


def heic(*, tiled: bool) -> bytes:
    """One image, or a grid of four."""
    file = io.BytesIO()
    image = pillow_heif.from_pillow(scene(WIDTH, HEIGHT))
    image.save(file, quality=80)
    data = file.getvalue()
    return grid_of(data) if tiled else data


def grid_of(data: bytes) -> bytes:
    """A HEIC of 2x2 tiles, each with the bytes of the one image in ``data``."""
    pixels = data[data.index(b"mdat") + 4 :]
    hvcc = _box_of(data, b"hvcC")
    ispe = _box(b"ispe", struct.pack(">III", 0, WIDTH, HEIGHT))
    whole = _box(b"ispe", struct.pack(">III", 0, 2 * WIDTH, 2 * HEIGHT))
    associations = b"".join(struct.pack(">HBBB", item, 2, 1, 0x82) for item in range(1, 5)) + struct.pack(
        ">HBB", 5, 1, 3
    )
    properties = _box(b"ipco", ispe + hvcc + whole) + _box(b"ipma", struct.pack(">II", 0, 5) + associations)
    entries = b"".join(_box(b"infe", struct.pack(">IHH", 2 << 24, item, 0) + b"hvc1\0") for item in range(1, 5))
    entries += _box(b"infe", struct.pack(">IHH", 2 << 24, 5, 0) + b"grid\0")
    grid = struct.pack(">BBBBHH", 0, 0, 1, 1, 2 * WIDTH, 2 * HEIGHT)
    references = _box(b"iref", bytes(4) + _box(b"dimg", struct.pack(">HH4H", 5, 4, 1, 2, 3, 4)))

    def meta(first: int) -> bytes:
        extents = [(0, first + index * len(pixels), len(pixels)) for index in range(4)] + [(1, 0, len(grid))]
        places = b"".join(
            struct.pack(">HHHHII", item, method, 0, 1, at, length)
            for item, (method, at, length) in enumerate(extents, start=1)
        )
        return _box(
            b"meta",
            bytes(4)
            + _box(b"hdlr", bytes(8) + b"pict" + bytes(13))
            + _box(b"pitm", struct.pack(">IH", 0, 5))
            + _box(b"iinf", struct.pack(">IH", 0, 5) + entries)
            + references
            + _box(b"iprp", properties)
            + _box(b"iloc", struct.pack(">IBBH", 1 << 24, 0x44, 0, 5) + places)
            + _box(b"idat", grid),
        )

    head = _box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    return head + meta(len(head) + len(meta(0)) + 8) + _box(b"mdat", pixels * 4)


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + name + body


def _box_of(data: bytes, name: bytes) -> bytes:
    at = data.index(name) - 4
    return data[at : at + int.from_bytes(data[at : at + 4])]


def _tiff_tiles() -> bytes:
    """Four tiles of grey, uncompressed."""
    tags = [*files.grey_tiff_tags(64, 64)]
    grey = np.asarray(scene(64, 64).convert("L"))
    tiles = [grey[y : y + 32, x : x + 32].tobytes() for y in (0, 32) for x in (0, 32)]
    kept = [tag for tag in tags if tag.code not in (273, 278, 279)]
    start = 8 + 2 + 12 * (len(kept) + 4) + 4 + 32
    kept += [files.Tag(322, 4, [32]), files.Tag(323, 4, [32])]
    kept += [files.Tag(324, 4, [start + 1024 * n for n in range(4)]), files.Tag(325, 4, [1024] * 4)]
    return files.tiff(kept, data=b"".join(tiles))


MAKERS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved(scene(WIDTH, HEIGHT), "JPEG", quality=88),
    "jpeg-progressive": lambda: saved(scene(WIDTH, HEIGHT), "JPEG", progressive=True),
    "jpeg-restarts": lambda: saved(scene(WIDTH, HEIGHT), "JPEG", restart_marker_rows=1),
    "jpeg-grey": lambda: saved(scene(WIDTH, HEIGHT).convert("L"), "JPEG"),
    "jpeg-cmyk": lambda: saved(scene(WIDTH, HEIGHT).convert("CMYK"), "JPEG"),
    "png": lambda: saved(scene(WIDTH, HEIGHT), "PNG"),
    "png-interlaced": lambda: files.png(np.asarray(scene(96, 72)), colour=2, interlace=True),
    "webp": lambda: saved(scene(WIDTH, HEIGHT), "WEBP"),
    "webp-lossless": lambda: saved(scene(96, 72), "WEBP", lossless=True),
    "avif": lambda: saved(scene(WIDTH, HEIGHT), "AVIF"),
    "avif-tiled": lambda: saved(scene(WIDTH, HEIGHT), "AVIF", tile_rows=1, tile_cols=1),
    "heic": lambda: heic(tiled=False),
    "heic-tiled": lambda: heic(tiled=True),
    "jp2": lambda: saved(scene(WIDTH, HEIGHT), "JPEG2000", irreversible=True, quality_layers=[20]),
    "jp2-tiled": lambda: saved(scene(WIDTH, HEIGHT), "JPEG2000", tile_size=(128, 128)),
    "j2k-tiled": lambda: saved(scene(WIDTH, HEIGHT), "JPEG2000", no_jp2=True, tile_size=(128, 128)),
    "tiff": lambda: saved(scene(WIDTH, HEIGHT), "TIFF"),
    "tiff-lzw": lambda: saved(scene(WIDTH, HEIGHT), "TIFF", compression="tiff_lzw"),
    "tiff-jpeg": lambda: saved(scene(WIDTH, HEIGHT), "TIFF", compression="jpeg"),
    "tiff-tiled": _tiff_tiles,
    "gif": lambda: saved(scene(WIDTH, HEIGHT).quantize(64), "GIF"),
    "bmp": lambda: saved(scene(WIDTH, HEIGHT), "BMP"),
    "jxl": lambda: saved(scene(WIDTH, HEIGHT), "JXL"),
    "jxl-boxed": lambda: saved(scene(WIDTH, HEIGHT), "JXL", use_container=True),
}


@cache
def whole(name: str) -> bytes:
    return MAKERS[name]()


# ---------------------------------------------------------------------------------------------------------------- cuts


@pytest.mark.parametrize("name", MAKERS)
def test_a_cut_file_is_refused_as_truncated(name: str) -> None:
    data = whole(name)
    expected = pixels_of(data)
    for percent in PERCENT:
        with pytest.raises(UnreadableImage) as refused:
            pixels_of(data[: len(data) * percent // 100])
        assert refused.value.reason == "truncated", f"{percent} %: {refused.value}"
    assert (pixels_of(data) == expected).all()


@pytest.mark.parametrize("name", ["heic", "heic-tiled", "avif", "avif-tiled", "jpeg", "jpeg-progressive", "png", "jxl"])
def test_a_file_that_was_given_its_length_before_its_bytes_came_is_not_whole(name: str) -> None:
    data = whole(name)
    for percent in PERCENT:
        there = data[: len(data) * percent // 100]
        with pytest.raises(UnreadableImage) as refused:
            pixels_of(there + bytes(len(data) - len(there)))
        assert refused.value.reason in ("truncated", "corrupt"), f"{percent} %: {refused.value}"


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
@pytest.mark.parametrize("colour", ["black", "white", "#5a5a5a"])
def test_a_flat_image_is_whole(kind: str, colour: str) -> None:
    pillow_heif.register_heif_opener()
    flat = Image.new("RGBA", (1500, 1100), colour)
    assert pixels_of(saved(flat, kind)).std() < 2


_TRAILING = {"zeros": bytes(4096), "marks": b"\xff\xda\0\0" + bytes(300), "a film": b"\0\0\0\x18ftypmp42" + bytes(999)}


@pytest.mark.parametrize("name", [name for name in MAKERS if name.startswith("jpeg")])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["bare", "closed"])
@pytest.mark.parametrize("behind", [*_TRAILING.values(), b"another image"], ids=[*_TRAILING, "another image"])
def test_half_a_jpeg_is_refused_whatever_follows_it(name: str, end: bytes, behind: bytes) -> None:
    data = whole(name)
    behind = whole("jpeg") if behind == b"another image" else behind
    if "progressive" in name and end:
        pytest.skip("a progressive JPEG with its end mark shows all of the image, if less fine")
    for percent in PERCENT:
        with pytest.raises(UnreadableImage) as refused:
            pixels_of(data[: len(data) * percent // 100].rstrip(b"\xff") + end + behind)
        assert refused.value.reason == "truncated", f"{percent} %: {refused.value}"


@pytest.mark.parametrize("name", [name for name in MAKERS if not name.startswith("jpeg")])
def test_whatever_follows_a_whole_image_costs_nothing(name: str) -> None:
    data = whole(name)
    for behind in _TRAILING.values():
        assert (pixels_of(data + behind) == pixels_of(data)).all()


# --------------------------------------------------------------------------------------------- oddities that are sound


def _app(marker: int, body: bytes) -> bytes:
    return files.jpeg_with_segment(whole("jpeg"), marker=marker, body=body)


def _with_fill() -> bytes:
    """Fill bytes before every marker of the headers, and before the end."""
    data, at, pieces = whole("jpeg"), 2, [b"\xff\xd8"]
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        pieces += [b"\xff\xff", data[at:end]]
        at = end
    return b"".join([*pieces, b"\xff\xff\xff", data[at:-2], b"\xff\xff\xff\xd9"])


def _with_thumbnail() -> bytes:
    small = saved(scene(160, 120), "JPEG")
    return _app(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + small)


_ODD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "an end mark in a segment": ("jpeg", lambda: _app(0xEE, b"\xff\xd9" * 50)),
    "a scan's mark in a segment": ("jpeg", lambda: _app(0xE5, b"\xff\xda\0\x0c" * 50)),
    "a thumbnail in EXIF": ("jpeg", _with_thumbnail),
    "fill bytes before marks": ("jpeg", _with_fill),
    "a trailer of marks and zeros": ("jpeg", lambda: whole("jpeg") + b"\xff\xda" + bytes(5000)),
    "a film behind it": ("jpeg", lambda: whole("jpeg") + b"\0\0\0\x18ftypmp42" + whole("png")),
    "zeros behind it": ("jpeg", lambda: whole("jpeg") + bytes(100_000)),
    "half a JPEG behind it": ("jpeg", lambda: whole("jpeg") + whole("jpeg")[:9000]),
    "no end mark": ("jpeg", lambda: whole("jpeg")[:-2]),
    "restart marks, no end mark": ("jpeg-restarts", lambda: whole("jpeg-restarts")[:-2]),
    "a progressive one with a trailer": ("jpeg-progressive", lambda: whole("jpeg-progressive") + bytes(999)),
    "text cut off behind the pixels": ("png", lambda: whole("png")[:-12] + files.png_chunk(b"tEXt", b"a" * 99)[:40]),
    "half its end chunk": ("png", lambda: whole("png")[:-6]),
    "metadata cut off": ("webp", lambda: _webp_with(b"EXIF", bytes(900))[:-500]),
    "a length with a pad that is not there": ("webp", lambda: _without_pad(whole("webp"))),
    "bytes behind its end mark": ("jp2-tiled", lambda: whole("jp2-tiled") + b"\xff\x90"),
    "a box of length 0": ("jp2-tiled", lambda: _open_ended(whole("jp2-tiled"))),
    "a box of length 0, and bytes behind": ("jp2", lambda: _open_ended(whole("jp2")) + bytes(7)),
    "a codestream with bytes behind": ("j2k-tiled", lambda: whole("j2k-tiled") + b"\n"),
    "no end mark behind its last frame": ("gif", lambda: whole("gif")[:-1]),
    "several frames, the second cut": ("gif", lambda: _frames("GIF")[:-40]),
}


def _webp_with(kind: bytes, body: bytes) -> bytes:
    extended = files.webp_canvas(WIDTH, HEIGHT, whole("webp"))
    flags = bytes((0x08,))
    chunks = extended[12:20] + flags + extended[21:] + kind + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _without_pad(data: bytes) -> bytes:
    """A WebP whose one chunk has an odd length, and whose pad was forgotten."""
    size = int.from_bytes(data[16:20], "little")
    odd = data if size % 2 else data[:16] + struct.pack("<I", size + 1) + data[20:] + b"\0"
    body = odd[: 20 + int.from_bytes(odd[16:20], "little")]
    return body[:4] + struct.pack("<I", len(body) + 1 - 8) + body[8:]


def _open_ended(data: bytes) -> bytes:
    at = data.index(b"jp2c") - 4
    return data[:at] + bytes(4) + data[at + 4 :]


def _frames(kind: str) -> bytes:
    frames = [scene(WIDTH, HEIGHT).quantize(64), scene(WIDTH, HEIGHT, seed=1).quantize(64)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("odd", _ODD)
def test_a_sound_oddity_costs_no_image(odd: str) -> None:
    name, make = _ODD[odd]
    assert np.abs(pixels_of(make()).astype(int) - pixels_of(whole(name)).astype(int)).max() <= 2


def test_of_several_images_in_one_file_the_first_counts() -> None:
    data = saved(scene(WIDTH, HEIGHT), "MPO", save_all=True, append_images=[scene(64, 48)])
    with pytest.raises(UnreadableImage):
        pixels_of(data[: len(data) // 2])
    assert (pixels_of(data) == pixels_of(data[:-1000])).all()


# ----------------------------------------------------------------------------------------------------------- check sums


def test_a_damaged_byte_of_a_pngs_pixels_is_always_seen() -> None:
    data = whole("png")
    start = data.index(b"IDAT")
    for at in np.random.default_rng(5).integers(start, len(data) - 16, size=60):
        damaged = data[:at] + bytes((data[at] ^ 0x10,)) + data[at + 1 :]
        with pytest.raises(UnreadableImage) as refused:
            pixels_of(damaged)
        assert refused.value.reason in ("corrupt", "truncated")


def test_a_bad_check_sum_of_metadata_costs_the_metadata() -> None:
    bad = files.png_chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0", crc=7)
    decoded = decode(files.png(np.asarray(scene(96, 72)), colour=2, chunks=bad), size=64, max_pixels=10_000)
    assert (decoded.width, decoded.height) == (96, 72)


def test_the_orientation_in_a_pngs_text_is_kept() -> None:
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'
    decoded = decode(
        files.png(np.asarray(scene(96, 72)), colour=2, chunks=files.png_chunk(b"iTXt", xmp)), size=64, max_pixels=10_000
    )
    assert (decoded.width, decoded.height) == (72, 96)


# -------------------------------------------------------------------------------------------------------------- hostile


def _boxes_within_boxes() -> bytes:
    body = b""
    for _ in range(20_000):
        body = _box(b"meta", bytes(4) + body)[:200_000]
    return _box(b"ftyp", b"heic" + bytes(4) + b"mif1heic") + body


_HOSTILE: dict[str, Callable[[], bytes]] = {
    "boxes within boxes.heic": _boxes_within_boxes,
    "a million boxes.heic": lambda: _box(b"ftyp", b"heic" + bytes(4)) + _box(b"free", b"") * 500_000,
    "a million items.heic": lambda: (
        _box(b"ftyp", b"heic" + bytes(4))
        + _box(b"meta", bytes(4) + _box(b"iloc", b"\1\0\0\0\x44\0\xff\xff" + bytes(2_000_000)))
    ),
    "a million chunks.png": lambda: files.png_header(9, 9) + files.png_chunk(b"tEXt", b"") * 300_000,
    "a million chunks.webp": lambda: b"RIFF\xff\xff\xff\x7fWEBP" + b"ABCD\0\0\0\0" * 500_000,
    "a million segments.jpg": lambda: b"\xff\xd8" + b"\xff\xe0\0\2" * 500_000,
    "a million scans.jpg": lambda: whole("jpeg-progressive")[:-2] + b"\xff\xda\0\2" * 300_000,
    "a million marks.jpg": lambda: whole("jpeg")[:5000] + b"\xff\xd8" * 500_000,
    "a million tile-parts.j2k": lambda: whole("j2k-tiled")[:150] + b"\xff\x90\0\x0a\0\0\0\0\0\x0c\0\0" * 300_000,
    "a million tags.tif": lambda: b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\xff" * 8 + bytes(2_000_000),
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_no_structure_takes_long_to_walk(name: str) -> None:
    data = _HOSTILE[name]()
    with pytest.raises(UnreadableImage):  # a walk that is not linear takes minutes, and runs into the tests' timeout
        pixels_of(data)


def test_a_photograph_of_200_megapixels_passes_by_default() -> None:
    flat = Image.new("RGB", (16_320, 12_240), (90, 120, 200))
    data = saved(flat, "JPEG", quality=50)
    decoded = decode(data, size=64, max_pixels=120_000_000)
    assert (decoded.width, decoded.height) == (16_320, 12_240)
    with pytest.raises(UnreadableImage, match=r"decoded smaller"):
        decode(data, size=64, max_pixels=1_000_000)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_what_cannot_be_decoded_smaller_is_bounded_by_all_of_its_pixels(kind: str) -> None:
    data = saved(Image.new("L", (2_000, 2_000)), kind)
    with pytest.raises(UnreadableImage) as refused:
        decode(data, size=64, max_pixels=3_999_999)
    assert refused.value.reason == "too_many_pixels"
