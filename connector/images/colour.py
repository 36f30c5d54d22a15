"""Colour profiles (ICC) to sRGB, by LittleCMS with the perceptual intent.

The rule: a broken, hostile or unfitting profile costs the profile, never the image. Transforms are kept by the digest
of their profile, a bounded number of them; one that changes nothing, as sRGB's own, is none.
"""

import hashlib
import io
import logging
import threading
from functools import cache, lru_cache
from typing import TypeAlias

import numpy as np
from cachetools import LRUCache, cached
from numpy.typing import NDArray
from PIL import Image, ImageCms

log = logging.getLogger(__name__)

MAX_PROFILE_BYTES = 8 * 1024 * 1024
"""A larger profile is not applied; those of printing presses have up to 3 MB."""
KEPT_TRANSFORMS = 32
SAME = 1
"""Grey levels by which a profile may move a colour and still count as sRGB."""

_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_BROKEN = (ImageCms.PyCMSError, OSError, ValueError, TypeError, ArithmeticError, RuntimeError, MemoryError, SystemError)
Transform: TypeAlias = ImageCms.ImageCmsTransform
Curve: TypeAlias = NDArray[np.uint8]  # (256,): what each grey becomes


def to_srgb(image: Image.Image, profile: object) -> Image.Image:
    """An image of mode RGB, L or CMYK in sRGB: RGB, or L as it was; the same image where nothing is to be changed.

    ``profile`` is what Pillow read of the file, None without one.
    """
    change = change_of(profile, image.mode)
    if change is None:
        return image
    if isinstance(change, np.ndarray):
        return image.point([*map(int, change)])
    try:
        return ImageCms.applyTransform(image, change) or image
    except _BROKEN:
        return image


def change_of(profile: object, mode: str) -> Transform | Curve | None:
    """What brings the colours of a mode to sRGB: a transform, for greys a curve, None for nothing."""
    if not isinstance(profile, bytes) or not 128 <= len(profile) <= MAX_PROFILE_BYTES:
        return None
    if _SPACES.get(profile[16:20]) != mode or profile[36:40] != b"acsp":
        return None
    return _change(profile, mode)


def _digest(profile: bytes, mode: str) -> bytes:
    return hashlib.blake2b(profile, digest_size=16, salt=mode.encode()).digest()


@cached(LRUCache(KEPT_TRANSFORMS), key=_digest, lock=threading.Lock())
def _change(profile: bytes, mode: str) -> Transform | Curve | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        change = ImageCms.buildTransform(source, _srgb(), mode, "RGB", ImageCms.Intent.PERCEPTUAL, _NO_CACHE)
        probe = _probe(mode)
        seen = np.asarray(ImageCms.applyTransform(probe, change))
    except _BROKEN as error:
        log.info("colour_profile_ignored bytes=%d detail=%s", len(profile), type(error).__name__)
        return None
    if mode == "CMYK":
        return change
    if np.abs(seen.astype(int) - np.asarray(probe.convert("RGB")).astype(int)).max() <= SAME:
        return None
    return np.ascontiguousarray(seen[0, :, 1]) if mode == "L" else change


_NO_CACHE = ImageCms.Flags.NOCACHE
"""LittleCMS keeps no last colour within a transform, which many threads share."""


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=len(_SPACES))
def _probe(mode: str) -> Image.Image:
    """Every grey, and colours from a regular grid."""
    greys = np.arange(256, dtype=np.uint8)[np.newaxis]
    if mode != "RGB":
        return Image.fromarray(greys).convert(mode)
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    return Image.fromarray(np.concatenate([grid, np.repeat(greys[..., np.newaxis], 3, axis=2)], axis=1))
