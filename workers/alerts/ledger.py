"""Ledger: which messages this machine has sent, so that none is sent again: not after a kill, nor after --recreate.

The rule: the collection says what is still to be told; the ledger only says what of it was told already. Losing it may
repeat a message, under the same id, and loses none.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from connector.errors import RunIncomplete
from connector.files import private_folder
from connector.settings import Settings
from connector.store.open import file_name_of

MOST_ASKED = 500
"""Ids in one question to the file."""


def alerts_folder(settings: Settings) -> Path:
    """The folder of all that alerts keep on this machine, beside the runs."""
    return settings.qdrant.path / ".alerts"


class Ledger:
    """Messages by target, in a file of its own for each collection. Raises RunIncomplete where that cannot be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._kept():
            private_folder(path.parent)
            self._file = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=FULL")
            self._file.execute(
                "CREATE TABLE IF NOT EXISTS sent (target TEXT, message TEXT, PRIMARY KEY (target, message))"
                " WITHOUT ROWID"
            )
            self._file.execute("CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, bytes INTEGER) WITHOUT ROWID")

    def sent(self, target: str, messages: Sequence[str]) -> set[str]:
        """Those of the messages that a target was told."""
        found: set[str] = set()
        with self._kept():
            for at in range(0, len(messages), MOST_ASKED):
                some = messages[at : at + MOST_ASKED]
                marks = ", ".join("?" * len(some))
                asked = f"SELECT message FROM sent WHERE target = ? AND message IN ({marks})"
                found.update(row[0] for row in self._file.execute(asked, (target, *some)))
        return found

    def note(self, target: str, messages: Sequence[str], *, file: tuple[str, int] | None = None) -> None:
        """Write down that a target was told these; with a ``file`` also how many bytes of it are accounted for."""
        with self._kept():
            self._file.execute("BEGIN IMMEDIATE")
            try:
                rows = [(target, message) for message in messages]
                self._file.executemany("INSERT OR IGNORE INTO sent VALUES (?, ?)", rows)
                if file is not None:
                    self._file.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", file)
                self._file.execute("COMMIT")
            except BaseException:
                self._file.execute("ROLLBACK")
                raise

    def accounted(self, path: str) -> int:
        """How many bytes of a file are of messages that are noted."""
        with self._kept():
            row = self._file.execute("SELECT bytes FROM files WHERE path = ?", (path,)).fetchone()
        return int(row[0]) if row else 0

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._file.close()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except (sqlite3.Error, OSError) as error:
            raise RunIncomplete(
                f"what alerts were told cannot be kept in {self._path}: {error}. Nothing is lost: make room there, or "
                "give this user the rights to write; then `polyglance alert deliver` goes on."
            ) from error


@contextmanager
def telling(settings: Settings) -> Iterator[Ledger | None]:
    """The ledger, for whoever tells of a collection's alerts; None while another process of this machine does."""
    folder = alerts_folder(settings) / file_name_of(settings.qdrant, collection=settings.collection)
    try:
        private_folder(folder)
        lock = FileLock(folder / "lock", timeout=0, thread_local=False)
        with suppress(Timeout):
            lock.acquire()
    except OSError as error:
        raise RunIncomplete(f"what alerts were told cannot be kept in {folder}: {error}.") from error
    if not lock.is_locked:
        yield None
        return
    try:
        ledger = Ledger(folder / "sent.sqlite")
        try:
            yield ledger
        finally:
            ledger.close()
    finally:
        lock.release()
