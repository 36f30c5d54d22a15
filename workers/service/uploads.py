"""The files of images that callers sent: one folder for each content, in which it lies under the name it came with.

The one rule: a file is whole or not there, and equal bytes are one file, whoever sends them and however often.
"""

import errno
import hashlib
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from connector.errors import StoreFull, StoreRefused
from connector.files import replacing, write_synced
from connector.records import path_of
from connector.settings import Settings
from connector.store.open import file_name_of

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_UNFIT = re.compile(r"[\x00-\x1f\x7f/\\]+")
_LONGEST = 120
"""Bytes of a file's name."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that is kept: its path, a digest of its bytes, and whether this very call put it there."""

    path: Path
    digest: str
    new: bool


class Uploads:
    """The files of one collection. Safe to use from many threads."""

    def __init__(self, settings: Settings) -> None:
        top = settings.serve.uploads or settings.qdrant.path / ".uploads"
        self.folder = (top / file_name_of(settings.qdrant, collection=settings.collection)).absolute()
        self._most = settings.serve.upload_bytes
        self._held: int | None = None  # bytes, as far as this process knows; None until it has looked
        self._lock = threading.Lock()

    def keep(self, data: bytes, *, name: str) -> Kept:
        """Keep a file, whole and on disk when this returns. Raises StoreFull and StoreRefused."""
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        folder = self.folder / digest[:2] / digest
        with self._lock:
            if (there := _file_in(folder)) is not None:
                return Kept(there, digest, new=False)
            held = self._bytes()
            if held + len(data) > self._most:
                raise StoreFull(
                    f"the images that were sent fill serve.upload_bytes = {self._most:,}; remove some, or raise it."
                )
            path = folder / _fit(name)
            try:
                _write(path, data)
            except OSError as error:
                _refuse(error)
            self._held = held + len(data)
        return Kept(path, digest, new=True)

    def has(self, uri: str) -> bool:
        """Whether an address is one of these files."""
        return uri.startswith(f"{self.folder.as_uri()}/")

    def remove(self, uri: str) -> None:
        """Remove one of these files, by its address; harmless when it is gone."""
        path = path_of(uri)
        if path.parent.parent.parent != self.folder:
            return
        with self._lock:
            try:
                size = path.stat().st_size
                path.unlink()
                path.parent.rmdir()
            except FileNotFoundError:
                return
            except OSError as error:
                _refuse(error)
            if self._held is not None:
                self._held -= size

    def _bytes(self) -> int:
        if self._held is None:
            self._held = sum(each.stat().st_size for each in self.folder.glob("*/*/*"))
        return self._held


def _file_in(folder: Path) -> Path | None:
    return next((each for each in sorted(folder.glob("*")) if not each.name.startswith(".")), None)


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as draft:
        write_synced(draft, data)


def _refuse(error: OSError) -> NoReturn:
    said = f"the image cannot be kept in serve.uploads: {error.strerror}."
    raise (StoreFull if error.errno in _FULL else StoreRefused)(said) from error


def _fit(name: str) -> str:
    """The last part of a name, as a file may have it: never hidden, never long, never empty."""
    last = _UNFIT.sub("_", name.replace("\\", "/").rpartition("/")[2]).lstrip(".").strip()
    stem, dot, suffix = last.rpartition(".")
    short = suffix.encode("utf-8", "replace")[:16].decode("utf-8", "ignore")
    room = _LONGEST - len(short.encode()) - 1
    cut = (stem or suffix).encode("utf-8", "replace")[:room].decode("utf-8", "ignore")
    return (f"{cut}.{short}" if stem and dot else cut) or "image"
