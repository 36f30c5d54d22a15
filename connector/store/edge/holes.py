"""Files with holes in them: Edge makes its files large at once and fills them later, so most of a small shard is holes.

The rule: a copy has the holes of its original; read from end to end a hole is zeros, and zeros that are written take
room and time (an empty collection has some 400 MB of them).
"""

import os
import shutil
import sys
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

_PIECE = 256 * 1024


def bytes_on_disk(files: Iterator[Path]) -> int:
    """What files take on disk, holes left out where the system tells of them."""
    told = (path.stat() for path in files)
    if sys.platform == "win32":
        return sum(each.st_size for each in told)
    return sum(each.st_blocks * 512 for each in told)


def copy_data(source: str, target: str) -> str:
    """Copy a file's bytes, holes and times, and none of its rights: a ``copy_function`` of ``shutil.copytree``."""
    _copy_bytes(source, target)
    touched = Path(source).stat()  # by which sums know a file that was not written to since
    os.utime(target, ns=(touched.st_atime_ns, touched.st_mtime_ns))
    return target


def _copy_bytes(source: str, target: str) -> None:
    if sys.platform not in ("linux", "darwin"):
        shutil.copyfile(source, target)
        return
    with Path(source).open("rb", buffering=0) as read, Path(target).open("wb") as written:
        size = os.fstat(read.fileno()).st_size
        written.truncate(size)
        for start, end in _stretches(read, size=size):
            read.seek(start)
            written.seek(start)
            while (left := end - read.tell()) > 0 and (piece := read.read(min(left, _PIECE))):
                written.write(piece)


def _stretches(file: FileIO, *, size: int) -> Iterator[tuple[int, int]]:
    """Where a file has data: from, and up to. A file system that tells of no holes has one stretch."""
    end = 0
    while end < size:
        try:
            start = os.lseek(file.fileno(), end, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole up to the end
            return
        end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
        yield start, end
