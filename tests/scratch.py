"""Where tests write: in memory where the machine has room for it.

Edge makes every file sure when it creates an index, some thirty times for a collection: seconds on a busy disk.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM = 2 * 1024**3
ROOM_FOR_ALL = 8 * 1024**3
"""What all of a run's temporary folders take at one time, with room to spare; a small collection takes up to 400 MB."""


def memory_with(room: int) -> Path | None:
    """A folder in memory with so many bytes free; None where there is none."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > room else None


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="polyglance-", dir=memory_with(ROOM)) as folder:
        yield Path(folder)
