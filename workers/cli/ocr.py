"""``polyglance ocr``: the text in images that are stored already."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options
from connector.cli.output import progress_bar, say, say_json
from connector.extras import require
from connector.printable import printable

if TYPE_CHECKING:
    from workers.run.read_text import TextReport

app = typer.Typer(add_completion=False)

SHOWN = 5
"""Images that were not read that a person is shown."""


@app.command()
def ocr(
    where: Annotated[str | None, typer.Option("--where", help="Only in images that match this filter.")] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="documents", help="Only in screenshots and documents: a quick look tells them."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Read those too that were read before.")] = False,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Read the text in images that are stored already, so that they are found by it; no image is embedded again.

    polyglance ocr

    polyglance ocr --only documents --where 'folder == "Screenshots"'

    Needs the extra `ocr`, or Tesseract (--set ocr.reader=tesseract). What was read is not read again: give the same
    command again after an interrupt. Exit code 1 where images could not be read.
    """
    from contextlib import closing

    from connector.errors import ConfigError
    from connector.settings import Settings
    from connector.store.open import open_engine
    from workers.cli.ingest import terminated_like_interrupted
    from workers.ocr.reader import check_reader

    if only not in (None, "documents"):
        raise ConfigError(f"--only {only!r} is nothing that is told by a quick look; there is --only documents.")
    loaded = Settings.load(options.overrides(space=space, collection=collection, settings=settings, as_json=as_json))
    require("serve", what="ocr")
    check_reader(loaded.ocr)
    from workers.run.read_text import read_text

    with (
        terminated_like_interrupted(),
        closing(open_engine(loaded.qdrant, collection=loaded.collection)) as engine,
        progress_bar("reading text") as told,
    ):
        report = read_text(
            engine,
            settings=loaded,
            where=where,
            only_documents=only == "documents",
            again=again,
            on_progress=told,
        )
    if as_json:
        say_json({**asdict(report), "left": report.left})
    else:
        _show(report)
    raise typer.Exit(1 if report.left or report.stopped else 0)


def _show(report: "TextReport") -> None:
    from workers.progress import ocr_line

    if not report.images:
        say("no stored image matches; nothing was read.", err=True)
        return
    say(f"{report.images:,} images in {report.seconds:,.1f} s; {ocr_line(report.counts)}")
    for uri, why in [*report.unread.items()][:SHOWN]:
        say(f"not read: {printable(uri)}: {why}")
    if len(report.unread) > SHOWN:
        say("not read: more; --json names them")
    if report.stopped:
        say("stopped. Give the same command again to go on with the rest.", err=True)
