"""A collection that may only be read: Edge opens every file to write, so a copy in the user's cache is opened.

The rule: there is one copy of a collection, made anew where the collection changed since.
"""

import hashlib
import logging
import shutil
from pathlib import Path

import platformdirs

from connector.errors import StoreFull
from connector.files import private_folder
from connector.store.edge.holes import bytes_on_disk, copy_data

log = logging.getLogger(__name__)

_MIB = 1024 * 1024


def copies_of(collection: Path) -> Path:
    """The folder for the copy of a collection, made where it is missing."""
    top = place_of_copies(collection)
    private_folder(top)
    return top


def place_of_copies(collection: Path) -> Path:
    """Where that folder lies, there or not; processes that share the copy meet in it."""
    return Path(platformdirs.user_cache_dir("polyglance")) / "read-only" / _digest(str(collection))


def copied(shard: Path, *, collection: Path, reserve: int) -> Path:
    """The copy of a shard as it is now; the caller holds the lock. Raises StoreFull; ``reserve`` bytes stay free."""
    top = copies_of(collection)
    files = sorted(path for path in shard.rglob("*") if path.is_file())
    copy = top / _digest(repr([(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]))
    if copy.is_dir():
        return copy
    for old in (path for path in top.iterdir() if path.is_dir()):
        shutil.rmtree(old)
    needed = bytes_on_disk(iter(files))
    if shutil.disk_usage(top).free < needed + reserve:
        raise StoreFull(
            f"{collection} may not be written, so a copy of it is opened, which takes {needed // _MIB} MiB in {top}: "
            "there is no room for it. Make room, or name another cache folder in XDG_CACHE_HOME."
        )
    draft = Path(shutil.copytree(shard, copy.with_suffix(".new"), copy_function=copy_data))
    for folder in (draft, *(path for path in draft.rglob("*") if path.is_dir())):
        folder.chmod(0o700)
    draft.rename(copy)
    log.info("read_only_copy collection=%s copy=%s bytes=%d", collection, copy, needed)
    return copy


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).hexdigest()
