"""The doors of the store: open an engine, and ask of the settings what is known before one is open.

The one rule: which engine the settings mean is decided here and nowhere else.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from connector.errors import CollectionMismatch, StoreRefused, StoreUnavailable
from connector.files import private_folder
from connector.printable import mask_credentials
from connector.settings import QdrantSettings
from connector.store.engine import EMBEDDED, SERVER, Capabilities, Engine

if TYPE_CHECKING:
    from connector.store.edge.sums import Verified


def open_engine(settings: QdrantSettings, *, collection: str) -> Engine:
    """The embedded engine in ``settings.path``, or the server at ``settings.url`` where one is set.

    The embedded engine touches no file before it is first used.
    """
    if settings.url is None:
        return open_embedded(settings, collection=collection)
    return open_server(settings, url=settings.url, collection=collection)


def open_embedded(settings: QdrantSettings, *, collection: str) -> Engine:
    """The embedded engine in ``settings.path``, whatever server is set."""
    from connector.store.edge.shared import SharedEngine

    return SharedEngine.open(settings.path, collection=collection)


def open_server(settings: QdrantSettings, *, url: str, collection: str) -> Engine:
    """The server at ``url``, reached as the settings say. Raises ConfigError for what is no http(s) address."""
    from connector.store.server.engine import ServerEngine

    return ServerEngine.connect(settings.model_copy(update={"url": url}), collection=collection)


@contextmanager
def verifying_files(
    settings: QdrantSettings, *, collection: str, share: float
) -> "Iterator[Callable[[], Verified | None]]":
    """Hold an embedded collection's files against their check sums while the block runs, a ``share`` byte by byte.

    A process of its own does so, as threads would wait for one another; what is called in the block waits for it. None
    for a server. Nothing is opened and nothing is written. Raises CollectionMissing.
    """
    if settings.url is not None:
        yield lambda: None
        return
    from connector.store.edge.folder import CollectionFolder
    from connector.store.edge.sums import verifying

    folder = CollectionFolder(settings.path, collection=collection)
    if not folder.exists and folder.gone is None:
        raise folder.missing()
    with verifying(folder.shard_path, share=share) as done:
        yield done


@contextmanager
def copied_apart(settings: QdrantSettings, *, collection: str) -> Iterator[QdrantSettings]:
    """A copy of an embedded collection to look at, gone after the block: the engine writes to what it opens."""
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=settings.path) as folder:
        shutil.copytree(settings.path / collection, Path(folder) / collection, ignore=_no_files)
        yield settings.model_copy(update={"path": Path(folder)})


def _no_files(folder: str, names: list[str]) -> list[str]:
    """Sockets, pipes and links to nowhere: nothing that could be copied."""
    return [name for name in names if not (Path(folder, name).is_file() or Path(folder, name).is_dir())]


def set_apart(settings: QdrantSettings, *, collection: str) -> Path:
    """Move an embedded collection out of the way, whole; returns where it lies then. Raises StoreUnavailable.

    Nobody may have it open. Its name is free afterwards.
    """
    from connector.store.edge.errors import edge_errors
    from connector.store.edge.folder import CollectionFolder

    folder = CollectionFolder(settings.path, collection=collection)
    with edge_errors(folder.path):
        folder.acquire()
        try:
            return folder.path.rename(folder.root / f".damaged-{collection}-{time.strftime('%Y%m%dT%H%M%S')}")
        finally:
            folder.release()


def back_up(settings: QdrantSettings, *, collection: str, file: Path) -> None:
    """Write a collection into a file as it is now, while others use it. Raises ConfigError and StoreError."""
    if settings.url is None:
        from connector.store.edge.shared import SharedEngine

        with closing(SharedEngine.open(settings.path, collection=collection)) as engine:
            engine.backup(file)
    else:
        from connector.store.server.snapshots import save_snapshot

        with closing(open_engine(settings, collection=collection)) as engine:
            meant = engine.resolved()
        save_snapshot(settings, collection=meant, file=file)


def restore(settings: QdrantSettings, *, collection: str | None, default: str, file: Path) -> str:
    """Make a collection of what ``back_up`` wrote; returns its name.

    Without a name it is the one that the file tells, or ``default`` where it tells none. Raises ConfigError where there
    is a collection of this name, and StoreRefused for a damaged file; then nothing was made.
    """
    if settings.url is None:
        from connector.store.edge.backup import read_about, restore_backup

        name = collection or read_about(file).collection
        restore_backup(file, root=settings.path, collection=name)
        return name
    from connector.store.server.snapshots import restore_snapshot

    restore_snapshot(settings, collection=collection or default, file=file)
    return collection or default


def check_rights(settings: QdrantSettings, *, collection: str, managing: bool) -> None:
    """Ask a server whether the key may write into the collection, or change it as such (``managing``), and do nothing.

    Raises NotAllowed, and StoreUnavailable where there is no answer.
    """
    if settings.url is None:
        return
    from connector.store.server.engine import ServerEngine

    with closing(ServerEngine.connect(settings, collection=collection)) as engine:
        engine.check_rights(managing=managing)


@dataclass(frozen=True, slots=True)
class Listed:
    """A collection of a store; ``points`` is None while another process has it open, ``space`` for what is not ours.

    ``fault`` says what is wrong with one that is damaged, of which neither is known.
    """

    name: str
    points: int | None
    space: str | None
    fault: str | None = None


def may_be_there(settings: QdrantSettings, *, collection: str) -> bool:
    """Whether a collection is there, as far as that shows without asking a server."""
    from connector.store.edge.errors import collections_in

    return settings.url is not None or collection in collections_in(settings.path)


def list_collections(settings: QdrantSettings) -> list[Listed]:
    """Every collection of the store that the settings mean, by name. Raises StoreError."""
    if settings.url is None:
        from connector.store.edge.errors import collections_in

        names = collections_in(settings.path)
    else:
        from connector.store.server.management import collections_on

        names = sorted(collections_on(settings))
    return [_look_at(name, settings=settings) for name in names]


def _look_at(name: str, *, settings: QdrantSettings) -> Listed:
    with closing(open_engine(settings, collection=name)) as engine:
        try:
            info = engine.info()
        except StoreUnavailable:
            return Listed(name, points=None, space=None)
        except CollectionMismatch:
            return Listed(name, points=engine.count(), space=None)
        except StoreRefused as error:
            return Listed(name, points=None, space=None, fault=str(error))
        return Listed(name, points=info.points, space=info.schema.fingerprint.space)


@contextmanager
def held_open(settings: QdrantSettings, *, collection: str) -> Iterator[None]:
    """Have the embedded engine's collection open in this process for as long as the block runs, there or not yet.

    Others ask here meanwhile: it is for a process that has nothing else to do, beside one that works hard. Nothing is
    done where another process has it open already, or where a server is set.
    """
    if settings.url is not None:
        yield
        return
    from connector.store.edge.shared import SharedEngine

    was_there = settings.path.exists()
    try:
        with closing(SharedEngine.open(settings.path, collection=collection)) as engine:
            engine.hold()
            yield
    finally:
        if not was_there:
            with suppress(OSError):  # something was made in it
                settings.path.rmdir()


@contextmanager
def open_scratch(settings: QdrantSettings, *, collection: str) -> Iterator[Engine]:
    """An engine of the kind that is set; the collection is dropped afterwards. Embedded data lie beside the other's."""
    beside = settings.path if settings.url is None else None
    if beside is not None:
        private_folder(beside)
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=beside) as folder:
        section = settings.model_copy(update={"path": Path(folder)})
        with closing(open_engine(section, collection=collection)) as engine:
            try:
                yield engine
            finally:
                engine.drop()


def capabilities_of(settings: QdrantSettings) -> Capabilities:
    """What the engine that ``open_engine`` would open can do."""
    return EMBEDDED if settings.url is None else SERVER


def describe(settings: QdrantSettings) -> str:
    """The store that the settings mean, for a sentence."""
    return "the embedded engine" if settings.url is None else f"the server at {mask_credentials(settings.url)}"


def file_name_of(settings: QdrantSettings, *, collection: str) -> str:
    """A name for files about a collection, which no collection of the same name in another store has."""
    if settings.url is None:
        return collection
    first = settings.url.split(",")[0].strip()  # more nodes of the same cluster may be named later
    return f"{collection}@{hashlib.blake2b(first.encode(), digest_size=6).hexdigest()}"
