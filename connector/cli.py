"""The commands that ask: a thin reading of ``connector.search``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connector import options
from connector.errors import InvalidQuery

if TYPE_CHECKING:
    from connector.records import Hit

app = typer.Typer()


@app.command()
def search(
    text: Annotated[str | None, typer.Argument(help="What the picture shows, in any language.")] = None,
    image: Annotated[Path | None, typer.Option("--image", help="Ask by this picture instead of words.")] = None,
    where: Annotated[
        str | None, typer.Option("--where", help="Filter, such as 'width >= 1024 and folder == \"holiday\"'.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many pictures.")] = 10,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Find pictures by words in any language, or by a picture.

    polyglance search "ein Hund im Schnee" --where 'width >= 1024'
    """
    from connector.search import ImageSearch

    if (text is None) == (image is None):
        raise InvalidQuery("give either words or --image FILE.")
    given = options.overrides(space=space, collection=collection, settings=settings)
    with ImageSearch.open(overrides=given) as opened:
        if image is not None:
            hits = opened.image(image, limit=limit, where=where)
        else:
            hits = opened.text(text or "", limit=limit, where=where)
    query = text if image is None else str(image)
    if as_json:
        answer = {"query": query, "hits": [_plain(hit) for hit in hits]}
        typer.echo(json.dumps(answer, ensure_ascii=False))
    else:
        _show(hits, title=query or "")


def _plain(hit: "Hit") -> dict[str, object]:
    return {"id": hit.id, "score": hit.score, "uri": hit.uri, "payload": dict(hit.payload)}


def _show(hits: Sequence["Hit"], *, title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not hits:
        typer.echo("no picture matches; a --where that is too narrow is the usual reason.", err=True)
        return
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("score", justify="right", style="cyan")
    table.add_column("picture", overflow="fold")
    for hit in hits:
        table.add_row(f"{hit.score:.3f}", Text(_printable(str(hit.payload.get("object_key", hit.uri)))))
    Console().print(table)


def _printable(name: str) -> str:
    """A file's name on one line of a terminal: nothing in it moves the cursor or changes a colour."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
