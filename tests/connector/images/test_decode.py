"""The pixels contract: CLIP's preprocessing in Pillow, but for four differences.

The reference is written out here. Pillow from 13 on resizes images taller than about 2:1 by rows first; the weights
were trained with columns first, as every Pillow before does, and so do we: the reference takes the two steps apart.
"""

import io
import itertools
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from connector.errors import UnreadableImage
from connector.images.decode import decode, prepare
from connector.records import Pixels
from tests import corpus, corpus_files
from tests.corpus_files import Case, exif, saved, scene, scene_with_alpha

LIMIT = 10_000_000
SIZES = [(1, 1), (30, 20), (20, 30), (64, 64), (224, 224), (225, 224), (500, 375), (375, 500), (501, 333), (333, 501)]
SIZES += [(960, 540), (540, 960), (1000, 400), (400, 1000), (1001, 217), (217, 1003), (3, 777), (401, 2), (7, 1600)]
DRAFTED = [(1204, 903), (903, 1204), (1920, 1080), (1080, 1921), (2001, 700), (2448, 1836)]


def reference(image: Image.Image, size: int) -> Pixels:
    """CLIP's preprocessing in Pillow: RGB, bicubic, shortest edge to ``size``, centre crop."""
    image = image.convert("RGB")
    width, height = image.size
    short = min(image.size)
    wide, high = int(size * width / short), int(size * height / short)
    resized = image.resize((wide, height), Image.Resampling.BICUBIC).resize((wide, high), Image.Resampling.BICUBIC)
    left, top = (wide - size) // 2, (high - size) // 2
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def on_white(image: Image.Image) -> Image.Image:
    """The image as a viewer shows it on white."""
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def assert_close(ours: Pixels, theirs: NDArray[np.uint8], *, most: int, mean: float) -> None:
    """At most so many grey levels apart, anywhere and on average."""
    apart = np.abs(ours.astype(int) - theirs.astype(int))
    assert apart.max() <= most, f"{apart.max()} grey levels apart, {apart.mean():.3f} on average"
    assert apart.mean() <= mean, f"{apart.mean():.4f} grey levels apart on average"


def pixels_of(data: bytes, *, size: int = 64) -> Pixels:
    return decode(data, size=size, max_pixels=LIMIT).pixels


# --------------------------------------------------------------------------------------------------- the reference


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("size", [64, 224])
def test_pixels_of_any_shape_are_the_references(shape: tuple[int, int], size: int) -> None:
    image = scene(*shape)
    decoded = decode(saved(image, "PNG", compress_level=1), size=size, max_pixels=LIMIT)
    assert_close(decoded.pixels, reference(image, size), most=2, mean=0.02)
    assert (decoded.width, decoded.height) == shape


@pytest.mark.parametrize("shape", SIZES[:8], ids=str)
def test_a_jpeg_that_is_decoded_in_full_gives_the_references_pixels(shape: tuple[int, int]) -> None:
    data = saved(scene(*shape), "JPEG", quality=90)
    assert_close(pixels_of(data, size=224), reference(Image.open(io.BytesIO(data)), 224), most=2, mean=0.02)


@pytest.mark.parametrize("shape", DRAFTED, ids=str)
@pytest.mark.parametrize("size", [64, 224])
def test_a_jpeg_that_is_decoded_smaller_stays_near_the_reference(shape: tuple[int, int], size: int) -> None:
    data = saved(scene(*shape), "JPEG", quality=90)
    assert_close(
        decode(data, size=size, max_pixels=12_000_000).pixels,
        reference(Image.open(io.BytesIO(data)), size),
        most=14,
        mean=0.5,
    )


@pytest.mark.parametrize("shape", [(500, 375), (640, 480), (400, 600), (30, 20)], ids=str)
def test_the_reference_is_hugging_faces_own(shape: tuple[int, int]) -> None:
    processors = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    processor = processors.CLIPImageProcessorPil(do_normalize=False, do_rescale=False)
    theirs = processor(scene(*shape), return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    assert_close(reference(scene(*shape), 224), theirs, most=0, mean=0)


def _plain(case: Case) -> bool:
    """Whether none of the four differences and no rescue plays a part."""
    special = (
        "alpha",
        "RGBA",
        "clear",
        "16 bits",
        "orientation",
        "rotation",
        "floating",
        "32 bits",
        "end mark",
        "x60000",
        "left out",
    )
    return case.expect == "ok" and case.format != "heic" and not any(word in case.what for word in special)


@pytest.mark.parametrize("case", [case for case in corpus.CASES if _plain(case)], ids=lambda case: case.name)
def test_every_format_and_mode_gives_the_references_pixels(case: Case) -> None:
    data = case.make()
    drafted = case.name == "jpeg-huge.jpg"
    most, mean = (14, 0.5) if drafted else (2, 0.02)
    assert_close(pixels_of(data), reference(Image.open(io.BytesIO(data)), 64), most=most, mean=mean)


def test_a_heic_shows_what_was_saved() -> None:
    data = next(case for case in corpus.CASES if case.name == "heic-plain.heic").make()
    assert_close(pixels_of(data), reference(scene(96, 72), 64), most=120, mean=6)


def test_the_bundled_images_give_the_references_pixels() -> None:
    folder = Path(__file__).parents[3] / "workers" / "demo" / "images"
    paths = sorted(folder.glob("*/*.png"))[::40]
    if not paths:
        pytest.skip("the bundled images are not built here")
    for path in paths:
        data = path.read_bytes()
        assert_close(pixels_of(data), reference(on_white(Image.open(io.BytesIO(data))), 64), most=2, mean=0.02)


# ------------------------------------------------------------------------------------- difference 1: EXIF orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("shape", [(305, 200), (200, 305), (700, 67)], ids=str)
def test_every_orientation_is_set_upright(orientation: int, kind: str, shape: tuple[int, int]) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(scene(*shape), kind, exif=exif({0x0112: orientation}), **options)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    decoded = decode(data, size=64, max_pixels=LIMIT)
    assert (decoded.width, decoded.height) == upright.size == (shape if orientation < 5 else shape[::-1])
    if kind == "JPEG":  # decoded smaller: some levels more
        assert_close(decoded.pixels, reference(upright, 64), most=8, mean=0.6)
    else:
        assert_close(decoded.pixels, reference(upright, 64), most=12, mean=0.25)  # rows and columns change their turn


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mark_in_the_corner_is_where_a_viewer_shows_it(orientation: int) -> None:
    stored = Image.new("L", (64, 64), "black")
    stored.paste("white", (0, 0, 16, 8))
    data = saved(stored, "PNG", exif=exif({0x0112: orientation}))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert (pixels_of(data)[:, :, 0] == upright).all()


@pytest.mark.parametrize("seed", range(40))
def test_broken_exif_never_rejects_an_image(seed: int) -> None:
    random = np.random.default_rng(seed)
    block = bytearray(
        exif({271: "Camera", 272: "Model", 0x0112: 6, 282: 72.0, 34853: {1: "N", 2: (1.0, 2.0, 3.0)}}).tobytes()
    )
    for _ in range(10):
        for at in random.integers(6, len(block), size=8):
            block[at] = random.integers(256)
        data = corpus_files.jpeg_with_segment(saved(scene(32, 24), "JPEG"), marker=0xE1, body=bytes(block))
        decoded = decode(data, size=64, max_pixels=LIMIT)
        assert {decoded.width, decoded.height} == {32, 24}


def test_exif_is_handed_on() -> None:
    data = saved(scene(32, 24), "JPEG", exif=exif({271: "Camera"}))
    assert decode(data, size=64, max_pixels=LIMIT).exif[271] == "Camera"


def test_an_image_without_exif_has_an_empty_one() -> None:
    assert not dict(decode(saved(scene(32, 24), "PNG"), size=64, max_pixels=LIMIT).exif)


# ---------------------------------------------------------------------------------------- difference 2: alpha on white


@pytest.mark.parametrize("name", ["png-rgba.png", "png-greyalpha.png", "png-palettealpha.png", "png-palettekey.png"])
def test_alpha_lies_on_white(name: str) -> None:
    data = next(case for case in corpus.CASES if case.name == name).make()
    assert_close(pixels_of(data), reference(on_white(Image.open(io.BytesIO(data))), 64), most=2, mean=0.02)


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGBA"), ("TIFF", "RGBA")])
def test_colours_hidden_by_alpha_do_not_show(kind: str, mode: str) -> None:
    hidden = scene(40, 30)
    hidden.putalpha(0)
    assert (pixels_of(saved(hidden.convert(mode), kind)) == 255).all()


@pytest.mark.parametrize(
    ("colour", "depth", "key"),
    [(0, 8, (120,)), (2, 8, (120, 0, 0)), (0, 16, (30_000,)), (2, 16, (30_000, 0, 0))],
    ids=["grey", "rgb", "grey16", "rgb16"],
)
def test_a_clear_colour_is_white(colour: int, depth: int, key: tuple[int, ...]) -> None:
    samples = np.zeros((8, 8, len(key)), np.uint8 if depth == 8 else np.uint16)
    samples[:, 4:] = key
    chunk = corpus_files.png_chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
    pixels = pixels_of(corpus_files.png(samples, colour=colour, chunks=chunk))
    assert (pixels[:, :20] <= 20).all()
    assert (pixels[:, 44:] >= 235).all()


# ------------------------------------------------------------------------------------- difference 3: deep greys scaled


@pytest.mark.parametrize(
    "name", ["png-grey16.png", "tiff-grey16.tif", "tiff-grey16be.tif", "tiff-int32.tif", "tiff-float.tif"]
)
def test_deep_greys_are_scaled_not_clipped(name: str) -> None:
    data = next(case for case in corpus.CASES if case.name == name).make()
    assert_close(pixels_of(data), reference(scene(96, 72).convert("L"), 64), most=3, mean=1)


@pytest.mark.parametrize(
    ("low", "high", "black", "white"),
    [
        (0.0, 1.0, 0, 255),
        (0.0, 255.0, 0, 255),
        (0.0, 100.0, 0, 100),
        (-5.0, 5.0, 0, 255),
        (0.0, 0.0, 0, 0),
        (300.0, 65535.0, 1, 255),
    ],
)
def test_floating_point_greys_keep_their_range_or_are_stretched(
    low: float, high: float, black: int, white: int
) -> None:
    values = np.full((64, 64), low, np.float32)
    values[:, 32:] = high
    pixels = pixels_of(saved(Image.fromarray(values), "TIFF"))
    assert (pixels[0, 0] == black).all()
    assert (pixels[0, 63] == white).all()


# --------------------------------------------------------------------------------------- difference 4: extreme shapes


def test_the_middle_of_a_thread_is_the_references() -> None:
    thread = scene(60_000, 1)
    middle = thread.crop((29_980, 0, 30_020, 1))
    assert_close(pixels_of(saved(thread, "PNG")), reference(middle, 64), most=2, mean=0.02)


# ------------------------------------------------------------------------------------------------- limits and threads


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "JPEG2000"])
def test_the_limit_of_pixels_is_exact(kind: str) -> None:
    data = saved(scene(50, 40), kind)
    assert decode(data, size=64, max_pixels=2000).width == 50
    with pytest.raises(
        UnreadableImage, match=r"50x40 is 2,000 pixels, more than limits\.max_pixels = 1,999"
    ) as refused:
        decode(data, size=64, max_pixels=1999)
    assert refused.value.reason == "too_many_pixels"


def test_the_limit_is_ours_and_not_pillows() -> None:
    data = saved(Image.new("1", (10_000, 10_000)), "PNG")
    assert decode(data, size=64, max_pixels=100_000_000).width == 10_000


def test_pillows_own_settings_stay_as_they_are() -> None:
    Image.init()  # what Pillow knows of formats it loads when it first meets an unknown one
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, sorted(Image.OPEN))
    for case in itertools.islice(corpus.CASES, 0, None, 5):
        try:
            decode(case.make(), size=64, max_pixels=LIMIT)
        except UnreadableImage:
            continue
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, sorted(Image.OPEN)) == before


def test_eight_threads_give_the_pixels_of_one() -> None:
    files = [case.make() for case in corpus.CASES if case.expect == "ok"] * 2
    files += [saved(scene(1283, 961), "JPEG")] * 8
    alone = [pixels_of(data, size=224) for data in files]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda data: pixels_of(data, size=224), files))
    assert all((one == other).all() for one, other in zip(alone, together, strict=True))


def test_torchs_thread_count_does_not_show_in_the_pixels() -> None:
    data = saved(scene(1283, 961), "PNG", compress_level=1)
    before = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(pixels_of(data, size=224))
    finally:
        torch.set_num_threads(before)
    assert all((result == results[0]).all() for result in results)


# ----------------------------------------------------------------------------------------------------- half images


_CUT = (
    "jpeg-baseline.jpg jpeg-noend.jpg jpeg-grey.jpg jpeg-progressive.jpg jpeg-restarts.jpg png-rgb.png png-animated.png"
)
_CUT += " webp-lossy.webp avif-plain.avif heic-plain.heic gif-plain.gif tiff-raw.tif tiff-tiff_lzw.tif tiff-jpeg.tif"
_CUT += " bmp-plain.bmp jpeg2000-lossy.jp2 jpeg2000-stream.j2k"


@pytest.mark.parametrize("name", _CUT.split())
def test_a_cut_file_is_refused_or_shows_all_of_its_image(name: str) -> None:
    data = next(case for case in corpus.CASES if case.name == name).make()
    whole = pixels_of(data)
    outcomes = set()
    for cut in [*range(1, 17), *(len(data) * percent // 100 for percent in range(5, 95, 5))]:
        try:
            outcomes.add("whole" if (pixels_of(data[:-cut]) == whole).all() else f"other pixels after {cut} bytes less")
        except UnreadableImage as refused:
            outcomes.add(refused.reason)
    assert outcomes <= {"whole", "truncated", "corrupt"}


# ----------------------------------------------------------------------------------------------- images already open


@pytest.mark.parametrize(
    "name", ["png-rgba.png", "png-grey16.png", "png-turned.png", "tiff-turned.tif", "gif-clear.gif"]
)
def test_an_image_already_open_gives_the_same_pixels(name: str) -> None:
    data = next(case for case in corpus.CASES if case.name == name).make()
    assert (prepare(Image.open(io.BytesIO(data)), size=64) == pixels_of(data)).all()


def test_an_image_already_open_is_left_as_it_is() -> None:
    image = scene_with_alpha(40, 30)
    before = image.tobytes()
    prepare(image, size=64)
    assert (image.mode, image.size, image.tobytes()) == ("RGBA", (40, 30), before)


def test_an_image_opened_from_half_a_file_is_refused() -> None:
    image = Image.open(io.BytesIO(saved(scene(40, 30), "PNG")[:500]))
    with pytest.raises(UnreadableImage) as refused:
        prepare(image, size=64)
    assert refused.value.reason == "truncated"


# ---------------------------------------------------------------------------------------------------- what is imported


def test_heic_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    data = next(case for case in corpus.CASES if case.name == "heic-plain.heic").make()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnreadableImage, match=r"pip install 'polyglance\[heic\]'") as refused:
        decode(data, size=64, max_pixels=LIMIT)
    assert refused.value.reason == "unsupported_format"


def test_importing_the_decoder_loads_no_models_and_no_extras() -> None:
    code = (
        "import sys, connector.images.decode as p; print({'transformers', 'pillow_heif', 'workers'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
