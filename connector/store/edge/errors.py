"""The one place where errors of Qdrant Edge, and of the disk under it, become ours.

Edge raises bare ``Exception``s that are told apart by their text alone; anything more specific is a fault of the
caller's own and passes through.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connector.errors import CollectionMissing, PolyglanceError, StoreFull, StoreRefused, StoreUnavailable

FULL = ("no space left", "filetoolarge", "file too large", "quotaexceeded", "disk quota", "storagefull", "os error 28")
LOCKED = ("wouldblock", "os error 11)")
GONE = ("does not exist", "no segments were loaded")
FULL_NUMBERS = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


@contextmanager
def edge_errors(folder: Path) -> Iterator[None]:
    """Translate what Edge or the file system raises while it works in ``folder``; the cause is kept."""
    try:
        yield
    except OSError as error:
        kind = StoreFull if error.errno in FULL_NUMBERS else StoreRefused
        raise kind(f"the embedded engine cannot use {folder}: {error}.{_advice(kind)}") from error
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise translated(str(error), folder=folder) from error


def translated(text: str, *, folder: Path) -> PolyglanceError:
    """Our error for a message of Edge."""
    seen = text.lower()
    if any(mark in seen for mark in LOCKED):
        return StoreUnavailable(in_use(folder, holder=None))
    if any(mark in seen for mark in FULL):
        return StoreFull(f"the embedded engine has no room in {folder}: {text}.{_advice(StoreFull)}")
    if any(mark in seen for mark in GONE):
        return CollectionMissing(f"the embedded engine finds no collection in {folder}: {text}.")
    return StoreRefused(f"the embedded engine refused, in {folder}: {text}")


def collections_in(root: Path) -> list[str]:
    """The collections below a data folder, by name."""
    return sorted(path.parent.name for path in root.expanduser().glob("*/collection.json"))


def in_use(folder: Path, *, holder: str | None) -> str:
    """The message for a folder that someone else has open."""
    return (
        f"the collection in {folder} is in use: {holder or 'another polyglance process'} has it open, and answers "
        "nobody: it is of an older version, or on another machine. Wait for it or stop it; for several machines run a "
        "Qdrant server (POLYGLANCE_QDRANT__URL=http://localhost:6333)."
    )


def _advice(kind: type[PolyglanceError]) -> str:
    if kind is StoreFull:
        return (
            " What was stored before is safe. Make room, or move POLYGLANCE_QDRANT__PATH to another disk; then repeat."
        )
    return ""
