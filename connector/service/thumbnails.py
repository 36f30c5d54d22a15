"""Thumbnails: made once, kept in memory and on disk within bounds.

The one rule: whoever asks for a thumbnail that is being made waits for it, and does not make it again; when nobody
waits any more, it is given up.
"""

import asyncio
import hashlib
import logging
import os
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from cachetools import LRUCache

from connector.files import replacing
from connector.images.shrink import shrink
from connector.records import Payload
from connector.service.admission import ImageAdmission, Slot
from connector.service.originals import Originals
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


@dataclass(slots=True)
class _Making:
    """A thumbnail that is being made, and how many wait for it."""

    task: "asyncio.Task[Thumbnail]"
    callers: int = 0


class Thumbnails:
    """Makes and keeps thumbnails; belongs to one event loop."""

    def __init__(
        self, originals: Originals, *, admission: ImageAdmission, serve: ServeSettings, limits: LimitsSettings
    ) -> None:
        self._originals = originals
        self._admission = admission
        self._size = serve.thumbnail_px
        self._max_pixels = limits.max_pixels
        self._memory: LRUCache[str, bytes] = LRUCache(serve.thumbnail_cache_bytes, getsizeof=_weight)
        self._disk = BoundedFolder(serve.thumbnail_folder, max_bytes=serve.thumbnail_disk_bytes)
        self._making: dict[str, _Making] = {}

    def etag_of(self, point_id: str, payload: Payload) -> str:
        """What tells this thumbnail from one of another image, version or size."""
        return thumbnail_name(point_id, payload, size=self._size)

    async def get(self, point_id: str, payload: Payload) -> Thumbnail:
        """The image of a point, upright, its longer side ``serve.thumbnail_px`` at most.

        Raises OriginalError, UnreadableImage for a file that was damaged since, and Overloaded.
        """
        etag = self.etag_of(point_id, payload)
        if (kept := self._memory.get(etag)) is not None:
            return Thumbnail(kept, etag, "memory")
        making = self._making.get(etag) or self._begin(etag, point_id, payload)
        making.callers += 1
        try:
            made = await asyncio.shield(making.task)
        finally:
            making.callers -= 1
            if not making.callers:
                self._forget(etag, making)
                making.task.cancel()  # nothing, where it is done
        if _weight(made.data) <= self._memory.maxsize:
            self._memory[etag] = made.data
        return made

    async def of_reject(self, payload: Payload) -> bytes:
        """A small image of what could not be ingested; it is not kept. Raises as ``get`` does."""
        return await self._admission.run(partial(self._made, payload))

    def _begin(self, etag: str, point_id: str, payload: Payload) -> _Making:
        work = self._admission.run(partial(self._found_or_made, etag, payload))
        making = self._making[etag] = _Making(asyncio.create_task(work, name=f"thumbnail {point_id}"))
        making.task.add_done_callback(lambda _: self._forget(etag, making))
        return making

    def _forget(self, etag: str, making: _Making) -> None:
        if self._making.get(etag) is making:
            del self._making[etag]

    def _found_or_made(self, etag: str, payload: Payload, slot: Slot) -> Thumbnail:
        kept = self._disk.get(etag)
        if kept is not None:
            return Thumbnail(kept, etag, "disk")
        data = self._made(payload, slot)
        self._disk.put(etag, data)
        return Thumbnail(data, etag, "made")

    def _made(self, payload: Payload, slot: Slot) -> bytes:
        original = self._originals.find(payload)
        with self._admission.reading(original.size, slot=slot):
            data = original.whole(check=slot.check)
            with self._admission.decoding(data, size=self._size, slot=slot):
                return shrink(data, size=self._size, max_pixels=self._max_pixels)


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
            with replacing(path) as draft:
                draft.write_bytes(data)
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


def thumbnail_name(point_id: str, payload: Payload, *, size: int) -> str:
    """The name that the thumbnail of an image in this version is kept under, its longer side ``size`` at most."""
    said = f"{point_id} {payload.get('version')} {payload.get('content_hash')} {size}"
    return hashlib.blake2b(said.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _weight(data: bytes) -> int:
    return len(data) + 256
