"""Worker processes on this machine, by ``multiprocessing`` with spawn.

The rule: parent and child speak through one pipe, and each watches the other: a child whose parent is gone goes too,
and a parent learns of a child's end from its sentinel.
"""

import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, TypeAlias

from connector.logs import set_up_logs
from workers.engines.executor import AnyWorker, Hear, WorkerDied
from workers.engines.slots import Slots
from workers.meter import Beat, ShardReport
from workers.records import Prepared, Shard
from workers.settings import Settings

PER_GPU = 3
"""Worker processes that share one GPU: decoding in Python keeps one from filling it."""

LONGEST_GOODBYE_S = 10.0
"""How long a worker may take to stop before it is killed."""

STALLED_EXIT = 75
"""Exit status of a worker that got nowhere for ``ingest.stall_s`` seconds."""

Start: TypeAlias = Callable[[], AnyWorker]
"""Makes a worker; crosses the border of a process, so it is a function of a module, or a partial of one."""


def local_executor(settings: Settings) -> Slots:
    """Processes for these settings: as many as asked for, else three for each GPU, or one without."""
    return Slots(
        lambda number: Child(
            partial(start_worker, settings, number=number), name=f"worker-{number}", stall_s=settings.ingest.stall_s
        ),
        count=lambda prepared: count_workers(settings, gpus=prepared.gpus),
    )


def count_workers(settings: Settings, *, gpus: int) -> int:
    """How many processes a machine with so many GPUs has: the embedded engine serves one at a time."""
    if settings.ingest.workers is not None:
        return settings.ingest.workers or 1
    return 1 if settings.qdrant.url is None else PER_GPU * gpus or 1


def start_worker(settings: Settings, *, number: int = 0) -> AnyWorker:
    """Start a worker, in the process that it is to work in: torch is imported there and only there."""
    from workers.worker import Worker

    return Worker.start(settings, number=number)


class Child:
    """A worker in a process of its own."""

    def __init__(self, start: Start, *, name: str, stall_s: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_child,
            args=(theirs, start, stall_s, logging.getLogger().getEffectiveLevel()),
            name=name,
            daemon=True,
        )
        self._process.start()
        theirs.close()
        self._ready = False

    def ready(self) -> None:
        """See ``Remote``."""
        self._ask("ready", None, hear=lambda _: None)
        self._ready = True

    def prepare(self, *, recreate: bool) -> Prepared:
        """See ``AnyWorker``."""
        prepared: Prepared = self._ask("prepare", recreate, hear=lambda _: None)
        return prepared

    def work(self, shard: Shard, *, hear: Hear) -> ShardReport:
        """See ``AnyWorker``."""
        done: ShardReport = self._ask("work", shard, hear=hear)
        return done

    def close(self) -> None:
        """Ask the process to stop, and kill it where it does not."""
        if self._process.is_alive():
            self._process.terminate()
        self._process.join(LONGEST_GOODBYE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, call: str, argument: Any, *, hear: Hear) -> Any:
        try:
            self._pipe.send((call, argument))
            while True:
                wait([self._pipe, self._process.sentinel])
                match self._pipe.recv() if self._pipe.poll() else None:
                    case ("beat", beat):
                        hear(beat)
                    case ("done", result):
                        return result
                    case ("failed", failure):
                        raise failure
                    case _:
                        raise self._death()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise self._death() from error

    def _death(self) -> WorkerDied:
        self._process.join(LONGEST_GOODBYE_S)
        return WorkerDied(_how(self._process.exitcode), working=self._ready)


def _how(exitcode: int | None) -> str:
    if exitcode == STALLED_EXIT:
        return "it got nowhere for ingest.stall_s seconds"
    if exitcode is not None and exitcode < 0:
        hint = ", often for want of memory" if exitcode == -signal.SIGKILL else ""
        return f"signal {-exitcode} ({signal.Signals(-exitcode).name}{hint})"
    return f"exit status {exitcode}"


# ---- in the child


def _child(pipe: Connection, start: Start, stall_s: float, level: int) -> None:
    """The whole life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal; the parent decides
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    set_up_logs(level)
    threading.Thread(target=_leave_with_parent, name="parent", daemon=True).start()
    said = _Said(pipe, stall_s=stall_s)
    worker: AnyWorker | None = None
    try:
        with suppress(KeyboardInterrupt, EOFError, BrokenPipeError):  # sent home
            while True:
                call, argument = pipe.recv()
                try:
                    worker = worker or start()
                    match call:
                        case "ready":
                            said.say("done", None)
                        case "prepare":
                            said.say("done", worker.prepare(recreate=argument))
                        case "work":
                            said.say("done", worker.work(argument, hear=said.beat))
                except Exception as failure:  # noqa: BLE001  (the outermost frame of the work; raised by the parent)
                    said.say("failed", portable(failure))
    finally:
        if worker is not None:
            worker.close()


def portable(failure: Exception) -> Exception:
    """A failure that crosses the border of a process, with what led to it as a note."""
    failure.add_note(f"In the worker:\n{''.join(traceback.format_exception(failure))}")
    try:
        again = pickle.loads(pickle.dumps(failure))
    except Exception:  # noqa: BLE001  (whatever pickling raises: foreign exceptions need not survive it)
        return RuntimeError("".join(traceback.format_exception(failure)))
    return failure if type(again) is type(failure) else RuntimeError(str(failure))


def _leave_with_parent() -> None:
    """End this process as soon as its parent has ended, however that came."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


class _Said:
    """What the child says, from several threads; it ends the process when beat after beat says the same."""

    def __init__(self, pipe: Connection, *, stall_s: float) -> None:
        self._pipe = pipe
        self._stall_s = stall_s
        self._lock = threading.Lock()
        self._last: object = None
        self._since = time.monotonic()

    def say(self, what: str, value: object) -> None:
        with self._lock:
            self._pipe.send((what, value))
            self._last, self._since = None, time.monotonic()

    def beat(self, beat: Beat) -> None:
        now = time.monotonic()
        if beat.report.tally != self._last:
            self._last, self._since = beat.report.tally, now
        elif now - self._since > self._stall_s:
            logging.getLogger(__name__).error("worker_stalled seconds=%.0f %s", now - self._since, beat.report.tally)
            os._exit(STALLED_EXIT)
        with self._lock:
            self._pipe.send(("beat", beat))
