"""Scenes drawn by code: one image in many forms, and other exposures of the same scene, to tell apart.

An exposure has its own sensor noise, and one or more of: another place of the camera (near things move against far
ones), people who moved, other clouds.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

DRAWN = (768, 576)
"""Width and height in which a scene is drawn."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """What differs between two exposures of a scene: ``camera`` in pixels of the nearest things, and seeds."""

    camera: float = 0.0
    people: int = 0
    clouds: int = 0
    noise: int = 0


def draw(scene: int, exposure: Exposure) -> Image.Image:
    """One exposure of a scene: a sky, hills, houses and trees at several distances, people, in RGB."""
    chance = np.random.default_rng(scene)
    width, height = DRAWN
    horizon = int(height * chance.uniform(0.3, 0.6))
    image = Image.fromarray(_sky(chance, exposure.clouds + 1000 * scene))
    pen = ImageDraw.Draw(image)
    _hills(pen, chance, horizon=horizon, shift=exposure.camera * 0.05)
    ground = tuple(int(each) for each in chance.integers(40, 170, 3))
    pen.rectangle((0, horizon, width, height), fill=ground)
    for depth in np.sort(chance.uniform(0.08, 1.0, chance.integers(14, 30))):
        _thing(pen, chance, depth=float(depth), horizon=horizon, shift=exposure.camera * float(depth))
    _people(pen, scene, exposure, horizon=horizon)
    image = image.filter(ImageFilter.GaussianBlur(0.7))
    grain = np.random.default_rng((scene, exposure.noise)).normal(0, 4, (height, width, 3))
    textured = np.asarray(image, dtype=np.float32) + _texture(chance) + grain
    return Image.fromarray(np.clip(textured, 0, 255).astype(np.uint8))


def _sky(chance: np.random.Generator, clouds: int) -> NDArray[np.uint8]:
    width, height = DRAWN
    top, low = chance.integers(60, 220, 3), chance.integers(120, 250, 3)
    ramp = np.linspace(0, 1, height)[:, None, None]
    sky = top * (1 - ramp) + low * ramp
    coarse = np.random.default_rng(clouds).integers(0, 256, (7, 9), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    cover = np.clip(np.asarray(smooth, dtype=np.float32) / 255 - 0.45, 0, 1)[..., None] * 1.5
    return np.clip(sky * (1 - cover) + 245 * cover, 0, 255).astype(np.uint8)


def _hills(pen: ImageDraw.ImageDraw, chance: np.random.Generator, *, horizon: int, shift: float) -> None:
    width, height = DRAWN
    colour = tuple(int(each) for each in chance.integers(50, 150, 3))
    steps = np.linspace(-60, width + 60, 14)
    points = [(float(x) + shift, horizon - float(chance.uniform(5, 110))) for x in steps]
    pen.polygon([*points, (width + 60, height), (-60, height)], fill=colour)


def _thing(pen: ImageDraw.ImageDraw, chance: np.random.Generator, *, depth: float, horizon: int, shift: float) -> None:
    """A house, a tree or a ball at a distance: ``depth`` is 1 for the nearest."""
    width, height = DRAWN
    foot = horizon + (height - horizon) * depth * 0.95
    size = 25 + 150 * depth * float(chance.uniform(0.5, 1.1))
    left = float(chance.uniform(-0.1, 1.0)) * width + shift
    colour, dark = (tuple(int(each) for each in chance.integers(low, high, 3)) for low, high in ((30, 255), (0, 120)))
    match chance.integers(0, 3):
        case 0:
            pen.rectangle((left, foot - size, left + size * 0.8, foot), fill=colour)
            pen.polygon(
                [(left, foot - size), (left + size * 0.8, foot - size), (left + size * 0.4, foot - size * 1.4)],
                fill=dark,
            )
            for row in range(3):
                for column in range(3):
                    x, y = left + size * (0.1 + 0.24 * column), foot - size * (0.85 - 0.28 * row)
                    pen.rectangle((x, y, x + size * 0.12, y + size * 0.15), fill=dark)
        case 1:
            pen.rectangle((left + size * 0.35, foot - size * 0.5, left + size * 0.45, foot), fill=dark)
            for _ in range(9):
                x, y = left + size * float(chance.uniform(0, 0.5)), foot - size * float(chance.uniform(0.5, 1.2))
                pen.ellipse((x, y, x + size * 0.35, y + size * 0.35), fill=colour, outline=dark)
        case _:
            pen.ellipse((left, foot - size * 0.6, left + size * 0.6, foot), fill=colour, outline=dark, width=3)


def _people(pen: ImageDraw.ImageDraw, scene: int, exposure: Exposure, *, horizon: int) -> None:
    """Three people, drawn where they stand at this exposure."""
    width, height = DRAWN
    looks = np.random.default_rng((scene, 7))
    walks = np.random.default_rng((scene, 8, exposure.people))
    for _ in range(3):
        coat = tuple(int(each) for each in looks.integers(0, 255, 3))
        depth = float(looks.uniform(0.3, 0.9))
        home = float(looks.uniform(0.1, 0.9)) * width
        size = 30 + 110 * depth
        left = home + (float(walks.choice([-1, 1]) * walks.uniform(0.25, 0.9)) * size if exposure.people else 0.0)
        foot = horizon + (height - horizon) * depth
        pen.rectangle((left, foot - size * 0.75, left + size * 0.28, foot), fill=coat)
        pen.ellipse((left + size * 0.03, foot - size, left + size * 0.25, foot - size * 0.75), fill=(224, 182, 150))


def _texture(chance: np.random.Generator) -> NDArray[np.float32]:
    width, height = DRAWN
    rough = chance.integers(0, 256, (height // 6, width // 6), dtype=np.uint8)
    wide = Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)
    return (np.asarray(wide, dtype=np.float32)[..., None] - 128) * np.float32(0.09)


# --------------------------------------------------------------------------------------------------- forms of one image


SUFFIXES = {"PNG": "png", "WebP": "webp", "HEIC": "heic"}
"""Of the files of forms that are no JPEG, by the form's name."""


def encoded(image: Image.Image, *, name: str = "JPEG", quality: int = 90) -> bytes:
    """The image as a file."""
    file = io.BytesIO()
    image.save(file, name, quality=quality)
    return file.getvalue()


def forms(image: Image.Image, *, seed: int) -> Iterator[tuple[str, bytes]]:
    """The same image in other forms, each with its name."""
    chance = np.random.default_rng((seed, 3))
    width, height = image.size
    yield "quality 30", encoded(image, quality=30)
    quarter = image.resize((width // 4, height // 4), Image.Resampling.LANCZOS)
    yield "scale 0.25", encoded(quarter, quality=85)
    left, top = (float(chance.uniform(0, 0.1)) for _ in range(2))
    box = (round(left * width), round(top * height), round((left + 0.9) * width), round((top + 0.9) * height))
    yield "crop 10 %", encoded(image.crop(box))
    yield "rotated by 90", encoded(image.transpose(Image.Transpose.ROTATE_90))
    yield "watermark", encoded(watermarked(image, chance))
    yield "PNG", encoded(image, name="PNG")
    yield "WebP", encoded(image, name="WEBP", quality=80)
    heic = _heic(image)
    if heic is not None:
        yield "HEIC", heic


def _heic(image: Image.Image) -> bytes | None:
    try:
        from pillow_heif import from_pillow
    except ImportError:
        return None
    file = io.BytesIO()
    from_pillow(image).save(file, quality=70)
    return file.getvalue()


def watermarked(image: Image.Image, chance: np.random.Generator) -> Image.Image:
    """The image with half-transparent white text across a corner."""
    layer = Image.new("RGBA", image.size, (255, 255, 255, 0))
    pen = ImageDraw.Draw(layer)
    size = image.width // int(chance.integers(14, 24))
    place = (image.width * float(chance.uniform(0.02, 0.5)), image.height * float(chance.choice([0.05, 0.5, 0.85])))
    pen.text(place, "(c) 2026 photos", font_size=size, fill=(255, 255, 255, int(chance.integers(110, 220))))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def others(scene: int) -> Iterator[tuple[str, Image.Image]]:
    """Other exposures of a scene than ``Exposure()``, each with what differs in it."""
    chance = np.random.default_rng((scene, 4))
    side = float(chance.choice([-1, 1]))
    still = Exposure(noise=1)
    yield "parallax", draw(scene, replace(still, camera=side * float(chance.uniform(10, 60))))
    yield "people", draw(scene, replace(still, people=1))
    yield "clouds", draw(scene, replace(still, clouds=1))
    yield "all of them", draw(scene, replace(still, camera=side * 25.0, people=2, clouds=2))
