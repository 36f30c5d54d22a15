"""The corpus's readable files: every format, mode and compression, and many an odd but sound file."""

import io
import struct
import zlib
from functools import partial

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401  (so that Pillow writes JPEG XL)
from PIL import Image, ImageCms, PngImagePlugin

from tests import corpus_files as files
from tests.corpus_files import Case, saved, scene, scene_with_alpha

W, H = 96, 72


def _greys16() -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    return np.asarray(scene(W, H).convert("L")).astype(np.uint16) * np.uint16(256)


def _jpeg(**options: object) -> bytes:
    return saved(scene(W, H), "JPEG", quality=90, **options)


def _jpeg_cases() -> list[Case]:
    case = partial(_case, "jpeg")
    return [
        case("baseline.jpg", "baseline, 4:2:0", _jpeg),
        case("fine.jpg", "4:4:4", partial(_jpeg, subsampling=0)),
        case("progressive.jpg", "progressive", partial(_jpeg, progressive=True)),
        case("restarts.jpg", "restart markers", partial(_jpeg, restart_marker_blocks=2)),
        case("grey.jpg", "grey", lambda: saved(scene(W, H).convert("L"), "JPEG")),
        case("cmyk.jpg", "CMYK, inverted as Adobe writes it", lambda: saved(scene(W, H).convert("CMYK"), "JPEG")),
        case("ycck.jpg", "YCCK", _ycck),
        case("burst.mpo", "several images in one (MPO): the first", _mpo),
        case("huge.jpg", "large, decoded smaller", lambda: saved(scene(1205, 903), "JPEG")),
        case("profile.jpg", "colour profile (applied)", _with_profile),
        case("noend.jpg", "without its end mark, all pixels there", lambda: _jpeg()[:-2]),
        case("halfend.jpg", "with half its end mark", lambda: _jpeg()[:-1]),
        case("tail.jpg", "with 100 kB of something behind it", lambda: _jpeg() + b"\0motion photo" * 8000),
        case("named.png", "named .png", _jpeg),
        case("turned.jpg", "EXIF orientation 6", partial(_jpeg, exif=files.exif({0x0112: 6}))),
        case("turn0.jpg", "EXIF orientation 0 (ignored)", partial(_jpeg, exif=files.exif({0x0112: 0}))),
        case("turn9.jpg", "EXIF orientation 9 (ignored)", partial(_jpeg, exif=files.exif({0x0112: 9}))),
        case("turnx.jpg", "EXIF orientation 'x' (ignored)", _orientation_is_text),
        case("exif-noise.jpg", "EXIF of random bytes", lambda: _with_exif(_noise(500))),
        case(
            "exif-cut.jpg", "EXIF that ends too early", lambda: _with_exif(files.exif({271: "Camera"}).tobytes()[:20])
        ),
        case("exif-full.jpg", "EXIF of 64 kB", lambda: _with_exif(_large_exif())),
        case("exif-circle.jpg", "EXIF that points to itself", lambda: _with_exif(_circular_exif())),
        case("exif-far.jpg", "EXIF whose values lie outside it", lambda: _with_exif(_far_exif())),
        case("bigcomment.jpg", "64 kB of comment", lambda: _segment(0xFE, b"x" * 65000)),
        case(
            "nohuffman.jpg", "without Huffman tables (as in Motion JPEG)", lambda: files.without(_jpeg(), marker=0xC4)
        ),
    ]


def _png_cases() -> list[Case]:
    case = partial(_case, "png")
    return [
        case("rgb.png", "RGB", lambda: saved(scene(W, H), "PNG")),
        case("rgba.png", "RGBA", lambda: saved(scene_with_alpha(W, H), "PNG")),
        case("grey.png", "grey", lambda: saved(scene(W, H).convert("L"), "PNG")),
        case("greyalpha.png", "grey and alpha", lambda: saved(scene_with_alpha(W, H).convert("LA"), "PNG")),
        case("palette.png", "palette", lambda: saved(scene(W, H).quantize(64), "PNG")),
        case("palette4.png", "palette of 4 bits", lambda: saved(scene(W, H).quantize(16), "PNG", bits=4)),
        case("palettealpha.png", "palette with alpha", _palette_with_alpha),
        case("palettekey.png", "palette with one clear colour", _palette_with_key),
        case("greykey.png", "grey with one clear shade", lambda: _key(_eight_bits()[:, :, :1], 0, (120,))),
        case("rgbkey.png", "RGB with one clear colour", lambda: _key(_eight_bits(), 2, (120, 120, 120))),
        case("one.png", "1 bit", lambda: saved(scene(W, H).convert("1"), "PNG")),
        case("grey16.png", "grey of 16 bits", lambda: saved(Image.fromarray(_greys16()), "PNG")),
        case("grey16key.png", "grey of 16 bits with one clear shade", _deep_key),
        case("rgb16.png", "RGB of 16 bits", lambda: files.png(_sixteen_bits(), colour=2)),
        case("rgb16key.png", "RGB of 16 bits with one clear colour", lambda: _key(_sixteen_bits(), 2, (0x7878,) * 3)),
        case("rgba16.png", "RGBA of 16 bits", _rgba16),
        case("interlaced.png", "interlaced", lambda: files.png(_eight_bits(), colour=2, interlace=True)),
        case("animated.png", "animated (APNG): the first", _apng),
        case("text.png", "text of 900 kB", _long_text),
        case("profile.png", "a broken colour profile", _bad_profile),
        case("textcrc.png", "a text chunk with a bad check sum (left out)", _bad_text),
        case("textbomb.png", "50 MB of text in 50 kB (left out)", _text_bomb),
        case("sizecrc.png", "its size in print with a bad check sum (left out)", _bad_size),
        case("noend.png", "without its end chunk", lambda: saved(scene(W, H), "PNG")[:-12]),
        case("turned.png", "EXIF orientation 8", lambda: saved(scene(W, H), "PNG", exif=files.exif({0x0112: 8}))),
        case("dot.png", "1x1 pixel", lambda: saved(scene(1, 1), "PNG")),
        case("thin.png", "2000x2 pixels", lambda: saved(scene(2000, 2), "PNG")),
        case("tower.png", "1x60000 pixels", lambda: saved(scene(1, 60000), "PNG")),
        case("named.jpg", "named .jpg", lambda: saved(scene(W, H), "PNG")),
        case("noname", "with no ending", lambda: saved(scene(W, H), "PNG")),
    ]


def _web_cases() -> list[Case]:
    frames = [scene(W, H, seed=seed) for seed in range(3)]
    return [
        _case("webp", "lossy.webp", "lossy", lambda: saved(scene(W, H), "WEBP", quality=90)),
        _case("webp", "exact.webp", "lossless", lambda: saved(scene(W, H), "WEBP", lossless=True)),
        _case("webp", "alpha.webp", "alpha", lambda: saved(scene_with_alpha(W, H), "WEBP", quality=90)),
        _case("webp", "animated.webp", "animated: the first frame", lambda: _animated(frames, "WEBP")),
        _case("webp", "turned.webp", "EXIF orientation 3", lambda: _turned("WEBP", 3)),
        _case("avif", "plain.avif", "8 bits", lambda: saved(scene(W, H), "AVIF", quality=90)),
        _case("avif", "fine.avif", "4:4:4", lambda: saved(scene(W, H), "AVIF", subsampling="4:4:4")),
        _case("avif", "alpha.avif", "alpha", lambda: saved(scene_with_alpha(W, H), "AVIF")),
        _case("avif", "animated.avif", "a sequence: the first frame", lambda: _animated(frames, "AVIF")),
        _case("avif", "turned.avif", "rotation 6", lambda: _turned("AVIF", 6)),
        _case("heic", "plain.heic", "8 bits", lambda: _heic(scene(W, H))),
        _case("heic", "alpha.heic", "alpha", lambda: _heic(scene_with_alpha(W, H))),
        _case("heic", "named.jpg", "named .jpg", lambda: _heic(scene(W, H))),
        _case("gif", "plain.gif", "still", lambda: saved(scene(W, H).quantize(64), "GIF")),
        _case("gif", "clear.gif", "one clear colour", lambda: saved(scene(W, H).quantize(64), "GIF", transparency=5)),
        _case("gif", "animated.gif", "animated: the first frame", lambda: _animated(frames, "GIF")),
        _case("gif", "straight.gif", "not interlaced", lambda: saved(scene(W, H).quantize(8), "GIF", interlace=0)),
        _case("gif", "noend.gif", "without its end mark", lambda: saved(scene(W, H).quantize(64), "GIF")[:-1]),
    ]


def _tiff_cases() -> list[Case]:
    case = partial(_case, "tiff")
    rgb = scene(W, H)
    compressions = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd")
    return [
        *(case(f"{name}.tif", f"RGB, {name}", partial(saved, rgb, "TIFF", compression=name)) for name in compressions),
        case("fax.tif", "1 bit, fax group 4", lambda: saved(rgb.convert("1"), "TIFF", compression="group4")),
        case("palette.tif", "palette", lambda: saved(rgb.quantize(64), "TIFF")),
        case("rgba.tif", "RGBA", lambda: saved(scene_with_alpha(W, H), "TIFF")),
        case("cmyk.tif", "CMYK", lambda: saved(rgb.convert("CMYK"), "TIFF")),
        case("lab.tif", "CIELAB", _lab),
        case("ycbcr.tif", "YCbCr", lambda: saved(rgb.convert("YCbCr"), "TIFF", compression="jpeg")),
        case("grey16.tif", "grey of 16 bits", lambda: saved(Image.fromarray(_greys16()), "TIFF")),
        case("grey16be.tif", "grey of 16 bits, big-endian", _big_endian_tiff),
        case("int32.tif", "grey of 32 bits", lambda: saved(Image.fromarray(_greys16().astype(np.int32)), "TIFF")),
        case("float.tif", "floating point", _float_tiff),
        case("nan.tif", "floating point with holes (NaN)", _nan_tiff),
        case("pages.tif", "several pages: the first", lambda: _animated([rgb, scene(20, 20)], "TIFF")),
        case("big.tif", "BigTIFF", lambda: saved(rgb, "TIFF", big_tiff=True)),
        case("turned.tif", "orientation 6", lambda: saved(rgb, "TIFF", exif=files.exif({0x0112: 6}))),
        case("circle.tif", "a circle of pages", _circular_tiff),
    ]


def _other_cases() -> list[Case]:
    rgb = scene(W, H)
    return [
        _case("bmp", "plain.bmp", "24 bits", lambda: saved(rgb, "BMP")),
        _case("bmp", "palette.bmp", "palette", lambda: saved(rgb.quantize(64), "BMP")),
        _case("bmp", "one.bmp", "1 bit", lambda: saved(rgb.convert("1"), "BMP")),
        _case("bmp", "alpha.bmp", "32 bits with alpha", lambda: saved(scene_with_alpha(W, H), "BMP")),
        _case("bmp", "topdown.bmp", "top-down", lambda: files.bmp((4, -2), bytes(range(24)), bits=24)),
        _case("bmp", "b565.bmp", "16 bits, 5-6-5", _b565),
        _case("bmp", "rle.bmp", "run lengths", _rle_bmp),
        _case("bmp", "badsize.bmp", "a wrong size of file", lambda: _patched(saved(rgb, "BMP"), 2, b"\xff\xff\xff\0")),
        _case("jpeg2000", "plain.jp2", "lossless", lambda: saved(rgb, "JPEG2000")),
        _case("jpeg2000", "stream.j2k", "bare codestream", lambda: saved(rgb, "JPEG2000", no_jp2=True)),
        _case("jpeg2000", "grey.jp2", "grey", lambda: saved(rgb.convert("L"), "JPEG2000")),
        _case("jpeg2000", "alpha.jp2", "alpha", lambda: saved(scene_with_alpha(W, H), "JPEG2000")),
        _case("jpeg2000", "grey16.jp2", "grey of 16 bits", lambda: saved(Image.fromarray(_greys16()), "JPEG2000")),
        _case("jpeg2000", "lossy.jp2", "lossy, tiled", _lossy_jp2),
    ]


def _jpeg_xl_cases() -> list[Case]:
    case = partial(_case, "jpegxl")
    return [
        case("lossy.jxl", "lossy", lambda: _jxl(scene(W, H))),
        case("exact.jxl", "lossless", lambda: _jxl(scene(W, H), lossless=True)),
        case("grey.jxl", "grey", lambda: _jxl(scene(W, H).convert("L"))),
        case("alpha.jxl", "alpha", lambda: _jxl(scene_with_alpha(W, H))),
        case("boxed.jxl", "in a container", lambda: _jxl(scene(W, H), use_container=True)),
        case("turned.jxl", "EXIF orientation 6", lambda: _jxl(scene(W, H), exif=files.exif({0x0112: 6}).tobytes())),
        case("tail.jxl", "with something behind it", lambda: _jxl(scene(W, H)) + b"\0behind" * 100),
    ]


def _jxl(image: Image.Image, **options: object) -> bytes:
    return saved(image, "JXL", **options)


def cases() -> list[Case]:
    """Every file that must be read."""
    return [*_jpeg_cases(), *_png_cases(), *_web_cases(), *_tiff_cases(), *_other_cases(), *_jpeg_xl_cases()]


def _case(kind: str, name: str, what: str, make: object) -> Case:
    assert callable(make)
    return Case(name=f"{kind}-{name}", format=kind, what=what, make=make)


# ------------------------------------------------------------------------------------------------------ single files


def _patched(data: bytes, at: int, patch: bytes) -> bytes:
    return data[:at] + patch + data[at + len(patch) :]


def _noise(length: int) -> bytes:
    return np.random.default_rng(0).bytes(length)


def _segment(marker: int, body: bytes) -> bytes:
    return files.jpeg_with_segment(_jpeg(), marker=marker, body=body)


def _with_exif(block: bytes) -> bytes:
    return _segment(0xE1, b"Exif\0\0" + block.removeprefix(b"Exif\0\0"))


def _with_profile() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return _jpeg(icc_profile=profile)


def _orientation_is_text() -> bytes:
    return _with_exif(b"II*\0\x08\0\0\0" + struct.pack("<HHHI4sI", 1, 0x0112, 2, 2, b"x\0\0\0", 0))


def _large_exif() -> bytes:
    return files.exif({0x010E: "x" * 65000}).tobytes()


def _circular_exif() -> bytes:
    entries = struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<HHII", 0x8825, 4, 1, 8)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + struct.pack("<I", 8)


def _far_exif() -> bytes:
    entries = struct.pack("<HHII", 0x010F, 2, 4_000_000_000, 4_000_000_000) + struct.pack("<HHII", 0x0110, 2, 99, 50)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + struct.pack("<I", 0)


def _ycck() -> bytes:
    data = saved(scene(W, H).convert("CMYK"), "JPEG")
    return _patched(data, data.index(b"Adobe") + 11, b"\x02")


def _mpo() -> bytes:
    return saved(scene(W, H), "MPO", save_all=True, append_images=[scene(40, 30)])


def _animated(frames: list[Image.Image], kind: str) -> bytes:
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


def _turned(kind: str, orientation: int) -> bytes:
    return saved(scene(W, H), kind, exif=files.exif({0x0112: orientation}))


def _eight_bits() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(scene(W, H)) // 8 * 8


def _sixteen_bits() -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    return _eight_bits().astype(np.uint16) * 257


def _key(samples: np.ndarray[tuple[int, ...], np.dtype[np.generic]], colour: int, key: tuple[int, ...]) -> bytes:
    return files.png(samples, colour=colour, chunks=files.png_chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)))


def _deep_key() -> bytes:
    greys = _greys16()
    return _key(greys[:, :, np.newaxis], 0, (int(greys[10, 10]),))


def _rgba16() -> bytes:
    return files.png(np.asarray(scene_with_alpha(W, H)).astype(np.uint16) * 257, colour=6)


def _palette_with_alpha() -> bytes:
    return saved(scene(W, H).quantize(64), "PNG", transparency=bytes(range(0, 256, 4)))


def _palette_with_key() -> bytes:
    return saved(scene(W, H).quantize(64), "PNG", transparency=3)


def _apng() -> bytes:
    return _animated([scene(W, H), scene(W, H, seed=1)], "PNG")


def _long_text() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", "a cat " * 150_000, zip=True)
    return saved(scene(W, H), "PNG", pnginfo=info)


def _text_bomb() -> bytes:
    text = files.png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000), 9))
    return files.png(_eight_bits(), colour=2, chunks=text)


def _bad_text() -> bytes:
    return files.png(_eight_bits(), colour=2, chunks=files.png_chunk(b"tEXt", b"Title\0x", crc=1))


def _bad_size() -> bytes:
    chunks = files.png_chunk(b"pHYs", b"\0\0\x0b\x13", crc=1) + files.png_chunk(b"cHRM", b"\0")
    return files.png(_eight_bits(), colour=2, chunks=chunks)


def _bad_profile() -> bytes:
    return files.png(_eight_bits(), colour=2, chunks=files.png_chunk(b"iCCP", b"name\0\0not deflated"))


def _heic(image: Image.Image) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=90)
    return file.getvalue()


def _lab() -> bytes:
    rgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.applyTransform(scene(W, H), ImageCms.buildTransform(rgb, lab, "RGB", "LAB"))
    assert converted is not None
    return saved(converted, "TIFF")


def _big_endian_tiff() -> bytes:
    data = _greys16().astype(">u2").tobytes()
    return files.tiff(files.grey_tiff_tags(W, H, bits=16), data=data, big_endian=True)


def _float_tiff() -> bytes:
    return saved(Image.fromarray(np.asarray(scene(W, H).convert("L")).astype(np.float32) / 255), "TIFF")


def _nan_tiff() -> bytes:
    values = np.asarray(scene(W, H).convert("L")).astype(np.float32) * 1000 - 3000
    values[10:20, 10:20] = np.nan
    values[0, 0] = np.inf
    return saved(Image.fromarray(values), "TIFF")


def _circular_tiff() -> bytes:
    return files.tiff(files.grey_tiff_tags(4, 4), data=bytes(range(16)), following=8)


def _b565() -> bytes:
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    return files.bmp((4, 2), struct.pack("<8H", *range(0, 65536, 8192)), bits=16, compression=3, masks=masks)


def _rle_bmp() -> bytes:
    palette = b"".join(bytes((i, i, i, 0)) for i in range(256))
    return files.bmp((4, 2), b"\x04\x50\0\0\x02\x60\x02\x70\0\x01", bits=8, compression=1, palette=palette)


def _lossy_jp2() -> bytes:
    image = scene(W, H)
    return saved(image, "JPEG2000", irreversible=True, quality_layers=[20], tile_size=(64, 64))
