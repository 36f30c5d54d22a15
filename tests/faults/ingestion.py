"""``python -m tests.faults.ingestion ALBUM --data FOLDER --log FILE``: an ingestion with a tower that keeps a log.

All parts are the real ones (listing, run files, worker process, pipeline, engine) but the tower, which sees only
colours, takes its time, and appends a digest of every image that it embeds to the log. Ends with the counts as JSON.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from connector.errors import PolyglanceError
from connector.settings import Settings
from workers.executors.processes import Child
from workers.executors.slots import Slots
from workers.run.ingestion import Ingestion
from workers.run.loop import Progress
from workers.sources.open import open_source

if TYPE_CHECKING:
    from connector.records import Pixels
    from workers.executors.worker import Worker

DIGEST_BYTES = 8
BATCH = 2
FORWARD_S = 0.02
"""Seconds that the tower takes for a batch, so that a moment picked at random finds it at work."""


def digest_of(pixels: "Pixels") -> bytes:
    """What the log says of one image."""
    return hashlib.blake2b(pixels.tobytes(), digest_size=DIGEST_BYTES).digest()


def logging_worker(settings: Settings, log: Path) -> "Worker":
    """A worker whose tower logs what it embeds."""
    from connector.store.open import open_engine
    from tests.ingest_doubles import ColourTower
    from workers.executors.worker import Worker
    from workers.pipeline.pipeline import Pipeline

    lines = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def before(pixels: "Pixels") -> None:
        os.write(lines, b"".join(map(digest_of, pixels)))  # first: what is killed now will be embedded again
        time.sleep(FORWARD_S)

    pipeline = Pipeline(
        tower=ColourTower(before),
        engine=open_engine(settings.qdrant, collection=settings.collection),
        settings=settings.ingest,
        limits=settings.limits,
        batch_size=BATCH,
    )
    return Worker(pipeline, settings=settings, open_place=lambda place: open_source(place, settings=settings))


def main() -> None:
    """Ingest; exit 1 with a message where the run did not come to its end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("album")
    parser.add_argument("--data", required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[])
    chosen = parser.parse_args()
    given = dict(each.split("=", 1) for each in chosen.set)
    settings = Settings.load({"model.space": "mini", "qdrant.path": chosen.data, **given})
    start = partial(logging_worker, settings, chosen.log)
    workers = Slots(lambda number: Child(start, name=f"worker-{number}", stall_s=60.0), count=lambda _: 1)
    try:
        with closing(workers), closing(open_source(chosen.album, settings=settings)) as source:
            threads = workers.prepare(recreate=False).threads
            ingestion = Ingestion(settings, executor=workers, threads=threads, show=unseen)
            done = ingestion.ingest(source, place=chosen.album)
    except PolyglanceError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    sys.stdout.write(json.dumps(asdict(done.report.counts)) + "\n")


def unseen(_: Callable[[], Progress]) -> AbstractContextManager[None]:
    """Show nothing."""
    return nullcontext()


if __name__ == "__main__":
    main()
