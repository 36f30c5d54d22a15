"""SharedEngine: one embedded collection for many processes of a machine, without a server.

    the first process ── takes the folder's lock, opens the collection (``engine``), and hosts it (``host``)
    every other one   ── asks the host through the folder's socket (``guest``)

The one rule: the lock alone decides who hosts. When a host lets go of it or dies, whoever asks next takes it, and
repeats the call that was under way: every call may be repeated without harm (docs/decisions/0008-hosting.md).
"""

import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from connector.errors import CollectionMissing, StoreUnavailable
from connector.files import private_folder
from connector.records import FacetCount, Hit, Point, StoredPoint
from connector.store.edge.engine import EmbeddedEngine, EngineClosed
from connector.store.edge.errors import edge_errors
from connector.store.edge.folder import CollectionFolder
from connector.store.edge.folder_engine import FolderEngine
from connector.store.edge.guest import Guest
from connector.store.edge.host import Host
from connector.store.edge.read_only import place_of_copies
from connector.store.edge.wire import HostGone
from connector.store.engine import CollectionInfo, NearestQuery, NewVector, Page, WordsQuery
from connector.store.points import check_payload, check_points
from connector.store.schema import CollectionSchema, Words

if TYPE_CHECKING:
    from qdrant_client.models import Filter

log = logging.getLogger(__name__)

TAKEOVER_S = 5.0
"""Seconds to wait for whoever has the lock to be reached, or to let go of it."""
LOOK_S = 0.02
"""Seconds between two tries."""
MOST_DEATHS = 3
"""Hosts that may die over one call before it is given up: the call itself may be what kills them."""
WRITE_POINTS = 1000
"""Points written by one call to another process."""


class Hosting:
    """The collection, open in this process and for others. It ends once all who use it here have closed it."""

    def __init__(self, engine: EmbeddedEngine, *, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self.users = 1
        self.gone = False
        self._host: Host | None = None
        try:
            self._host = Host(engine.meeting, call=self.call)
        except OSError as error:
            log.warning("not_hosted collection=%s, other processes must wait: %s", engine.collection, error)

    def call(self, name: str, arguments: list[Any], named: dict[str, Any]) -> Any:
        """Do one of ``wire.CALLS``. Raises HostGone once this is closed."""
        try:
            return getattr(self._engine, name)(*arguments, **named)
        except EngineClosed as error:
            raise HostGone(str(error), died=False) from error
        finally:
            if not self._engine.holds:  # the collection was dropped, or could not be opened
                self.end()

    def close(self) -> None:
        """Let one user go, and with the last one of the collection, for another process to host it."""
        with _CHANGING:
            self.users -= 1
            if self.users > 0:
                return
        self.end()

    def forget(self) -> None:
        """In a forked process: touch nothing of it again, and keep no lock of it from the parent's successor."""
        self.gone = True
        if self._host is not None:
            self._host.forget()
        self._engine.forget()

    def end(self) -> None:
        """Let go of the collection, whoever uses it."""
        self.gone = True
        with _CHANGING:
            if _HERE.get(self._folder) is self:
                del _HERE[self._folder]
        self._engine.leave_optimizing()
        if self._host is not None:
            self._host.close()
        self._engine.close()


class SharedEngine(FolderEngine):
    """One collection in a folder of this machine; ``connector.store.engine.Engine`` says what each call promises."""

    def __init__(self, path: Path, *, collection: str) -> None:
        super().__init__(CollectionFolder(path, collection=collection))
        self._electing = threading.RLock()
        self._seat: Hosting | Guest | None = None
        self._closed = False
        _ENGINES.add(self)

    @classmethod
    def open(cls, path: Path, *, collection: str) -> Self:
        """An engine for ``path/collection``, which need not exist yet. Opening touches no file; the first call does."""
        return cls(path, collection=collection)

    def hold(self) -> None:
        """Host the collection from now on, there or not yet, unless another process does."""
        self._seated(make=True, leave=False)

    def create(self, schema: CollectionSchema) -> None:
        """Create the collection, or add what the existing one lacks of ``schema``. Raises CollectionMismatch."""
        self._call("create", schema, make=True)

    def info(self) -> CollectionInfo:
        """Schema and size. Raises CollectionMissing."""
        return self._call("info")  # type: ignore[no-any-return]

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points, replacing those of the same id. Raises ValueError, StoreFull; then nothing was written."""
        many = len(points) > WRITE_POINTS
        check_points(points, schema=self.info().schema if many else None)
        for first in range(0, max(len(points), 1), WRITE_POINTS):
            self._call("upsert", points[first : first + WRITE_POINTS])

    def set_payload(self, ids: Sequence[str], payload: dict[str, object]) -> None:
        """Merge ``payload`` by its keys into the payload of points."""
        check_payload(payload, ids=ids)
        self._call("set_payload", list(ids), payload)

    def delete(self, ids: Sequence[str]) -> None:
        """Remove points; ids that are not there are ignored."""
        self._call("delete", list(ids))

    def retrieve(
        self,
        ids: Sequence[str],
        *,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
        terms: Sequence[int] = (),
        space: str | None = None,
    ) -> list[StoredPoint]:
        """The points of these ids that exist."""
        return self._call(  # type: ignore[no-any-return]
            "retrieve", list(ids), fields=fields, vectors=vectors, terms=terms, space=space
        )

    def query(self, queries: Sequence[NearestQuery | WordsQuery]) -> list[list[Hit]]:
        """Answer all queries in one planned batch."""
        return self._call("query", list(queries))  # type: ignore[no-any-return]

    def scroll(
        self,
        *,
        limit: int,
        start: str | None = None,
        where: "Filter | None" = None,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
        space: str | None = None,
    ) -> Page:
        """Walk the collection in id order."""
        return self._call(  # type: ignore[no-any-return]
            "scroll", limit=limit, start=start, where=where, fields=fields, vectors=vectors, space=space
        )

    def count(self, *, where: "Filter | None" = None) -> int:
        """How many points match, exactly."""
        return self._call("count", where=where)  # type: ignore[no-any-return]

    def facet(self, key: str, *, where: "Filter | None" = None, limit: int = 10) -> list[FacetCount]:
        """The field's most frequent values and their exact counts."""
        return self._call("facet", key, where=where, limit=limit)  # type: ignore[no-any-return]

    def sample(self, limit: int, *, where: "Filter | None" = None) -> list[StoredPoint]:
        """Points picked at random."""
        return self._call("sample", limit, where=where)  # type: ignore[no-any-return]

    def ordered(
        self, key: str, *, descending: bool, limit: int, offset: int = 0, where: "Filter | None" = None
    ) -> list[StoredPoint]:
        """Points in the order of an indexed number or date."""
        return self._call("ordered", key, descending=descending, limit=limit, offset=offset, where=where)  # type: ignore[no-any-return]

    def set_words(self, words: Words) -> None:
        """Let the collection have words, weighted so."""
        self._call("set_words", words)

    def index_words(self, ids: Sequence[str]) -> int:
        """Compute the words of stored points anew; how many had others or none."""
        return self._call("index_words", list(ids))  # type: ignore[no-any-return]

    def set_spaces(self, schema: CollectionSchema, *, was: CollectionSchema) -> None:
        """Say which space answers and which there is besides. Raises CollectionMismatch where others changed them."""
        self._call("set_spaces", schema, was=was)

    def write_vectors(self, vectors: Sequence[NewVector], *, space: str) -> None:
        """Give stored images their vectors in a space; nothing else of them is touched."""
        for first in range(0, len(vectors), WRITE_POINTS):
            self._call("write_vectors", list(vectors[first : first + WRITE_POINTS]), space=space)

    def set_alerts(self, changes: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Write down alerts by their ids, take away those that are None, and leave all others as they are."""
        self._call("set_alerts", dict(changes))

    def optimize(self) -> None:
        """Build the search graph in a child process of the host, while questions are answered and writers wait."""
        self._call("optimize")

    def backup(self, file: Path) -> None:
        """Write the collection into a file of this machine, as whoever hosts it has it open. Raises ConfigError."""
        self._call("backup", str(file.expanduser().absolute()))

    def drop(self) -> None:
        """Delete the collection with everything in it; harmless when there is none. ``create`` may follow."""
        with contextlib.suppress(CollectionMissing):
            self._call("drop", leave=True)

    def close(self) -> None:
        """Write everything down and let go of the folder, for another process to host it. Harmless when repeated."""
        with self._electing:
            self._closed = True
            seat, self._seat = self._seat, None
        if seat is not None:
            seat.close()

    def _call(self, name: str, *arguments: Any, make: bool = False, leave: bool = False, **named: Any) -> Any:
        """Do a call here or at the host, and again where the host is gone.

        ``make``: the collection need not exist, its folder neither. ``leave``: a folder without a collection will do.
        """
        deaths = 0
        while True:
            seat = self._seated(make=make, leave=leave)
            try:
                return seat.call(name, list(arguments), named)
            except HostGone as gone:
                deaths += gone.died
                if deaths == MOST_DEATHS:
                    raise StoreUnavailable(
                        f"{deaths} processes that had the collection in {self._folder.path} open died over this call. "
                        "Their logs say more, or the system's: often it is memory, or the disk."
                    ) from gone

    def _seated(self, *, make: bool, leave: bool) -> "Hosting | Guest":
        """Where calls go: the collection itself where the lock could be had, else whoever has it."""
        with self._electing:
            if self._closed:
                raise EngineClosed(f"the engine of collection {self.collection!r} was closed; open another one.")
            if self._seat is not None and not self._seat.gone:
                return self._seat
            until, pause = time.monotonic() + TAKEOVER_S, threading.Event()
            while True:
                late = time.monotonic() > until
                if make:
                    with edge_errors(self._folder.path):
                        private_folder(self._folder.path)
                elif not (self._folder.path.is_dir() if leave else self._folder.exists):
                    raise self._folder.missing()
                try:
                    self._seat = self._taken()
                except StoreUnavailable:
                    self._seat = _joined(self._folder.path) or _guest(self._folder.path)
                    if self._seat is None and late:
                        raise
                if self._seat is not None:
                    return self._seat
                pause.wait(LOOK_S)

    def _taken(self) -> Hosting | None:
        """The collection for this process; None where its folder is going away. Raises StoreUnavailable."""
        engine = EmbeddedEngine.open(self._folder.root, collection=self.collection)
        try:
            engine.hold()
        except BaseException:
            engine.close()
            if not self._folder.path.is_dir():
                return None
            raise
        hosting = Hosting(engine, folder=self._folder.path)
        with _CHANGING:
            _HERE[self._folder.path] = hosting
        return hosting


def _guest(folder: Path) -> Guest | None:
    """Whoever has the collection open, or its copy where it may only be read."""
    return Guest.of(folder) or Guest.of(place_of_copies(folder))


def _joined(folder: Path) -> Hosting | None:
    """The collection as another engine of this process has it open."""
    with _CHANGING:
        there = _HERE.get(folder)
        if there is None or there.gone or there.users < 1:
            return None
        there.users += 1
        return there


_CHANGING = threading.Lock()
_HERE: dict[Path, Hosting] = {}
"""What this process hosts, by its folder."""
_ENGINES: "weakref.WeakSet[SharedEngine]" = weakref.WeakSet()
_LEFT: list[object] = []
"""What a forked process inherited, and must neither use nor let go of: it is its parent's."""


def _forget_parent() -> None:
    """In a forked process: open everything anew."""
    global _CHANGING  # noqa: PLW0603  (a thread of the parent may have held it)
    _CHANGING = threading.Lock()
    _HERE.clear()
    for engine in _ENGINES:
        if engine._seat is not None:
            engine._seat.forget()
            _LEFT.append(engine._seat)
        engine._seat = None
        engine._electing = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
