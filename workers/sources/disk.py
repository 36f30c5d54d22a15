"""Images on this machine's disks: a folder with everything below it, or a single file.

Paths are bytes in here, because a file name need not be text. They become text only on the way out: in the URI
percent-encoded and without loss, in the payload with U+FFFD for what cannot be decoded.
"""

# pathlib knows no bytes paths:
# ruff: noqa: PTH100, PTH110, PTH112, PTH116, PTH118, PTH120, PTH122, PTH208

import errno
import logging
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from connector.errors import CannotRead, SourceError
from connector.records import path_of
from connector.version import Version
from workers.records import Blob, Outcome, Ref, Reject
from workers.sources.exclusions import IGNORE_FILE, FolderExclusions, is_litter
from workers.sources.file import NOT_A_FILE, cannot_read, read_file, version_of
from workers.sources.mounts import Mounts
from workers.sources.passed_over import LINKED, PassedOver
from workers.sources.sidecars import MAX_SIDECAR_BYTES, Beside, BrokenSidecar, Sidecars, kind_of
from workers.sources.source import EXTENSIONS, Whereabouts, is_hidden, readable, rejected

log = logging.getLogger(__name__)


def uri_of(path: Path) -> str:
    """The canonical URI of an absolute path (RFC 8089): every byte that is no plain character percent-encoded."""
    return _uri(os.fsencode(path))


class DiskSource:
    """A folder with everything below it, or one file whatever its extension.

    Links to files and folders are followed, a folder at most once through links and never into itself; one that leads
    to what the listing names anyway is passed over. Files and folders whose name begins with a dot are left out unless
    ``hidden``, and those that ``exclude`` names (``workers.sources.exclusions``). A file of more than ``max_bytes`` is
    not read.
    """

    def __init__(self, where: Path, *, hidden: bool, max_bytes: int, exclude: Sequence[str] = ()) -> None:
        self._top = os.fsencode(Path(os.path.abspath(where)))
        self._real_top = os.path.realpath(self._top)
        self._hidden = hidden
        self._exclusions = FolderExclusions(self._top, exclude)
        self._max_bytes = max_bytes
        self._passed_over = PassedOver()
        self.mounts = Mounts()

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
        self._exclusions.begin()
        self.mounts.begin()
        try:
            found = os.stat(self._top)
            if stat.S_ISREG(found.st_mode):
                return iter([self._single()])
            first = self._scan(self._top)
        except OSError as error:
            raise SourceError(_explain(self._top, error)) from error
        return self._walk(first)

    def check(self) -> None:
        """Raise SourceError where the folder or file could not be listed now."""
        try:
            if not stat.S_ISREG(os.stat(self._top).st_mode):
                with os.scandir(self._top) as entries:
                    next(entries, None)
        except OSError as error:
            raise SourceError(_explain(self._top, error)) from error

    def locate(self, uri: str) -> Whereabouts:
        """What became of an image that the listing does not name; of a folder that holds nothing nobody knows."""
        path = os.fsencode(path_of(uri))
        if self.mounts.missing(path, top=self._top) is not None:
            return "unmounted"
        if os.path.lexists(path):
            return "there"
        folder = os.path.dirname(path)
        while len(folder) > len(self._top) and not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        return "emptied" if len(folder) > len(self._top) and _is_empty(folder) else "gone"

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
        self._exclusions.begin()
        folders: dict[bytes, _Folder] = {}
        for uri in uris:
            path = os.fsencode(path_of(uri))
            if self._covers(path):
                yield from self._scan_uri(path, folders)

    def close(self) -> None:
        """Nothing is held open."""

    def _single(self) -> Ref | Reject:
        folder, name = os.path.split(self._top)
        beside = Beside.of(images=[name], sidecars=filter(kind_of, os.listdir(folder)))
        return ref_of(self._top, top=folder, source=self.root, beside=beside)

    def _covers(self, path: bytes) -> bool:
        if path == self._top:
            return True
        below = path[len(self._top.rstrip(b"/")) :]
        inside = path.startswith(self._top.rstrip(b"/")) and below.startswith(b"/")
        if not inside or (is_hidden(readable(below)) and not self._hidden):
            return False
        return self._exclusions.kind_at(path, folder=os.path.isdir(path)) is None

    def _scan_uri(self, path: bytes, folders: dict[bytes, "_Folder"]) -> Iterator[Ref | Reject]:
        """``folders`` are those that were looked into already."""
        folder, name = os.path.split(path)
        try:
            if os.path.isdir(path):
                yield from self._walk(self._scan(path))
                return
            kind, is_image = kind_of(name), readable(os.path.splitext(name)[1]).lower() in EXTENSIONS
            if not (kind or is_image or path == self._top) or (is_image and not os.path.lexists(path)):
                return
            if folder not in folders:
                folders[folder] = self._scan(folder)
            here = folders[folder]
            top = folder if path == self._top else self._top
            if is_image and name not in here.files and path != self._top:
                return
            images = [name] if is_image else here.owners(name)
            for file in images:
                yield ref_of(os.path.join(folder, file), top=top, source=self.root, beside=here.beside)
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
                yield ref_of(path, top=self._top, source=self.root, beside=here.beside)
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
        excluded = self._exclusions.inside(folder)
        self.mounts.note(folder)
        with os.scandir(folder) as entries:
            kind: str | None
            for entry in entries:
                if entry.name.startswith(b".") and not self._hidden:
                    kind = "litter" if is_litter(entry.name) else "hidden"
                else:
                    kind = excluded(entry.name, _is_folder(entry)) or (LINKED if self._leads_inside(entry) else None)
                if kind is None:
                    here.add(entry, passed_over=self._passed_over)
                elif kind != "hidden":
                    self._passed_over.note_kind(kind)
        here.files.sort()
        here.folders.sort()
        here.beside = Beside.of(images=here.files, sidecars=here.sidecars)
        return here

    def _leads_inside(self, entry: "os.DirEntry[bytes]") -> bool:
        """Whether it is a link to what the listing names anyway."""
        if not entry.is_symlink():
            return False
        target, top = os.path.realpath(entry.path), self._real_top.rstrip(b"/") + b"/"
        if not target.startswith(top) or not os.path.exists(target):
            return False
        is_image = readable(os.path.splitext(target)[1]).lower() in EXTENSIONS
        return (is_image or _is_folder(entry)) and self._covers(self._top.rstrip(b"/") + b"/" + target[len(top) :])

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
            data, version = read_file(path, limit=self._max_bytes)
        except CannotRead as fault:
            return rejected(fault, ref.uri)
        versions, sidecars = _read_sidecars(os.path.dirname(path), ref.sidecars, broken)
        version = version.with_sidecars(versions)
        return Blob(ref, data, version, {**sidecars.meta, **ref.meta}, sidecars.fields)


@dataclass(slots=True)
class _Folder:
    """One folder's names that matter to us. ``broken`` are links that lead nowhere: a folder may have been there."""

    path: bytes
    files: list[bytes] = field(default_factory=list)
    folders: list[bytes] = field(default_factory=list)
    links: set[bytes] = field(default_factory=set)
    sidecars: set[bytes] = field(default_factory=set)
    broken: dict[bytes, CannotRead] = field(default_factory=dict)
    beside: Beside = field(default_factory=Beside)

    def owners(self, sidecar: bytes) -> list[bytes]:
        """The images that a sidecar belongs to, or did while it was there."""
        beside = Beside.of(images=self.files, sidecars=[sidecar])
        return [file for file in self.files if beside.belonging_to(file)]

    def add(self, entry: "os.DirEntry[bytes]", *, passed_over: PassedOver) -> None:
        extension = readable(os.path.splitext(entry.name)[1]).lower()
        if _is_folder(entry):
            self.folders.append(entry.name)
            if entry.is_symlink():
                self.links.add(entry.name)
        elif extension in EXTENSIONS:
            self.files.append(entry.name)
        elif kind_of(entry.name) or entry.name == IGNORE_FILE:
            self.sidecars.add(entry.name)
        elif entry.is_symlink() and (fault := _broken(entry)):
            self.broken[entry.name] = fault
        else:
            passed_over.note(readable(entry.name))


def ref_of(path: bytes, *, top: bytes, source: str, beside: Beside) -> Ref | Reject:
    """The ref of one file below ``top``; ``beside`` is what stands in its folder."""
    folder, name = os.path.split(path)
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:  # a link to nowhere, a file gone since
        return rejected(cannot_read(error), _uri(path), stage="list")
    if not stat.S_ISREG(found.st_mode):
        return Reject(_uri(path), stage="list", reason="not_a_file", detail=NOT_A_FILE)
    sidecars = beside.belonging_to(name)
    versions = (_sidecar_version(os.path.join(folder, each)) for each in sidecars)
    return Ref(
        uri=_uri(path),
        source=source,
        object_key=readable(path),
        folder=readable(folder[len(top) :].strip(b"/")) if folder.startswith(top) else readable(folder),
        filename=readable(name),
        version=version_of(found).with_sidecars(filter(None, versions)),
        size=found.st_size,
        sidecars=tuple(map(quote_from_bytes, sidecars)),
    )


def _read_sidecars(folder: bytes, names: Sequence[str], broken: dict[str, str]) -> tuple[Sequence[Version], Sidecars]:
    """The versions of an image's sidecars and what they say; what cannot be used is noted in ``broken``."""
    versions: list[Version] = []
    found = Sidecars()
    for name in map(unquote_to_bytes, names):
        beside = os.path.join(folder, name)
        version = _sidecar_version(beside)
        if version is None:
            continue
        versions.append(version)
        try:
            found.add(read_file(beside, limit=MAX_SIDECAR_BYTES)[0], kind=kind_of(name) or ".txt")
        except (CannotRead, BrokenSidecar) as error:
            broken[readable(beside)] = str(error)
    return versions, found


def _uri(path: bytes) -> str:
    return "file://" + quote_from_bytes(path)


def _sidecar_version(path: bytes) -> Version | None:
    """The version of a file beside an image; None when there is no such file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return version_of(found) if stat.S_ISREG(found.st_mode) else None


def _is_empty(folder: bytes) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except OSError:  # what cannot be looked into may hold it
        return True


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


def _explain(top: bytes, error: OSError) -> str:
    path = readable(top)
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist. Name a folder or an image; a relative path starts in the working folder."
    if isinstance(error, PermissionError):
        return (
            f"{path} cannot be opened by this user: {error.strerror}. Give it read and search rights, or name another."
        )
    return f"{path} cannot be listed: {error}. Name a folder or an image."
