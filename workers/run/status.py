"""Where a run stands, told while it goes on: ``status.json``, which ``polyglance status`` and the service read."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from connector.errors import PolyglanceError, RunIncomplete
from connector.run_status import RunStatus, State
from connector.settings import Settings
from workers.run.loop import Progress, Run
from workers.run.shards import Manifest, RunFolder, local_folder

STATUS_S = 2.0
"""Seconds between two ``status.json``."""


@contextmanager
def publishing_status(
    run: Run, *, manifest: Manifest, folder: RunFolder, settings: Settings
) -> Iterator[Callable[[], None]]:
    """Say where a run stands for as long as the block runs, and how it ended.

    Gives what says the latter again: after an interrupt the workers' last words come in later.
    """
    here = local_folder(manifest.source, settings=settings) if settings.ingest.runs is not None else None
    over = threading.Event()

    def publish(state: State, *, error: str | None = None) -> None:
        status = status_of(run.progress(), manifest=manifest, collection=settings.collection, state=state, error=error)
        for each in (folder, here):
            if each is not None:
                each.write_status(status)

    def keep_saying() -> None:
        while not over.wait(STATUS_S):
            with suppress(RunIncomplete):  # a disk that is full stops the run where its files are kept
                publish("running")

    def say_the_end() -> None:
        with suppress(RunIncomplete):
            publish(ended, error=error)

    thread = threading.Thread(target=keep_saying, name="status", daemon=True)
    ended: State = "failed"
    error: str | None = None
    try:
        thread.start()
        yield say_the_end
        ended = "done"
    except KeyboardInterrupt:
        ended = "stopped"
        raise
    except PolyglanceError as failure:
        error = str(failure)
        raise
    except BaseException as failure:
        error = repr(failure)
        raise
    finally:
        over.set()
        if thread.ident is not None:  # an interrupt may have kept it from starting
            thread.join()
        say_the_end()


def status_of(
    progress: Progress, *, manifest: Manifest, collection: str, state: State, error: str | None = None
) -> RunStatus:
    """A run's progress as others read it."""
    report = progress.report
    return RunStatus(
        run=manifest.run,
        source=manifest.source,
        collection=collection,
        state=state,
        started_at=manifest.started_at,
        updated_at=now(),
        host=socket.gethostname(),
        pid=os.getpid(),
        listed=progress.total,
        listed_all=progress.listed_all,
        stored=report.counts.stored,
        unchanged=report.counts.unchanged,
        rejected=report.counts.rejected,
        reasons=dict(report.reasons),
        passed_over=dict(report.passed_over),
        throttled=report.throttled,
        ocr=dict(report.ocr),
        rate=round(progress.rate, 2),
        eta_s=None if progress.eta_s is None else round(progress.eta_s, 1),
        busy={stage: round(share, 3) for stage, share in report.shares.items()},
        bottleneck=report.bottleneck,
        error=error,
    )


def now() -> str:
    """This moment, as it is written down."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
