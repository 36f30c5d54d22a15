"""Another process that has embedded collections open, told so line by line.

python -m tests.hosts       reads "host FOLDER COLLECTION" and "close FOLDER COLLECTION", answers "done"
"""

import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from connector.files import private_folder
from connector.store.edge.engine import EmbeddedEngine
from connector.store.edge.shared import Hosting

ROOT = Path(__file__).parents[1]


class HostProcess:
    """The process, for as long as the ``with`` lasts."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hosts"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.signal(signal.SIGCONT)
        self._process.kill()
        self._process.communicate()

    def host(self, folder: Path, *, collection: str) -> None:
        """Take a collection, which need not be there, and let others ask for it."""
        self._say(f"host {folder} {collection}")

    def close(self, folder: Path, *, collection: str) -> None:
        """Let go of it; harmless where it was dropped."""
        self._say(f"close {folder} {collection}")

    def signal(self, number: int) -> None:
        """Stop it, let it go on, kill it; a stop has come when this returns."""
        self._process.send_signal(number)
        while number == signal.SIGSTOP and psutil.Process(self._process.pid).status() != psutil.STATUS_STOPPED:
            pass

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


def main() -> None:
    """Do what standard input says, until its end."""
    hosting: dict[str, Hosting] = {}
    for line in sys.stdin:
        what, folder, collection = line.split()
        if what == "host":
            engine = EmbeddedEngine.open(Path(folder), collection=collection)
            private_folder(Path(folder) / collection)
            engine.hold()
            hosting[folder] = Hosting(engine, folder=Path(folder) / collection)
        else:
            hosting.pop(folder).close()
        print("done", flush=True)  # noqa: T201  (the answer)


if __name__ == "__main__":
    main()
