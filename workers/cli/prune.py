"""``polyglance prune``: what is gone from a source goes from the collection, after somebody said yes."""

from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options
from connector.cli.output import say, say_json
from connector.errors import ConfigError
from workers.cli.ingest import MaxPrune, at_terminal, missing_line

if TYPE_CHECKING:
    from connector.settings import Settings
    from workers.run.ingestion import Wait
    from workers.run.prune import ListedIds, MissingPoints

app = typer.Typer()


@app.command()
def prune(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A place that was ingested, named as it was then.")],
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what is gone.")] = False,
    max_prune: MaxPrune = None,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Remove the points whose image is gone from a source. A terminal shows them and asks; a script says --yes.

    polyglance prune ~/Pictures
    """
    from rich.console import Console

    from connector.errors import RunIncomplete
    from connector.settings import Settings
    from workers import progress
    from workers.run.prune import ListedIds

    if yes == dry_run and (yes or as_json or not at_terminal()):
        raise ConfigError("prune takes one of --yes and --dry-run where nobody can be asked.")
    given = options.overrides(space=space, collection=collection, settings=settings)
    share = {} if max_prune is None else {"ingest.max_prune": str(max_prune)}
    loaded = Settings.load({**given, **share})
    with ListedIds() as listed_ids:
        root = _call(listed_ids, source, settings=loaded, wait=partial(progress.waiting, console=Console(stderr=True)))
        with closing(_find(listed_ids, source=root, settings=loaded)) as gone:
            pruned = gone.found(max_prune=loaded.ingest.max_prune)
            if not as_json:
                say(missing_line(pruned))
            willing = yes or (not dry_run and pruned.gone and pruned.refusal is None and typer.confirm("Remove them?"))
            if willing and pruned.refusal is None:
                pruned = replace(pruned, removed=_remove(gone, source=root, settings=loaded))
                if not as_json:
                    say(f"removed {pruned.removed:,} points")
            if as_json:
                say_json({**asdict(pruned), "uris": list(gone.uris())})
    if pruned.refusal is not None and not dry_run:
        raise RunIncomplete(pruned.refusal)


def _call(listed_ids: "ListedIds", place: str, *, settings: "Settings", wait: "Wait") -> str:
    """List a place as its last run did; its root."""
    from workers.run.ingestion import remembered
    from workers.run.shards import RunFolder
    from workers.sources.open import open_source

    with closing(open_source(place, settings=settings)) as source:
        manifest = RunFolder.of(source.root, settings=settings).manifest()
    reading = settings if manifest is None else remembered(settings, manifest=manifest)
    with closing(open_source(place, settings=reading)) as source, wait(f"listing {source.root}"):
        for _ in listed_ids.recording(source.list, source=source.root)():
            pass
        return source.root


def _find(listed_ids: "ListedIds", *, source: str, settings: "Settings") -> "MissingPoints":
    from connector.store.open import open_engine
    from workers.run.prune import MissingPoints

    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        return MissingPoints.find(engine, listed_ids, source=source)


def _remove(gone: "MissingPoints", *, source: str, settings: "Settings") -> int:
    from connector.store.open import open_engine
    from workers.run.shards import exclusive

    with (
        exclusive(source, settings=settings),
        closing(open_engine(settings.qdrant, collection=settings.collection)) as engine,
    ):
        return gone.remove(engine)
