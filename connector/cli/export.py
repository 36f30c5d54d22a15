"""The command ``polyglance export``."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Unpack

import typer

from connector.cli import options
from connector.cli.output import progress_bar, say, say_json
from connector.cli.search import query_of
from connector.errors import InvalidQuery
from connector.extras import require
from connector.printable import printable
from connector.search.options import SearchArguments, SearchOptions

app = typer.Typer(add_completion=False)
LIMIT = 1_000
"""Hits that are written where a question says nothing else."""


@app.command()
@options.takes_search_options(before="vectors", limit=LIMIT)
def export(
    file: Annotated[Path, typer.Argument(help="The Parquet file to write; one that is there is replaced.")],
    text: Annotated[str | None, typer.Argument(help="Only the nearest to this text, with their score.")] = None,
    image: Annotated[str | None, typer.Option("--image", help="Only those nearest to this file or address.")] = None,
    like: Annotated[str | None, typer.Option("--like", help="Only those nearest to this point, by its id.")] = None,
    vectors: Annotated[bool, typer.Option("--vectors/--no-vectors", help="Write the vectors, too.")] = True,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
    **given: Unpack[SearchArguments],
) -> None:
    """Write a collection, or the images that answer a question, to a Parquet file: vectors and all that is known.

    polyglance export images.parquet --where 'width >= 1024'

    polyglance export dogs.parquet "ein Hund im Schnee" --limit 500
    """
    require("parquet", what="export")  # before the collection is opened and a model loaded
    from connector.search.client import ImageSearch
    from connector.search.export import export, export_hits

    query = query_of(text, image=image, like=[] if like is None else [like], unlike=[], without=[])
    wanted = SearchOptions(**given)
    if query is None and (needless := _needs_query(wanted)):
        raise InvalidQuery(f"{needless} needs a question; without one every image that matches is written.")
    overrides = options.overrides(space=space, collection=collection, settings=settings, as_json=as_json)
    with ImageSearch.open(overrides=overrides) as search:
        if query is not None:
            hits = search.query(query, **given)
            written = export_hits(search, hits, file, vectors=vectors)
        else:
            with progress_bar("images", total=search.count(where=wanted.where)) as told:
                written = export(search, file, where=wanted.where, vectors=vectors, on_progress=told)
    if as_json:
        say_json({"file": str(file), "rows": written})
    else:
        say(f"{printable(file)} has {written:,} images.")


def _needs_query(wanted: SearchOptions) -> str | None:
    """The first option given that means nothing where nothing is asked."""
    usual = SearchOptions(limit=LIMIT, where=wanted.where)
    changed = (each.name for each in fields(wanted) if getattr(wanted, each.name) != getattr(usual, each.name))
    return next((f"--{name.replace('_', '-')}" for name in changed), None)
