"""Forget: a source leaves a collection, with every point that belongs to no other one. No image is touched."""

from contextlib import closing
from dataclasses import dataclass

from connector.errors import ConfigError
from connector.settings import Settings
from connector.store.engine import Engine, pages
from connector.store.open import open_engine
from workers.records import Places
from workers.run.prune import FIELDS, PAGE, leave, of_source
from workers.run.shards import RunFolder, exclusive, local_folder

SHOWN = 20
"""Sources that are named where another one was meant."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What forgetting came to: the points of the source, how many were removed, how many are another source's too."""

    source: str
    points: int
    removed: int
    left: int


def forget(source: str, *, settings: Settings, dry_run: bool) -> Forgotten:
    """Let a source, named by its root, leave the collection; what it kept of its runs goes too.

    Raises ConfigError, with the sources that there are, where it is none of them.
    """
    folder = RunFolder.of(source, settings=settings)
    with (
        exclusive(source, settings=settings),
        closing(open_engine(settings.qdrant, collection=settings.collection)) as engine,
    ):
        if not engine.count(where=of_source(source)) and folder.manifest() is None:
            known = [str(each.value) for each in engine.facet("source", limit=SHOWN)]
            raise ConfigError(
                f"nothing in collection {settings.collection!r} came from {source}. Its sources are: "
                f"{', '.join(known) or 'none'}."
            )
        done = _forget(engine, source, dry_run=dry_run)
    if not dry_run:
        folder.remove()
        local_folder(source, settings=settings).remove()
    return done


def _forget(engine: Engine, source: str, *, dry_run: bool) -> Forgotten:
    removed = left = 0
    for points in pages(engine, limit=PAGE, where=of_source(source), fields=FIELDS):
        shared = [point for point in points if Places.of(point.payload).keys() - {source}]
        others = {point.id for point in shared}
        own = [point.id for point in points if point.id not in others]
        if not dry_run:
            leave(engine, shared, source=source)
            if own:
                engine.delete(own)
        removed, left = removed + len(own), left + len(shared)
    return Forgotten(source, points=removed + left, removed=removed, left=left)
