"""A backup of an embedded collection: one zip file, with the sum of each file in it.

    backup.json        what it is of, by which version, when, and how many points it holds
    collection.json    the schema
    shard/…            the Edge shard, all that was acknowledged in it

The rule: a backup and what is restored of it are there whole or not at all, and what exists is not written over.
"""

import json
import os
import shutil
import struct
import zipfile
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import IO

from connector.errors import ConfigError, StoreFull, StoreRefused
from connector.files import private_folder
from connector.store.edge.errors import FULL_NUMBERS, edge_errors
from connector.store.edge.folder import CollectionFolder
from connector.store.edge.sums import BLOCK, LASTING, NOTED, SET_ASIDE, note

FORMAT = 1
ABOUT = "backup.json"
DAMAGED = (zipfile.BadZipFile, EOFError, zlib.error, struct.error, RuntimeError, ValueError, LookupError)
"""What ``zipfile`` raises for what is no zip file any more, by the byte that changed."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup says of itself."""

    collection: str
    points: int
    made_at: str
    polyglance: str
    format: int = FORMAT


def write_backup(folder: CollectionFolder, file: Path, *, points: int) -> None:
    """Write a collection into a file; the shard is flushed, and nobody writes to it meanwhile."""
    about = Backup(folder.collection, points, datetime.now(UTC).isoformat(timespec="seconds"), version("polyglance"))
    draft = file.with_name(f"{file.name}.part")
    try:
        with draft.open("xb") as out, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
            packed.writestr(ABOUT, json.dumps(asdict(about)))
            packed.write(folder.path / "collection.json", "collection.json")
            for path in sorted(folder.shard_path.rglob("*")):
                if path.is_file() and path.name not in (NOTED, SET_ASIDE):
                    name = (PurePosixPath("shard") / path.relative_to(folder.shard_path).as_posix()).as_posix()
                    packed.write(path, name, zipfile.ZIP_STORED if path.name in LASTING else None)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    except FileExistsError as error:
        raise ConfigError(
            f"{draft} is there: another backup is being written, or was broken off. Remove it."
        ) from error
    except BaseException as error:
        with suppress(OSError):
            draft.unlink()
        if isinstance(error, OSError) and error.errno in FULL_NUMBERS:
            raise StoreFull(f"there is no room for the backup in {file.parent}; nothing was written.") from error
        if isinstance(error, OSError) and error.filename == str(draft):
            raise ConfigError(f"the backup cannot be written to {file}: {error.strerror}. Name another.") from error
        raise


def read_about(file: Path) -> Backup:
    """What a backup says of itself. Raises ConfigError for what is none, and for one of a later version."""
    try:
        with zipfile.ZipFile(file) as packed:
            about = json.loads(packed.read(ABOUT))
        if about.get("format", 0) > FORMAT:
            raise ConfigError(f"{file} is of polyglance {about.get('polyglance')}: a later version wrote it.")
        if not isinstance(about["collection"], str):
            raise TypeError(f"its collection is {about['collection']!r:.60}")
        return Backup(**about)
    except (OSError, *DAMAGED, TypeError, AttributeError) as error:
        raise ConfigError(f"{file} is no backup of an embedded collection: {error}.") from error


def restore_backup(file: Path, *, root: Path, collection: str) -> Backup:
    """Make a collection of a backup. Raises ConfigError where there is one of this name, StoreRefused for damage."""
    about, folder = read_about(file), CollectionFolder(root, collection=collection)
    if folder.path.exists():
        raise ConfigError(
            f"collection {collection!r} is there already, in {folder.root}. Restore under another name "
            "(--collection), or remove it first: `polyglance collection delete`."
        )
    private_folder(folder.root)
    scratch = folder.root / f".restoring-{collection}"
    shutil.rmtree(scratch, ignore_errors=True)
    draft = scratch / collection
    try:
        with edge_errors(folder.root), zipfile.ZipFile(file) as packed:
            for each in packed.infolist():
                if not each.is_dir() and each.filename != ABOUT:
                    _unpack(packed, each, below=draft)
        with edge_errors(folder.root):
            note(draft / "shard")
            draft.rename(folder.path)
    except DAMAGED as error:
        raise StoreRefused(f"{file} is damaged: {error}. Nothing was restored.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return about


def _unpack(packed: zipfile.ZipFile, each: zipfile.ZipInfo, *, below: Path) -> None:
    """One file, with holes where it holds zeros. Its sum is checked as it is read."""
    parts = PurePosixPath(each.filename).parts
    if ".." in parts or parts[0] not in ("shard", "collection.json"):
        raise zipfile.BadZipFile(f"it holds {each.filename!r}, which is no file of a collection")
    path = below.joinpath(*parts)
    private_folder(path.parent)
    with packed.open(each) as read, path.open("xb") as out:
        if (copied := _copy(read, out)) != each.file_size:
            raise zipfile.BadZipFile(f"{each.filename} has {copied:,} bytes; {each.file_size:,} were written")
        out.truncate(each.file_size)
        with suppress(OSError):
            os.fsync(out.fileno())


def _copy(read: IO[bytes], out: IO[bytes]) -> int:
    """Copy all that there is; returns how many bytes that were."""
    while block := read.read(BLOCK):
        if block.strip(b"\0"):
            out.write(block)
        else:
            out.seek(len(block), os.SEEK_CUR)
    return out.tell()
