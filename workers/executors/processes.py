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

from connector.errors import ConfigError, WorkerDied
from connector.process import Logs
from connector.settings import Settings
from workers.executors.executor import AnyWorker, OnHeartbeat
from workers.executors.slots import Slots
from workers.pipeline.counters import Heartbeat, ShardReport
from workers.records import Prepared, Shard

PER_GPU = 3
"""Worker processes that share one GPU: decoding in Python keeps one from filling it."""

LONGEST_GOODBYE_S = 10.0
"""How long a worker may take to stop before it is killed."""

STALLED_EXIT = 75
"""Exit status of a worker that got nowhere for ``ingest.stall_s`` seconds."""
UNGUARDED_EXIT = 76
"""Exit status of a worker whose program, imported in it, wants to ingest itself."""

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
    """How many processes a machine with so many GPUs has."""
    if settings.ingest.workers is not None:
        return settings.ingest.workers or 1
    return PER_GPU * gpus or 1


def start_worker(settings: Settings, *, number: int = 0) -> AnyWorker:
    """Start a worker, in the process that it is to work in: torch is imported there and only there."""
    from workers.executors.worker import Worker

    return Worker.start(settings, number=number)


class Child:
    """A worker in a process of its own."""

    def __init__(self, start: Start, *, name: str, stall_s: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_child,
            args=(theirs, start, stall_s, Logs.here()),
            name=name,
            daemon=True,
        )
        self._process.start()
        theirs.close()
        self._ready = False

    def ready(self) -> None:
        """See ``Remote``."""
        self._request("ready", None, on_heartbeat=lambda _: None)
        self._ready = True

    def prepare(self, *, recreate: bool) -> Prepared:
        """See ``AnyWorker``."""
        prepared: Prepared = self._request("prepare", recreate, on_heartbeat=lambda _: None)
        return prepared

    def work(self, shard: Shard, *, on_heartbeat: OnHeartbeat) -> ShardReport:
        """See ``AnyWorker``."""
        done: ShardReport = self._request("work", shard, on_heartbeat=on_heartbeat)
        return done

    def close(self) -> None:
        """Ask the process to stop, and kill it where it does not."""
        if self._process.is_alive():
            self._process.terminate()
        self._process.join(LONGEST_GOODBYE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _request(self, call: str, argument: Any, *, on_heartbeat: OnHeartbeat) -> Any:
        try:
            self._pipe.send((call, argument))
            while True:
                wait([self._pipe, self._process.sentinel])
                match self._pipe.recv() if self._pipe.poll() else None:
                    case ("beat", heartbeat):
                        on_heartbeat(heartbeat)
                    case ("done", result):
                        return result
                    case ("failed", failure):
                        raise failure
                    case _:
                        raise self._death()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            death = self._death()
            raise death from (None if isinstance(death, ConfigError) else error)

    def _death(self) -> WorkerDied | ConfigError:
        self._process.join(LONGEST_GOODBYE_S)
        if self._process.exitcode == UNGUARDED_EXIT:
            return ConfigError(
                "worker processes import your program, which then would ingest in each of them. Put the call under "
                "`if __name__ == '__main__':`, or set ingest.workers to 0, which works in this process."
            )
        return WorkerDied(_how(self._process.exitcode), working=self._ready)


def leave_if_imported_by_worker() -> None:
    """End this process where it is a worker that imports the program it was started by: see ``UNGUARDED_EXIT``."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(UNGUARDED_EXIT)


def _how(exitcode: int | None) -> str:
    if exitcode == STALLED_EXIT:
        return "it got nowhere for ingest.stall_s seconds"
    if exitcode is not None and exitcode < 0:
        hint = ", often for want of memory" if exitcode == -signal.SIGKILL else ""
        return f"signal {-exitcode} ({signal.Signals(-exitcode).name}{hint})"
    return f"exit status {exitcode}"


# ---- in the child


def _child(pipe: Connection, start: Start, stall_s: float, logs: Logs) -> None:
    """The whole life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal; the parent decides
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logs.set_up()
    threading.Thread(target=_leave_with_parent, name="parent", daemon=True).start()
    reply = _Reply(pipe, stall_s=stall_s)
    worker: AnyWorker | None = None
    try:
        with suppress(KeyboardInterrupt, EOFError, BrokenPipeError):  # sent home
            while True:
                call, argument = pipe.recv()
                try:
                    worker = worker or start()
                    match call:
                        case "ready":
                            reply.send("done", None)
                        case "prepare":
                            reply.send("done", worker.prepare(recreate=argument))
                        case "work":
                            reply.send("done", worker.work(argument, on_heartbeat=reply.heartbeat))
                except Exception as failure:  # noqa: BLE001  (the outermost frame of the work; raised by the parent)
                    reply.send("failed", portable(failure))
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


class _Reply:
    """What the child says, from several threads; it ends the process when beat after beat says the same."""

    def __init__(self, pipe: Connection, *, stall_s: float) -> None:
        self._pipe = pipe
        self._stall_s = stall_s
        self._lock = threading.Lock()
        self._last: object = None
        self._since = time.monotonic()

    def send(self, what: str, value: object) -> None:
        with self._lock:
            self._pipe.send((what, value))
            self._last, self._since = None, time.monotonic()

    def heartbeat(self, heartbeat: Heartbeat) -> None:
        now = time.monotonic()
        if heartbeat.report.counts != self._last:
            self._last, self._since = heartbeat.report.counts, now
        elif now - self._since > self._stall_s:
            logging.getLogger(__name__).error(
                "worker_stalled seconds=%.0f %s", now - self._since, heartbeat.report.counts
            )
            os._exit(STALLED_EXIT)
        with self._lock:
            self._pipe.send(("beat", heartbeat))
