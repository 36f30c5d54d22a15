"""The images themselves, from where they were ingested: a disk, S3, the web, or a tar on one of the first two.

The one rule: an address is taken from a point of the collection, never from a request. What lies there now must be an
image, whatever was there when it was ingested: its first bytes decide what a browser is told.
"""

import hashlib
import re
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from stat import S_ISREG

from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from connector.errors import (
    CannotRead,
    OriginalCutShort,
    OriginalMissing,
    OriginalUnavailable,
    Overloaded,
    UnreadableImage,
)
from connector.images.formats import recognise
from connector.images.parquet import Cell, ParquetImages
from connector.records import Payload, path_of
from connector.remote.http import CannotFetch, WebClient
from connector.service.originals_s3 import S3Originals
from connector.service.stored_file import BLOCK, BLOCK_OF_TAR, HEAD, OpenedFile, Span, check_member
from connector.settings import Settings
from connector.version import Version

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
_DIGITS = 18
"""Of a number in a request or a payload; Python refuses to read those of some thousands."""

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
    "jpegxl": "image/jxl",
}
"""What a browser is told, by format; nothing else is ever sent, so no page can hide in an image."""
_FETCHES = 4
"""Images fetched from the web at once. What was fetched, or read of a table, is in memory until its caller has taken
it; all that are there have ``limits.max_bytes`` together."""


@dataclass(frozen=True, slots=True)
class Original:
    """An image's file: its size, what a browser is told, and its bytes, read as they are asked for."""

    size: int
    media_type: str
    etag: str
    head: bytes
    read_on: Callable[[int, int], Iterator[bytes]]

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes ``start:stop``. Raises OriginalError."""
        if start < min(stop, len(self.head)):
            yield self.head[start:stop]
        start = max(start, len(self.head))
        if start < stop:
            yield from self.read_on(start, stop)

    def whole(self, *, check: Callable[[], None] = lambda: None) -> bytes:
        """All of its bytes; ``check`` is called before each block is kept, and may raise. Raises OriginalError."""
        read = bytearray()
        for block in self.blocks(0, self.size):
            check()
            read += block
        if len(read) != self.size:
            raise OriginalCutShort(f"the file ended after {len(read):,} of {self.size:,} bytes; ask again.")
        return bytes(read)


class Originals:
    """Finds the files of stored images. Safe to use from many threads; closed once."""

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.limits.max_bytes
        self._web = WebClient(settings.web, max_bytes=self._limit, connections=_FETCHES)
        self._fetching = threading.Semaphore(_FETCHES)
        self._held = _HeldBytes(self._limit)
        self._s3 = S3Originals(settings.s3)

    def find(self, payload: Payload) -> Original:
        """The file of a point. Raises OriginalMissing and OriginalUnavailable."""
        uri = payload.get("uri")
        if not isinstance(uri, str):
            raise OriginalMissing("the payload of this point names no file.")
        cell = Cell.of_uri(uri)
        span = None if cell else _span_of(payload)
        file = uri if span is None else uri.rpartition("#")[0]
        match uri.partition("://")[0]:
            case "file" if cell is not None:
                version = Version.parse(payload.get("version"))
                found = self._in_memory(
                    _in_a_table(uri.partition("#")[0], cell=cell, version=version), tag=version or ""
                )
            case "file":
                found = _on_disk(file, span=span)
            case "s3" if cell is not None:
                version = Version.parse(payload.get("version")) or Version()
                with self._fetching:
                    data = self._s3.in_a_table(uri.rpartition("#")[0], cell=cell, version=version)
                found = self._in_memory(data, tag=version)
            case "s3":
                found = self._s3.find(file, span=span)
            case "http" | "https" if span is None:
                found = self._on_the_web(uri)
            case _:
                raise OriginalMissing("what the payload of this point names is not handed out from here.")
        if found.size > self._limit:
            raise OriginalMissing(f"the file has {found.size} bytes; limits.max_bytes is {self._limit}.")
        return _as_image(found, uri=uri)

    def close(self) -> None:
        """Close the connections."""
        self._web.close()
        self._s3.close()

    def _on_the_web(self, uri: str) -> OpenedFile:
        try:
            with self._fetching:
                page = self._web.get(uri)
        except CannotFetch as error:
            kind = OriginalMissing if error.reason in ("missing", "refused_address", "bad_address") else None
            said = f"the image cannot be fetched: {error.reason}."  # details tell of the network we stand in
            raise (kind or OriginalUnavailable)(said) from error
        data = b"" if page is None else page.data
        return self._in_memory(data, tag=hashlib.blake2b(data).hexdigest())

    def _in_memory(self, data: bytes, *, tag: str) -> OpenedFile:
        held = _InMemory(data, held=self._held)
        return OpenedFile(size=len(data), tag=tag, head=data[:HEAD], read_on=held.read_on)


def _as_image(found: OpenedFile, *, uri: str) -> Original:
    try:
        kind = MEDIA_TYPES[recognise(found.head)]
    except (UnreadableImage, KeyError) as error:
        raise OriginalMissing("the file is no image any more.") from error
    etag = hashlib.blake2b(f"{uri} {found.tag}".encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
    return Original(size=found.size, media_type=kind, etag=etag, head=found.head, read_on=found.read_on)


def _span_of(payload: Payload) -> Span | None:
    """Where a tar's member lies, None for a file of its own: a version with an offset tells them apart."""
    version = Version.parse(payload.get("version"))
    if version is None or version.offset is None or "#" not in str(payload.get("uri", "")):
        return None
    size = payload.get("bytes")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size < 10**_DIGITS:
        raise OriginalMissing("the payload of this point does not say how long the file in its tar is.")
    return Span(start=version.offset, size=size, version=version.container)


def _in_a_table(uri: str, *, cell: Cell, version: Version | None) -> bytes:
    try:
        path = path_of(uri)
        seen = path.stat()
        if version is None or version.bare != Version.of_file(size=seen.st_size, mtime_ns=seen.st_mtime_ns):
            raise OriginalMissing("the table was changed after its images were ingested.")
        with closing(ParquetImages(path, column=cell.column)) as images:
            return images.read(cell.row) or b""
    except (OSError, ValueError, CannotRead) as error:
        raise OriginalMissing("the table is not there any more, or cannot be read.") from error


def _on_disk(uri: str, *, span: Span | None) -> OpenedFile:
    try:
        path = path_of(uri)
        seen = path.stat()
        if not S_ISREG(seen.st_mode):
            raise OriginalMissing("the image is no file any more.")
        version = Version.of_file(size=seen.st_size, mtime_ns=seen.st_mtime_ns)
        if span is not None and span.version != version:
            raise OriginalMissing("the tar was changed after its images were ingested.")
        if span is not None:
            with path.open("rb") as file:
                file.seek(max(0, span.start - BLOCK_OF_TAR))
                check_member(file.read(BLOCK_OF_TAR), span=span)
        place = span or Span(start=0, size=seen.st_size, version=version)
        read_on = partial(_read, path, place.start)
        head = b"".join(read_on(0, min(place.size, HEAD)))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path, or another host
        raise OriginalMissing("the file is not there any more, or cannot be read.") from error
    return OpenedFile(size=place.size, tag=version, head=head, read_on=read_on)


def _read(path: Path, base: int, start: int, stop: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            file.seek(base + start)
            left = stop - start
            while left and (block := file.read(min(left, BLOCK))):
                left -= len(block)
                yield block
    except OSError as error:
        raise OriginalMissing(f"the file cannot be read: {error.strerror}.") from error


class _HeldBytes:
    """Bytes of files that are in memory, of all callers who have not taken theirs yet."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Count bytes as held. Raises Overloaded where they would be too many beside others."""
        with self._lock:
            if self._held and self._held + size > self._most:
                raise Overloaded(
                    "images that others are taking fill the memory for them; ask again in a second.", retry_after=1
                )
            self._held += size

    def give_back(self, size: int) -> None:
        with self._lock:
            self._held -= size


class _InMemory:
    """A file of the web or a cell of a table; its bytes count as held until nobody can read on in it any more."""

    def __init__(self, data: bytes, *, held: _HeldBytes) -> None:
        held.take(len(data))
        self._data = data
        weakref.finalize(self, held.give_back, len(data))

    def read_on(self, start: int, stop: int) -> Iterator[bytes]:
        for at in range(start, stop, BLOCK):
            yield self._data[at : min(at + BLOCK, stop)]


async def answer(original: Original, *, asked: Headers, policy: str) -> Response:
    """The answer to a request with these headers. The first block is read before the answer begins.

    Raises OriginalError, and 416 for a range that the file does not have.
    """
    etag = f'"{original.etag}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "private, max-age=300"}
    headers["Cross-Origin-Resource-Policy"] = policy
    if etag in asked.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    start, stop = 0, original.size
    status = 200
    if asked.get("if-range", etag) == etag and (span := range_of(asked, size=original.size)):
        start, stop = span
        status = 206
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{original.size}"
    headers["Content-Length"] = str(stop - start)
    blocks = original.blocks(start, stop)
    first = await run_in_threadpool(next, blocks, b"")
    return StreamingResponse(
        _streamed(first, blocks), status_code=status, headers=headers, media_type=original.media_type
    )


def range_of(asked: Mapping[str, str], *, size: int) -> tuple[int, int] | None:
    """Start and stop of the range that was asked for; None for none, for several, and for what is no range."""
    match = _RANGE.fullmatch(asked.get("range", ""))
    first, last = match.groups() if match else ("", "")
    if max(len(first), len(last)) > _DIGITS:
        raise HTTPException(416, f"the image has {size} bytes", {"Content-Range": f"bytes */{size}"})
    if not (first or last) or (first and last and int(last) < int(first)):
        return None
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= size:
        raise HTTPException(
            416, f"the image has {size} bytes; {asked['range']} is not in it", {"Content-Range": f"bytes */{size}"}
        )
    return start, stop


def _streamed(first: bytes, blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    return iterate_in_threadpool(chain([first], blocks))
