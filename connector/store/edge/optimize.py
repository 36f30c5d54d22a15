"""Optimize or seal a collection in a process of its own: Edge holds the interpreter lock for as long as it works.

Run as ``python -m connector.store.edge.optimize graph|seal COLLECTION SHARD``. Killing it is safe: the shard keeps
what it had.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Literal, TypeAlias

from connector.errors import StoreRefused
from connector.store.edge.errors import translated
from connector.store.edge.folder import CollectionFolder
from connector.store.engine import SEAL_LEAST

Kind: TypeAlias = Literal["graph", "seal"]
"""``graph`` builds the search graph over everything; ``seal`` moves what was written last out of memory."""


SEAL_MOST = 25_000
"""Points between two seals: a quarter of the collection, but no fewer than ``SEAL_LEAST`` and no more than this. Their
indexes take some 5 KB each in memory until then, and a restart after a crash writes them anew, in a few seconds. Every
seal opens all segments twice, some 30 ms each time: seals of one size for all would take ever longer."""
SEAL_SHARE = 4

LONGEST_START_S = 30.0
"""How long an interrupted caller waits for the child's handle, to end it."""


def seal_at(points: int) -> int:
    """How many points more a collection of so many takes before they are sealed."""
    return min(SEAL_MOST, max(SEAL_LEAST, points // SEAL_SHARE))


def optimize_apart(
    collection: Path, *, kind: Kind, shard: str = "shard", started: Callable[[subprocess.Popen[str]], None]
) -> None:
    """Optimize a shard in this collection's folder, which nobody has open, in a child process, and wait for it.

    ``started`` is handed the child. Raises our error for whatever it died of; when the wait is interrupted, it is
    killed.
    """
    command = [sys.executable, "-P", "-m", __name__, kind, str(collection), shard]
    ours = Path(__file__).parents[3]  # first: a script may have a connector.py of its own beside it
    places = os.pathsep.join(str(Path(entry).absolute()) for entry in [str(ours), *sys.path])
    environment = {**os.environ, "PYTHONPATH": places}
    child = _started(command, environment=environment)
    with child:
        try:
            started(child)
            assert child.stderr is not None
            said = child.stderr.read()
        except BaseException:
            child.kill()
            raise
    if child.returncode < 0:
        raise StoreRefused(
            f"optimizing {collection} was killed by signal {-child.returncode} (9 often means: out of memory). "
            "Nothing is lost; searches are exact but slower until `polyglance collection optimize` succeeds."
        )
    if child.returncode:
        raise translated((said.strip().splitlines() or ["no message"])[-1], folder=collection)


def _started(command: list[str], *, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a child, in a thread that no interrupt reaches: between fork and handle it would leave an orphan."""
    starting: Future[subprocess.Popen[str]] = Future()

    def start() -> None:
        try:
            child = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,  # its end tells the child that its caller is gone
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        except OSError as error:
            starting.set_exception(error)
        else:
            starting.set_result(child)

    thread = threading.Thread(target=start, name="optimize")
    try:
        thread.start()
        return starting.result()
    except KeyboardInterrupt:
        with starting.result(timeout=LONGEST_START_S) as child:
            child.kill()
        raise


def main(kind: str, collection: Path, name: str) -> None:
    """Do what ``kind`` says, and merge what was deleted away. The collection's lock is the caller's."""
    folder = CollectionFolder(collection.parent, collection=collection.name)
    shard = folder.load_to_optimize(name, seal=kind == "seal")
    try:
        shard.optimize()
    finally:
        shard.close()


def end_with_caller() -> None:
    """Die when standard input does, that is with the caller: it may be killed while Edge holds the interpreter lock.

    The kernel's signal for it ends a process that does not handle it (F_SETOWN in fcntl(2)); not on Windows.
    """
    if sys.platform == "win32":
        return
    import fcntl
    import select

    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([0], [], [], 0)[0]:  # it was gone already
        sys.exit("the caller is gone")


if __name__ == "__main__":
    try:
        end_with_caller()
        main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    except Exception as error:  # noqa: BLE001  (the outermost frame: the message goes to the parent)
        sys.exit(str(error))
