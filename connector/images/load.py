"""The image of a question: a path, an http(s) address, a file's bytes or a PIL image -> pixels.

The rule: nothing is read beyond the limits of the settings, and an address is fetched under the guard of ``net``.
"""

import stat
from pathlib import Path
from typing import TYPE_CHECKING

from connector.errors import InvalidQuery, UnreadableImage
from connector.records import Pixels
from connector.settings import LimitsSettings

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGES = 64
"""Images decoded before they go through the model together."""


def read_image(image: "str | Path | bytes | Image", *, size: int, limits: LimitsSettings) -> Pixels:
    """The pixels of an image, (size, size, 3) uint8. Raises InvalidQuery, and UnreadableImage for what is none."""
    from PIL.Image import Image

    from connector.images.decode import decode, prepare

    if isinstance(image, Image):
        if 0 in image.size:
            raise UnreadableImage(f"the image has {image.width}x{image.height} pixels.", reason="empty")
        return prepare(image, size=size)
    if isinstance(image, bytes):
        return decode(image, size=size, max_pixels=limits.max_pixels).pixels
    if not isinstance(image, str | Path):
        raise InvalidQuery(f"the image is {type(image).__name__}; a path, bytes or a PIL image is wanted.")
    data = _fetched(image, limits) if _is_address(image) else _bytes_of(Path(image), limits)
    try:
        return decode(data, size=size, max_pixels=limits.max_pixels).pixels
    except UnreadableImage as error:
        raise UnreadableImage(f"the image {str(image)!r}: {error}", reason=error.reason) from error


def _is_address(image: str | Path) -> bool:
    return isinstance(image, str) and image.startswith(("http://", "https://"))


def _fetched(url: str | Path, limits: LimitsSettings) -> bytes:
    from connector.remote.http import Web, WebLimits

    with Web(WebLimits(max_bytes=limits.max_bytes)) as web:
        page = web.get(str(url))
    return b"" if page is None else page.data


def _bytes_of(path: Path, limits: LimitsSettings) -> bytes:
    try:
        found = path.stat()
        if stat.S_ISREG(found.st_mode) and found.st_size <= limits.max_bytes:
            return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InvalidQuery(f"the image {str(path)!r} cannot be read: {error}.") from error
    if not stat.S_ISREG(found.st_mode):
        raise InvalidQuery(f"the image {str(path)!r} is no file.")
    raise InvalidQuery(
        f"the image {str(path)!r} has {found.st_size} bytes; limits.max_bytes allows {limits.max_bytes}."
    )
