"""The Qdrant engine inside this process (Qdrant Edge); ``shared`` lets other processes use it.

The one rule: a single lock serialises what is asked of the shard, because Edge holds the interpreter lock while it
works anyway; it is handed on in the order it was asked for, and a large upsert asks for it again and again. Writers
exclude one another besides, so that nothing is written while ``optimize`` works on a copy. Opening touches no file; the
first call does.

Durability: an upsert returns when it is in the write-ahead log and can be read back, so a killed process loses
nothing that was acknowledged. From time to time what was written last is sealed: the log is written through and the
points move out of memory, so that neither grows with the collection.
"""

import ctypes
import logging
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import qdrant_edge as edge

from connector.errors import StoreError, StoreRefused
from connector.files import private_folder
from connector.process import give_back
from connector.records import Point
from connector.store.edge.backup import write_backup
from connector.store.edge.config import add_indexes
from connector.store.edge.errors import edge_errors
from connector.store.edge.fair_lock import FairLock
from connector.store.edge.folder import CollectionFolder
from connector.store.edge.optimize import Kind, optimize_apart, seal_at
from connector.store.edge.reading import ReadingEngine
from connector.store.edge.spaces import write_vectors
from connector.store.edge.words import add_words, edge_points, index_words
from connector.store.engine import SEAL_LEAST, NewVector
from connector.store.points import (
    as_stored,
    check_ids,
    check_new_vectors,
    check_payload,
    check_points,
    sent_id,
)
from connector.store.schema import CollectionSchema, Words
from connector.store.words import Wording, no_words, wording_of

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)

COPIED = 1024**3
"""Bytes of the largest collection that is copied to be sealed, some 200,000 images: everybody waits meanwhile."""

TURN = 8
"""Points written at a time, a millisecond or two: then whoever asks meanwhile has its turn."""


class EngineClosed(StoreRefused):
    """The engine was closed by whoever opened it."""


class EmbeddedEngine(ReadingEngine):
    """One collection in a folder of this machine; ``connector.store.engine.Engine`` says what each call promises."""

    def __init__(self, folder: CollectionFolder) -> None:
        super().__init__(folder)
        self._exclusive = FairLock()
        self._writing = threading.Lock()  # always taken before the other
        self._optimizing: subprocess.Popen[str] | None = None
        self._leaving = False
        self._shard: edge.EdgeShard | None = None
        self._schema: CollectionSchema | None = None
        self._wording: Wording | None = None
        self._unsealed = 0
        self._sealed_size = 0
        self._closed = False

    @classmethod
    def open(cls, path: Path, *, collection: str) -> Self:
        """An engine for ``path/collection``, which need not exist yet.

        The first call takes the collection's lock and holds it until ``close``: it raises StoreUnavailable while
        another engine, of this process or of another, has the collection open.
        """
        return cls(CollectionFolder(path, collection=collection))

    @property
    def holds(self) -> bool:
        """Whether this engine has the collection's lock."""
        return self._folder.held

    def hold(self) -> None:
        """Take the lock of a collection whose folder is there. Raises StoreUnavailable where another engine has it."""
        with self._exclusive, edge_errors(self._folder.path):
            self._refuse_when_closed()
            self._folder.acquire()

    def create(self, schema: CollectionSchema) -> None:
        """Create the collection, or add what the existing one lacks of ``schema``. Raises CollectionMismatch."""
        with self._writing, self._exclusive, edge_errors(self._folder.path):
            self._refuse_when_closed()
            if self._folder.exists:
                shard, stored = self._opened()
                self._extend(shard, stored=stored, asked=schema)
                return
            private_folder(self._folder.path)
            self._folder.acquire()
            self._folder.require_room()
            self._shard = self._folder.make(schema)
            self._schema, self._wording, self._sealed_size = schema, wording_of(schema), self._folder.size()

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points, replacing those of the same id. Raises ValueError, StoreFull; then nothing was written."""
        with self._writing:
            with self._use() as (_, schema):
                check_points(points, schema=schema)
                self._folder.require_room()
            for first in range(0, len(points), TURN):
                some = points[first : first + TURN]
                records = edge_points(some, schema=schema, wording=self._wording)
                with self._use() as (shard, _):
                    shard.update(edge.UpdateOperation.upsert_points(records))
                    self._unsealed += len(some)
            self._seal_if_due()

    def set_payload(self, ids: Sequence[str], payload: dict[str, object]) -> None:
        """Merge ``payload`` by its keys into the payload of points."""
        check_ids(ids)
        check_payload(payload, ids=ids)
        with self._writing, self._use() as (shard, _):
            self._folder.require_room()
            shard.update(edge.UpdateOperation.set_payload([*map(sent_id, ids)], as_stored(payload)))
            if self._wording is not None and self._wording.reads(payload):
                self._unsealed += index_words(shard, ids, wording=self._wording)

    def set_words(self, words: Words) -> None:
        """Let the collection have words, weighted so."""
        with self._writing, self._use() as (shard, schema):
            self._folder.require_room()
            worded = replace(schema, words=words)
            add_words(shard, worded)
            self._adopt(worded)

    def index_words(self, ids: Sequence[str]) -> int:
        """Compute the words of stored points anew, from their payloads; how many had others or none."""
        check_ids(ids)
        with self._writing:
            with self._use() as (shard, _):
                if self._wording is None:
                    raise no_words(self.collection)
                self._folder.require_room()
                self._unsealed += (changed := index_words(shard, ids, wording=self._wording))  # sealed ones too
            self._seal_if_due()
            return changed

    def set_spaces(self, schema: CollectionSchema, *, was: CollectionSchema) -> None:
        """Say which space answers and which there is besides. Raises CollectionMismatch where others changed them."""
        with self._writing, self._use() as (shard, stored):
            changed = stored.with_spaces_of(schema, was=was, collection=self.collection)
            self._folder.require_room()
            shard.flush()
            self._adopt(changed)
            if changed.dims != stored.dims:
                self._close_shard()
                self._opened()  # where it is brought to the vectors of its schema

    def write_vectors(self, vectors: Sequence[NewVector], *, space: str) -> None:
        """Give stored images their vectors in a space; nothing else of them is touched."""
        with self._writing:
            for first in range(0, len(vectors), TURN):
                with self._use() as (shard, schema):
                    name = schema.vector_in(space, collection=self.collection)
                    check_new_vectors(vectors[first : first + TURN], dims=schema.dims[name])
                    self._folder.require_room()
                    self._unsealed += write_vectors(shard, vectors[first : first + TURN], space=name)
            self._seal_if_due()

    def set_alerts(self, changes: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Write down alerts by their ids, take away those that are None, and leave all others as they are."""
        with self._writing, self._use() as (_, schema):
            self._folder.require_room()
            alerts = {name: told for name, told in {**schema.alerts, **changes}.items() if told is not None}
            self._adopt(replace(schema, alerts=alerts))

    def delete(self, ids: Sequence[str]) -> None:
        """Remove points; ids that are not there are ignored."""
        check_ids(ids)
        with self._writing, self._use() as (shard, _):
            self._folder.require_room()
            shard.update(edge.UpdateOperation.delete_points([*map(sent_id, ids)]))

    def optimize(self) -> None:
        """Build the search graph in a child process, in a copy: meanwhile questions are answered, and writers wait.

        Raises StoreFull unless three times the collection's size is free. Interrupting it loses nothing.
        """
        with self._writing:
            with self._use() as (shard, _):
                self._folder.require_room(3 * self._folder.size())
                shard.flush()
            with edge_errors(self._folder.path), self._optimized_copy("graph") as copy, self._use():
                self._close_shard()
                self._folder.replace_shard(copy)
                self._folder.remember_sealed(0)

    @contextmanager
    def _optimized_copy(self, kind: Kind) -> Iterator[Path]:
        """A copy of the shard, optimized in a child process; nobody writes meanwhile."""
        with self._folder.copied() as copy:
            try:
                optimize_apart(self._folder.path, shard=copy.name, kind=kind, started=self._begun)
            except StoreError:
                self._refuse_when_closed()  # then it was ended from here
                raise
            finally:
                self._optimizing = None
            yield copy

    def backup(self, file: str) -> None:
        """Write all that was acknowledged into a file, while questions are answered and writers wait."""
        with self._writing:
            with self._use() as (shard, _):
                shard.flush()
                points = shard.info().points_count
            with edge_errors(self._folder.path):
                write_backup(self._folder, Path(file), points=points)

    def leave_optimizing(self) -> None:
        """Give up building the graph, for whoever closes this engine soon: it would take too long to wait for."""
        self._leaving = True
        if (child := self._optimizing) is not None:
            child.kill()

    def _begun(self, child: "subprocess.Popen[str]") -> None:
        self._optimizing = child
        if self._leaving:
            child.kill()

    def drop(self) -> None:
        """Delete the collection with everything in it; harmless when there is none. ``create`` may follow."""
        with self._writing, self._exclusive, edge_errors(self._folder.path):
            self._refuse_when_closed()
            if not self._folder.path.is_dir():
                return
            self._folder.acquire()
            self._close_shard()
            self._folder.remove()

    def close(self) -> None:
        """Write everything down and let go of the folder. Harmless when repeated."""
        self.leave_optimizing()
        with self._writing, self._exclusive, edge_errors(self._folder.path):
            self._closed = True
            try:
                self._close_shard()
                if self._folder.held:
                    self._folder.note_sums()
                    self._folder.remove_if_empty()
            finally:
                self._folder.release()

    def forget(self) -> None:
        """In a forked process: leave all to the parent, and keep no lock from whoever follows it.

        The shard must not be closed, which would write, nor used, and its locks are closed under it. filelock sees to
        its own.
        """
        shard, self._shard = self._shard, None
        self._closed = True
        if shard is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(shard))  # for ever
            self._folder.close_inherited()

    @contextmanager
    def _use(self) -> Iterator[tuple[edge.EdgeShard, CollectionSchema]]:
        """The open shard and its schema, for one caller at a time, with foreign errors translated."""
        with self._exclusive, edge_errors(self._folder.path):
            self._refuse_when_closed()
            yield self._opened()

    def _opened(self) -> tuple[edge.EdgeShard, CollectionSchema]:
        if self._shard is None or self._schema is None:
            if not self._folder.exists:
                raise self._folder.missing()
            self._folder.acquire()
            try:
                self._schema = self._folder.read_schema()
                self._wording = wording_of(self._schema)
                self._sealed_size = self._folder.size()
                self._shard = self._folder.load()
            except BaseException:
                self._folder.release()
                raise
        return self._shard, self._schema

    def _close_shard(self) -> None:
        shard, self._shard = self._shard, None
        self._unsealed = 0
        if shard is not None:
            if not self._folder.has_sums:  # with them nothing was written, and flushing takes half a second
                shard.flush()
            shard.close()

    def _seal_if_due(self) -> None:
        with self._use() as (shard, _):
            new = self._unsealed
            due = new >= SEAL_LEAST and new >= seal_at(shard.info().points_count - new)
        if due:
            self._seal()

    def _seal(self) -> None:
        """Move what was written last out of memory. Where that cannot be done now, the next time comes as well.

        A collection of up to ``COPIED`` bytes is sealed in a copy, while questions are answered.
        """
        size, points = self._folder.size(), self._unsealed
        sealed = self._folder.sealed + points
        room = max(0, size - self._sealed_size)
        try:
            if size <= COPIED:
                with self._use() as (shard, _):
                    self._folder.require_room(size + room)
                    shard.flush()
                with edge_errors(self._folder.path), self._optimized_copy("seal") as copy, self._use():
                    self._folder.remember_sealed(sealed)
                    self._close_shard()
                    self._folder.replace_shard(copy)
            else:
                with self._use():
                    self._folder.require_room(room)
                    self._folder.remember_sealed(sealed)
                    self._close_shard()
                    optimize_apart(self._folder.path, kind="seal", started=self._begun)
        except StoreError as error:
            log.warning("not_sealed collection=%s points=%d: %s", self.collection, points, error)
        self._unsealed = 0
        give_back()

    def _extend(self, shard: edge.EdgeShard, *, stored: CollectionSchema, asked: CollectionSchema) -> None:
        points = shard.count(edge.CountRequest(exact=False))
        joined = stored.joined(asked, collection=self.collection, points=points)
        add_indexes(shard, joined, before=self._folder.require_room)
        if joined != stored:
            self._adopt(joined)

    def _adopt(self, schema: CollectionSchema) -> None:
        """Write down another schema of the same collection."""
        self._folder.write_schema(schema)
        self._schema, self._wording = schema, wording_of(schema)

    def _refuse_when_closed(self) -> None:
        if self._closed or self._leaving:
            raise EngineClosed(f"the engine of collection {self.collection!r} was closed; open another one.")
