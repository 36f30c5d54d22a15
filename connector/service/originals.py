"""The pictures themselves, from where they were ingested: a disk, S3, the web, or a tar on one of the first two.

The one rule: an address is taken from a point of the collection, never from a request. What lies there now must be a
picture, whatever was there when it was ingested: its first bytes decide what a browser is told.
"""

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from stat import S_ISREG
from urllib.parse import unquote_to_bytes, urlsplit

from connector.errors import OriginalMissing, OriginalUnavailable, UnreadableImage
from connector.net import CannotFetch, Web, WebLimits
from connector.records import Payload
from connector.service.bucket import Bucket
from connector.service.found import BLOCK, HEAD, Found, Span
from connector.settings import Settings
from connector.spaces.formats import recognise

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
"""What a browser is told, by format; nothing else is ever sent, so no page can hide in a picture."""
_FETCHES = 4
"""Pictures fetched from the web at once; each is held in memory while it is."""
_MEMBER = re.compile(r"(?P<version>.*)@(?P<offset>\d+)")
"""The version of a tar's member: the tar's, and where the member begins."""


@dataclass(frozen=True, slots=True)
class Original:
    """A picture's file: its size, what a browser is told, and its bytes, read as they are asked for."""

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


class Originals:
    """Finds the files of stored pictures. Safe to use from many threads; closed once."""

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.limits.max_bytes
        self._web = Web(WebLimits(max_bytes=self._limit, connections=_FETCHES, **settings.web.model_dump()))
        self._fetching = threading.Semaphore(_FETCHES)
        self._bucket = Bucket(settings.s3)

    def find(self, payload: Payload) -> Original:
        """The file of a point. Raises OriginalMissing and OriginalUnavailable."""
        uri = str(payload.get("uri", ""))
        span = _span_of(payload)
        file = uri if span is None else uri.rpartition("#")[0]
        match uri.partition("://")[0]:
            case "file":
                found = _on_disk(file, span=span)
            case "s3":
                found = self._bucket.find(file, span=span)
            case "http" | "https" if span is None:
                found = self._on_the_web(uri)
            case _:
                raise OriginalMissing(f"{uri} is not handed out from here.")
        if found.size > self._limit:
            raise OriginalMissing(f"{uri} has {found.size} bytes; limits.max_bytes is {self._limit}.")
        return _as_picture(found, uri=uri)

    def close(self) -> None:
        """Close the connections."""
        self._web.close()
        self._bucket.close()

    def _on_the_web(self, uri: str) -> Found:
        try:
            with self._fetching:
                page = self._web.get(uri)
        except CannotFetch as error:
            kind = OriginalMissing if error.reason in ("missing", "refused_address", "bad_address") else None
            said = f"{uri} cannot be fetched: {error.reason}."  # no more: the details tell of the network we stand in
            raise (kind or OriginalUnavailable)(said) from error
        data = b"" if page is None else page.data
        return Found(size=len(data), tag=hashlib.blake2b(data).hexdigest(), head=data, read_on=_nothing)


def _as_picture(found: Found, *, uri: str) -> Original:
    try:
        kind = MEDIA_TYPES[recognise(found.head)]
    except (UnreadableImage, KeyError) as error:
        raise OriginalMissing(f"{uri} is no picture any more.") from error
    etag = hashlib.blake2b(f"{uri} {found.tag}".encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
    return Original(size=found.size, media_type=kind, etag=etag, head=found.head, read_on=found.read_on)


def _span_of(payload: Payload) -> Span | None:
    """Where a tar's member lies, None for a file of its own: a version that ends in an offset tells them apart."""
    member = _MEMBER.fullmatch(str(payload.get("version", "")))
    if member is None or "#" not in str(payload.get("uri", "")):
        return None
    return Span(start=int(member["offset"]), size=int(payload.get("bytes", 0)), version=member["version"])


def _on_disk(uri: str, *, span: Span | None) -> Found:
    path = Path(os.fsdecode(unquote_to_bytes(urlsplit(uri).path)))  # a name need not be UTF-8
    try:
        seen = path.stat()
        if not S_ISREG(seen.st_mode):
            raise OriginalMissing(f"{uri} is no file.")
        version = f"{seen.st_size}-{seen.st_mtime_ns}"
        if span is not None and span.version != version:
            raise OriginalMissing(f"{uri} was changed after its pictures were ingested.")
        place = span or Span(start=0, size=seen.st_size, version=version)
        read_on = partial(_read, path, place.start)
        head = b"".join(read_on(0, min(place.size, HEAD)))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise OriginalMissing(f"{uri} is not there any more, or cannot be read.") from error
    return Found(size=place.size, tag=version, head=head, read_on=read_on)


def _read(path: Path, base: int, start: int, stop: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            file.seek(base + start)
            left = stop - start
            while left and (block := file.read(min(left, BLOCK))):
                left -= len(block)
                yield block
    except OSError as error:
        raise OriginalMissing(f"{path} cannot be read: {error.strerror}.") from error


def _nothing(_: int, __: int) -> Iterator[bytes]:
    return iter(())
