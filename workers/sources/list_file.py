"""The file of a list or table, on a disk of this machine or on S3.

The rule: whoever reads it reads a file of this machine. One on S3 is copied to a temporary file when it is listed, and
by another process when that reads an image out of it; the copy is as large as the object, and goes with its reader.
"""

import os
import tempfile
import threading
from pathlib import Path, PurePosixPath
from typing import Protocol

from connector.errors import CannotRead, SourceError
from connector.remote.s3 import S3Store, split_uri
from connector.version import Version
from workers.sources.disk import uri_of
from workers.sources.file import version_of
from workers.sources.source import readable

_BLOCK = 4 * 1024 * 1024


class ListFile(Protocol):
    """A list or table by its canonical ``uri``; relative paths in it begin in ``base``, a folder or s3://bucket/prefix.

    ``name`` is what messages call it, ``object_key`` its address without a scheme, as text.
    """

    uri: str
    name: str
    object_key: str
    base: Path | str

    @property
    def store(self) -> S3Store | None:
        """The store that it lies in."""

    def renewed(self) -> Path:
        """The file as it is now. Raises SourceError, OSError."""

    def path(self) -> Path:
        """The file as it was when it was last renewed. Raises SourceError, OSError."""

    def version(self) -> Version:
        """That of what ``path`` gives. Raises SourceError, OSError."""

    def close(self) -> None:
        """Remove what was copied."""


class DiskFile:
    """A list or table on a disk."""

    store: S3Store | None = None

    def __init__(self, file: Path) -> None:
        self._path = file.absolute()
        self.uri = uri_of(self._path)
        self.name = str(self._path)
        self.object_key = readable(os.fsencode(self._path))
        self.base: Path | str = self._path.parent

    def renewed(self) -> Path:
        """See ``ListFile``."""
        return self._path

    def path(self) -> Path:
        """See ``ListFile``."""
        return self._path

    def version(self) -> Version:
        """See ``ListFile``."""
        return version_of(self._path.stat())

    def close(self) -> None:
        """See ``ListFile``."""


class S3File:
    """A list or table on S3. ``store`` is closed by whoever made it."""

    def __init__(self, uri: str, *, store: S3Store) -> None:
        self._bucket, self._key = split_uri(uri)
        self.uri = self.name = f"s3://{self._bucket}/{self._key}"
        self.object_key = f"{self._bucket}/{self._key}"
        self.base: Path | str = self.uri.rpartition("/")[0]
        self.store: S3Store | None = store
        self._store = store
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._copied = Version()

    def renewed(self) -> Path:
        """See ``ListFile``."""
        found = self._store.find(self._bucket, self._key)
        if found is None:
            raise SourceError(f"{self.uri} is not there, or may not be read. Name a list or table that can.")
        with self._lock:
            if self._folder is None or found.version != self._copied:
                self._copy(size=found.size, version=found.version)
            return self._path()

    def path(self) -> Path:
        """See ``ListFile``."""
        with self._lock:
            if self._folder is not None:
                return self._path()
        return self.renewed()

    def version(self) -> Version:
        """See ``ListFile``."""
        self.path()
        return self._copied

    def close(self) -> None:
        """See ``ListFile``."""
        with self._lock:
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def _path(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / f"copy{PurePosixPath(self._key).suffix}"

    def _copy(self, *, size: int, version: Version) -> None:
        """Take the place of an earlier copy, which whoever reads it goes on reading."""
        try:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="polyglance-list-")
            draft = self._path().with_suffix(".part")
            with draft.open("wb") as file:
                blocks = self._store.stream_range(
                    self._bucket, self._key, start=0, stop=size, etag=version.object_etag, block=_BLOCK
                )
                for block in blocks:
                    file.write(block)
            draft.replace(self._path())
        except CannotRead as error:
            raise SourceError(f"{self.uri} cannot be read: {error}. Give the same command again.") from error
        except OSError as error:
            raise SourceError(
                f"{self.uri} ({size:,} bytes) cannot be copied to {tempfile.gettempdir()}: {error}. Make room there, "
                "or set TMPDIR to another folder."
            ) from error
        self._copied = version
