"""A tar as bytes by position, and its members by their headers, whatever it lies on."""

import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from connector.errors import CannotRead
from connector.version import Version

MAX_HEADER_BYTES = 1024 * 1024
"""What one header with its extensions may take; beyond that the archive is broken or hostile."""
_BROKEN = (tarfile.TarError, ValueError, LookupError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True)
class Archive:
    """A tar as bytes by position: ``span(start, stop)`` raises CannotRead. ``window`` bytes are fetched at a time."""

    uri: str
    object_key: str
    size: int
    version: Version
    span: Callable[[int, int], bytes]
    window: int


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar: its name as bytes, and where its content lies. A link or device is not ``regular``.

    ``crc32`` is that of the content, where it was seen on the way.
    """

    name: bytes
    offset: int
    size: int
    regular: bool
    crc32: int | None = None


class ArchiveReader(io.BufferedIOBase):
    """An archive as the file object that ``tarfile`` wants, and a way to read small members on the same pass."""

    def __init__(self, archive: Archive) -> None:
        super().__init__()
        self._archive = archive
        self._at = 0
        self._start = 0
        self._held = b""

    def members(self) -> Iterator[Member]:
        """Every member but folders, in order. Raises CannotRead where the archive is broken, after what is whole."""
        try:
            yield from self._walk()
        except _BROKEN as error:
            raise CannotRead(f"no tar, or a broken one: {error}", reason="bad_archive") from error

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset``. Raises CannotRead."""
        stop = min(offset + size, self._archive.size)
        if not self._start <= offset <= stop <= self._start + len(self._held):
            self._start = offset
            self._held = self._archive.span(offset, min(max(stop, offset + self._archive.window), self._archive.size))
        return self._held[offset - self._start : stop - self._start]

    def summed(self, member: Member) -> Member:
        """A member with the sum of its content, unless that is larger than what is fetched at a time."""
        if not member.regular or member.size > self._archive.window:
            return member
        return replace(member, crc32=zlib.crc32(self.read_at(member.offset, member.size)))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._archive.size}[whence]
        if base + offset < 0:
            raise ValueError(f"byte {base + offset} is before the beginning")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        if self._at >= self._archive.size:
            return b""
        data = self.read_at(self._at, size)
        self._at += len(data)
        return data

    def _walk(self) -> Iterator[Member]:
        with tarfile.open(fileobj=self, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
            end = 0
            while (found := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
                if found.size < 0 or tar.offset <= end:
                    raise tarfile.ReadError(f"the header at byte {found.offset} leads backwards")
                end = tar.offset
                if found.offset_data + found.size > self._archive.size:
                    raise tarfile.ReadError(f"it ends early, within the member at byte {found.offset}")
                if found.isdir():
                    continue
                name = found.name.encode("utf-8", "surrogateescape")
                yield Member(name, found.offset_data, found.size, regular=found.isreg() and not found.issparse())
            # tarfile takes a broken header for the end, so we look ourselves.
            if self.read_at(tar.offset, tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError(f"there is no header at byte {tar.offset}; what follows is not listed")
