"""Any mode of Pillow's as 8-bit sRGB or grey: colours by the image's profile, alpha on white, deep greys scaled.

The rule: what a viewer shows on white is what the tower sees; the rest is as Pillow converts it.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from connector.images.colour import change_of, to_srgb

Plane: TypeAlias = NDArray[np.uint8]  # (height, width, 3), or (height, width, 1) for greys


def plane_of(image: Image.Image | Plane, *, profile: object) -> Plane:
    """The pixels of a loaded image, or of a plane as libjpeg gives it. ``profile`` is its ICC profile, if any."""
    if isinstance(image, np.ndarray):
        return _plane_in_srgb(image, profile)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _plane_in_srgb(_scaled_greys(image)[:, :, np.newaxis], profile)
    if image.has_transparency_data:
        return np.asarray(_on_white(image, profile))
    if image.mode in ("L", "1"):
        return np.asarray(to_srgb(image.convert("L"), profile))[:, :, np.newaxis]
    if image.mode == "CMYK":
        image = to_srgb(image, profile)
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return np.asarray(to_srgb(image if image.mode == "RGB" else image.convert("RGB"), profile))


def _plane_in_srgb(plane: Plane, profile: object) -> Plane:
    grey = plane.shape[2] == 1
    change = change_of(profile, "L" if grey else "RGB")
    if change is None:
        return plane
    if isinstance(change, np.ndarray):
        return change[plane]
    return np.asarray(to_srgb(Image.fromarray(plane), profile))


def _on_white(image: Image.Image, profile: object) -> Image.Image:
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        image = image.copy()  # of 16 bits a channel Pillow keeps the upper 8 in its pixels, but all in the colour key
        image.info["transparency"] = tuple(value >> 8 for value in key)
    if image.mode != "RGBA":
        image = image.convert("RGBA")
    alpha = image.getchannel("A")
    colours = _colours(image, profile)
    if alpha.getextrema() == (255, 255):
        return colours
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(colours, mask=alpha)
    return canvas


def _colours(image: Image.Image, profile: object) -> Image.Image:
    """The colours of an RGBA image without their alpha; a profile for greys fits one whose channels are alike."""
    colours = image.convert("RGB")
    curve = change_of(profile, "L")
    return colours.point([*map(int, curve)] * 3) if isinstance(curve, np.ndarray) else to_srgb(colours, profile)


def _scaled_greys(image: Image.Image) -> NDArray[np.uint8]:
    """16-bit greys over their whole range; 32-bit and float ones over the range they use, if it is beyond 8 bits."""
    greys = np.asarray(image)
    if greys.dtype.kind != "u":
        return _stretched(greys.astype(np.float32))
    scaled = ((greys.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if isinstance(key := image.info.get("transparency"), int):
        scaled[greys == key] = 255
    return scaled


def _stretched(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    finite = np.isfinite(values)
    low, high = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 0.0)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    elif low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    np.nan_to_num(values, copy=False, nan=low, posinf=high, neginf=low)
    values -= low
    values *= 255 / (high - low)
    return np.rint(values).astype(np.uint8)
