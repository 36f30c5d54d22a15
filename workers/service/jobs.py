"""Long work that a service was asked for: each job a process of its own, and a file that says where it stands.

The one rule: the file is all that others need. Any process of the service reads it, and asks the job to stop by a
second one beside it; the job ends with the service that began it.
"""

import asyncio
import json
import logging
import multiprocessing
import os
import signal
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from fastapi import HTTPException
from fastapi.responses import StreamingResponse
from filelock import FileLock

from connector.errors import Overloaded, PolyglanceError, RunIncomplete
from connector.files import private_folder, replacing
from connector.printable import mask_credentials
from connector.process import Logs
from connector.run_status import SILENCE
from connector.settings import Settings
from connector.store.open import file_name_of

log = logging.getLogger(__name__)

State = Literal["running", "done", "stopped", "failed"]
REPORT_S = 0.25
"""Seconds between two reports."""
_SILENT_S = 15.0
"""Seconds after which a stream without news says that it lives."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Where a piece of work stands. Times are UTC in ISO 8601; what it was asked for is a subclass's."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: State = "running"
    started_at: str = field(default_factory=_now)
    updated_at: str = field(default_factory=_now)
    error: str | None = None

    def write(self, path: Path) -> None:
        """Replace the file as a whole."""
        with replacing(path) as draft:
            draft.write_text(json.dumps(asdict(self)), encoding="utf-8")


J = TypeVar("J", bound=Job)
Work = Callable[[Settings, J, "Reporter[J]"], J]
"""Does a job, and returns it with what came of it; the reporter is told how to see where it stands."""


def read_job(kind: type[J], path: Path) -> J | None:
    """What a file says; one that runs and was not heard of for a minute has failed. None where there is none."""
    try:
        value = json.loads(path.read_bytes())
        told = {each.name: value[each.name] for each in fields(kind) if each.name in value}
        given: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in told.items()}
        job = kind(**given)
    except (OSError, ValueError, TypeError):
        return None
    if job.state == "running" and datetime.now(UTC) - datetime.fromisoformat(job.updated_at) > SILENCE:
        return replace(job, state="failed", error="its process ended without a word.")
    return job


class Jobs(Generic[J]):
    """The jobs of one kind on one collection. Safe to use from many threads and processes; closed once.

    ``route`` is what they are called in addresses; the last ``kept`` of them are remembered.
    """

    def __init__(self, kind: type[J], work: Work[J], *, settings: Settings, route: str, kept: int) -> None:
        self._kind = kind
        self._work = work
        self._settings = settings
        self._route = route
        self._kept = kept
        self._folder = (
            settings.qdrant.path / f".{route}" / file_name_of(settings.qdrant, collection=settings.collection)
        )
        self._processes: dict[str, BaseProcess] = {}

    def begin(self, job: J) -> J:
        """Begin a job. Raises Overloaded while another one runs."""
        private_folder(self._folder)
        with FileLock(self._folder / "begin.lock"):
            if (other := next((each for each in self.all() if each.state == "running"), None)) is not None:
                raise Overloaded(
                    f"{other.id} runs already; wait for its end, or cancel it: DELETE /v1/{self._route}/{other.id}.",
                    retry_after=5.0,
                )
            job.write(self._path(job.id))
            self._forget_old()
            process = multiprocessing.get_context("spawn").Process(
                target=_run,
                args=(self._work, self._settings, job, self._path(job.id), Logs.here()),
                name=f"{self._route} {job.id}",
            )
            process.start()
            self._processes[job.id] = process
        return job

    def get(self, id: str) -> J | None:
        """A job by its id; None where there is none, or it is forgotten."""
        path = self._path(id) if id.isalnum() and id.isascii() else None
        job = read_job(self._kind, path) if path is not None else None
        process = self._processes.get(id)
        if path is None or job is None or job.state != "running" or process is None or process.is_alive():
            return job
        job = read_job(self._kind, path)  # it may have said its last word meanwhile
        if job is not None and job.state == "running":
            job = replace(job, state="failed", updated_at=_now(), error=f"its process ended ({process.exitcode}).")
            job.write(path)
        return job

    def all(self) -> list[J]:
        """Those that are remembered, the last one first."""
        found = (self.get(path.stem) for path in self._folder.glob("*.json"))
        return sorted((each for each in found if each is not None), key=lambda job: job.started_at, reverse=True)

    def cancel(self, id: str) -> None:
        """Ask a job to stop; what it has done stays."""
        job = self.get(id)
        if job is not None and job.state == "running":
            _stop_file(self._path(id)).touch()

    def file_of(self, id: str, name: str) -> Path:
        """A file that a job writes beside its own, forgotten with it."""
        return beside(self._path(id), name)

    def close(self) -> None:
        """Stop the jobs of this process, and wait for their end."""
        for id in self._processes:
            self.cancel(id)
        for process in self._processes.values():
            process.join()

    async def found(self, id: str) -> J:
        """A job by its id. Raises HTTPException of status 404."""
        job = await asyncio.to_thread(self.get, id)
        if job is None:
            raise HTTPException(404, f"there is no {id!r} that was begun by POST /v1/{self._route}")
        return job

    async def cancelled(self, id: str) -> J:
        """A job that was asked to stop; one that has ended stays as it is. Raises HTTPException of status 404."""
        await self.found(id)
        await asyncio.to_thread(self.cancel, id)
        return await self.found(id)

    async def events(self, id: str) -> StreamingResponse:
        """Where a job stands, again and again, as server-sent events: ``progress``, and at last ``end``."""
        return StreamingResponse(self._events(await self.found(id)), media_type="text/event-stream")

    async def _events(self, job: J) -> AsyncIterator[str]:
        told: J | None = None
        told_at = 0.0
        while True:
            if job != told:
                yield _event("progress" if job.state == "running" else "end", job)
                told, told_at = job, time.monotonic()
            elif time.monotonic() - told_at > _SILENT_S:
                yield ": it goes on\n\n"
                told_at = time.monotonic()
            if job.state != "running":
                return
            await asyncio.sleep(REPORT_S)
            job = await self.found(job.id)

    def _path(self, id: str) -> Path:
        return self._folder / f"{id}.json"

    def _forget_old(self) -> None:
        for job in self.all()[self._kept :]:
            for path in self._folder.glob(f"{job.id}.*"):
                path.unlink(missing_ok=True)


class Reporter(Generic[J]):
    """Writes down where a job stands for as long as the block runs, and looks whether it shall stop."""

    def __init__(self, job: J, *, path: Path) -> None:
        self.path = path
        self._look: Callable[[], J] = lambda: job
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_saying, name="report", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def follow(self, look: Callable[[], J]) -> None:
        """Ask this from now on where the job stands."""
        self._look = look

    def end(self, job: J | None, *, state: State, error: str | None) -> None:
        """Say how it ended, and where it stood then unless ``job`` says it."""
        self._over.set()
        self._thread.join()
        ended = job or self._look()
        replace(ended, state=state, updated_at=_now(), error=error and mask_credentials(error)).write(self.path)

    @property
    def shall_stop(self) -> bool:
        """Whether somebody asked for it."""
        return _stop_file(self.path).exists()

    def _keep_saying(self) -> None:
        parent, stopping = multiprocessing.parent_process(), False
        while not self._over.wait(REPORT_S):
            replace(self._look(), updated_at=_now()).write(self.path)
            orphaned = parent is not None and not parent.is_alive()
            if not stopping and (orphaned or self.shall_stop):
                stopping = True
                os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C stops a command


def beside(path: Path, name: str) -> Path:
    """A file of this name that belongs to the job whose file is ``path``."""
    return path.with_suffix(f".{name}")


def _run(work: Work[J], settings: Settings, job: J, path: Path, logs: Logs) -> None:
    """The job's process, from its beginning to its end."""
    logs.set_up()
    reporter = Reporter(job, path=path)
    with reporter:
        try:
            done = work(settings, job, reporter)
        except RunIncomplete as error:
            reporter.end(None, state="stopped" if reporter.shall_stop else "failed", error=str(error))
        except KeyboardInterrupt:
            reporter.end(None, state="stopped", error=None)
        except PolyglanceError as error:
            reporter.end(None, state="failed", error=str(error))
        except BaseException as error:
            reporter.end(None, state="failed", error=repr(error))
            log.critical("job_failed job=%s", job.id, exc_info=True)
            raise SystemExit(1) from error
        else:
            reporter.end(done, state="done" if done.error is None else "failed", error=done.error)


def _stop_file(path: Path) -> Path:
    return beside(path, "stop")


def _event(kind: str, job: Job) -> str:
    return f"event: {kind}\ndata: {json.dumps(asdict(job))}\n\n"
