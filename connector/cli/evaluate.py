"""The command ``polyglance evaluate``."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options
from connector.cli.output import say, say_json, show_table
from connector.errors import InvalidQuery
from connector.printable import printable

if TYPE_CHECKING:
    from connector.search.evaluate import Evaluation, Score

app = typer.Typer()


@app.command()
def evaluate(
    captions: Annotated[
        Path,
        typer.Argument(help="JSONL or CSV with image, caption, language; or a folder of XTD-10 or Crossmodal-3600."),
    ],
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the scores to this PNG, PDF or SVG, too.")] = None,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Measure the answers on your own captions: recall@1, @5, @10 and MRR, by language.

    An image is named by its address, its path, its file name or the id of its point.

    polyglance evaluate captions.jsonl --plot recall.png
    """
    from rich.console import Console
    from rich.progress import Progress

    from connector.search.captions import read_captions
    from connector.search.client import ImageSearch
    from connector.search.evaluate import evaluate
    from connector.search.evaluate_plot import check_plot
    from connector.search.evaluate_plot import plot as draw

    if plot is not None:
        check_plot(plot)
    asked = read_captions(captions)
    overrides = options.overrides(space=space, collection=collection, settings=settings, as_json=as_json)
    with (
        ImageSearch.open(overrides=overrides) as search,
        Progress(console=Console(stderr=True), transient=True) as progress,
    ):
        task = progress.add_task("captions", total=len(asked))
        found = evaluate(search, asked, on_progress=lambda done: progress.update(task, completed=done))
    if found.mean is None:
        raise InvalidQuery(f"none of the {len(found.missing):,} images that {captions} names is in the collection.")
    if plot is not None:
        draw(found, plot, title=f"{found.mean.captions:,} captions of {captions.name}")
    if as_json:
        say_json(_plain(found))
        return
    _show([*found.languages, found.mean])
    for images, what in ((found.missing, "not in the collection"), (found.ambiguous, "named by more than one point")):
        if images:
            shown = ", ".join(map(printable, images[:5])) + (", …" if len(images) > 5 else "")
            say(f"left out, {len(images):,} images {what}: {shown}", err=True)


def _plain(found: "Evaluation") -> dict[str, object]:
    return {
        "languages": [asdict(score) for score in found.languages],
        "mean": asdict(found.mean) if found.mean else None,
        "missing": list(found.missing),
        "ambiguous": list(found.ambiguous),
    }


def _show(scores: Sequence["Score"]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("language")
    for column in ("captions", "recall@1", "@5", "@10", "MRR", "@10 approx.", "kept"):
        table.add_column(column, justify="right")
    for score in scores:
        shares = (score.recall_1, score.recall_5, score.recall_10, score.mrr, score.approximate_10, score.kept)
        table.add_row(score.language, f"{score.captions:,}", *(f"{share:.3f}" for share in shares))
    show_table(table)
