"""The commands of ingestion: a thin reading of ``workers.ingest`` and the run folders."""

import json
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector import options

if TYPE_CHECKING:
    from workers.meter import Report

app = typer.Typer()


@app.command()
def ingest(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="A folder or a file.")],
    hidden: Annotated[bool, typer.Option("--hidden", help="Take files and folders that begin with a dot too.")] = False,
    recreate: Annotated[bool, typer.Option("--recreate", help="Delete the collection first.")] = False,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Read pictures, embed them and store them; what is stored already and unchanged is skipped.

    polyglance ingest ~/Pictures
    """
    from rich.console import Console

    from workers import progress
    from workers.ingest import ingest as run
    from workers.settings import Settings

    given = options.overrides(space=space, collection=collection, settings=settings)
    if hidden:
        given["ingest.hidden"] = True
    loaded = Settings.load(given)
    console = Console(stderr=True)

    def wait(what: str) -> AbstractContextManager[None]:
        return progress.waiting(what, console=console)

    with _terminated_like_interrupted():
        report = run(
            sources,
            settings=loaded,
            recreate=recreate,
            show=lambda now: progress.shown(now, console=console),
            wait=wait,
        )
    if not report.tally.listed:
        typer.echo(f"no pictures found in {', '.join(sources)}; nothing was done.", err=True)
    if as_json:
        typer.echo(json.dumps(_books(report, collection=loaded.collection)))
    elif report.tally.listed:
        typer.echo(progress.summary(report))


@app.command()
def rejected(
    reason: Annotated[str | None, typer.Option("--reason", help="Only these, such as truncated.")] = None,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """List the pictures that the last run of each source could not ingest, and why.

    polyglance rejected --reason truncated
    """
    from workers.settings import Settings
    from workers.shards import run_folders

    loaded = Settings.load(options.overrides(space=space, collection=collection, settings=settings))
    folders = run_folders(loaded.qdrant, collection=loaded.collection)
    found = [r for folder in folders for r in folder.rejects() if reason in (None, r.reason)]
    if as_json:
        typer.echo(json.dumps([{k: v for k, v in asdict(reject).items() if k != "attempt"} for reject in found]))
        return
    if not found:
        typer.echo(f"no rejected pictures in collection {loaded.collection}.", err=True)
    for reject in found:
        typer.echo(f"{reject.reason}\t{reject.stage}\t{reject.uri}\t{reject.detail}")


def _books(report: "Report", *, collection: str) -> dict[str, Any]:
    return {
        **asdict(report.tally),
        "collection": collection,
        "seconds": round(report.seconds, 3),
        "images_per_second": round(report.rate, 2),
        "busy": {stage: round(share, 3) for stage, share in report.shares.items()},
        "bottleneck": report.bottleneck,
        "reasons": dict(report.reasons),
    }


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM stop a run as cleanly as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
