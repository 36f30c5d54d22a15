"""The image of a question: a path, an http(s) address, a file's bytes or a PIL image -> pixels.

The rule: nothing is read beyond the limits of the settings, and an address is fetched by the one client that the
settings ``web.*`` hold for.
"""

import re
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from connector.errors import InvalidQuery, UnreadableImage
from connector.printable import mask_credentials
from connector.records import CLIP_RESIZING, Pixels, Resizing
from connector.settings import LimitsSettings, WebSettings

if TYPE_CHECKING:
    from PIL.Image import Image

    from connector.remote.http import WebClient

IMAGES = 64
"""Images decoded before they go through the model together."""

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


class ImageLoader:
    """Reads the images of questions. Safe to use from many threads; closed once.

    All addresses are fetched by one client, which is made when the first is asked for.
    """

    def __init__(self, *, limits: LimitsSettings, web: WebSettings) -> None:
        self._limits = limits
        self._web_settings = web
        self._lock = threading.Lock()
        self._web: WebClient | None = None

    def read(self, image: "str | Path | bytes | Image", *, size: int, resizing: Resizing = CLIP_RESIZING) -> Pixels:
        """The pixels of an image, (size, size, 3) uint8. Raises InvalidQuery, and UnreadableImage for what is none."""
        from PIL.Image import Image

        from connector.images.decode import decode, prepare

        if isinstance(image, Image):
            if 0 in image.size:
                raise UnreadableImage(f"the image has {image.width}x{image.height} pixels.", reason="empty")
            return prepare(image, size=size, resizing=resizing)
        if isinstance(image, bytes):
            return decode(image, size=size, max_pixels=self._limits.max_pixels, resizing=resizing).pixels
        if not isinstance(image, str | Path):
            raise InvalidQuery(f"the image is {type(image).__name__}; a path, bytes or a PIL image is wanted.")
        data = self._bytes_of(image)
        try:
            return decode(data, size=size, max_pixels=self._limits.max_pixels, resizing=resizing).pixels
        except UnreadableImage as error:
            raise UnreadableImage(f"the image {str(image)!r}: {error}", reason=error.reason) from error

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._web is not None:
                self._web.close()
                self._web = None

    def _bytes_of(self, image: str | Path) -> bytes:
        match = _SCHEME.match(image.strip()) if isinstance(image, str) else None
        if match is None:
            return read_file(Path(image), limits=self._limits)
        if match[1].lower() not in ("http", "https"):
            raise InvalidQuery(f"the image {mask_credentials(str(image))!r} is no path and no http or https address.")
        page = self._web_client().get(str(image))
        return b"" if page is None else page.data

    def _web_client(self) -> "WebClient":
        from connector.remote.http import WebClient

        with self._lock:
            if self._web is None:
                self._web = WebClient(self._web_settings, max_bytes=self._limits.max_bytes)
            return self._web


def read_file(path: Path, *, limits: LimitsSettings) -> bytes:
    """The bytes of a regular file that is no larger than the limits allow. Raises InvalidQuery."""
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
