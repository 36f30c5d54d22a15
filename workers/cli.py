"""The commands of ingestion: a thin reading of ``workers.ingest`` and the run folders."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector import options

if TYPE_CHECKING:
    from workers.meter import Report
    from workers.settings import Settings

app = typer.Typer()


@app.command()
def ingest(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="A folder, a file, s3://bucket/prefix, a web address, urls.txt, a table (csv, jsonl, parquet), "
            "or tars: 'shards-{000..099}.tar'.",
        ),
    ],
    hidden: Annotated[bool, typer.Option("--hidden", help="Take files and folders that begin with a dot too.")] = False,
    recreate: Annotated[bool, typer.Option("--recreate", help="Delete the collection first.")] = False,
    bulk: Annotated[
        bool, typer.Option("--bulk", help="Put off the server's indexing until the end, for large first loads.")
    ] = False,
    endpoint_url: Annotated[
        str | None, typer.Option("--endpoint-url", help="Address of an S3 store other than AWS.")
    ] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="Named profile of the AWS configuration.")] = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="Ask S3 without keys, for public buckets.")] = False,
    requester_pays: Annotated[
        bool, typer.Option("--requester-pays", help="Agree to pay for requests to the bucket.")
    ] = False,
    path_column: Annotated[
        str | None, typer.Option("--path-column", help="Column of a table with the picture's address.")
    ] = None,
    id_column: Annotated[str | None, typer.Option("--id-column", help="Column that identifies a table's row.")] = None,
    metadata_column: Annotated[
        list[str] | None, typer.Option("--metadata-column", help="Column to keep as metadata; all others by default.")
    ] = None,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Read pictures, embed them and store them; what is stored already and unchanged is skipped.

    polyglance ingest ~/Pictures
    """
    from workers.progress import summary
    from workers.settings import Settings

    given = options.overrides(space=space, collection=collection, settings=settings)
    flags = {
        "ingest.hidden": hidden,
        "ingest.bulk": bulk,
        "s3.endpoint_url": endpoint_url,
        "s3.profile": profile,
        "s3.anonymous": anonymous,
        "s3.requester_pays": requester_pays,
        "table.path_column": path_column,
        "table.id_column": id_column,
        "table.metadata_columns": metadata_column,
    }
    loaded = Settings.load({**given, **{name: value for name, value in flags.items() if value}})
    report = _ingest(sources, settings=loaded, recreate=recreate)
    if not report.tally.listed:
        typer.echo(f"no pictures found in {', '.join(sources)}; nothing was done.", err=True)
    if as_json:
        typer.echo(json.dumps(_books(report, collection=loaded.collection)))
    elif report.tally.listed:
        typer.echo(summary(report))


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


@app.command()
def demo(
    page: Annotated[Path, typer.Option("--page", help="Where the page of answers is written.")] = Path(
        "polyglance-demo.html"
    ),
    settings: options.SetAny = None,
) -> None:
    """Ingest the bundled pictures, ask about them in a dozen languages, and write a page of the answers.

    polyglance demo
    """
    from importlib.resources import as_file

    from rich.console import Console

    from workers.demo import tour
    from workers.progress import summary
    from workers.settings import Settings

    given = options.overrides(space="mini", collection=None, settings=settings)
    loaded = Settings.load({"qdrant.meta_fields": tour.META_FIELDS, **given})
    console = Console(highlight=False)
    console.print("[bold]1.[/] The bundled pictures are read, embedded and stored.")
    tour.check_page(page)
    with as_file(tour.PICTURES) as folder:
        report = _ingest([str(folder)], settings=loaded, recreate=False)
    console.print(summary(report), markup=False)
    console.print("\n[bold]2.[/] Questions in many languages; no name or keyword is searched, only the pictures.")
    answers = tour.ask(tour.QUESTIONS, settings=loaded)
    console.print(tour.table(answers))
    tour.write_page(answers, to=page)
    console.print("\n[bold]3.[/] The same as a page for the browser: ", end="")
    console.print(str(page), markup=False, soft_wrap=True)
    console.print("\nWhat to try next:")
    console.print("\n".join(f"  {command}" for command in tour.NEXT_COMMANDS), soft_wrap=True)


def _ingest(sources: list[str], *, settings: "Settings", recreate: bool) -> "Report":
    from rich.console import Console

    from workers import progress
    from workers.ingest import ingest

    console = Console(stderr=True)
    show = partial(progress.shown, console=console)
    wait = partial(progress.waiting, console=console)
    with _terminated_like_interrupted():
        return ingest(sources, settings=settings, recreate=recreate, show=show, wait=wait)


def _books(report: "Report", *, collection: str) -> dict[str, Any]:
    return {
        **asdict(report.tally),
        "collection": collection,
        "seconds": round(report.seconds, 3),
        "images_per_second": round(report.rate, 2),
        "busy": {stage: round(share, 3) for stage, share in report.shares.items()},
        "bottleneck": report.bottleneck,
        "copied": report.copied,
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
