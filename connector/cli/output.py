"""What the commands print: lines and tables for people, JSON for scripts.

The rule: nothing is printed but through here, so that no name out of a file or a store acts on the terminal. What
goes into a pipe is never wrapped.
"""

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

import typer

from connector.printable import mask_credentials, printable, printable_json, printable_lines
from connector.process import Logs

if TYPE_CHECKING:
    from rich.table import Table

    from connector.records import FacetCount, Hit, StoredPoint
    from connector.search.hits import HitGroups, Hits
    from connector.understand.question import Chip

_JSON_SAID = ContextVar("json_said", default=False)
NOTHING = "no image matches; a --where that is too narrow, or --relevant where none fits, is the usual reason."


def say(text: str, *, err: bool = False, level: int = logging.WARNING) -> None:
    """Print a text of ours, whose line ends and tabs are meant; values in it are passed through ``printable``.

    ``err``: to standard error, or, where logs are JSON, to the log, with this ``level``.
    """
    if err and Logs.here().as_json:
        logging.getLogger("polyglance").log(level, "%s", text)
    else:
        typer.echo(printable_lines(text), err=err)


def say_json(value: Any) -> None:
    """Print JSON on one line."""
    typer.echo(printable_json(value))
    _JSON_SAID.set(True)


@contextmanager
def errors_as_json() -> Iterator[None]:
    """Print what ends the block as JSON too, ``{"error": {"kind", "message"}}``, unless an answer was printed."""
    before = _JSON_SAID.set(False)
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if not _JSON_SAID.get():
            say_of = getattr(error, "format_message", error.__str__)  # the former of a wrong call
            say_json({"error": {"kind": type(error).__name__, "message": mask_credentials(say_of())}})
        raise
    finally:
        _JSON_SAID.reset(before)


class OnProgress(Protocol):
    """Tells how far a work is: ``done`` of ``total``, and ``doing`` what; None leaves these two as they were."""

    def __call__(self, done: int, total: int | None = None, doing: str | None = None) -> None: ...


@contextmanager
def progress_bar(doing: str, *, total: int | None = None) -> Iterator[OnProgress]:
    """A bar on a person's terminal for as long as the block lasts; in a pipe there is none."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), *Progress.get_default_columns()[1:])
    piped = not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), disable=piped, transient=True) as bar:
        task = bar.add_task(doing, total=total)

        def told(done: int, total: int | None = None, doing: str | None = None) -> None:
            bar.update(task, completed=done, total=total, description=doing)

        yield told


def show_paths(found: "Iterable[Hit | StoredPoint]", *, null: bool) -> None:
    """The path of each image, as ``show_uris`` has it; what has no address is named on standard error."""
    from connector.records import shown_name

    def uris() -> Iterator[str]:
        for each in found:
            uri = each.payload.get("uri")
            if isinstance(uri, str):
                yield uri
            else:
                say(f"left out: {printable(shown_name(each.payload, point_id=each.id))}", err=True)

    show_uris(uris(), null=null)


def show_uris(uris: Iterable[str], *, null: bool) -> None:
    """The path of each image, or the address of what is no local file, a line each or each ended by a NUL.

    A pipe gets the names as the disk has them, whatever their bytes; a terminal gets them printable.
    """
    from connector.records import local_path

    on_terminal = sys.stdout.isatty()
    for uri in uris:
        name = str(local_path(uri) or uri)
        if on_terminal:
            say(printable(name))
        else:
            typer.echo(os.fsencode(name) + (b"\0" if null else b"\n"), nl=False)


def show_understood(chips: Sequence["Chip"], *, err: bool = False) -> None:
    """What of a question became a filter, a line each, and how to take it back."""
    for each in chips:
        shown, words = printable(each.shown), printable(each.words)
        say(f"{each.kind}: {shown}, from {words!r} (--no-understand: the words as they stand)", err=err)


def show_hits(hits: "Hits", *, query: str, as_json: bool) -> None:
    """Hits, best first; as JSON ``{"query", "understood", "hits": [{"id", "score", "relevance", "reasons", …}]}``."""
    if as_json:
        chips = [asdict(each) for each in hits.understood]
        say_json({"query": query, "understood": chips, "hits": [_plain(hit) for hit in hits]})
        return
    show_understood(hits.understood)
    rows = [(f"{hit.score:.3f}", _percent(hit), _why(hit), _name(hit)) for hit in hits]
    _table(query, *_without_empty(("score", "fits", "why", "image"), rows))


def show_groups(groups: "HitGroups", *, as_json: bool) -> None:
    """Groups, best first; as JSON ``{"understood", "groups": [{"value", "hits"}]}``."""
    if as_json:
        chips = [asdict(each) for each in groups.understood]
        found = [{"value": each.value, "hits": [_plain(hit) for hit in each.hits]} for each in groups]
        say_json({"understood": chips, "groups": found})
        return
    show_understood(groups.understood)
    rows = [
        (str(each.value), f"{hit.score:.3f}", _percent(hit), _why(hit), _name(hit))
        for each in groups
        for hit in each.hits
    ]
    _table("", *_without_empty(("group", "score", "fits", "why", "image"), rows))


def show_counts(counts: Sequence["FacetCount"], *, field: str, as_json: bool) -> None:
    """A field's values; as JSON ``{"field", "counts": [{"value", "count"}]}``."""
    if as_json:
        say_json({"field": field, "counts": [{"value": each.value, "count": each.count} for each in counts]})
        return
    _table("", ("count", field), [(f"{each.count:,}", str(each.value)) for each in counts])


def show_points(points: Sequence["StoredPoint"], *, as_json: bool) -> None:
    """Points without a score; as JSON ``{"points": [{"id", "uri", "fault", "payload"}]}``."""
    if as_json:
        say_json({"points": [{"id": p.id, **_described(p)} for p in points]})
        return
    _table("", ("id", "image"), [(each.id, _name(each)) for each in points])


def _plain(hit: "Hit") -> dict[str, Any]:
    return {
        "id": hit.id,
        "score": hit.score,
        "relevance": hit.relevance,
        "reasons": [asdict(each) for each in hit.reasons],
        **_described(hit),
    }


def _described(found: "Hit | StoredPoint") -> dict[str, Any]:
    return {"uri": found.uri, "fault": found.fault, "payload": dict(found.payload)}


def _percent(hit: "Hit") -> str:
    return "" if hit.relevance is None else f"{hit.relevance:.0%}"


def _why(hit: "Hit") -> str:
    """The reasons as people read them, such as ``seen, tags: beach``; nothing where all that is known is nearness."""
    return ", ".join(f"{each.field}: {' '.join(each.words)}" if each.words else each.field for each in hit.reasons)


def _without_empty(
    columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """A table without the columns in which no row says anything."""
    kept = [number for number in range(len(columns)) if not rows or any(row[number] for row in rows)]
    return [columns[number] for number in kept], [[row[number] for number in kept] for row in rows]


def _name(found: "Hit | StoredPoint") -> str:
    from connector.records import shown_name

    return shown_name(found.payload, point_id=found.id)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not rows:
        say(NOTHING, err=True)
        return
    table = Table(title=Text(printable(title)) if title else None, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        is_number = column in ("score", "fits", "count")
        table.add_column(
            column, justify="right" if is_number else "left", style="cyan" if is_number else None, overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    show_table(table)


def show_table(table: "Table") -> None:
    """Print a table: as wide as the terminal, or as wide as its longest cell where it goes into a pipe."""
    from rich.console import Console

    console = Console()
    if sys.stdout.isatty():
        console.print(table)
        return
    console.width = max(console.measure(table, options=console.options.update(width=sys.maxsize)).maximum, 1)
    with console.capture() as written:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in written.get().splitlines()))
