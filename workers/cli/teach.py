"""``polyglance teach``: a space's text tower learns a language from lines and their translations."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options
from connector.cli.output import progress_bar, say, say_json
from connector.errors import ConfigError

if TYPE_CHECKING:
    from workers.teach.teach import Report

app = typer.Typer(add_completion=False)


@app.command()
def teach(
    parallel: Annotated[
        list[Path],
        typer.Option("--parallel", help="Lines of source, tab, translation (and tab, image); one for each --language."),
    ],
    language: Annotated[list[str], typer.Option("--language", help="The translations' language, such as bn.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write the new space to; it is named after the folder.")],
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of the images that lines and captions name.")
    ] = None,
    keep: Annotated[
        list[Path] | None,
        typer.Option("--keep", help="Captions of other languages to keep and measure, as `evaluate` takes them."),
    ] = None,
    tower: Annotated[
        str | None, typer.Option("--tower", help="The text tower to teach, where there are several.")
    ] = None,
    minutes: Annotated[float, typer.Option("--minutes", min=0.01, help="How long to train at most.")] = 20.0,
    epochs: Annotated[float, typer.Option("--epochs", min=0.01, help="How often every line is seen at most.")] = 40.0,
    seed: Annotated[int, typer.Option("--seed", help="The order in which lines are drawn.")] = 0,
    space: options.Space = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Teach a space's text tower a language from parallel lines; a space of its own is written, with a report.

    polyglance teach --parallel captions.tsv --language bn --space mini --out ./mini-bn

    polyglance search "তুষারে একটি কুকুর" --space ./mini-bn/mini-bn.toml

    A translation gets the vector that its source has. Pieces of a script that the tower cannot read, and words that it
    takes apart, become tokens; where they make up the language nothing else is trained, and other languages keep their
    vectors. Where not, texts of --keep, and texts made of the tower's own tokens, are trained beside. One line of ten
    is not trained on; the report is of these. The space that is taught stays as it is, and so do collections: their
    images have the same vectors.
    """
    from connector.search.captions import read_captions
    from connector.settings import Settings
    from workers.teach.lines import Named, read_lessons
    from workers.teach.teach import Teaching
    from workers.teach.teach import teach as taught
    from workers.teach.training import Recipe

    if len(parallel) != len(language):
        raise ConfigError(
            f"{len(parallel)} files and {len(language)} languages are named; each file has its --language."
        )
    lessons = read_lessons(
        [Named(*each) for each in zip(parallel, language, strict=True)], with_images=images is not None
    )
    kept = [caption for file in keep or () for caption in read_captions(file)]
    loaded = Settings.load(options.explicit(space=space, collection=None, settings=settings))
    asked = Teaching(
        lessons=lessons,
        settings=loaded,
        out=out,
        tower=tower,
        images=images,
        kept=kept,
        recipe=Recipe(seconds=60 * minutes, epochs=epochs, seed=seed),
    )
    with progress_bar("reading", total=100) as told:
        report = taught(asked, on_progress=lambda doing, share: told(round(100 * share), 100, doing))
    if as_json:
        say_json(asdict(report))
        return
    for line in _lines(report):
        say(line)


def _lines(report: "Report") -> Iterator[str]:
    yield f"{report.file}: {', '.join(f'{count:,} lines of {name}' for name, count in report.lines.items())}"
    trained = report.trained
    alone = ", and nothing else was trained" if trained.tokens_alone else ""
    yield f"{trained.steps:,} steps in {trained.seconds:,.0f} s; {report.new_tokens:,} new tokens{alone}\n"
    yield f"{'recall@10':24} {'texts':>7} {'before':>8} {'after':>8}   among"
    for each in report.languages:
        yield f"{each.language:24} {each.texts:7,} {each.before:8.1%} {each.after:8.1%}   {each.among:,} ({each.role})"
    yield f"\ntexts of the tower's own tokens keep a cosine of {report.drift:.4f} to what they were"
    if report.cut:
        yield f"{report.cut:,} lines are longer than what the tower reads; they were cut at their end"
