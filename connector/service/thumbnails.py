"""Thumbnails: made once, kept in memory and on disk within bounds.

The one rule: whoever asks for a thumbnail that is being made waits for it, and does not make it again.
"""

import hashlib
import io
import logging
import os
import tempfile
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cachetools import LRUCache
from PIL import Image

from connector.errors import OriginalUnavailable
from connector.images.faults import one_image
from connector.process import private_folder
from connector.records import Payload
from connector.service.originals import Original, Originals
from connector.settings import LimitsSettings, ServeSettings

log = logging.getLogger(__name__)

Origin = Literal["memory", "disk", "made"]
_KEPT = 0.9
"""The share of its bound that a full folder keeps."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small image as WebP, what tells it from another, and where it came from."""

    data: bytes
    etag: str
    origin: Origin


class Thumbnails:
    """Makes and keeps thumbnails. Safe to use from many threads."""

    def __init__(self, originals: Originals, *, serve: ServeSettings, limits: LimitsSettings) -> None:
        self._originals = originals
        self._size = serve.thumbnail_px
        self._max_pixels = limits.max_pixels
        self._memory: LRUCache[str, bytes] = LRUCache(serve.thumbnail_cache_bytes, getsizeof=_weight)
        self._disk = BoundedFolder(serve.thumbnail_folder, max_bytes=serve.thumbnail_disk_bytes)
        self._making: dict[str, Future[Thumbnail]] = {}
        self._lock = threading.Lock()

    def etag_of(self, point_id: str, payload: Payload) -> str:
        """What tells this thumbnail from one of another image, version or size."""
        said = f"{point_id} {payload.get('version')} {payload.get('content_hash')} {self._size}"
        return hashlib.blake2b(said.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()

    def get(self, point_id: str, payload: Payload) -> Thumbnail:
        """The image of a point, upright, its longer side ``serve.thumbnail_px`` at most.

        Raises OriginalError, and UnreadableImage for a file that was damaged since.
        """
        etag = self.etag_of(point_id, payload)
        with self._lock:
            if (kept := self._memory.get(etag)) is not None:
                return Thumbnail(kept, etag, "memory")
            waited = self._making.get(etag)
            mine: Future[Thumbnail] = Future()
            if waited is None:
                self._making[etag] = mine
        if waited is not None:
            return waited.result()
        try:
            mine.set_result(self._found_or_made(etag, payload))
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._making[etag]
        return mine.result()

    def _found_or_made(self, etag: str, payload: Payload) -> Thumbnail:
        kept = self._disk.get(etag)
        data = (
            kept
            if kept is not None
            else shrink(self._originals.find(payload), size=self._size, max_pixels=self._max_pixels)
        )
        if kept is None:
            self._disk.put(etag, data)
        with self._lock:
            if _weight(data) <= self._memory.maxsize:
                self._memory[etag] = data
        return Thumbnail(data, etag, "made" if kept is None else "disk")


def shrink(original: Original, *, size: int, max_pixels: int) -> bytes:
    """An image as WebP, upright, its longer side ``size`` at most. Raises OriginalError and UnreadableImage."""
    from connector.images.decode import upright  # here: it imports torch

    data = b"".join(original.blocks(0, original.size))
    if len(data) != original.size:
        raise OriginalUnavailable("the file ended before its end; ask again.")
    with one_image("thumbnail", b""):
        small = upright(data, size=size, max_pixels=max_pixels)
        small.thumbnail((size, size), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        small.save(out, "WEBP", quality=82, method=4)
    return out.getvalue()


class BoundedFolder:
    """Small files by name, for many threads and processes; a folder that cannot be used is done without."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._held: int | None = None  # bytes, as far as this process knows; None until it has looked
        self._lock = threading.Lock()

    def get(self, name: str) -> bytes | None:
        """A file's bytes, None where it is not kept."""
        if not self._max_bytes:
            return None
        path = self._folder / name[:2] / name
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return data

    def put(self, name: str, data: bytes) -> None:
        """Keep a file; when they are too many bytes, the longest unused go."""
        if not self._max_bytes:
            return
        path = self._folder / name[:2] / name
        try:
            private_folder(path.parent)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(data)
            os.replace(file.name, path)  # noqa: PTH105  (whole, or not at all)
            self._bound(len(data))
        except OSError as error:
            log.warning("thumbnail_not_kept folder=%s detail=%s", self._folder, error)

    def _bound(self, added: int) -> None:
        with self._lock:
            if self._held is not None and self._held + added <= self._max_bytes:
                self._held += added
                return
            files = sorted((found.st_mtime, found.st_size, path) for path, found in self._files())
            held = sum(size for _, size, _ in files)
            keep = self._max_bytes if held <= self._max_bytes else int(self._max_bytes * _KEPT)
            for _, size, path in files:
                if held <= keep:
                    break
                path.unlink(missing_ok=True)
                held -= size
            self._held = held

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        for path in self._folder.glob("*/*"):
            try:
                found.append((path, path.stat()))
            except OSError:  # another process removed it
                continue
        return found


def _weight(data: bytes) -> int:
    return len(data) + 256
