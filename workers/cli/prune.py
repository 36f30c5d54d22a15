"""``polyglance prune``: what is gone from a source goes from the collection, after somebody said yes."""

from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options
from connector.cli.output import say, say_json
from connector.errors import ConfigError
from workers.cli.ingest import MaxPrune, Runs, at_runs, at_terminal, missing_line

if TYPE_CHECKING:
    from connector.settings import Settings
    from workers.run.ingestion import Wait
    from workers.run.prune import ListedIds, MissingPoints, Pruned
    from workers.sources.source import Source

app = typer.Typer(add_completion=False)


@app.command()
def prune(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A place that was ingested, named as it was then.")],
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what is gone.")] = False,
    vanished: Annotated[
        bool, typer.Option("--vanished", help="Take empty folders and disks that are away for deleted images too.")
    ] = False,
    max_prune: MaxPrune = None,
    runs: Runs = None,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Remove the points whose image is gone from a source. A terminal shows them and asks; a script says --yes.

    polyglance prune ~/Pictures
    """
    from connector.errors import RunIncomplete
    from connector.settings import Settings
    from workers import progress
    from workers.run.prune import ListedIds

    if yes == dry_run and (yes or as_json or not at_terminal()):
        raise ConfigError("prune takes one of --yes and --dry-run where nobody can be asked.")
    given = options.overrides(space=space, collection=collection, settings=settings, as_json=as_json)
    share = {} if max_prune is None else {"ingest.max_prune": str(max_prune)}
    loaded = Settings.load({**given, **share, **at_runs(runs)})
    with (
        ListedIds() as listed_ids,
        closing(_call(listed_ids, source, settings=loaded, wait=progress.waiting)) as place,
        closing(_find(listed_ids, source=place, settings=loaded, vanished=vanished)) as gone,
    ):
        pruned = gone.found(max_prune=loaded.ingest.max_prune)
        if not as_json:
            say(missing_line(pruned))
        willing = yes or (not dry_run and pruned.gone and pruned.refusal is None and typer.confirm("Remove them?"))
        if willing and pruned.refusal is None:
            pruned = _remove(gone, source=place, settings=loaded, vanished=vanished)
            if not as_json:
                say(f"removed {pruned.removed:,} points")
        if as_json:
            say_json({**asdict(pruned), "uris": list(gone.uris())})
    if pruned.refusal is not None and not dry_run:
        raise RunIncomplete(pruned.refusal)


def _call(listed_ids: "ListedIds", place: str, *, settings: "Settings", wait: "Wait") -> "Source":
    """List a place as its last run did; the source is the caller's to close."""
    from workers.run.ingestion import remembered
    from workers.run.shards import RunFolder
    from workers.sources.open import open_source

    with closing(open_source(place, settings=settings)) as source:
        manifest = RunFolder.of(source.root, settings=settings).manifest()
    reading = settings if manifest is None else remembered(settings, manifest=manifest)
    with ExitStack() as stack:
        source = stack.enter_context(closing(open_source(place, settings=reading)))
        with wait(f"listing {source.root}"):
            for _ in listed_ids.recording(source.list, source=source.root)():
                pass
        stack.pop_all()
        return source


def _find(listed_ids: "ListedIds", *, source: "Source", settings: "Settings", vanished: bool) -> "MissingPoints":
    from connector.store.open import open_engine
    from workers.run.prune import SPARED, MissingPoints
    from workers.run.shards import RunFolder
    from workers.sources.source import Mounting, locate

    if isinstance(source, Mounting):
        source.mounts.recall(RunFolder.of(source.root, settings=settings).mounts())
    spared = () if vanished else SPARED
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        return MissingPoints.find(engine, listed_ids, source=source.root, locate=partial(locate, source), spared=spared)


def _remove(gone: "MissingPoints", *, source: "Source", settings: "Settings", vanished: bool) -> "Pruned":
    from connector.store.open import open_engine
    from workers.run.shards import RunFolder, exclusive
    from workers.sources.source import Mounting

    with (
        exclusive(source.root, settings=settings),
        closing(open_engine(settings.qdrant, collection=settings.collection)) as engine,
    ):
        removed = gone.remove(engine)
        if vanished and isinstance(source, Mounting):  # what is away is away for good
            RunFolder.of(source.root, settings=settings).write_mounts(source.mounts.seen)
        return removed
