"""Ingestion and migration for programs: what ``polyglance ingest`` and ``polyglance migrate`` do, as functions.

    from polyglance import ingest

    report = ingest("~/Pictures", "s3://photos/2026", collection="photos")

The rule: unless workers are asked for, it works in the process of its caller, so that neither a ``__main__`` guard nor
a terminal is needed.
"""

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.errors import ConfigError, RunIncomplete
from connector.settings import Settings
from connector.settings_sources import named_overrides
from workers.pipeline.counters import RunReport

if TYPE_CHECKING:
    from workers.migrate.fill import Filled, From


def ingest(
    *sources: str | Path,
    space: str | None = None,
    collection: str | None = None,
    settings: Settings | None = None,
    overrides: Mapping[str, Any] | None = None,
    recreate: bool = False,
    prune: bool = False,
    progress: bool = False,
) -> RunReport:
    """Bring every new or changed image of these sources into a collection; returns what became of them.

    ``sources`` are folders, files, ``s3://bucket/prefix``, lists of addresses, tables and tars, as the command line
    takes them. ``settings`` stand in for those of the environment; else ``overrides`` maps dotted names to values.
    ``recreate`` drops the collection first; ``prune`` removes the points of a source whose image is gone; ``progress``
    shows a bar on standard error where that is a terminal. ``report.counts`` balance: listed is stored + unchanged +
    rejected. An earlier run of a source that was interrupted is finished first. With the setting ``ingest.workers``
    processes do the work, which survives what kills one of them; a script then needs a ``__main__`` guard.

    Raises ConfigError, SourceError for a source that cannot be listed, StoreError, ModelError, and RunIncomplete where
    it was interrupted or pruning was refused; the same call then goes on with the rest.
    """
    from workers.run.ingestion import ingest as ingest_places

    if not sources:
        raise ConfigError("no source was named; give a folder, a file or an address, such as ingest('~/Pictures').")
    loaded = _settings(space=space, collection=collection, settings=settings, overrides=overrides)
    if loaded.ingest.workers:
        from workers.executors.processes import leave_if_imported_by_worker

        leave_if_imported_by_worker()
    show, wait = _bars() if progress else (_unseen, _unseen)
    done = ingest_places(
        [str(source) for source in sources],
        settings=loaded,
        recreate=recreate,
        show=show,
        wait=wait,
        prune="remove" if prune else "no",
    )
    for each in done.pruned:
        if each.refusal is not None:
            raise RunIncomplete(each.refusal)
    return done.report


def migrate(
    to: str,
    *,
    space: str | None = None,
    collection: str | None = None,
    settings: Settings | None = None,
    overrides: Mapping[str, Any] | None = None,
    rate: float = 0.0,
    first: "From" = "sources",
) -> "Filled":
    """Give every image of a collection its vector in the space ``to`` too; the space that answers goes on answering.

    ``to`` is a name or a file ``*.toml``; ``rate`` bounds the images a second, 0 does not; ``first`` is what images are
    read from where there is both, ``sources`` or ``thumbnails``. The same call again goes on where this one stopped.

    Raises ConfigError, CollectionMismatch, ModelError, StoreError, and RunIncomplete where another migration of this
    collection is under way.
    """
    from workers.migrate.migration import migrate as migrate_collection

    loaded = _settings(space=space, collection=collection, settings=settings, overrides=overrides)
    return migrate_collection(loaded, to=to, rate=rate, first=first)


def _settings(
    *, space: str | None, collection: str | None, settings: Settings | None, overrides: Mapping[str, Any] | None
) -> Settings:
    given = named_overrides(overrides, space=space, collection=collection, settings=settings)
    if settings is None:
        return Settings.load({"ingest.workers": 0, **given})
    return settings.model_copy(
        update={"ingest": settings.ingest.model_copy(update={"workers": settings.ingest.workers or 0})}
    )


def _bars() -> tuple[Callable[[Any], AbstractContextManager[None]], Callable[[str], AbstractContextManager[None]]]:
    from workers.progress import shown, waiting

    return shown, waiting


def _unseen(_: object) -> AbstractContextManager[None]:
    return contextlib.nullcontext()
