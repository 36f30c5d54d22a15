"""Ingestion from end to end: sources, tower and collection brought together, one run a source."""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing

from connector.errors import CollectionMissing
from connector.memory import share_heaps
from connector.qdrant.engine import Engine
from connector.qdrant.open import open_engine
from connector.qdrant.schema import CollectionSchema
from connector.spaces.catalog import find_space
from connector.spaces.image_tower import ImageTower
from workers.errors import RunIncomplete
from workers.meter import Report
from workers.pipeline import Pipeline
from workers.run import Progress, Run
from workers.settings import Settings
from workers.shards import RunFolder
from workers.sources.open import open_source

Show = Callable[[Callable[[], Progress]], AbstractContextManager[None]]
"""Shows a run for as long as the context lasts."""

Wait = Callable[[str], AbstractContextManager[None]]
"""Shows that something is under way for as long as the context lasts."""


def ingest(
    places: Sequence[str],
    *,
    settings: Settings,
    recreate: bool,
    show: Show,
    wait: Wait,
) -> Report:
    """Bring every picture of these places into the collection, one place after the other.

    ``recreate`` drops the collection first. ``show`` and ``wait`` display a run and a pause. Raises SourceError for
    a place that cannot be listed, before anything is written; RunIncomplete when interrupted.
    """
    share_heaps()
    find_space(settings.model.space)
    runs: list[Run] = []
    try:
        with contextlib.ExitStack() as stack:
            sources = [stack.enter_context(closing(open_source(place, settings=settings))) for place in places]
            for source in sources:
                next(iter(source.list()), None)  # a place that cannot be listed says so before anything is written
            engine = stack.enter_context(closing(open_engine(settings.qdrant, collection=settings.collection)))
            pipeline = _pipeline(engine, settings=settings, recreate=recreate, wait=wait)
            total = Report()
            for source in sources:
                folder = RunFolder.of(source.root, qdrant=settings.qdrant, collection=settings.collection)
                run = Run(source, pipeline=pipeline, folder=folder, shard_size=settings.ingest.shard_size)
                runs.append(run)
                with show(run.progress), _loading(engine, bulk=settings.ingest.bulk):
                    total += run.go()
            if total.tally.stored and _unindexed(engine) >= settings.ingest.optimize_from:
                with wait("building the search graph"):
                    engine.optimize()
            return total
    except KeyboardInterrupt as interrupt:
        stored = sum(run.progress().report.tally.stored for run in runs)
        message = f"stopped; {stored:,} pictures were stored. Give the same command again to go on with the rest."
        raise RunIncomplete(message) from interrupt


def _pipeline(engine: Engine, *, settings: Settings, recreate: bool, wait: Wait) -> Pipeline:
    """A pipeline into the collection, which is there afterwards."""
    with contextlib.suppress(CollectionMissing):
        engine.info()  # a store that is locked or away says so before the model is loaded
    with wait("loading the image tower"):
        tower = ImageTower.load(settings.model)
    if recreate:
        engine.drop()
    engine.create(CollectionSchema(tower.fingerprint, meta_fields=settings.qdrant.meta_fields))
    return Pipeline(
        tower=tower,
        engine=engine,
        settings=settings.ingest,
        limits=settings.limits,
        batch_size=settings.model.batch_size,
        public_url=settings.serve.public_url,
    )


def _loading(engine: Engine, *, bulk: bool) -> AbstractContextManager[None]:
    """Put off a server's indexing for as long as the context lasts; the embedded engine indexes at the end anyway."""
    if not bulk:
        return contextlib.nullcontext()
    from connector.qdrant.server import ServerEngine

    return engine.bulk_load() if isinstance(engine, ServerEngine) else contextlib.nullcontext()


def _unindexed(engine: Engine) -> int:
    """How many points the search graph does not cover."""
    info = engine.info()
    return info.points - info.indexed
