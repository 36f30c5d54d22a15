"""The corpus's unreadable files: cut, lying, absurd, hostile, or no images at all."""

import struct
import zlib
from functools import cache, partial

import numpy as np

from connector.errors import ImageFault
from tests import corpus_files as files
from tests import corpus_whole
from tests.corpus_files import Case, Tag, saved, scene

W, H = 96, 72


def cases() -> list[Case]:
    """Every file that must be refused."""
    return [
        *_not_images(),
        *_other_formats(),
        *_cut(),
        *_jpeg_cases(),
        *_png_cases(),
        *_tiff_cases(),
        *_remaining_cases(),
    ]


def _not_images() -> list[Case]:
    case = partial(_case, "none", "not_an_image")
    return [
        _case("none", "empty", "empty.jpg", "0 bytes", lambda: b""),
        case("one.jpg", "1 byte", lambda: b"\xff"),
        case("letter.png", "1 letter", lambda: b"P"),
        case("page.jpg", "a web page", lambda: b"<!DOCTYPE html><html><body>404 not found</body></html>"),
        case("page-with-icon.jpg", "a web page with a drawing in it", lambda: b"<html><body><svg></svg></body></html>"),
        case("error.jpg", "an XML error of a bucket", lambda: b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code>'),
        case("text.jpg", "text", lambda: b"this is no image\n" * 100),
        case("bm.bmp", "text that begins with BM", lambda: b"BMW is a maker of cars, " * 20),
        case("table.png", "JSON", lambda: b'{"image": "x.png"}'),
        case("random.jpg", "random bytes", lambda: np.random.default_rng(7).bytes(5000)),
        case("zeros.png", "zeros", lambda: bytes(5000)),
        case("archive.jpg", "a ZIP archive", lambda: b"PK\x03\x04" + bytes(100)),
        case("program.jpg", "a program", lambda: b"\x7fELF\x02\x01\x01" + bytes(100)),
        case("sound.webp", "a RIFF file of sound", lambda: b"RIFF\x24\0\0\0WAVEfmt " + bytes(30)),
        case("start.png", "half a PNG signature", lambda: b"\x89PNG"),
        case("shifted.jpg", "a JPEG behind 10 bytes of something", lambda: b"0123456789" + _whole("jpeg-baseline.jpg")),
        case("comments.jpg", "500 comments of XML, and nothing else", lambda: b"<!---->" * 500),
        case("base64.jpg", "a data: URI", lambda: b"data:image/png;base64,iVBORw0KGgo="),
    ]


def _other_formats() -> list[Case]:
    case = partial(_case, "none", "unsupported_format")
    return [
        case("drawing.svg", "SVG", lambda: b'<?xml version="1.0"?>\n<!-- x -->\n<svg xmlns="x"></svg>'),
        case("typed.svg", "SVG with a DOCTYPE and comments", _svg_with_doctype),
        case("drawing.jpg", "SVG, named .jpg", lambda: b'\xef\xbb\xbf<svg width="1"/>'),
        case("paper.pdf", "PDF", lambda: b"%PDF-1.7\n"),
        case("print.eps", "EPS", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"),
        case("print.jpg", "EPS, named .jpg", lambda: saved(scene(20, 20), "EPS")),
        case("layers.psd", "Photoshop", lambda: b"8BPS\0\x01" + bytes(30)),
        case("layers.xcf", "GIMP", lambda: b"gimp xcf v011\0" + bytes(30)),
        case("icon.ico", "ICO", lambda: saved(scene(32, 32), "ICO")),
        case("icon.icns", "ICNS", lambda: saved(scene(32, 32), "ICNS")),
        case("light.exr", "OpenEXR", lambda: b"\x76\x2f\x31\x01" + bytes(30)),
        case("light.hdr", "Radiance", lambda: b"#?RADIANCE\n"),
        case("plain.ppm", "Netpbm", lambda: saved(scene(8, 8), "PPM")),
        case("plain.qoi", "QOI", lambda: b"qoif" + bytes(30)),
        case("texture.dds", "DDS", lambda: saved(scene(8, 8), "DDS")),
        case("film.mp4", "video", lambda: b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2" + bytes(30)),
        case("raw.orf", "camera raw", lambda: b"IIRO\x08\0\0\0" + bytes(30)),
        case("scan.dcm", "DICOM", lambda: bytes(128) + b"DICM" + bytes(30)),
    ]


def _cut() -> list[Case]:
    whole = ["jpeg-baseline.jpg", "jpeg-progressive.jpg", "png-rgb.png", "png-interlaced.png", "webp-lossy.webp"]
    whole += ["webp-animated.webp", "avif-plain.avif", "heic-plain.heic", "gif-plain.gif", "tiff-raw.tif"]
    whole += ["tiff-tiff_lzw.tif", "bmp-plain.bmp", "jpeg2000-plain.jp2", "jpeg2000-stream.j2k"]
    whole += ["jpegxl-lossy.jxl", "jpegxl-boxed.jxl"]
    return [
        Case(
            name=f"{percent:02d}-percent-of-{name}",
            format=name.split("-")[0],
            what=f"{percent} % of a sound one",
            make=partial(_part, name, percent),
            expect="truncated",
        )
        for name in whole
        for percent in (10, 50, 90)
    ]


def _jpeg_cases() -> list[Case]:
    corrupt, cut = partial(_case, "jpeg", "corrupt"), partial(_case, "jpeg", "truncated")
    unread = partial(_case, "jpeg", "unsupported_format")
    plain = partial(_whole, "jpeg-baseline.jpg")
    return [
        cut("start.jpg", "the signature alone", lambda: b"\xff\xd8\xff"),
        cut("header.jpg", "the headers alone", lambda: plain()[: plain().index(b"\xff\xda")]),
        cut("lastblock.jpg", "without its last 12 bytes", lambda: plain()[:-12]),
        cut("zeros.jpg", "half of it, then zeros", lambda: _part("jpeg-baseline.jpg", 50) + bytes(50_000)),
        cut("restart.jpg", "cut at a restart marker", lambda: _whole("jpeg-restarts.jpg").rpartition(b"\xff\xd3")[0]),
        cut("lastscan.jpg", "progressive, without its last scan", _without_last_scan),
        _case("jpeg", "too_many_pixels", "bomb.jpg", "a header of 65500x65500 pixels", _jpeg_bomb),
        corrupt("flat.jpg", "0 pixels high", lambda: files.jpeg_with_size(plain(), width=96, height=0)),
        corrupt("notables.jpg", "without quantization tables", lambda: files.without(plain(), marker=0xDB)),
        corrupt("endonly.jpg", "start and end, nothing between", lambda: b"\xff\xd8\xff\xd9" * 20),
        cut("noise.jpg", "the signature, then random bytes", lambda: b"\xff\xd8\xff\xe0" + _noise(4000)),
        unread("lossless.jpg", "lossless (SOF3)", lambda: plain().replace(b"\xff\xc0", b"\xff\xc3", 1)),
        unread("deep.jpg", "12 bits a sample", lambda: _deep(plain())),
        unread("scans.jpg", "600 scans", _many_scans),
        cut("closed.jpg", "half of it, then the end mark", lambda: _part("jpeg-baseline.jpg", 50) + b"\xff\xd9"),
        cut("followed.jpg", "half of it, then a whole one", lambda: _part("jpeg-baseline.jpg", 50) + plain()),
        cut("closedscan.jpg", "progressive, half of its first scan, then the end mark", _half_first_scan),
    ]


def _png_cases() -> list[Case]:
    corrupt, cut = partial(_case, "png", "corrupt"), partial(_case, "png", "truncated")
    bomb = partial(_case, "png", "too_many_pixels")
    plain = partial(_whole, "png-rgb.png")
    pixels = zlib.compress(_noise(73 * 96))
    data, end = files.png_chunk(b"IDAT", pixels), files.png_chunk(b"IEND", b"")
    header = files.png_header(96, 72)
    return [
        bomb("bomb.png", "20000x20000 pixels in 49 kB", _png_bomb),
        bomb("vast.png", "a header of 2147483647x2147483647", lambda: files.png_header(2**31 - 1, 2**31 - 1) + data),
        cut("start.png", "the signature alone", lambda: plain()[:8]),
        corrupt("headcrc.png", "a bad check sum in its header", lambda: plain()[:30] + b"!" + plain()[31:]),
        corrupt("datacrc.png", "a flipped byte in its pixels", lambda: _flipped(plain(), at=len(plain()) // 2)),
        corrupt("zero.png", "0x0 pixels", lambda: files.png_header(0, 0) + data + end),
        corrupt("depth.png", "3 bits of depth", lambda: files.png_header(96, 72, depth=3) + data + end),
        corrupt("colour.png", "an unknown kind of colour", lambda: files.png_header(96, 72, colour=5) + data + end),
        corrupt("nodata.png", "no pixels", lambda: header + end),
        cut("fewdata.png", "too few pixels", lambda: header + files.png_chunk(b"IDAT", pixels[:40]) + end),
        cut(
            "fewlines.png", "too few lines", lambda: header + files.png_chunk(b"IDAT", zlib.compress(bytes(730))) + end
        ),
        corrupt("notdeflate.png", "pixels not deflated", lambda: header + files.png_chunk(b"IDAT", b"x" * 99) + end),
        _case("png", "unsupported_format", "apple.png", "Apple's variant (CgBI)", lambda: _apple(plain())),
        corrupt("order.png", "pixels before the header", lambda: plain()[:8] + data + end),
    ]


def _tiff_cases() -> list[Case]:
    corrupt, cut = partial(_case, "tiff", "corrupt"), partial(_case, "tiff", "truncated")
    tags = files.grey_tiff_tags
    pixels = bytes(16)
    unread = partial(_case, "tiff", "unsupported_format")
    return [
        unread("raw.dng", "camera raw (DNG) behind its preview", lambda: _raw(Tag(50706, 4, [0x01040000]))),
        unread("raw.nef", "camera raw behind its preview", lambda: _raw(Tag(262, 3, [32803]))),
        unread("floats.tif", "RGB in floating point", _float_rgb),
        cut("start.tif", "the signature alone", lambda: b"II*\0"),
        cut("away.tif", "a directory beyond the end", lambda: b"II*\0" + struct.pack("<I", 10**6) + bytes(20)),
        cut("strip.tif", "pixels beyond the end", lambda: files.tiff(tags(4, 4, offset=10**6), data=pixels)),
        corrupt("notags.tif", "no tags", lambda: files.tiff([])),
        corrupt("nosize.tif", "no size", lambda: files.tiff(tags(4, 4)[2:], data=pixels)),
        corrupt("sizes.tif", "a size of 0x0", lambda: files.tiff(tags(0, 0), data=pixels)),
        corrupt("deep.tif", "99 bits a pixel", lambda: files.tiff(tags(4, 4, bits=99), data=pixels)),
        corrupt("method.tif", "an unknown compression", lambda: _with_tag(Tag(259, 3, [9999]))),
        corrupt("channels.tif", "60000 channels", lambda: _with_tag(Tag(277, 3, [60000]))),
        _case("tiff", "truncated", "many.tif", "65535 tags, one there", lambda: b"II*\0\x08\0\0\0\xff\xff" + bytes(12)),
        _case(
            "tiff",
            "too_many_pixels",
            "bomb.tif",
            "300000x300000 pixels",
            lambda: files.tiff(tags(300_000, 300_000, length=16)),
        ),
        _case("tiff", "too_many_pixels", "tiles.tif", "a tile of 30000x30000 for 64x64 pixels", _vast_tile),
        cut("noise.tif", "the signature, then random bytes", lambda: b"II*\0\x08\0\0\0" + _noise(2000)),
    ]


def _remaining_cases() -> list[Case]:
    bmp, webp = partial(_whole, "bmp-plain.bmp"), partial(_whole, "webp-lossy.webp")
    return [
        _case(
            "webp",
            "too_many_pixels",
            "bomb.webp",
            "16383x16383 pixels",
            lambda: files.webp_canvas(16383, 16383, webp()),
        ),
        _case("webp", "truncated", "start.webp", "the signature alone", lambda: webp()[:16]),
        _case(
            "webp", "corrupt", "noise.webp", "random bytes in the frame", lambda: webp()[:20] + _noise(len(webp()) - 20)
        ),
        _case("avif", "truncated", "start.avif", "the signature alone", lambda: _whole("avif-plain.avif")[:32]),
        _case(
            "avif", "truncated", "noise.avif", "random bytes behind the signature", lambda: _noisy("avif-plain.avif")
        ),
        _case(
            "heic", "truncated", "noise.heic", "random bytes behind the signature", lambda: _noisy("heic-plain.heic")
        ),
        _case("heic", "corrupt", "liar.heic", "a header that claims another size", _lying_heic),
        _case("avif", "too_many_pixels", "bomb.avif", "16384x16384 pixels below a header of 96x72", _avif_bomb),
        _case("gif", "truncated", "start.gif", "the signature alone", lambda: b"GIF89a"),
        _case("gif", "corrupt", "noframes.gif", "no frames", lambda: b"GIF89a\x10\0\x10\0\0\0\0;"),
        _case("gif", "corrupt", "codes.gif", "an absurd code size", _bad_gif),
        _case("gif", "too_many_pixels", "bomb.gif", "65535x65535 pixels", _gif_bomb),
        _case("bmp", "truncated", "start.bmp", "the header alone", lambda: bmp()[:54]),
        _case(
            "bmp",
            "too_many_pixels",
            "bomb.bmp",
            "2147483647 pixels wide",
            lambda: _bmp_size(bmp(), 2**31 - 1, 2**31 - 1),
        ),
        _case("bmp", "corrupt", "zero.bmp", "0x0 pixels", lambda: _bmp_size(bmp(), 0, 0)),
        _case("bmp", "corrupt", "bits.bmp", "77 bits a pixel", lambda: files.bmp((4, 2), bytes(24), bits=77)),
        _case(
            "bmp",
            "corrupt",
            "method.bmp",
            "an unknown compression",
            lambda: files.bmp((4, 2), bytes(24), bits=24, compression=9),
        ),
        _case("jpeg2000", "truncated", "tiles.j2k", "without its last tiles", _without_last_tiles),
        _case("jpeg2000", "truncated", "start.jp2", "the signature alone", lambda: _whole("jpeg2000-plain.jp2")[:12]),
        _case(
            "jpeg2000",
            "truncated",
            "noise.j2k",
            "the signature, then random bytes",
            lambda: b"\xff\x4f\xff\x51" + _noise(900),
        ),
        _case("jpeg2000", "too_many_pixels", "bomb.j2k", "a header of 60000x60000", _jp2_bomb),
        _case("jpegxl", "too_many_pixels", "bomb.jxl", "60000x60000 pixels, its size in a second box", _jxl_bomb),
    ]


# ------------------------------------------------------------------------------------------------------ single files


def _case(kind: str, expect: ImageFault, name: str, what: str, make: object) -> Case:
    assert callable(make)
    return Case(name=f"{kind}-broken-{name}", format=kind, what=what, make=make, expect=expect)


@cache
def _whole(name: str) -> bytes:
    return next(case for case in corpus_whole.cases() if case.name == name).make()


def _part(name: str, percent: int) -> bytes:
    data = _whole(name)
    return data[: len(data) * percent // 100]


def _noise(length: int) -> bytes:
    return np.random.default_rng(3).bytes(length)


def _noisy(name: str) -> bytes:
    return _whole(name)[:40] + _noise(len(_whole(name)) - 40)


def _flipped(data: bytes, *, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 0xFF,)) + data[at + 1 :]


def _svg_with_doctype() -> bytes:
    return b'<?xml version="1.0"?><!-- a --><!DOCTYPE svg PUBLIC "x" "y" [<!ENTITY a "b">]>\n<!-- b --> <svg\n>'


def _many_scans() -> bytes:
    """The last scan of a progressive JPEG again and again: each takes the time of all pixels."""
    data = _whole("jpeg-progressive.jpg")
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * 600 + b"\xff\xd9"


def _vast_tile() -> bytes:
    kept = [tag for tag in files.grey_tiff_tags(64, 64) if tag.code not in (259, 273, 278, 279)]
    tile = zlib.compress(bytes(30_000))
    tags = [Tag(322, 4, [30_000]), Tag(323, 4, [30_000]), Tag(324, 4, [-1]), Tag(325, 4, [len(tile)])]
    return files.tiff([*kept[:3], Tag(259, 3, [8]), *kept[3:], *tags], data=tile)


def _avif_bomb() -> bytes:
    """A sequence header (AV1, 5.5.1) of a still image of 16384x16384 before that of the image."""
    data = _whole("avif-plain.avif")
    bits = f"{0b000_1_1_00000:010b}{13:04b}{13:04b}{16383:014b}{16383:014b}"
    header = int(bits.ljust(48, "0"), 2).to_bytes(6)
    at = data.index(b"mdat") + 4
    return data[:at] + b"\x0a\x06" + header + data[at + 8 :]


def _jxl_bomb() -> bytes:
    """A signature in the first part of the codestream, the size (ISO/IEC 18181-1, D.2) in the second."""
    side = 3 << 1 | 59_999 << 3
    size = (side | 0 << 33 | (side >> 1) << 36).to_bytes(12, "little")
    parts = struct.pack(">I4sI2s", 14, b"jxlp", 0, b"\xff\x0a") + struct.pack(">I4sI", 24, b"jxlp", 1 << 31 | 1) + size
    return b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl " + parts


def _without_last_scan() -> bytes:
    data = _whole("jpeg-progressive.jpg")
    return data[: data.rindex(b"\xff\xda")]


def _without_last_tiles() -> bytes:
    data = saved(scene(W, H), "JPEG2000", no_jp2=True, tile_size=(64, 64))
    return data[: data.rindex(b"\xff\x90\0\x0a") + 2]  # there OpenJPEG does not complain


def _jpeg_bomb() -> bytes:
    return files.jpeg_with_size(_whole("jpeg-baseline.jpg"), width=65500, height=65500)


def _png_bomb() -> bytes:
    lines = zlib.compressobj(9)
    body = b"".join(lines.compress(bytes(2501)) for _ in range(20_000)) + lines.flush()
    return files.png_header(20_000, 20_000, depth=1) + files.png_chunk(b"IDAT", body) + files.png_chunk(b"IEND", b"")


def _apple(data: bytes) -> bytes:
    return data[:8] + files.png_chunk(b"CgBI", b"P\0 \x06") + data[8:]


def _deep(data: bytes) -> bytes:
    return data.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c", 1)


def _half_first_scan() -> bytes:
    data = _whole("jpeg-progressive.jpg")
    first = data.index(b"\xff\xda")
    second = data.index(b"\xff\xda", first + 2)
    return data[: (first + second) // 2] + b"\xff\xd9"


def _with_tag(tag: Tag) -> bytes:
    tags = [tag if tag.code == other.code else other for other in files.grey_tiff_tags(4, 4)]
    return files.tiff(tags, data=bytes(16))


def _raw(tag: Tag) -> bytes:
    """A small sound preview with the tag of a camera raw."""
    tags = [*(each for each in files.grey_tiff_tags(4, 4) if each.code != tag.code), tag]
    return files.tiff(sorted(tags, key=lambda each: each.code), data=bytes(16))


def _float_rgb() -> bytes:
    changed = {258: Tag(258, 3, [32] * 3), 262: Tag(262, 3, [2]), 277: Tag(277, 3, [3]), 279: Tag(279, 4, [192])}
    tags = [changed.get(tag.code, tag) for tag in files.grey_tiff_tags(4, 4)]
    return files.tiff([*tags, Tag(339, 3, [3] * 3)], data=bytes(192))


def _lying_heic() -> bytes:
    data = _whole("heic-plain.heic")
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", 29_245, H) + data[at + 8 :]


def _bad_gif() -> bytes:
    return b"GIF89a\x10\0\x10\0\x80\0\0" + bytes(6) + b",\0\0\0\0\x10\0\x10\0\0\x20\x02\x4c\x01\0;"


def _gif_bomb() -> bytes:
    return b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x4c\x01\0;"


def _bmp_size(data: bytes, width: int, height: int) -> bytes:
    return data[:18] + struct.pack("<ii", width, height) + data[26:]


def _jp2_bomb() -> bytes:
    data = _whole("jpeg2000-stream.j2k")
    return data[:8] + struct.pack(">II", 60_000, 60_000) + data[16:]
