"""ReaderProcess: a reader in a process of its own, so that neither a hang nor a crash of its libraries costs an image.

The rule: whoever asks waits no longer than ``ocr.timeout_s``; then the process is killed, and the next image gets a new
one. The child ends with its parent, however that ended.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from connector.errors import ModelError
from connector.extras import missing
from connector.ocr_settings import OcrSettings
from connector.records import Pixels
from workers.ocr.reader import Line, TextReader, rapid_files

if TYPE_CHECKING:
    from workers.ocr.rapid import RapidReader

START_S = 60.0
"""Seconds in which the libraries and models must be loaded."""

Ask: TypeAlias = Literal["read", "is_document"]


class Unread(Exception):
    """An image was not read: ``timeout``, ``crashed``, ``failed``, ``undecodable`` or ``given_up``."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class ReaderProcess:
    """A ``TextReader`` elsewhere. It is started with the first image; for one thread at a time."""

    def __init__(self, settings: OcrSettings) -> None:
        self._settings = settings
        self._child: _Child | None = None

    def start(self) -> None:
        """Load the models now. Raises ModelError where they cannot be loaded, or not in time."""
        if self._child is None:
            self._child = _Child(self._settings)

    def read(self, pixels: Pixels) -> list[Line]:
        """See ``TextReader``. Raises Unread, and ModelError where the reader cannot be started."""
        lines: list[Line] = self._ask("read", pixels)
        return lines

    def is_document(self, pixels: Pixels) -> bool:
        """See ``TextReader``. Raises as ``read`` does."""
        return bool(self._ask("is_document", pixels))

    def close(self) -> None:
        """End the process."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()

    def _ask(self, what: Ask, pixels: Pixels) -> Any:
        self.start()
        assert self._child is not None
        try:
            done, answer = self._child.ask(what, pixels, timeout_s=self._settings.timeout_s)
        except TimeoutError:
            self.close()
            raise Unread("timeout", f"no answer within ocr.timeout_s = {self._settings.timeout_s:g} s") from None
        except (EOFError, OSError) as error:
            self.close()
            raise Unread("crashed", "the process that reads has died") from error
        if not done:
            raise Unread("failed", str(answer))
        return answer


class _Child:
    """The process and the pipe to it."""

    def __init__(self, settings: OcrSettings) -> None:
        self._pipe, theirs = Pipe()
        ours = Path(__file__).parents[2]  # first: a script may have a workers.py of its own beside it
        places = os.pathsep.join(str(Path(entry).absolute()) for entry in [str(ours), *sys.path])
        threads = dict.fromkeys(
            ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OPENCV_FOR_THREADS_NUM"), str(settings.threads)
        )
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
            env={**os.environ, **threads, "PYTHONPATH": places},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,  # Ctrl-C is the parent's to answer; and what the child starts is killed with it
        )
        theirs.close()
        try:
            ready, said = self._exchange(settings, timeout_s=START_S)
        except TimeoutError:
            self.kill()
            raise ModelError(f"the reader {settings.reader} was not ready within {START_S:g} s.") from None
        except BaseException as error:
            self.kill()
            if isinstance(error, EOFError | OSError):
                code = self._process.returncode
                raise ModelError(f"the reader {settings.reader} died while it was loaded (status {code}).") from error
            raise
        if not ready:
            self.kill()
            raise ModelError(f"the reader {settings.reader} cannot be loaded: {said}")

    def ask(self, what: Ask, pixels: Pixels, *, timeout_s: float) -> tuple[bool, Any]:
        """Whether it was done, and the answer or the reason. Raises TimeoutError, EOFError and OSError."""
        return self._exchange((what, pixels), timeout_s=timeout_s)

    def kill(self) -> None:
        """End it at once, and whatever it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._pipe.close()

    def _exchange(self, message: object, *, timeout_s: float) -> tuple[bool, Any]:
        self._pipe.send(message)
        if not self._pipe.poll(timeout_s):
            raise TimeoutError
        done, answer = self._pipe.recv()
        return bool(done), answer


def open_reader(settings: OcrSettings) -> TextReader:
    """Load what reads, here. Raises what its libraries raise."""
    if settings.reader == "tesseract":
        from workers.ocr.tesseract import TesseractReader

        return TesseractReader(settings, finder=None if missing("ocr") else _finder(settings))
    return _finder(settings)


def _finder(settings: OcrSettings) -> "RapidReader":
    from workers.ocr.rapid import RapidReader

    return RapidReader(rapid_files(settings), threads=settings.threads)


def main(pipe: Connection) -> None:
    """The whole life of the child: read what it is asked to, one image after the other."""
    asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, asked), daemon=True).start()
    try:
        reader = open_reader(asked.get())
    except Exception as error:  # noqa: BLE001  (whatever a foreign library raises: the parent says it)
        pipe.send((False, _said(error)))
        return
    pipe.send((True, None))
    while True:
        what, pixels = asked.get()
        try:
            answer = [*reader.read(pixels)] if what == "read" else reader.is_document(pixels)
        except Exception as error:  # noqa: BLE001  (whatever a foreign library raises: the image has no text then)
            pipe.send((False, _said(error)))
        else:
            pipe.send((True, answer))


def _receive(pipe: Connection, asked: "queue.SimpleQueue[Any]") -> None:
    """Take requests in; leave with the parent, also while an image is read that never ends."""
    with suppress(EOFError, OSError):
        while True:
            asked.put(pipe.recv())
    os._exit(0)


def _said(error: Exception) -> str:
    return (f"{type(error).__name__}: {error}".splitlines() or ["no message"])[0][:500]


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
