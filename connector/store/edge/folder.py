"""One collection of the embedded engine on disk: ``<path>/<collection>/``.

    collection.json     the schema (CollectionSchema.to_json), written by rename, last of all
    shard/              the Edge shard
    shard.made          while the shard is made: without a schema it is half a shard
    shard.next, .old    while the search graph is built: the copy it is built in, and what that copy has replaced
    shard/sums.json     the check sums of its files, while it is closed (``sums``)
    sealed              how many points were sealed since the search graph was last built
    lock, lock.pid      held while an engine has the collection open, and by whom

The collection exists once both ``collection.json`` and ``shard/`` do; what a crash left before that is made anew.
Edge opens every file to write. So of a collection that may not be written, as on a read-only disk, a copy is opened,
which is kept in the user's cache for the next time.
"""

import contextlib
import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import qdrant_edge as edge
from filelock import FileLock, Timeout

from connector.errors import (
    CollectionIncomplete,
    CollectionMissing,
    ConfigError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from connector.store.edge.config import add_indexes, sealing_config, shard_config
from connector.store.edge.errors import collections_in, in_use
from connector.store.edge.holes import bytes_on_disk, copy_data
from connector.store.edge.read_only import copied, copies_of, place_of_copies
from connector.store.edge.spaces import repair_vectors
from connector.store.edge.sums import NOTED, note, set_aside
from connector.store.schema import CollectionSchema
from connector.store.stored_schema import schema_from_json

RESERVE = 128 * 1024 * 1024
"""Bytes that must stay free: Edge writes through memory maps, and a disk that fills up under one kills the process."""

_MIB = 1024 * 1024
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)


class CollectionFolder:
    """Where a collection lives, its lock, its schema and its shard. Not safe for threads: the engine sees to that."""

    def __init__(self, root: Path, *, collection: str) -> None:
        if collection in ("", ".", "..") or Path(collection).name != collection:
            raise ConfigError(f"collection name {collection!r} cannot name a folder; use letters, digits, _ - and .")
        self.root = root.expanduser().absolute()
        self.collection = collection
        self.path = self.root / collection
        self.shard_path = self.path / "shard"
        self._making = self.path / "shard.made"
        self._schema_path = self.path / "collection.json"
        self._lock = FileLock(self.path / "lock", timeout=0, thread_local=False)  # the engine's, whichever thread calls
        self._read_only = False

    @property
    def exists(self) -> bool:
        """Whether the collection was created, wholly."""
        return self._schema_path.is_file() and (self.shard_path.is_dir() or self._replaced_path.is_dir())

    def missing(self) -> CollectionMissing:
        """The error for a collection that does not exist, naming those that do, or for one that is not whole."""
        if gone := self.gone:
            return CollectionIncomplete(f"collection {self.collection!r} is damaged: {gone} is gone. {self._advice}")
        there = collections_in(self.root)
        known = f"it holds {', '.join(there)}" if there else "it holds no collection yet"
        return CollectionMissing(
            f"collection {self.collection!r} does not exist in {self.root}; {known}. "
            "`polyglance ingest FOLDER` makes and fills it."
        )

    @property
    def gone(self) -> Path | None:
        """What is not there of a collection that was whole once; None of one that is whole, or never was."""
        if self.exists or self._making.exists() or not (self._schema_path.exists() or self.shard_path.exists()):
            return None
        return self.shard_path if self._schema_path.is_file() else self._schema_path

    @property
    def _advice(self) -> str:
        return (
            f"Restore a backup (`polyglance collection restore`), or let `polyglance check --collection "
            f"{self.collection} --repair` make it again from its sources."
        )

    @property
    def meeting(self) -> Path:
        """The folder where others find the process that holds it: that of the copy where it may only be read."""
        return place_of_copies(self.path) if self._read_only else self.path

    @property
    def held(self) -> bool:
        """Whether this engine has the collection."""
        return self._lock.is_locked

    def acquire(self) -> None:
        """Take the collection for this engine. Raises StoreUnavailable when another engine has it."""
        if self._lock.is_locked:
            return
        try:
            self._lock.acquire()
        except Timeout as error:
            raise StoreUnavailable(in_use(self.path, holder=self._holder())) from error
        except OSError as error:
            if self._read_only or error.errno not in _NOT_WRITABLE or not self.exists:
                raise
            self._open_copy(on_read_only_disk=error.errno == errno.EROFS)
            return
        with contextlib.suppress(OSError):  # naming the holder is a courtesy: a full disk must not stop a reader
            self._holder_path.write_text(str(os.getpid()))

    def release(self) -> None:
        """Let go of the collection; harmless when it is not held."""
        if self._lock.is_locked:
            if not self._read_only:
                with contextlib.suppress(OSError):
                    self._holder_path.unlink()
            self._lock.release()

    def close_inherited(self) -> None:
        """Close what this process inherited, by a fork, of the shard's log: its lock would live on here."""
        log = self.shard_path / "wal"
        locked = {(each.stat().st_dev, each.stat().st_ino) for each in (log, *log.iterdir())}
        for number in [int(each.name) for each in Path("/dev/fd").iterdir()]:
            with contextlib.suppress(OSError):  # the listing's own is closed again
                stat = os.fstat(number)
                if (stat.st_dev, stat.st_ino) in locked:
                    os.close(number)

    def remove_if_empty(self) -> None:
        """Remove a folder in which nothing was made. It is held."""
        if {path.name for path in self.path.iterdir()} <= {"lock", "lock.pid"}:
            self.remove()

    def require_room(self, needed: int = 0) -> None:
        """Raise StoreFull unless ``needed`` bytes and the reserve are free, before Edge finds out the hard way.

        From then on the shard counts as written to. Raises StoreRefused where nothing may be written at all.
        """
        if self._read_only:
            raise StoreRefused(
                f"the collection in {self.path} may only be read: nothing can be written there. Searching goes on; to "
                "change it, make the folder writable, or copy it and name the copy in POLYGLANCE_QDRANT__PATH."
            )
        free = shutil.disk_usage(self.path).free
        if free < needed + RESERVE:
            raise StoreFull(
                f"the disk of {self.path} has {free // _MIB} MiB free; the embedded engine writes only while "
                f"{(needed + RESERVE) // _MIB} MiB are. What was stored before is safe. Make room, or move "
                "POLYGLANCE_QDRANT__PATH to another disk; then repeat."
            )
        set_aside(self.shard_path)

    def note_sums(self) -> None:
        """Note the sums of the shard's files, for ``polyglance check``; the shard is closed. A full disk keeps none."""
        if self.exists and not self._read_only:
            with contextlib.suppress(OSError):
                note(self.shard_path)

    @property
    def has_sums(self) -> bool:
        """Whether the shard was not written to since its sums were noted."""
        return (self.shard_path / NOTED).is_file()

    def size(self) -> int:
        """Bytes that the shard takes on disk, holes in its files left out."""
        return bytes_on_disk(path for path in self.shard_path.rglob("*") if path.is_file())

    def read_schema(self) -> CollectionSchema:
        """The schema as it was stored. Raises StoreRefused when the file is damaged."""
        try:
            return schema_from_json(json.loads(self._schema_path.read_bytes()))
        except ValueError as error:
            what = f"{type(error).__name__}: {error}"
            raise StoreRefused(f"{self._schema_path} cannot be read ({what:.200}). {self._advice}") from error

    def write_schema(self, schema: CollectionSchema) -> None:
        """Replace the stored schema: readers see the old one or the new one, whatever happens meanwhile."""
        draft = self._schema_path.with_suffix(".json.new")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(schema.to_json(), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        set_aside(self.shard_path)
        draft.replace(self._schema_path)
        _sync_folder(self.path)

    def make(self, schema: CollectionSchema) -> edge.EdgeShard:
        """Create the empty collection, open: to open it anew would take as long, and five times the room."""
        self._clear_leftovers()
        self._making.touch()
        _sync_folder(self.path)
        shard = edge.EdgeShard.create(str(self.shard_path), shard_config(schema))
        try:
            add_indexes(shard, schema)
            shard.flush()
            self.write_schema(schema)
        except BaseException:
            shard.close()
            raise
        self._made()
        return shard

    def _made(self) -> None:
        self._making.unlink()
        _sync_folder(self.path)

    def _open_copy(self, *, on_read_only_disk: bool) -> None:
        """Let the shard be a copy in the user's cache. Raises StoreUnavailable, StoreFull."""
        if not on_read_only_disk and (holder := self._holder()):
            raise StoreUnavailable(in_use(self.path, holder=holder))
        self._lock = FileLock(copies_of(self.path) / "lock", timeout=0, thread_local=False)
        self._read_only = True
        self.acquire()
        self.shard_path = copied(self.shard_path, collection=self.path, reserve=RESERVE)

    def _clear_leftovers(self) -> None:
        """Remove what an interrupted creation left. Raises StoreRefused for a shard that holds points all the same."""
        if self._making.exists():
            shutil.rmtree(self.shard_path, ignore_errors=True)
        if not self.shard_path.exists():
            return
        shard = edge.EdgeShard.load(str(self.shard_path), None)
        try:
            points = shard.info().points_count
        finally:
            shard.close()
        if points:
            raise StoreRefused(
                f"{self.shard_path} holds {points:,} points but no {self._schema_path.name} says what they are. "
                f"{self._advice}"
            )
        shutil.rmtree(self.shard_path)

    def remove(self) -> None:
        """Delete everything, the schema first: a collection without one does not exist. Lets go of the lock.

        What a crash leaves of the shard counts as half made, and goes when the collection is made anew.
        """
        with contextlib.suppress(OSError):  # a full disk
            self._making.touch()
        self._schema_path.unlink(missing_ok=True)
        for shard in (self.shard_path, self._replaced_path):
            shutil.rmtree(shard, ignore_errors=True)
        if sys.platform == "win32":  # where no open file can be removed
            self.release()
        shutil.rmtree(self.path)  # with the lock in it: whoever waits for it finds out, and takes another
        self.release()

    def load(self) -> edge.EdgeShard:
        """Open the shard, to search and to write. It is held."""
        self._recover()
        schema = self.read_schema()
        repair_vectors(self.shard_path, schema=schema)
        config = self.shard_path / "edge_config.json"
        before = config.read_bytes() if config.is_file() else b""
        if next(self.shard_path.rglob("tracker_journal.dat"), None) is not None:  # Edge works through them now
            set_aside(self.shard_path)
        shard = edge.EdgeShard.load(str(self.shard_path), shard_config(schema))
        if config.read_bytes() != before:  # another version of polyglance, or of Edge
            set_aside(self.shard_path)
        return shard

    def load_to_optimize(self, name: str, *, seal: bool) -> edge.EdgeShard:
        """Open the shard or a copy of it, to be optimized by ``sealing_config`` or by ``shard_config``."""
        schema = self.read_schema()
        return edge.EdgeShard.load(str(self.path / name), sealing_config(schema) if seal else shard_config(schema))

    @contextmanager
    def copied(self) -> Iterator[Path]:
        """A copy of the shard, which nobody writes to meanwhile; gone after the block unless it took its place."""
        copy = self.path / "shard.next"
        shutil.rmtree(copy, ignore_errors=True)
        try:
            shutil.copytree(self.shard_path, copy, copy_function=copy_data)
            yield copy
        finally:
            shutil.rmtree(copy, ignore_errors=True)

    def replace_shard(self, copy: Path) -> None:
        """Let a copy take the place of the shard, which is closed. A crash leaves one of the two."""
        self.shard_path.rename(self._replaced_path)
        copy.rename(self.shard_path)
        _sync_folder(self.path)
        shutil.rmtree(self._replaced_path, ignore_errors=True)

    def _recover(self) -> None:
        """Finish or undo what a crash interrupted."""
        if self._making.exists() and not self._read_only:
            self._made()
        if not self.shard_path.is_dir() and self._replaced_path.is_dir():
            self._replaced_path.rename(self.shard_path)
        for left in (self._replaced_path, self.path / "shard.next"):
            shutil.rmtree(left, ignore_errors=True)

    @property
    def _replaced_path(self) -> Path:
        return self.path / "shard.old"

    @property
    def sealed(self) -> int:
        """Points that were sealed since the search graph was last built."""
        try:
            return int(self._sealed_path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def remember_sealed(self, points: int) -> None:
        """Write down how many points were sealed since the search graph was last built."""
        draft = self._sealed_path.with_suffix(".new")
        draft.write_text(str(points), encoding="ascii")
        draft.replace(self._sealed_path)

    @property
    def _sealed_path(self) -> Path:
        return self.path / "sealed"

    @property
    def _holder_path(self) -> Path:
        return self.path / "lock.pid"

    def _holder(self) -> str | None:
        try:
            pid = int(self._holder_path.read_text())
        except (OSError, ValueError):
            return None
        if pid == os.getpid():
            return f"another engine of this very process ({pid})"
        return f"another polyglance process ({pid})"


def _sync_folder(path: Path) -> None:
    """Make renames in this folder survive a power cut, where the platform can."""
    if sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
