"""One file of this machine: opened without waiting, read as it was when it was opened, its faults in our words."""

# pathlib knows no bytes paths:

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from connector.errors import CannotRead, ReadFault
from connector.version import Version

NOT_A_FILE = "a folder, pipe or device is no image"
_READ_BLOCK = 4 * 1024 * 1024
# A FIFO that has taken an image's place is opened without waiting for a writer.
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


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
            raise CannotRead(NOT_A_FILE, reason="not_a_file")
        yield handle, found
    except OSError as error:
        raise cannot_read(error) from error
    finally:
        os.close(handle)


def cannot_read(error: OSError | ValueError) -> CannotRead:
    """What the operating system said, in our words."""
    said = getattr(error, "strerror", None) or str(error)  # the path stands beside it, and not as bytes
    return CannotRead(said, reason=_REASONS.get(getattr(error, "errno", None) or 0, "read_error"))


def version_of(found: os.stat_result) -> Version:
    """What tells a changed file: its size and modification time."""
    return Version.of_file(size=found.st_size, mtime_ns=found.st_mtime_ns)


def read_file(path: bytes, *, limit: int) -> tuple[bytes, Version]:
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


_REASONS: Mapping[int, ReadFault] = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
    errno.EACCES: "permission_denied",
    errno.EPERM: "permission_denied",
}
