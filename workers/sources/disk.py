"""Images on this machine's disks: a folder with everything below it, or a single file.

Paths are bytes in here, because a file name need not be text. They become text only on the way out: in the URI
percent-encoded and without loss, in the payload with U+FFFD for what cannot be decoded.
"""

# pathlib knows no bytes paths:
# ruff: noqa: PTH100, PTH112, PTH116, PTH118, PTH120, PTH122

import errno
import logging
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from connector.errors import CannotRead, ReadFault, SourceError
from connector.version import Version
from workers.records import Blob, Outcome, Ref, Reject
from workers.sources.passed_over import PassedOver
from workers.sources.sidecars import MAX_SIDECAR_BYTES, BrokenSidecar, parse_sidecar, sidecar_names
from workers.sources.source import EXTENSIONS, is_hidden, readable, rejected

log = logging.getLogger(__name__)

_NOT_A_FILE = "a folder, pipe or device is no image"
_READ_BLOCK = 4 * 1024 * 1024
# A FIFO that has taken an image's place is opened without waiting for a writer.
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


def uri_of(path: Path) -> str:
    """The canonical URI of an absolute path (RFC 8089): every byte that is no plain character percent-encoded."""
    return _uri(os.fsencode(path))


def path_of(uri: str) -> Path:
    """The path that ``uri_of`` was given, byte for byte. Raises ValueError for a URI of another scheme or host."""
    rest = uri.removeprefix("file://localhost").removeprefix("file://")
    if rest == uri or not rest.startswith("/"):
        raise ValueError(f"{uri!r} is no file URI of this machine; one looks like file:///photos/dog.jpg.")
    return Path(os.fsdecode(unquote_to_bytes(rest)))


class DiskSource:
    """A folder with everything below it, or one file whatever its extension.

    Links to files and folders are followed, a folder at most once through links and never into itself. Files and
    folders whose name begins with a dot are left out unless ``hidden``. A file of more than ``max_bytes`` is not read.
    """

    def __init__(self, where: Path, *, hidden: bool, max_bytes: int) -> None:
        self._top = os.fsencode(Path(os.path.abspath(where)))
        self._hidden = hidden
        self._max_bytes = max_bytes
        self._passed_over = PassedOver()

    @property
    def passed_over(self) -> Mapping[str, int]:
        """How many files the last listing left out for their name, by suffix."""
        return self._passed_over.counts

    @property
    def root(self) -> str:
        """The canonical URI of the folder, or of the file when one was given."""
        return _uri(self._top)

    def list(self) -> Iterator[Ref | Reject]:
        """Every image below the folder: files by name, then subfolders by name. Memory is that of one folder's names.

        Raises SourceError when the folder or file is missing or cannot be opened.
        """
        self._passed_over = PassedOver()
        try:
            found = os.stat(self._top)
            if stat.S_ISREG(found.st_mode):
                return iter([self._single()])
            first = self._scan(self._top)
        except OSError as error:
            raise SourceError(_explain(self._top, error)) from error
        return self._walk(first)

    def read(self, refs: Sequence[Ref]) -> Iterator[Outcome]:
        """The bytes of each ref, with the version they had when they were opened, and what its sidecars say."""
        broken: dict[str, str] = {}
        for ref in refs:
            yield self._read(ref, broken)
        if broken:
            name, why = next(iter(broken.items()))
            log.warning("sidecars_ignored count=%d first=%s detail=%s", len(broken), name, why)

    def scan(self, uris: Iterable[str]) -> Iterator[Ref | Reject]:
        """What a listing would name at these addresses and below them: for a sidecar, the images that it belongs to.

        Nothing where nothing is there, or where it is not part of this place.
        """
        for uri in uris:
            path = os.fsencode(path_of(uri))
            if self._covers(path):
                yield from self._scan_uri(path)

    def close(self) -> None:
        """Nothing is held open."""

    def _single(self) -> Ref | Reject:
        folder, name = os.path.split(self._top)
        return ref_of(self._top, top=folder, source=self.root, sidecars=frozenset(sidecar_names(name)))

    def _covers(self, path: bytes) -> bool:
        if path == self._top:
            return True
        below = path[len(self._top.rstrip(b"/")) :]
        inside = path.startswith(self._top.rstrip(b"/")) and below.startswith(b"/")
        return inside and (self._hidden or not is_hidden(readable(below)))

    def _scan_uri(self, path: bytes) -> Iterator[Ref | Reject]:
        folder, name = os.path.split(path)
        extension = readable(os.path.splitext(name)[1]).lower()
        try:
            if os.path.isdir(path):
                yield from self._walk(self._scan(path))
            elif extension in EXTENSIONS and os.path.lexists(path):
                top = folder if path == self._top else self._top
                yield ref_of(path, top=top, source=self.root, sidecars=frozenset(sidecar_names(name)))
            elif extension in (".json", ".txt") and folder.startswith(self._top):
                here = self._scan(folder)
                for file in (each for each in here.files if name in sidecar_names(each)):
                    yield ref_of(os.path.join(folder, file), top=self._top, source=self.root, sidecars=here.sidecars)
        except FileNotFoundError:
            return  # it went meanwhile
        except OSError as error:
            yield rejected(cannot_read(error), _uri(path), stage="list")

    def _walk(self, first: "_Folder") -> Iterator[Ref | Reject]:
        linked: set[tuple[int, int]] = set()
        waiting: list[bytes] = []
        here: _Folder | None = first
        while here is not None or waiting:
            if here is None:
                path = waiting.pop()
                try:
                    here = self._scan(path)
                except OSError as error:
                    yield rejected(cannot_read(error), _uri(path), stage="list")
                    continue
            for name in here.files:
                path = os.path.join(here.path, name)
                yield ref_of(path, top=self._top, source=self.root, sidecars=here.sidecars)
            followed: list[bytes] = []
            for name in here.folders:
                path = os.path.join(here.path, name)
                try:
                    if name not in here.links or self._leads_on(path, linked):
                        followed.append(path)
                except OSError as error:
                    yield rejected(cannot_read(error), _uri(path), stage="list")
            for name, fault in sorted(here.broken.items()):
                yield rejected(fault, _uri(os.path.join(here.path, name)), stage="list")
            waiting.extend(reversed(followed))
            here = None

    def _scan(self, folder: bytes) -> "_Folder":
        """One folder's names, sorted into what we do with them."""
        here = _Folder(folder)
        with os.scandir(folder) as entries:
            for entry in entries:
                here.add(entry, hidden=self._hidden, passed_over=self._passed_over)
        here.files.sort()
        here.folders.sort()
        return here

    def _leads_on(self, link: bytes, linked: set[tuple[int, int]]) -> bool:
        """Whether a link to a folder leads somewhere new: neither up its own path nor where another link led."""
        target = _identity(link)
        if target in linked:
            return False
        linked.add(target)
        above = os.path.dirname(link)
        while _identity(above) != target:
            if above == self._top:
                return True
            above = os.path.dirname(above)
        return False

    def _read(self, ref: Ref, broken: dict[str, str]) -> Outcome:
        path = os.fsencode(path_of(ref.uri))
        try:
            data, version = _read_file(path, limit=self._max_bytes)
        except CannotRead as fault:
            return rejected(fault, ref.uri)
        meta: dict[str, Any] = {}
        if ref.version is None or ref.version.has_sidecars:
            versions, meta = _read_sidecars(path, broken)
            version = version.with_sidecars(versions)
        return Blob(ref, data, version, {**meta, **ref.meta})


@dataclass(slots=True)
class _Folder:
    """One folder's names that matter to us. ``broken`` are links that lead nowhere: a folder may have been there."""

    path: bytes
    files: list[bytes] = field(default_factory=list)
    folders: list[bytes] = field(default_factory=list)
    links: set[bytes] = field(default_factory=set)
    sidecars: set[bytes] = field(default_factory=set)
    broken: dict[bytes, CannotRead] = field(default_factory=dict)

    def add(self, entry: "os.DirEntry[bytes]", *, hidden: bool, passed_over: PassedOver) -> None:
        if entry.name.startswith(b".") and not hidden:
            return
        extension = readable(os.path.splitext(entry.name)[1]).lower()
        if _is_folder(entry):
            self.folders.append(entry.name)
            if entry.is_symlink():
                self.links.add(entry.name)
        elif extension in EXTENSIONS:
            self.files.append(entry.name)
        elif extension in (".json", ".txt"):
            self.sidecars.add(entry.name)
        elif entry.is_symlink() and (fault := _broken(entry)):
            self.broken[entry.name] = fault
        else:
            passed_over.note(readable(entry.name))


def ref_of(path: bytes, *, top: bytes, source: str, sidecars: frozenset[bytes] | set[bytes]) -> Ref | Reject:
    """The ref of one file below ``top``; ``sidecars`` are the names beside it that may belong to it."""
    folder, name = os.path.split(path)
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:  # a link to nowhere, a file gone since
        return rejected(cannot_read(error), _uri(path), stage="list")
    if not stat.S_ISREG(found.st_mode):
        return Reject(_uri(path), stage="list", reason="not_a_file", detail=_NOT_A_FILE)
    beside = (_sidecar_version(os.path.join(folder, n)) for n in sidecar_names(name) if n in sidecars)
    return Ref(
        uri=_uri(path),
        source=source,
        object_key=readable(path),
        folder=readable(folder[len(top) :].strip(b"/")) if folder.startswith(top) else readable(folder),
        filename=readable(name),
        version=version_of(found).with_sidecars(filter(None, beside)),
        size=found.st_size,
    )


@contextmanager
def opened(path: bytes) -> Iterator[tuple[int, os.stat_result]]:
    """A regular file's descriptor, and what it was like when it was opened. Raises CannotRead, also from within."""
    try:
        handle = os.open(path, _OPEN_FLAGS)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise cannot_read(error) from error
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise CannotRead(_NOT_A_FILE, reason="not_a_file")
        yield handle, found
    except OSError as error:
        raise cannot_read(error) from error
    finally:
        os.close(handle)


def cannot_read(error: OSError | ValueError) -> CannotRead:
    """What the operating system said, in our words."""
    return CannotRead(str(error), reason=_REASONS.get(getattr(error, "errno", None) or 0, "read_error"))


def version_of(found: os.stat_result) -> Version:
    """What tells a changed file: its size and modification time."""
    return Version.of_file(size=found.st_size, mtime_ns=found.st_mtime_ns)


def _read_file(path: bytes, *, limit: int) -> tuple[bytes, Version]:
    """A file's bytes and the version it had before the first of them was read.

    A file that changes while it is read will be listed with another version next time, and is read again then.
    """
    with opened(path) as (handle, before):
        if before.st_size > limit:
            raise CannotRead(f"{before.st_size} bytes; limits.max_bytes is {limit}", reason="too_large")
        blocks = []
        left = limit + 1  # one more than allowed, to notice a file that grows
        while left > 0 and (block := os.read(handle, min(left, max(before.st_size + 1, 1), _READ_BLOCK))):
            blocks.append(block)
            left -= len(block)
    if left <= 0:
        raise CannotRead(f"it grew beyond limits.max_bytes, {limit}, while it was read", reason="too_large")
    return b"".join(blocks), version_of(before)


def _read_sidecars(path: bytes, broken: dict[str, str]) -> tuple[Sequence[Version], dict[str, Any]]:
    """The versions of an image's sidecars and what they say; what cannot be used is noted in ``broken``."""
    folder, name = os.path.split(path)
    versions: list[Version] = []
    meta: dict[str, Any] = {}
    for sidecar in sidecar_names(name):
        beside = os.path.join(folder, sidecar)
        version = _sidecar_version(beside)
        if version is None:
            continue
        versions.append(version)
        try:
            meta |= parse_sidecar(_read_file(beside, limit=MAX_SIDECAR_BYTES)[0], caption=sidecar.endswith(b".txt"))
        except (CannotRead, BrokenSidecar) as error:
            broken[readable(beside)] = str(error)
    return versions, meta


def _uri(path: bytes) -> str:
    return "file://" + quote_from_bytes(path)


def _sidecar_version(path: bytes) -> Version | None:
    """The version of a file beside an image; None when there is no such file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return version_of(found) if stat.S_ISREG(found.st_mode) else None


def _identity(folder: bytes) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _broken(link: "os.DirEntry[bytes]") -> CannotRead | None:
    """Why a link leads nowhere; None where it leads somewhere, or to itself."""
    try:
        link.stat()
    except OSError as error:
        return None if error.errno == errno.ELOOP else cannot_read(error)
    return None


def _is_folder(entry: "os.DirEntry[bytes]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


_REASONS: Mapping[int, ReadFault] = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
    errno.EACCES: "permission_denied",
    errno.EPERM: "permission_denied",
}


def _explain(top: bytes, error: OSError) -> str:
    path = readable(top)
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist. Name a folder or an image; a relative path starts in the working folder."
    if isinstance(error, PermissionError):
        return (
            f"{path} cannot be opened by this user: {error.strerror}. Give it read and search rights, or name another."
        )
    return f"{path} cannot be listed: {error}. Name a folder or an image."
