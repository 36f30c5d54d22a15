"""The command ``polyglance classify``."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options
from connector.cli.output import progress_bar, say, say_json
from connector.errors import InvalidQuery
from connector.printable import printable

if TYPE_CHECKING:
    from connector.search.classify import Label, Labels
    from connector.search.client import ImageSearch

app = typer.Typer(add_completion=False)

SHOWN = 3
"""Labels in a line for people."""


@app.command()
def classify(
    labels: Annotated[str, typer.Option("--labels", help="What to choose from, in any language, with commas between.")],
    images: Annotated[
        list[str] | None, typer.Argument(help="Files or addresses; or ids of points with --stored.")
    ] = None,
    stored: Annotated[bool, typer.Option("--stored", help="The images are ids of points.")] = False,
    where: Annotated[str | None, typer.Option("--where", help="Every stored image that this filter matches.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every stored image.")] = False,
    tag: Annotated[
        bool, typer.Option("--tag", help="With --where or --all: write the labels into the collection, as tags.")
    ] = False,
    threshold: Annotated[float, typer.Option("--threshold", help="Least probability of a tag.")] = 0.5,
    language: Annotated[
        str | None, typer.Option("--language", help="Code of the labels' language, for its sentences: de, pt-BR.")
    ] = None,
    template: Annotated[
        list[str] | None, typer.Option("--template", help="Sentence of your own, such as 'a drawing of a {}'.")
    ] = None,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Say which label fits each image best, without any training; --json prints an object a line.

    polyglance classify photo.jpg --labels "Hund,Katze,Strand" --language de

    polyglance classify --all --labels "dog,cat,something else" --tag --threshold 0.8
    """
    from connector.search.classify import Labels
    from connector.search.client import ImageSearch

    by_filter = where is not None or everything
    if by_filter == bool(images):
        raise InvalidQuery("give either images, or --where FILTER, or --all for every stored image.")
    if where is not None and everything:
        raise InvalidQuery("--all and --where exclude one another; give one of them.")
    if tag and not by_filter:
        raise InvalidQuery("--tag is for stored images; give --where FILTER or --all.")
    if images and not stored:
        _check_files(images)
    names = [label.strip() for label in labels.split(",")]
    overrides = options.overrides(space=space, collection=collection, settings=settings, as_json=as_json)
    with ImageSearch.open(overrides=overrides) as opened:
        search = opened.pinned()  # whichever space answers before all images are done
        if by_filter:
            search.following.now().retriever.condition(where)  # before a model is loaded for the labels
        known = Labels.embedded(search, names, language=language, templates=template or None)
        if tag:
            _tag(search, known, where=where, threshold=threshold, as_json=as_json)
            return
        for name, best in _answers(search, known, images=images, stored=stored, where=where):
            _show(name, best, as_json=as_json)


def _check_files(images: Sequence[str]) -> None:
    """Raise InvalidQuery for the first file that is not there, before a model is loaded."""
    for each in images:
        if "://" not in each and not Path(each).is_file():
            raise InvalidQuery(f"{each!r} cannot be read: there is no such file.")


def _answers(
    search: "ImageSearch", labels: "Labels", *, images: Sequence[str] | None, stored: bool, where: str | None
) -> "Iterator[tuple[str, tuple[Label, ...]]]":
    from connector.search.classify import PAGE, classify_stored
    from connector.search.query import image, point

    if images:
        for start in range(0, len(images), PAGE):
            some = images[start : start + PAGE]
            vectors = search.embed_queries([point(each) if stored else image(each) for each in some])
            yield from zip(some, labels.ranked(vectors), strict=True)
        return
    for found, best in classify_stored(search, labels=labels, where=where):
        yield found.uri or found.id, best


def _tag(search: "ImageSearch", labels: "Labels", *, where: str | None, threshold: float, as_json: bool) -> None:
    from connector.search.tagging import tag

    with progress_bar("images", total=search.count(where=where)) as told:
        done = tag(search, labels=labels, threshold=threshold, where=where, on_progress=told)
    if as_json:
        say_json(asdict(done))
        return
    say(f"{done.seen:,} images, {done.changed:,} with other tags than before:")
    for name, count in done.images.items():
        say(f"{count:>9,}  {printable(name)}")


def _show(name: str, best: "Sequence[Label]", *, as_json: bool) -> None:
    if as_json:
        row = {"image": name, "labels": [asdict(label) for label in best]}
        say_json(row)
    else:
        say(
            "\t".join(
                [printable(name), *(f"{printable(label.name)} {label.probability:.2f}" for label in best[:SHOWN])]
            )
        )
