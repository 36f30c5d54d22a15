"""The command ``polyglance evaluate``."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options
from connector.cli.output import progress_bar, say, say_json, show_table
from connector.errors import InvalidQuery
from connector.printable import printable

if TYPE_CHECKING:
    from connector.search.evaluate import Evaluation, Score

app = typer.Typer(add_completion=False)


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
    """Measure the answers on your own captions: recall@1, @5, @10 and MRR, by language: seen, words, both.

    An image is named by its address, its path, its file name or the id of its point.

    polyglance evaluate captions.jsonl --plot recall.png
    """
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
        progress_bar("captions", total=len(asked)) as told,
    ):
        found = evaluate(search, asked, on_progress=told)
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
    rows = [(each.recall_1, each.recall_5, each.recall_10, each.mrr, each.approximate_10, each.kept) for each in scores]
    _table(scores, ("recall@1", "@5", "@10", "MRR", "@10 approx.", "kept"), rows)
    modes = [(each.words, each.hybrid) for each in scores if each.words and each.hybrid]
    if modes:
        say("")
        beside = [
            (each.recall_1, words.recall_1, hybrid.recall_1, each.recall_10, words.recall_10, hybrid.recall_10)
            for each, (words, hybrid) in zip(scores, modes, strict=True)
        ]
        _table(scores, ("seen @1", "words", "hybrid", "seen @10", "words", "hybrid"), beside)


def _table(scores: Sequence["Score"], columns: Sequence[str], rows: Sequence[Sequence[float]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("language")
    for column in ("captions", *columns):
        table.add_column(column, justify="right")
    for score, shares in zip(scores, rows, strict=True):
        table.add_row(score.language, f"{score.captions:,}", *(f"{share:.3f}" for share in shares))
    show_table(table)
