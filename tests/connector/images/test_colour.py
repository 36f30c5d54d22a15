"""Colour profiles: copies of an image in other colours give its sRGB pixels; a bad profile costs but itself."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from connector.images import colour
from connector.images.decode import decode, prepare, upright
from connector.models.image_tower import ImageTower
from connector.records import Pixels, Vector
from connector.settings import ModelSettings
from tests import corpus_files as files
from tests.corpus_files import saved, scene

WIDTH, HEIGHT = 300, 200
Matrix = NDArray[np.float64]

# Red, green and blue of each space as XYZ under D50, by column (ICC profiles; Bradford-adapted).
SPACES: dict[str, tuple[Matrix, float]] = {
    "Display P3": (np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]]), 2.2),
    "Adobe RGB": (np.array([[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]]), 2.19921875),
    "ProPhoto": (np.array([[0.7977, 0.1352, 0.0313], [0.2880, 0.7119, 0.0001], [0.0000, 0.0000, 0.8249]]), 1.8),
}
SRGB: Matrix = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])


def profile_of(matrix: Matrix | None, *, gamma: float, space: bytes = b"RGB ") -> bytes:
    """An ICC profile of version 2: three colorants and a gamma, or a grey curve."""
    curve = b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256)) + b"\0\0"
    tags = {b"wtpt": _xyz(np.array([0.9642, 1.0, 0.8249])), b"desc": b"desc" + bytes(8)}
    if matrix is None:
        tags[b"kTRC"] = curve
    else:
        tags |= {name + b"XYZ": _xyz(matrix[:, at]) for at, name in enumerate((b"r", b"g", b"b"))}
        tags |= {name + b"TRC": curve for name in (b"r", b"g", b"b")}
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(value))
        body += value.ljust(-(-len(value) // 4) * 4, b"\0")
    head = bytes(4) + struct.pack(">I", 0x02100000) + b"mntr" + space + b"XYZ " + bytes(12) + b"acsp"
    head = (head + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)).ljust(124, b"\0")
    rest = struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", 128 + len(rest)) + head + rest


def _xyz(values: Matrix) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def in_space(image: Image.Image, name: str) -> Matrix:
    """The numbers, 0 to 1, that stand for the image's colours in another space."""
    matrix, gamma = SPACES[name]
    srgb = np.asarray(image) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.clip(linear @ (np.linalg.inv(matrix) @ SRGB).T, 0, 1) ** (1 / gamma)


def muted(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """The scene without its most saturated colours, so that every space holds them."""
    return Image.blend(scene(width, height), Image.new("RGB", (width, height), (128, 128, 128)), 0.25)


def copy_of(name: str, kind: str, *, deep: bool = False) -> bytes:
    matrix, gamma = SPACES[name]
    values, profile = in_space(muted(), name), profile_of(matrix, gamma=gamma)
    if deep:
        chunk = files.png_chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))
        return files.png(np.rint(values * 65535).astype(np.uint16), colour=2, chunks=chunk)
    image = Image.fromarray(np.rint(values * 255).astype(np.uint8))
    options = {"quality": 97, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    return saved(image, kind, icc_profile=profile, **options)


def pixels_of(data: bytes, *, size: int = 64) -> Pixels:
    return decode(data, size=size, max_pixels=10_000_000).pixels


def apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_copy_in_another_space_gives_the_pixels_of_srgb(name: str, kind: str) -> None:
    plain = pixels_of(saved(muted(), "PNG"))
    assert apart(pixels_of(copy_of(name, kind)), plain) < 2
    image = Image.open(io.BytesIO(copy_of(name, kind)))
    image.info.pop("icc_profile")
    assert apart(prepare(image, size=64), plain) > 2.5, "without its profile it has other colours"


def test_a_deep_copy_gives_the_pixels_of_srgb() -> None:
    assert apart(pixels_of(copy_of("ProPhoto", "PNG", deep=True)), pixels_of(saved(muted(), "PNG"))) < 2


@pytest.mark.parametrize("name", SPACES)
def test_a_copy_in_another_space_is_the_same_image_to_the_tower(name: str) -> None:
    tower = ImageTower.load(ModelSettings(space="mini"))
    size = tower.space.image_size

    def vector(data: bytes) -> Vector:
        found: Vector = tower.embed(pixels_of(data, size=size)[np.newaxis])[0]
        return found

    assert float(vector(copy_of(name, "PNG")) @ vector(saved(muted(), "PNG"))) >= 0.998


def test_a_thumbnail_is_in_srgb() -> None:
    thumbnail = upright(copy_of("ProPhoto", "PNG"), size=400, max_pixels=10_000_000)
    assert apart(np.asarray(thumbnail), np.asarray(muted())) < 2


def test_greys_follow_their_profile() -> None:
    grey = muted().convert("L")
    linear = np.asarray(grey) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    values = np.rint(linear ** (1 / 1.8) * 255).astype(np.uint8)
    profile = profile_of(None, gamma=1.8, space=b"GRAY")
    for kind in ("PNG", "JPEG", "TIFF"):
        data = saved(Image.fromarray(values), kind, icc_profile=profile)
        assert apart(pixels_of(data), pixels_of(saved(grey, "PNG"))) < 2
    clear = Image.merge("LA", (Image.fromarray(values), Image.new("L", grey.size, 255)))
    assert apart(pixels_of(saved(clear, "PNG", icc_profile=profile)), pixels_of(saved(grey, "PNG"))) < 2


def test_colours_change_before_alpha_lies_on_white() -> None:
    matrix, gamma = SPACES["ProPhoto"]
    values = Image.fromarray(np.rint(in_space(muted(), "ProPhoto") * 255).astype(np.uint8))
    alpha = Image.linear_gradient("L").resize(values.size)
    values.putalpha(alpha)
    plain = muted()
    plain.putalpha(alpha)
    with_profile = saved(values, "PNG", icc_profile=profile_of(matrix, gamma=gamma))
    assert apart(pixels_of(with_profile), pixels_of(saved(plain, "PNG"))) < 2


def test_srgbs_own_profile_changes_no_pixel_and_is_no_transform() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert colour.change_of(profile, "RGB") is None
    data = saved(scene(WIDTH, HEIGHT), "PNG", icc_profile=profile)
    assert (pixels_of(data) == pixels_of(saved(scene(WIDTH, HEIGHT), "PNG"))).all()


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_profile_costs_no_image(seed: int) -> None:
    random = np.random.default_rng(seed)
    profile = bytearray(profile_of(SPACES["Adobe RGB"][0], gamma=2.2))
    for at in random.integers(0, len(profile), size=random.integers(1, 40)):
        profile[at] = random.integers(256)
    cut = bytes(profile[: random.integers(1, len(profile))]) if seed % 3 == 0 else bytes(profile)
    for mode in ("RGB", "L", "CMYK"):
        assert pixels_of(saved(scene(60, 40).convert(mode), "JPEG", icc_profile=cut)).shape == (64, 64, 3)


@pytest.mark.parametrize("space", [b"GRAY", b"CMYK", b"Lab ", b"    "])
def test_a_profile_for_other_colours_than_the_images_is_not_applied(space: bytes) -> None:
    profile = profile_of(SPACES["ProPhoto"][0], gamma=1.8)
    other = profile[:16] + space + profile[20:]
    data = saved(muted(), "PNG", icc_profile=other)
    assert (pixels_of(data) == pixels_of(saved(muted(), "PNG"))).all()


def test_a_huge_profile_is_not_applied() -> None:
    profile = profile_of(SPACES["ProPhoto"][0], gamma=1.8)
    assert colour.change_of(profile.ljust(colour.MAX_PROFILE_BYTES + 1, b"\0"), "RGB") is None


def test_one_transform_serves_many_threads() -> None:
    data = copy_of("Display P3", "PNG")
    alone = pixels_of(data)
    with ThreadPoolExecutor(8) as threads:
        assert all((each == alone).all() for each in threads.map(pixels_of, [data] * 32))
