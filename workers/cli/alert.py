"""``polyglance alert``: questions that stay asked; whoever brings in an image that fits one says so."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options
from connector.cli.output import say, say_json, show_hits
from connector.errors import InvalidQuery
from connector.printable import printable

if TYPE_CHECKING:
    from connector.alerts.alert import Alert
    from connector.settings import Settings

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Questions that stay asked: hear of every new image that fits one."
)

Where = Annotated[str | None, typer.Option("--where", help="Only images that match this filter.")]
Relevance = Annotated[
    float, typer.Option("--relevant", help="How sure it must be that an image fits, above 0 and below 1.")
]
Language = Annotated[str | None, typer.Option("--language", help="Language of the question, such as de.")]
LOOKED_AT = 1_000
"""Hits that a test looks at."""


@app.command()
def add(
    question: Annotated[str, typer.Argument(help="What new images are to show, in any language.")],
    where: Where = None,
    relevance: Relevance = 0.5,
    language: Language = None,
    notify: Annotated[
        list[str] | None,
        typer.Option(
            "--notify",
            metavar="TARGET",
            help="webhook:URL, command:PROGRAM, file:PATH (JSON lines), rss:PATH or mcp; repeatable. Without one the "
            "images are only kept together.",
        ),
    ] = None,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Let a question stay asked: every new image that fits it is told of, once.

    polyglance alert add "ein Hund am Strand" --relevant 0.9 --notify webhook:https://example.org/hook

    polyglance alert add "a red car" --where 'taken_at >= 2024' --notify file:cars.jsonl --notify rss:cars.xml

    Images that are stored already are not told of; `polyglance alert test` shows which of them fit. Webhooks are signed
    with alerts.signing_key (POLYGLANCE_ALERTS__SIGNING_KEY). The same question with the same filter is the same alert:
    its relevance and targets are replaced. webhook:env:NAME reads the address from the environment of whoever tells.
    """
    from connector.alerts.alert import add_alert, make_alert
    from connector.store.open import open_engine

    loaded = _load(space, collection, settings, as_json=as_json)
    with closing(open_engine(loaded.qdrant, collection=loaded.collection)) as engine:
        schema = engine.info().schema
        alert = make_alert(
            question, schema=schema, where=where, relevance=relevance, language=language, notify=notify or ()
        )
        add_alert(engine, alert)
    if as_json:
        say_json(alert.shown())
        return
    told = ", ".join(alert.shown()["notify"]) or "nobody: they are kept together"
    say(f"{alert.id}: new images of {printable(alert.question)!r} are told to {printable(told)}")
    say(f"`polyglance alert test {alert.id}` shows what of the stored ones fits.")


@app.command(name="list")
def list_alerts(
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """List the alerts with the images that fitted each so far, and those that are still to be told of.

    polyglance alert list
    """
    from connector.alerts.alert import counted_alerts
    from connector.store.open import open_engine

    loaded = _load(space, collection, settings, as_json=as_json)
    with closing(open_engine(loaded.qdrant, collection=loaded.collection)) as engine:
        found = counted_alerts(engine)
    if as_json:
        told = [{**each.alert.shown(), "matches": each.matches, "due": each.due} for each in found]
        say_json({"collection": loaded.collection, "alerts": told})
        return
    for each in found:
        say(f"{each.alert.id}  {printable(each.alert.question)}")
        say(f"  from relevance {each.alert.relevance:g}{_filter_of(each.alert)}")
        say(f"  fitted {each.matches:,}, still to be told of {each.due:,}: {printable(_targets_of(each.alert))}")
    if not found:
        say("no alerts; `polyglance alert add QUESTION` makes one.")


@app.command()
def remove(
    alert: Annotated[str, typer.Argument(metavar="ID", help="The alert, as `polyglance alert list` names it.")],
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Ask a question no longer; what of it is still to be told is dropped, and the images lose its mark.

    polyglance alert remove 3f2a9c51d0e7
    """
    from connector.alerts.alert import remove_alert
    from connector.store.open import open_engine

    loaded = _load(space, collection, settings, as_json=as_json)
    with closing(open_engine(loaded.qdrant, collection=loaded.collection)) as engine:
        gone = remove_alert(engine, alert)
    if as_json:
        say_json({"removed": gone.id})
    else:
        say(f"{gone.id}: {printable(gone.question)!r} is asked no longer")


@app.command(name="test")
def try_out(
    question: Annotated[str, typer.Argument(metavar="QUESTION|ID", help="A question, or the id of an alert.")],
    where: Where = None,
    relevance: Relevance = 0.5,
    language: Language = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Images to show.")] = 20,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Show which of the stored images fit a question, or an alert by its id; nothing is sent.

    polyglance alert test "ein Hund am Strand" --relevant 0.9
    """
    from connector.alerts.alert import alerts_of, make_alert
    from connector.search.client import ImageSearch
    from connector.search.hits import Hits

    loaded = _load(space, collection, settings, as_json=as_json)
    with ImageSearch.open(settings=loaded) as search:
        info = search.info()
        known = {each.id: each for each in alerts_of(info.schema)}
        alert = known.get(question) or make_alert(
            question, schema=info.schema, where=where, relevance=relevance, language=language
        )
        hits = search.text(
            alert.question, where=alert.where, language=alert.language, limit=LOOKED_AT, understand=False
        )
        if any(each.relevance is None for each in hits):
            raise InvalidQuery(
                f"what fits is told from 32 images on, not all alike; collection {loaded.collection!r} holds "
                f"{info.points}. Alerts are judged as soon as it does."
            )
        fitting = [each for each in hits if (each.relevance or 0.0) >= alert.relevance]
    more = "at least " if len(fitting) == LOOKED_AT else ""
    if as_json:
        told = [{"id": each.id, "uri": each.uri, "relevance": each.relevance} for each in fitting[:limit]]
        say_json({**alert.shown(), "points": info.points, "fitting": len(fitting), "hits": told})
        return
    show_hits(Hits(fitting[:limit]), query=alert.question, as_json=False)
    say(f"{more}{len(fitting):,} of {info.points:,} images fit from relevance {alert.relevance:g}; nothing was sent")
    if info.points >= 100 and 2 * len(fitting) > min(info.points, LOOKED_AT):
        say("that is most of what is there: a higher --relevant, or a --where, makes it tell less.")


@app.command()
def deliver(
    most: Annotated[
        int | None, typer.Option("--most", min=1, help="Images that each alert tells of at most (alerts.most).")
    ] = None,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Tell of what is due now: what a webhook that was down did not hear, or what was held back as too much at once.

    polyglance alert deliver

    Ingestions do so by themselves. Exit code 1 where something is still due; it says why.
    """
    from workers.alerts.delivering import deliver as deliver_due
    from workers.cli.ingest import terminated_like_interrupted
    from workers.progress import delivery_lines

    loaded = _load(space, collection, settings, as_json=as_json)
    with terminated_like_interrupted():
        done = deliver_due(loaded, most=most)
    if done is None:
        if as_json:
            say_json({"busy": True})
        else:
            say("another polyglance process of this machine tells of them just now.")
        raise typer.Exit(1)
    if as_json:
        say_json(done.as_json())
    else:
        for line in delivery_lines(done):
            say(line)
    raise typer.Exit(1 if done.waiting else 0)


def _filter_of(alert: "Alert") -> str:
    return f", where {printable(alert.where)}" if alert.where else ""


def _targets_of(alert: "Alert") -> str:
    return ", ".join(alert.shown()["notify"]) or "nobody is told"


def _load(space: str | None, collection: str | None, settings: list[str] | None, *, as_json: bool) -> "Settings":
    from connector.settings import Settings

    return Settings.load(options.overrides(space=space, collection=collection, settings=settings, as_json=as_json))
