"""The command ``polyglance export``."""

from pathlib import Path
from typing import Annotated

import typer

from connector.cli import options
from connector.cli.output import say, say_json
from connector.cli.search import question_of
from connector.errors import InvalidQuery
from connector.printable import printable

app = typer.Typer()


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="The Parquet file to write; one that is there is replaced.")],
    text: Annotated[str | None, typer.Argument(help="Only the nearest to these words, with their score.")] = None,
    image: Annotated[str | None, typer.Option("--image", help="Only those nearest to this file or address.")] = None,
    like: Annotated[str | None, typer.Option("--like", help="Only those nearest to this point, by its id.")] = None,
    where: Annotated[str | None, typer.Option("--where", help="Only images that this filter matches.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", help="How many of the nearest: 1,000.")] = None,
    vectors: Annotated[bool, typer.Option("--vectors/--no-vectors", help="Write the vectors, too.")] = True,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Write a collection, or the images that answer a question, to a Parquet file: vectors and all that is known.

    polyglance export images.parquet --where 'width >= 1024'

    polyglance export dogs.parquet "ein Hund im Schnee" --limit 500
    """
    from rich.console import Console
    from rich.progress import Progress

    from connector.search.client import ImageSearch
    from connector.search.export import export, export_hits

    question = question_of(text, image=image, like=like, without=[])
    if question is None and limit is not None:
        raise InvalidQuery("--limit needs a question; without one every image that matches is written.")
    overrides = options.overrides(space=space, collection=collection, settings=settings)
    with ImageSearch.open(overrides=overrides) as search:
        if question is not None:
            hits = search.query(question, limit=1000 if limit is None else limit, where=where)
            written = export_hits(search, hits, file, vectors=vectors)
        else:
            with Progress(console=Console(stderr=True), transient=True) as progress:
                task = progress.add_task("images", total=search.count(where=where))
                written = export(
                    search,
                    file,
                    where=where,
                    vectors=vectors,
                    on_progress=lambda done: progress.update(task, completed=done),
                )
    if as_json:
        say_json({"file": str(file), "rows": written})
    else:
        say(f"{printable(file)} has {written:,} images.")
