"""A scratch folder for embedded collections: in memory where the machine has room for it.

Edge makes every file sure when it creates an index, nineteen times for a collection: seconds on a busy disk.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM = 2 * 1024**3


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is gone after the block."""
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM
    with tempfile.TemporaryDirectory(prefix="polyglance-", dir=MEMORY if in_memory else None) as folder:
        yield Path(folder)
