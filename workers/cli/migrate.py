"""``polyglance migrate``: bring a collection to another space while it goes on answering."""

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli import options
from connector.cli.output import progress_bar, say, say_json
from connector.errors import ConfigError
from connector.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.settings import Settings
    from connector.store.engine import Engine
    from workers.migrate.fill import Filled
    from workers.migrate.steps import MigrationStatus
    from workers.records import Reject

app = typer.Typer(
    add_completion=False, help="Bring a collection to another embedding space while it goes on answering."
)

SHOWN = 5
"""Images that could not be embedded that a person is shown."""
To = Annotated[str | None, typer.Option("--to", help="The space to bring the collection to, or a file *.toml.")]


@app.callback(invoke_without_command=True)
def migrate(
    context: typer.Context,
    to: To = None,
    rate: Annotated[float, typer.Option("--rate", min=0, help="Images a second at most; 0 is no bound.")] = 0.0,
    first: Annotated[
        str,
        typer.Option(
            "--from", metavar="sources|thumbnails", help="Read originals, or kept thumbnails where there are some."
        ),
    ] = "sources",
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Bring a collection to another embedding space while it goes on answering.

    polyglance migrate --to siglip2-b32

    Every image gets a second vector, from its original, or from its kept thumbnail where the original is gone; the old
    space answers meanwhile, and what is ingested gets both. Stopped, the same command goes on. Then:

    polyglance migrate compare, polyglance migrate switch, polyglance migrate drop

    Exit code 1 where images could not be embedded; they are named, and tried again by the same command.
    """
    if context.invoked_subcommand is not None:
        return
    if to is None:
        raise ConfigError("say which space to bring the collection to: polyglance migrate --to SPACE.")
    if first not in ("sources", "thumbnails"):
        raise ConfigError(f"--from {first!r} is nothing to read images from; there are sources and thumbnails.")
    from workers.cli.ingest import terminated_like_interrupted
    from workers.migrate.migration import migrate as migrated

    loaded = _load(space, collection, settings, as_json=as_json)
    with terminated_like_interrupted(), progress_bar("embedding") as told:
        done = migrated(
            loaded,
            to=to,
            rate=rate,
            first="sources" if first == "sources" else "thumbnails",
            on_progress=lambda done: told(done.settled, max(done.missing, done.listed)),
        )
    if as_json:
        say_json({**asdict(done), "written": done.written, "rejects": [asdict(each) for each in done.rejects.values()]})
    else:
        _show(done, to=to)
    raise typer.Exit(1 if done.rejects or done.stopped else 0)


@app.command()
def status(
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Show which space answers, and how far the other one is.

    polyglance migrate status
    """
    from workers.migrate import steps
    from workers.migrate.migration import kept_rejects

    loaded = _load(space, collection, settings, as_json=as_json)
    with closing(_open(loaded)) as engine:
        now = steps.status(engine)
    rejects = [] if now.second is None else kept_rejects(loaded, space=now.second)
    if as_json:
        say_json({**asdict(now), "left": now.left, "rejects": [asdict(each) for each in rejects]})
        return
    for line in lines_of(now):
        say(line)
    _name(rejects[:SHOWN])
    if len(rejects) > SHOWN:
        say(f"not embedded: {len(rejects) - SHOWN:,} more; --json names them")


@app.command()
def compare(
    questions: Annotated[list[str] | None, typer.Argument(help="Questions; without any, captions are sampled.")] = None,
    captions: Annotated[
        Path | None, typer.Option("--captions", help="Measure the recall of both spaces on these captions, too.")
    ] = None,
    page: Annotated[Path, typer.Option("--page", help="The page to write.")] = Path("polyglance-compare.html"),
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Ask both spaces the same questions: how much their answers have in common, and a page to look at them.

    polyglance migrate compare "a dog in the snow" "ein roter Bus" --page both.html

    polyglance migrate compare --captions captions.jsonl
    """
    from connector.search.captions import read_captions
    from connector.search.client import ImageSearch
    from workers.migrate.compare import compare as compared
    from workers.migrate.compare import write_page

    loaded = _load(space, collection, settings, as_json=as_json)
    told = [] if captions is None else read_captions(captions)
    with ImageSearch.open(settings=loaded) as search, progress_bar("asking") as progress:
        found = compared(search, questions=questions or [], captions=told, on_progress=progress)
    write_page(found, to=page)
    recall = [] if found.recall is None else [each.mean.recall_10 for each in found.recall if each.mean]
    if as_json:
        asked = [{"question": each.question, "overlap": each.overlap} for each in found.questions]
        plain = {"old": found.old, "new": found.new, "made_of": found.made_of, "overlap": found.overlap}
        say_json({**plain, "recall_10": recall, "questions": asked, "page": str(page)})
        return
    what = {"given": "questions", "captions": "captions of stored images", "images": "stored images"}[found.made_of]
    say(f"{len(found.questions)} {what}: of the first ten hits both spaces have {10 * found.overlap:.1f} on average.")
    if recall:
        say(f"recall@10 on captions: {recall[0]:.3f} by {found.old}, {recall[-1]:.3f} by {found.new}")
    say(f"side by side: {printable(page)}")


@app.command()
def switch(
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Let the new space answer from now on; services that run follow within seconds.

    polyglance migrate switch
    """
    from workers.migrate import steps

    loaded = _load(space, collection, settings, as_json=as_json)
    with closing(_open(loaded)) as engine:
        _tell(steps.switch(engine), as_json=as_json)


@app.command(name="roll-back")
def roll_back(
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Let the space answer again that answered before the switch.

    polyglance migrate roll-back
    """
    from workers.migrate import steps

    loaded = _load(space, collection, settings, as_json=as_json)
    with closing(_open(loaded)) as engine:
        _tell(steps.roll_back(engine), as_json=as_json)


@app.command()
def drop(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Remove the vectors of the space that does not answer: the old one after a switch, the new one before it.

    polyglance migrate drop
    """
    from workers.migrate import steps
    from workers.migrate.migration import forget_rejects

    loaded = _load(space, collection, settings, as_json=as_json)
    with closing(_open(loaded)) as engine:
        now = steps.status(engine)
        if now.second is not None and not yes:
            question = f"Remove {now.vectors:,} vectors of space {now.second} from {printable(now.collection)}?"
            typer.confirm(question, abort=True, err=True)
        gone = steps.drop(engine)
        now = steps.status(engine)
    forget_rejects(loaded, space=gone)
    _tell(now, as_json=as_json)


def lines_of(now: "MigrationStatus") -> list[str]:
    """How the spaces of a collection stand, for a person."""
    lines = [f"collection {printable(now.collection)}: {now.points:,} images; space {now.answers} answers."]
    if now.unseen:
        lines.append(f"{now.unseen:,} of them have no vector of {now.answers}: questions by what is seen miss them.")
    if now.second is None:
        return lines
    share = f"{now.vectors:,} of {now.points:,} images have its vector"
    if now.role == "previous":
        return [
            *lines,
            f"space {now.second} answered before; {share}. `polyglance migrate roll-back` lets it answer again, "
            "`polyglance migrate drop` removes it.",
        ]
    further = "`polyglance migrate switch` lets it answer." if now.complete else f"`--to {now.second}` goes on."
    return [*lines, f"space {now.second} is next; {share}. {further}"]


def _tell(now: "MigrationStatus", *, as_json: bool) -> None:
    if as_json:
        say_json({**asdict(now), "left": now.left})
        return
    for line in lines_of(now):
        say(line)


def _show(done: "Filled", *, to: str) -> None:
    rate = done.written / done.seconds if done.seconds else 0.0
    say(f"{done.listed:,} images without a vector of {printable(Path(to).stem)}, in {done.seconds:,.1f} s:")
    told: dict[str, Any] = {
        "embedded": f"{done.originals:,} from their originals, {done.thumbnails:,} from thumbnails ({rate:,.0f}/s)",
        "copied": f"{done.copied:,} of equal content",
        "gone": f"{done.gone:,} deleted meanwhile",
        "rejected": f"{len(done.rejects):,}",
    }
    for name, value in told.items():
        say(f"{name:9} {value}")
    _name([*done.rejects.values()][:SHOWN])
    if done.stopped:
        say("stopped. Give the same command again to go on with the rest.", err=True)
    else:
        say("the old space goes on answering; `polyglance migrate compare` shows both, `migrate switch` changes over.")


def _name(rejects: "Sequence[Reject]") -> None:
    for each in rejects:
        say(f"not embedded: {printable(each.uri)}: {each.reason}: {printable(each.detail)}")


def _load(space: str | None, collection: str | None, settings: list[str] | None, *, as_json: bool) -> "Settings":
    from connector.settings import Settings

    return Settings.load(options.overrides(space=space, collection=collection, settings=settings, as_json=as_json))


def _open(loaded: "Settings") -> "Engine":
    from connector.store.open import open_engine

    return open_engine(loaded.qdrant, collection=loaded.collection)
