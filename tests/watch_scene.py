"""A folder, a collection and what goes on between them, with all real parts but the tower."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connector.errors import StoreUnavailable
from connector.records import Pixels
from connector.settings import Settings
from connector.store.edge.shared import SharedEngine
from tests.ingest_doubles import ColourTower
from workers.executors.in_process import InProcess
from workers.executors.worker import Worker
from workers.pipeline.pipeline import Pipeline
from workers.run.ingestion import Ingestion, Show
from workers.sources.disk import DiskSource, uri_of
from workers.sources.open import open_source
from workers.watch.folder import FolderFeed
from workers.watch.watch import Feed, Watcher

LONGEST_S = 60.0
COLLECTION = "images-mini"


@dataclass
class Scene:
    """A folder, a collection, and a watcher between them that sees only colours."""

    album: Path
    data: Path
    changes: dict[str, object] = field(default_factory=dict)
    embedded: int = 0

    @property
    def settings(self) -> Settings:
        quick = {"watch.settle_s": 0.05, "watch.idle_s": 0, "watch.every_s": 3600, "ingest.workers": 0}
        return Settings.load({"model.space": "mini", "qdrant.path": str(self.data), **quick, **self.changes})

    @contextmanager
    def workers(self, show: Show) -> Iterator[Ingestion]:
        """Workers as ``Ingestion.open`` starts them, but for the tower."""
        settings = self.settings
        pipeline = Pipeline(
            tower=ColourTower(self._count),
            engine=SharedEngine.open(self.data, collection=COLLECTION),
            settings=settings.ingest,
            limits=settings.limits,
            batch_size=8,
        )
        here = InProcess(
            Worker(pipeline, settings=settings, open_place=lambda place: open_source(place, settings=settings))
        )
        try:
            yield Ingestion(settings, executor=here, threads=here.prepare(recreate=False).threads, show=show)
        finally:
            here.close()

    @contextmanager
    def watched(self, *, feed: bool = True) -> Iterator[Watcher]:
        """Watch for as long as the block runs, from the end of the first pass."""
        source = open_source(str(self.album), settings=self.settings)
        assert isinstance(source, DiskSource)
        feeds: Feed | None = FolderFeed(source) if feed else None
        watcher = Watcher(
            source,
            place=str(self.album),
            settings=self.settings,
            feed=feeds,
            workers=self.workers,
            wait=lambda _: nullcontext(),
        )
        failures: list[BaseException] = []

        def run() -> None:
            try:
                watcher.run()
            except BaseException as failure:  # noqa: BLE001  (raised again below)
                failures.append(failure)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            until(lambda: watcher.health()["last_pass"] is not None or bool(failures))
            if not failures:
                yield watcher
        finally:
            watcher.stop()
            thread.join(LONGEST_S)
        if failures:
            raise failures[0]

    def stored(self) -> dict[str, dict[str, Any]]:
        """The payloads by path below the folder; waits where the watcher has the store open."""
        found: dict[str, dict[str, Any]] = {}

        def read() -> bool:
            engine = SharedEngine.open(self.data, collection=COLLECTION)
            try:
                found.clear()
                for point in engine.scroll(limit=10_000).points:
                    found[str(point.payload["uri"]).removeprefix(uri_of(self.album) + "/")] = dict(point.payload)
            except StoreUnavailable:
                return False
            finally:
                engine.close()
            return True

        until(read)
        return found

    def names(self) -> set[str]:
        return set(self.stored())

    def _count(self, pixels: Pixels) -> None:
        self.embedded += len(pixels)


def until(true: Callable[[], bool], *, look_s: float = 0.05) -> None:
    """Wait for something that another thread brings about."""
    end = time.monotonic() + LONGEST_S
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(look_s)


def in_store(true: Callable[[], bool]) -> None:
    """Wait for something in the collection; who looks all the time keeps the watcher out of it."""
    until(true, look_s=0.6)
