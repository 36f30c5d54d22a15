"""A small image of a large one, for people and agents to look at."""

import io

from PIL import Image

from connector.images.decode import upright
from connector.images.faults import one_image


def shrink(data: bytes, *, size: int, max_pixels: int) -> bytes:
    """An image as WebP, upright, its longer side ``size`` at most. Raises UnreadableImage."""
    with one_image("thumbnail", b""):
        small = upright(data, size=size, max_pixels=max_pixels)
        small.thumbnail((size, size), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        small.save(out, "WEBP", quality=82, method=4)
    return out.getvalue()
