"""The pictures themselves: originals and thumbnails of what was ingested, and of nothing else.

The one rule: an address is taken from a point of the collection, never from a request. What lies there now must be a
picture, whatever was there when it was ingested.
"""

import hashlib
import io
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from cachetools import LRUCache
from PIL import Image

from connector.errors import InvalidQuery
from connector.records import Payload
from connector.settings import LimitsSettings, ServeSettings
from connector.spaces.pixels import upright

MEDIA_TYPES = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "avif": "image/avif",
    "gif": "image/gif",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
    "jpeg2000": "image/jp2",
    "heic": "image/heic",
}
"""What a browser is told, by the payload's format; nothing else is ever sent, so no page can hide in a picture."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture as WebP, and what tells it from another."""

    data: bytes
    etag: str


class NotServed(InvalidQuery):
    """A picture that is not handed out from here."""


class Originals:
    """Reads originals and keeps thumbnails, within ``serve.thumbnail_cache_bytes``. Safe to use from many threads."""

    def __init__(self, *, serve: ServeSettings, limits: LimitsSettings) -> None:
        self._serve = serve
        self._limits = limits
        self._cache: LRUCache[str, Thumbnail] = LRUCache(serve.thumbnail_cache_bytes, getsizeof=_weight)
        self._lock = threading.Lock()

    def path_of(self, payload: Payload) -> Path:
        """The file of a picture that was ingested from a disk. Raises NotServed."""
        uri = str(payload.get("uri", ""))
        address = urlsplit(uri)
        if address.scheme != "file" or "#" in uri:
            raise NotServed(f"{uri} is not handed out from here: only pictures in folders are.")
        path = Path(os.fsdecode(unquote_to_bytes(address.path)))  # a name need not be UTF-8
        if not path.is_file():
            raise NotServed(f"{uri} is not there any more.")
        if path.stat().st_size > self._limits.max_bytes:
            raise NotServed(f"{uri} has {path.stat().st_size} bytes; limits.max_bytes is {self._limits.max_bytes}.")
        return path

    def thumbnail(self, point_id: str, payload: Payload) -> Thumbnail:
        """The picture of a point, upright, its longer side ``serve.thumbnail_px`` at most. Raises InvalidQuery."""
        etag = hashlib.blake2b(f"{point_id}{payload.get('version')}".encode(), digest_size=12).hexdigest()
        with self._lock:
            kept = self._cache.get(etag)
        if kept is not None:
            return kept
        made = Thumbnail(self._make(self.path_of(payload)), etag=etag)
        with self._lock:
            if _weight(made) <= self._cache.maxsize:
                self._cache[etag] = made
        return made

    def _make(self, path: Path) -> bytes:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise NotServed(f"{path.name} cannot be read: {error.strerror}.") from error
        size = self._serve.thumbnail_px
        small = upright(data, size=size, max_pixels=self._limits.max_pixels)
        small.thumbnail((size, size), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        small.save(out, "WEBP", quality=82, method=4)
        return out.getvalue()


def _weight(thumbnail: Thumbnail) -> int:
    return len(thumbnail.data) + 256
