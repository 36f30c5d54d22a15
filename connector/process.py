"""What belongs to the process as a whole: its memory, its logs, the cores it may use.

Threads that come and go leave holes in heaps of their own, so the C library's allocator is told to keep less. Only
glibc is spoken to; elsewhere both calls do nothing.
"""

import ctypes
import logging
import os
import platform
import sys
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from connector.printable import JsonFormatter, PrintableFormatter

_M_ARENA_MAX = -8
"""glibc's name for the greatest number of heaps (mallopt(3))."""


def share_heaps(*, at_most: int = 2) -> None:
    """Let all threads share a few heaps instead of eight a core. Call it before the threads start."""
    if (libc := _glibc()) is not None:
        libc.mallopt(_M_ARENA_MAX, at_most)


def give_back() -> None:
    """Return what was freed to the system (malloc_trim(3)); takes some milliseconds."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") else None


@dataclass(frozen=True, slots=True)
class Logs:
    """What a process logs, and how: from which level on, and whether as JSON, an object a line."""

    level: int
    as_json: bool = False

    @classmethod
    def here(cls) -> Self:
        """How this process logs, for the processes that it starts."""
        root = logging.getLogger()
        as_json = any(isinstance(each.formatter, JsonFormatter) for each in root.handlers)
        return cls(root.getEffectiveLevel(), as_json)

    def set_up(self) -> None:
        """Send them to standard error. Once a process, at its entry point.

        As JSON, Python's own warnings, and what ends the process or a thread, are lines of the log too.
        """
        handler = logging.StreamHandler(sys.stderr)
        plain = PrintableFormatter("%(asctime)s %(levelname)s %(name)s %(message)s")
        handler.setFormatter(JsonFormatter() if self.as_json else plain)
        logging.basicConfig(level=self.level, handlers=[handler])
        if self.as_json:
            logging.captureWarnings(True)
            sys.excepthook = _log_the_end
            threading.excepthook = lambda told: _log_the_end(told.exc_type, told.exc_value, told.exc_traceback)


def _log_the_end(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    said = (kind, error or kind(), trace)
    logging.getLogger(__name__).critical("uncaught %s: %s", kind.__name__, error, exc_info=said)


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_threads() -> int:
    """The threads that a model should compute with: OMP_NUM_THREADS where it is set, else one for each core."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) > 0 else usable_cores()


@cache
def has_gpu() -> bool:
    """Whether a driver names a GPU that torch could use; torch itself, which takes seconds to import, is not asked."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if Path("/dev/kfd").exists():  # AMD's
        return True
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int()
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    except (OSError, AttributeError):
        return False
