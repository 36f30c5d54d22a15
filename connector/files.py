"""Files and folders on this machine: made for this user alone, replaced as a whole, and the room there is for them.

The rule: a file is written beside its place and moved there once it is whole. Of two processes that do so at once one
wins, and nobody ever reads half of either.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

DRAFT = ".half-"
"""How the name of a file begins that is not whole yet; one whose writer was killed stays."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft to be written, which takes the file's place when the block ends, and goes where the block fails.

    The folder is made where it is missing. Draft and file are for this user alone, unless the block says otherwise.
    """
    private_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=DRAFT)
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_synced(path: Path, data: bytes) -> None:
    """Write a file, and return once it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def private_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, for this user alone; one that is there stays as it is."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    path.mkdir(exist_ok=True)  # raises where a file is in the way


class Disk(NamedTuple):
    """Bytes of a disk."""

    total: int
    free: int


def disk_of(folder: Path) -> Disk:
    """The disk that a folder lies on, or will once it is made."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    found = shutil.disk_usage(there)
    return Disk(found.total, found.free)
