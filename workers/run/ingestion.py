"""Ingestion from end to end: workers and collection made ready once, then one run for each place.

The rule: an unfinished run of a place is finished first, then the place is looked at anew.
"""

import contextlib
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from connector.errors import ConfigError, RunFilesUnreadable, RunIncomplete
from connector.extras import require
from connector.models.catalog import find_space
from connector.remote.signed import unsigned
from connector.settings import Settings
from connector.store.open import capabilities_of, check_rights, held_open, open_engine
from workers.executors.executor import Executor
from workers.executors.in_process import InProcess, LazyExecutor
from workers.pipeline.counters import RunReport
from workers.records import Ref, Reject, Stage
from workers.run.loop import Progress, Run
from workers.run.prune import ListedIds, Pruned, prune_points
from workers.run.shards import VERIFY, Manifest, RunFolder, exclusive
from workers.run.status import now, publishing_status
from workers.sources.open import open_source
from workers.sources.source import Mounting, Source, locate, passed_over, throttled

if TYPE_CHECKING:
    from workers.alerts.delivering import Delivering
    from workers.alerts.outbox import Delivery

log = logging.getLogger(__name__)

Show = Callable[[Callable[[], Progress]], AbstractContextManager[None]]
"""Shows a run for as long as the context lasts."""

Wait = Callable[[str], AbstractContextManager[None]]
"""Shows that something is under way for as long as the context lasts."""

READING = ("s3", "web", "table", "ocr")
"""Sections of the settings that reading a place depends on: a run remembers what was set in them, and ``PLACE``."""

PLACE = ("hidden", "exclude", "verify")
"""Settings of ``ingest`` that decide what a place holds, and what of it is read again."""

Prune = Literal["no", "look", "remove"]
"""What becomes of points whose image is gone: nothing, or they are only counted, or removed."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an ingestion did: the runs that it finished of earlier ones, and its own, all places together.

    ``pruned`` is what is gone from each place, where that was asked; ``alerts`` what was told of, where there are any.
    """

    report: RunReport
    resumed: RunReport | None = None
    pruned: tuple[Pruned, ...] = ()
    alerts: "Delivery | None" = None


class Ingestion:
    """Workers ready for one collection, for as long as the ``with`` lasts."""

    def __init__(
        self, settings: Settings, *, executor: Executor, threads: dict[Stage, int], show: Show, anew: bool = False
    ) -> None:
        self._settings = settings
        self._executor = executor
        self._threads = threads
        self._show = show
        self._anew = anew  # what was done before is gone with the collection
        self._say_the_end: Callable[[], None] | None = None
        self._start_telling: Callable[[], Delivering | None] = lambda: None
        self.alerts: Delivering | None = None

    @classmethod
    @contextmanager
    def open(cls, settings: Settings, *, recreate: bool, show: Show, wait: Wait) -> Iterator[Self]:
        """See to the collection, and start workers once there is something to do; ``recreate`` drops it first.

        Raises ConfigError, ModelError and StoreError where this cannot be.
        """
        find_space(settings.model.space)
        with ExitStack() as stack:
            _check_executor(settings)
            if settings.ingest.executor == "local":
                stack.enter_context(held_open(settings.qdrant, collection=settings.collection))
            managing = recreate or settings.ingest.bulk  # a key without the right is told before a model is loaded
            check_rights(settings.qdrant, collection=settings.collection, managing=managing)
            _check_reader(settings)
            start = partial(_executor, settings, recreate=recreate)
            executor = LazyExecutor(start, settings=settings, wait=wait)
            stack.callback(executor.close)
            prepared = executor.prepare(recreate=recreate)
            stack.enter_context(_bulk(settings))
            ingestion = cls(settings, executor=executor, threads=prepared.threads, show=show, anew=recreate)
            ingestion._start_telling = partial(_delivering, settings, stack=stack)
            try:
                yield ingestion
            except KeyboardInterrupt:
                if ingestion.alerts is not None:
                    ingestion.alerts.end(wait_s=0.0)
                stack.close()  # the workers tell what they stored since
                if ingestion._say_the_end is not None:
                    ingestion._say_the_end()
                raise

    def ingest(self, source: Source, *, place: str, listed_ids: ListedIds | None = None) -> Ingested:
        """Finish an unfinished run of this source, then bring in what is new or changed there.

        ``listed_ids`` notes what the place holds.
        """
        folder = RunFolder.of(source.root, settings=self._settings)
        with exclusive(source.root, settings=self._settings):
            unfinished = folder.manifest()
            resumed = None
            if unfinished is not None and folder.listed() is not None and not self._anew:
                try:
                    resumed = self._go(source.list, manifest=unfinished, folder=folder, place=absolute(place))
                except RunFilesUnreadable as error:
                    log.warning("run_begins_anew source=%s: %s", source.root, error)
            manifest = manifest_of(source.root, place=place, settings=self._settings)
            if resumed is not None and unfinished is not None and unfinished.verify == manifest.verify:
                manifest = replace(manifest, settings={k: v for k, v in manifest.settings.items() if k != VERIFY})
            self._expect(folder.rejects())
            items = source.list if listed_ids is None else listed_ids.recording(source.list, source=source.root)
            report = self._go(items, manifest=manifest, folder=folder, source=source, place=absolute(place))
            recall_mounts(source, folder=folder)
            return Ingested(report, resumed)

    def ingest_some(
        self,
        items: Callable[[], Iterator[Ref | Reject]],
        *,
        manifest: Manifest,
        folder: RunFolder,
        rejected: Iterable[Reject] = (),
    ) -> RunReport:
        """Bring in these refs of a place and no others, with its files in a folder of their own.

        ``rejected`` are those among them that were when they were tried last.
        """
        with exclusive(manifest.source, settings=self._settings):
            self._expect(rejected)
            return self._go(items, manifest=manifest, folder=folder)

    def _expect(self, rejected: Iterable[Reject]) -> None:
        if isinstance(self._executor, LazyExecutor):
            self._executor.expect(rejected)

    def _go(
        self,
        items: Callable[[], Iterator[Ref | Reject]],
        *,
        manifest: Manifest,
        folder: RunFolder,
        source: Source | None = None,
        place: str | None = None,
    ) -> RunReport:
        run = Run(
            items,
            manifest=manifest,
            folder=folder,
            executor=self._executor,
            threads=self._threads,
            shard_size=self._settings.ingest.shard_size,
            attempts=self._settings.ingest.attempts,
        )
        run.place = place or manifest.place
        if self.alerts is None:  # somebody may have added one meanwhile
            self.alerts = self._start_telling()
        if source is not None:
            before = throttled(source)
            run.passed_over = partial(passed_over, source)
            run.throttled = lambda: throttled(source) - before
        with (
            publishing_status(run, manifest=manifest, folder=folder, settings=self._settings) as self._say_the_end,
            self._show(run.progress),
        ):
            return run.execute()


def ingest(
    places: Sequence[str], *, settings: Settings, recreate: bool, show: Show, wait: Wait, prune: Prune = "no"
) -> Ingested:
    """Bring every image of these places into the collection, one place after the other.

    ``recreate`` drops the collection first. ``show`` and ``wait`` display a run and a pause. ``prune`` says what
    becomes of points whose image is gone. Raises SourceError for a place that cannot be listed, before anything is
    written; RunIncomplete when interrupted.
    """
    find_space(settings.model.space)
    seen: list[Callable[[], Progress]] = []

    def watched(progress: Callable[[], Progress]) -> AbstractContextManager[None]:
        seen.append(progress)
        return show(progress)

    try:
        with ExitStack() as stack:
            sources = [stack.enter_context(closing(open_source(place, settings=settings))) for place in places]
            for source in sources:
                next(iter(source.list()), None)  # a place that cannot be listed says so before anything is written
            if not recreate and not capabilities_of(settings.qdrant).in_process:
                _say_damage(settings)  # of one that only we write to it is said once there is something to do
            rolls = [stack.enter_context(ListedIds()) for _ in places if prune != "no"]
            with Ingestion.open(settings, recreate=recreate, show=watched, wait=wait) as ingestion:
                done = [
                    ingestion.ingest(source, place=place, listed_ids=listed_ids)
                    for source, place, listed_ids in zip_longest(sources, places, rolls)
                ]
            with wait("looking for what is gone") if rolls else contextlib.nullcontext():
                pruned = [
                    prune_source(listed_ids, source=source, settings=settings, remove=prune == "remove")
                    for listed_ids, source in zip(rolls, sources, strict=False)
                ]
        if any(each.report.counts.stored or each.resumed is not None for each in done):
            optimize(settings, wait=wait)
    except KeyboardInterrupt as interrupt:
        stored = sum(progress().report.counts.stored for progress in seen)
        message = f"stopped; {stored:,} images were stored. Give the same command again to go on with the rest."
        raise RunIncomplete(message) from interrupt
    resumed = [each.resumed for each in done if each.resumed is not None]
    return Ingested(
        sum((each.report for each in done), RunReport()),
        resumed=sum(resumed, RunReport()) if resumed else None,
        pruned=tuple(pruned),
        alerts=None if ingestion.alerts is None else ingestion.alerts.delivery,
    )


def prune_source(listed_ids: ListedIds, *, source: Source, settings: Settings, remove: bool) -> Pruned:
    """Remove what is gone from a source that was listed, or only count it."""
    with (
        exclusive(source.root, settings=settings),
        closing(open_engine(settings.qdrant, collection=settings.collection)) as engine,
    ):
        most = settings.ingest.max_prune
        where = partial(locate, source)
        return prune_points(engine, listed_ids, source=source.root, max_prune=most, remove=remove, locate=where)


def recall_mounts(source: Source, *, folder: RunFolder) -> None:
    """Tell a source of the disks that its earlier listings saw, and keep those that it saw now."""
    if isinstance(source, Mounting):
        source.mounts.recall(folder.mounts())
        folder.write_mounts(source.mounts.known)


def manifest_of(source: str, *, place: str, settings: Settings) -> Manifest:
    """A new run of a source, whose place is named so that it can be found again."""
    return Manifest(
        run=f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}",
        place=unsigned(absolute(place), more=settings.web.signature_params),
        source=source,
        started_at=now(),
        settings=reading_settings(settings),
    )


def optimize(settings: Settings, *, wait: Wait) -> None:
    """Build the search graph where enough points lie outside it."""
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        info = engine.info()
        if info.points - info.indexed >= settings.ingest.optimize_from:
            with wait("building the search graph"):
                engine.optimize()


def absolute(place: str) -> str:
    """A place by a name that holds in every folder."""
    return place if "://" in place else str(Path(place).expanduser().absolute())


def reading_settings(settings: Settings) -> dict[str, Any]:
    """What was set of the sections that reading depends on, by dotted name, as plain JSON."""
    return {
        f"{section}.{name}": value
        for section in READING
        for name, value in getattr(settings, section).model_dump(mode="json", exclude_defaults=True).items()
    } | {
        f"ingest.{name}": value
        for name, value in settings.ingest.model_dump(mode="json", exclude_defaults=True).items()
        if name in PLACE
    }


def remembered(settings: Settings, *, manifest: Manifest) -> Settings:
    """The settings, with those of a run's reading in place of the defaults."""
    sections: dict[str, dict[str, object]] = {}
    for name, value in manifest.settings.items():
        section, _, key = name.partition(".")
        sections.setdefault(section, {})[key] = value
    update = {}
    for section, values in sections.items():
        there = getattr(settings, section)
        update[section] = type(there)(**{**values, **there.model_dump(exclude_defaults=True)})
    return settings.model_copy(update=update)


def _check_executor(settings: Settings) -> None:
    """Raise ConfigError for workers that cannot be."""
    if settings.ingest.executor == "ray":
        require("ray", what="ingest.executor = ray")
        if not capabilities_of(settings.qdrant).many_machines:
            raise ConfigError(
                "a Ray cluster needs a Qdrant server, named by qdrant.url: the embedded engine serves one machine."
            )


def _check_reader(settings: Settings) -> None:
    """Raise ConfigError or ModelError where text is to be read and nothing here can: before a model is loaded."""
    if settings.ocr.images != "off" and settings.ingest.executor == "local":  # a cluster's machines see for themselves
        from workers.ocr.reader import check_reader

        check_reader(settings.ocr)


def _say_damage(settings: Settings) -> None:
    """Name the points that somebody else changed. Importing what looks for them costs as much as all the rest here."""
    from connector.store.audit import say_damage

    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        say_damage(engine)


def _executor(settings: Settings, *, recreate: bool) -> Executor:
    if not recreate and capabilities_of(settings.qdrant).in_process:
        _say_damage(settings)
    if settings.ingest.executor == "ray":
        from workers.executors.ray import ray_executor

        return ray_executor(settings)
    if settings.ingest.workers == 0:
        from workers.executors.worker import Worker

        return InProcess(Worker.start(settings))
    from workers.executors.processes import local_executor

    return local_executor(settings)


def _delivering(settings: Settings, *, stack: ExitStack) -> "Delivering | None":
    """What tells of the collection's alerts while the run goes on; None where there are none."""
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        if not engine.info().schema.alerts:
            return None
    from workers.alerts.delivering import Delivering

    return stack.enter_context(Delivering(settings))


def _bulk(settings: Settings) -> AbstractContextManager[object]:
    """Put off the store's indexing for as long as the context lasts, where it can be put off."""
    if not settings.ingest.bulk or not capabilities_of(settings.qdrant).bulk_load:
        return contextlib.nullcontext()
    stack = ExitStack()
    engine = open_engine(settings.qdrant, collection=settings.collection)
    stack.callback(engine.close)
    stack.enter_context(engine.bulk_load())
    return stack
