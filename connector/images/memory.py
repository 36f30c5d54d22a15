"""What decoding an image takes of memory, told by its header, so that a service can wait until it is there.

The rule: an upper bound, of what the decoder really does: a JPEG that is decoded smaller counts as the smaller one.
"""

import io

from PIL.JpegImagePlugin import JpegImageFile

from connector.errors import UnreadableImage
from connector.images.decode import BYTES_PER_PIXEL, OPENERS
from connector.images.formats import recognise

_LEAN = {"png": 20, "gif": 20, "bmp": 20}
"""Bytes for each pixel of formats that take less than the bound of all: decoded, converted, turned upright."""
_COEFFICIENTS = 6
"""Bytes for each pixel of the original that a progressive JPEG keeps, however small it is decoded."""


def decode_memory(data: bytes, *, size: int) -> int:
    """Bytes that decoding a file for an image of ``size`` takes at most. Raises UnreadableImage for what is none."""
    name = recognise(data)
    try:
        image = OPENERS[name](io.BytesIO(data))
    except UnreadableImage:
        raise
    except Exception:  # noqa: BLE001  (a header that cannot be read: decoding says why, and takes no memory for it)
        return len(data)
    width, height = image.size
    if not isinstance(image, JpegImageFile):
        return len(data) + width * height * _LEAN.get(name, BYTES_PER_PIXEL)
    kept = width * height * _COEFFICIENTS if image.info.get("progressive") else 0
    image.draft("RGB", (2 * size, 2 * size))
    return len(data) + kept + image.width * image.height * BYTES_PER_PIXEL
