"""Originals on S3, by the one client of ``remote/s3``.

The one rule: the first request says what there is and brings its head; the next ones insist on the same ETag.
"""

import io
import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast

from connector.errors import CannotRead, OriginalMissing, OriginalUnavailable, SourceError
from connector.images.parquet import Cell, ParquetImages
from connector.printable import printable
from connector.service.stored_file import BLOCK, BLOCK_OF_TAR, HEAD, OpenedFile, Span, check_member
from connector.settings import S3Settings
from connector.version import Version

if TYPE_CHECKING:
    from connector.remote.s3 import S3Store

log = logging.getLogger(__name__)

CONNECTIONS = 16
TABLE_BLOCK = 1024 * 1024
"""Bytes of a table that are asked for at a time."""
LONGEST_RETRY_S = 5.0
"""Seconds that a caller waits for a store that is away: whoever looks at a page asks again."""


class S3Originals:
    """Reads objects of any bucket, with one client that is made when the first is asked for."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._opened: S3Store | None = None

    def find(self, uri: str, *, span: Span | None) -> OpenedFile:
        """An object, or a stretch of one. Raises OriginalMissing and OriginalUnavailable."""
        from connector.remote.s3 import split_uri

        if span is not None and span.start < BLOCK_OF_TAR:
            raise OriginalMissing("no file of the tar begins where the payload of this point says.")
        before = 0 if span is None else BLOCK_OF_TAR
        start, length = (0, HEAD) if span is None else (span.start, min(HEAD, span.size))
        etag = None if span is None else span.version.object_etag
        with _translated(uri):
            bucket, key = split_uri(uri)
            head = self._store().fetch_range(bucket, key, start=start - before, stop=start + length, etag=etag)
        if span is not None:
            check_member(head.data[:before], span=span)
        size = head.size if span is None else span.size
        return OpenedFile(
            size=size, tag=head.etag, head=head.data[before:], read_on=partial(self._read, uri, head.etag, start)
        )

    def in_a_table(self, uri: str, *, cell: Cell, version: Version) -> bytes:
        """An image that stands in a Parquet file of this version: what comes before it in its row group is read too.

        Raises OriginalMissing and OriginalUnavailable.
        """
        from connector.remote.s3 import split_uri

        with _translated(uri):
            bucket, key = split_uri(uri)
            table = _Ranges(self._store(), bucket, key, etag=version.bare.object_etag)
            file = cast("BinaryIO", io.BufferedReader(table, TABLE_BLOCK))
            with closing(ParquetImages(file, column=cell.column)) as images:
                return images.read(cell.row) or b""

    def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            self._opened.close()

    def _read(self, uri: str, etag: str, base: int, start: int, stop: int) -> Iterator[bytes]:
        from connector.remote.s3 import split_uri

        bucket, key = split_uri(uri)
        with _translated(uri):
            yield from self._store().stream_range(
                bucket, key, start=base + start, stop=base + stop, etag=etag, block=BLOCK
            )

    def _store(self) -> "S3Store":
        from connector.remote.s3 import S3Store

        with self._lock:
            if self._opened is None:
                retry_s = min(self._settings.retry_s, LONGEST_RETRY_S)
                settings = self._settings.model_copy(update={"retry_s": retry_s})
                self._opened = S3Store(settings, connections=CONNECTIONS)
            return self._opened


class _Ranges(io.RawIOBase):
    """An object of exactly this ETag as a file that can be sought in; every read raises CannotRead where it fails."""

    def __init__(self, store: "S3Store", bucket: str, key: str, *, etag: str) -> None:
        super().__init__()
        self._fetch = partial(store.fetch_range, bucket, key, etag=etag)
        self._size = self._fetch(start=0, stop=1).size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset
        return self._at

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        stop = min(self._at + len(buffer), self._size)
        data = self._fetch(start=self._at, stop=stop).data if self._at < stop else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    """What a caller is told is short: the whole answer, which may name keys and hosts, goes to the log."""
    try:
        yield
    except SourceError as error:
        raise OriginalMissing("the payload of this point names no object.") from error
    except CannotRead as error:
        if error.reason == "missing":
            raise OriginalMissing("the object is not there any more.") from error
        if error.reason == "changed_meanwhile":
            raise OriginalMissing("the object was changed after its images were ingested.") from error
        log.warning("original_unavailable uri=%s reason=%s detail=%s", printable(uri), error.reason, printable(error))
        raise OriginalUnavailable(f"the object cannot be read: {error.reason}.") from error
