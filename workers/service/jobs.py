"""Ingestions that a service was asked for: each a process of its own, and a file that says where it stands.

The one rule: the file is all that others need. Any process of the service reads it, and asks the ingestion to stop by a
second one beside it; the ingestion ends with the service that began it.
"""

import json
import multiprocessing
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

from filelock import FileLock

from connector.errors import Overloaded, PolyglanceError, RunIncomplete
from connector.printable import mask_credentials
from connector.process import private_folder
from connector.run_status import SILENCE
from connector.settings import Settings
from connector.store.open import file_name_of
from workers.records import Counts
from workers.run.loop import Progress

State = Literal["running", "done", "stopped", "failed"]
REPORT_S = 0.25
"""Seconds between two reports."""
KEPT = 50
"""Ingestions that are remembered."""


@dataclass(frozen=True, slots=True)
class Job:
    """An ingestion: what it was asked for and where it stands. Times are UTC in ISO 8601; ``rate`` images a second."""

    id: str
    places: tuple[str, ...]
    prune: bool
    state: State
    started_at: str
    updated_at: str
    listed: int = 0
    listed_all: bool = False
    stored: int = 0
    unchanged: int = 0
    rejected: int = 0
    pruned: int = 0
    rate: float = 0.0
    error: str | None = None

    @classmethod
    def read(cls, path: Path) -> "Job | None":
        """What a file says; one that runs and was not heard of for a minute has failed. None where there is none."""
        try:
            value = json.loads(path.read_bytes())
            job = cls(**{each.name: value[each.name] for each in fields(cls) if each.name in value})
        except (OSError, ValueError, TypeError):
            return None
        if job.state == "running" and datetime.now(UTC) - datetime.fromisoformat(job.updated_at) > SILENCE:
            return replace(job, state="failed", error="its process ended without a word.")
        return replace(job, places=tuple(job.places))

    def write(self, path: Path) -> None:
        """Replace the file as a whole."""
        beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        beside.write_text(json.dumps(asdict(self)), encoding="utf-8")
        beside.replace(path)


class Jobs:
    """The ingestions of one collection. Safe to use from many threads and processes; closed once."""

    def __init__(self, settings: Settings) -> None:
        name = file_name_of(settings.qdrant, collection=settings.collection)
        self._settings = settings
        self._folder = settings.qdrant.path / ".ingestions" / name
        self._processes: dict[str, BaseProcess] = {}

    def begin(self, places: Sequence[str], *, prune: bool) -> Job:
        """Begin an ingestion. Raises Overloaded while another one runs."""
        private_folder(self._folder)
        with FileLock(self._folder / "begin.lock"):
            if (other := next((each for each in self._all() if each.state == "running"), None)) is not None:
                raise Overloaded(
                    f"the ingestion {other.id} runs; wait for its end, or cancel it: DELETE /v1/ingestions/{other.id}.",
                    retry_after=5.0,
                )
            job = Job(uuid.uuid4().hex, tuple(places), prune, "running", _now(), _now())
            job.write(self._path(job.id))
            self._forget_old()
            process = multiprocessing.get_context("spawn").Process(
                target=_work, args=(self._settings, job, self._path(job.id)), name=f"ingestion {job.id}"
            )
            process.start()
            self._processes[job.id] = process
        return job

    def get(self, id: str) -> Job | None:
        """An ingestion by its id; None where there is none, or it is forgotten."""
        path = self._path(id) if id.isalnum() and id.isascii() else None
        job = Job.read(path) if path is not None else None
        process = self._processes.get(id)
        if path is None or job is None or job.state != "running" or process is None or process.is_alive():
            return job
        job = Job.read(path)  # it may have said its last word meanwhile
        if job is not None and job.state == "running":
            job = replace(job, state="failed", updated_at=_now(), error=f"its process ended ({process.exitcode}).")
            job.write(path)
        return job

    def cancel(self, id: str) -> Job | None:
        """Ask an ingestion to stop; what it stored stays, and the same ingestion goes on with the rest."""
        job = self.get(id)
        if job is not None and job.state == "running":
            _stop_file(self._path(id)).touch()
        return job

    def close(self) -> None:
        """Stop the ingestions of this process, and wait for their end."""
        for id in self._processes:
            self.cancel(id)
        for process in self._processes.values():
            process.join()

    def _path(self, id: str) -> Path:
        return self._folder / f"{id}.json"

    def _all(self) -> list[Job]:
        found = (self.get(path.stem) for path in self._folder.glob("*.json"))
        return sorted((each for each in found if each is not None), key=lambda job: job.started_at, reverse=True)

    def _forget_old(self) -> None:
        for job in self._all()[KEPT:]:
            for path in (self._path(job.id), _stop_file(self._path(job.id))):
                path.unlink(missing_ok=True)


def _work(settings: Settings, job: Job, path: Path) -> None:
    """The ingestion's process, from its beginning to its end."""
    from workers.run.ingestion import ingest  # here: the service itself does without it

    ingesting = settings.ingest.model_copy(update={"workers": settings.ingest.workers or 0})
    settings = settings.model_copy(update={"ingest": ingesting})
    seen: list[Callable[[], Progress]] = []

    @contextmanager
    def show(progress: Callable[[], Progress]) -> Iterator[None]:
        seen.append(progress)
        yield

    reported = _Reporter(job, path=path, seen=seen)
    with reported:
        try:
            done = ingest(
                job.places,
                settings=settings,
                recreate=False,
                show=show,
                wait=lambda _: nullcontext(),
                prune="remove" if job.prune else "no",
            )
        except RunIncomplete as error:
            reported.end("stopped" if _stop_file(path).exists() else "failed", error=str(error))
        except KeyboardInterrupt:
            reported.end("stopped", error=None)
        except PolyglanceError as error:
            reported.end("failed", error=str(error))
        except BaseException as error:
            reported.end("failed", error=repr(error))
            raise
        else:
            refusal = next((each.refusal for each in done.pruned if each.refusal is not None), None)
            state: State = "done" if refusal is None else "failed"
            removed = sum(each.removed for each in done.pruned)
            reported.end(state, error=refusal, counts=done.report.counts, pruned=removed)


class _Reporter:
    """Writes down where an ingestion stands for as long as the block runs, and looks whether it shall stop."""

    def __init__(self, job: Job, *, path: Path, seen: Sequence[Callable[[], Progress]]) -> None:
        self._job = job
        self._path = path
        self._seen = seen
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_saying, name="report", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def end(self, state: State, *, error: str | None, counts: Counts | None = None, pruned: int = 0) -> None:
        """Say how it ended; ``counts`` leave out the runs of earlier ingestions, which were finished first."""
        self._over.set()
        self._thread.join()
        job = replace(self._now(), state=state, error=error and mask_credentials(error), pruned=pruned)
        if counts is not None:
            job = replace(
                job,
                listed=counts.listed,
                stored=counts.stored,
                unchanged=counts.unchanged,
                rejected=counts.rejected,
            )
        job.write(self._path)

    def _keep_saying(self) -> None:
        parent, stopping = multiprocessing.parent_process(), False
        while not self._over.wait(REPORT_S):
            self._now().write(self._path)
            orphaned = parent is not None and not parent.is_alive()
            if not stopping and (orphaned or _stop_file(self._path).exists()):
                stopping = True
                os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C stops `polyglance ingest`

    def _now(self) -> Job:
        progress = [each() for each in [*self._seen]]
        counts = [each.report.counts for each in progress]
        return replace(
            self._job,
            updated_at=_now(),
            listed=sum(each.total for each in progress),
            listed_all=len(progress) >= len(self._job.places) and all(each.listed_all for each in progress),
            stored=sum(each.stored for each in counts),
            unchanged=sum(each.unchanged for each in counts),
            rejected=sum(each.rejected for each in counts),
            rate=progress[-1].rate if progress else 0.0,
        )


def _stop_file(path: Path) -> Path:
    return path.with_suffix(".stop")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
