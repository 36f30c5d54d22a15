"""``polyglance check``: whether a collection, its files and its runs are as they should be, and what mends them."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options
from connector.cli.output import say, say_json
from connector.errors import ConfigError
from connector.printable import printable
from workers.cli.ingest import Runs, at_runs, terminated_like_interrupted

if TYPE_CHECKING:
    from workers.run.check import CheckReport

app = typer.Typer(add_completion=False)

SHOWN = 20
"""Findings of a kind that a person is shown."""


@app.command()
def check(
    read_data: Annotated[
        str | None,
        typer.Option("--read-data", metavar="SHARE", help="Read this share of points, images and files too, as 1%."),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Embed again what has its image; make a damaged collection again."),
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="With --repair: remove points that are wrong and have no image.")
    ] = False,
    runs: Runs = None,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Check a collection: its files, points and runs, and a share of its images. Exit code 1 where it is damaged.

    polyglance check --read-data 1%
    """
    from connector.settings import Settings
    from workers import progress
    from workers.run.check import check as look

    share = 0.0 if read_data is None else _share(read_data)
    if remove and not repair:
        raise ConfigError("--remove goes with --repair.")
    given = options.overrides(space=space, collection=collection, settings=settings, as_json=as_json)
    loaded = Settings.load({**given, **at_runs(runs)})
    with progress.waiting(f"checking {loaded.collection}"):
        found = look(loaded, read_data=share)
    mended = None
    if repair and not found.sound:
        from workers.run.repair import repair as mend

        if not as_json:
            _show(found)
        with terminated_like_interrupted():
            mended = mend(loaded, found, remove=remove, show=progress.shown, wait=progress.waiting)
        with progress.waiting(f"checking {loaded.collection} again"):
            found = look(loaded, read_data=share)
    if as_json:
        say_json({**asdict(found), "sound": found.sound, "repaired": None if mended is None else asdict(mended)})
    else:
        if mended is not None:
            say(
                f"repaired: {mended.embedded:,} images embedded again, {mended.files:,} damaged files of runs and "
                f"{mended.removed:,} points removed; {mended.left:,} points stay wrong"
            )
            if mended.apart is not None:
                say(f"the damaged collection lies in {printable(mended.apart)}: remove it when nothing of it is missed")
        _show(found)
    raise typer.Exit(0 if found.sound else 1)


def _share(text: str) -> float:
    """A share of all, written as 1% or 0.01. Raises ConfigError."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ConfigError(f"--read-data {text!r} is no share; one looks like 1% or 100%.")
    return share


def _show(found: "CheckReport") -> None:
    for kind in found.counts:
        some = [each for each in found.findings if each.kind == kind]
        for each in some[:SHOWN]:
            say(f"{kind:8} {printable(each.where)}: {printable(each.what)}")
        if (more := found.counts[kind] - min(len(some), SHOWN)) > 0:
            say(f"{kind:8} and {more:,} more; --json has them")
    if found.counts.get("file"):
        say("damaged files: restore a backup, or bring all images in again" + (" by" if found.renew else ""))
        for command in found.renew:
            say(f"    {printable(command)}")
    say(
        f"collection {printable(found.collection)}: {found.points:,} points, {found.read:,} of them read, "
        f"{found.embedded:,} images embedded again, in {found.seconds:,.1f} s: "
        + ("sound" if found.sound else "damaged")
    )
