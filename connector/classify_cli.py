"""The command ``polyglance classify``."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from connector import options

app = typer.Typer()


@app.command()
def classify(
    pictures: Annotated[list[str], typer.Argument(help="Files or addresses; or ids of points with --stored.")],
    labels: Annotated[str, typer.Option("--labels", help="What to choose from, in any language, with commas between.")],
    stored: Annotated[bool, typer.Option("--stored", help="The pictures are ids of points.")] = False,
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
    """Say which label fits each picture best, without any training.

    polyglance classify photo.jpg --labels "Hund,Katze,Strand" --language de
    """
    from connector.blend import picture, point
    from connector.classify import classify, templates_of
    from connector.search import ImageSearch

    names = [label.strip() for label in labels.split(",")]
    sentences = template or templates_of(language)
    overrides = options.overrides(space=space, collection=collection, settings=settings)
    with ImageSearch.open(overrides=overrides) as search:
        asked = [point(each) if stored else picture(each) for each in pictures]
        found = classify(search, asked, labels=names, templates=sentences)
    if as_json:
        rows = [
            {"picture": name, "labels": [asdict(label) for label in best]}
            for name, best in zip(pictures, found, strict=True)
        ]
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    for name, best in zip(pictures, found, strict=True):
        typer.echo(f"{name}\t" + "\t".join(f"{label.name} {label.probability:.2f}" for label in best[:3]))
