"""The commands about the places that images came from: ``polyglance relocate`` and ``polyglance forget``."""

from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from connector.cli import options
from connector.cli.output import say, say_json
from connector.printable import printable
from workers.cli.ingest import at_terminal, terminated_like_interrupted

app = typer.Typer(add_completion=False)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would become of the points.")]


@app.command()
def relocate(
    old: Annotated[str, typer.Argument(metavar="OLD", help="Where the images were: a place, or a folder below one.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Where they are now.")],
    dry_run: DryRun = False,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Follow a place that moved, or whose images were renamed: the points go along, and nothing is embedded again.

    polyglance relocate ~/Pictures /mnt/nas/pictures
    """
    from connector.settings import Settings
    from workers.run.relocate import relocate as move

    loaded = Settings.load(options.overrides(space=space, collection=collection, settings=settings, as_json=as_json))
    with terminated_like_interrupted():
        done = move(old, new, settings=loaded, dry_run=dry_run)
    if as_json:
        say_json({**asdict(done), "collection": loaded.collection, "dry_run": dry_run})
        return
    would = "would be " if dry_run else ""
    say(
        f"listed {done.listed:,} in {printable(done.new)} = {would}moved {done.moved:,} "
        f"({done.renamed:,} of them under another name) + there already {done.present:,} "
        f"+ never stored {done.unknown:,} + unreadable {done.rejected:,}"
    )
    if done.unknown or done.rejected:
        say(f"`polyglance ingest {printable(new)}` brings in what was never stored, and lists what cannot be read.")
    if done.left:
        say(
            f"{done.left:,} points of {printable(done.old)} have no image in the new place and stay; "
            f"`polyglance forget {printable(old)}` removes them."
        )


@app.command()
def forget(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A place that was ingested, also one that is gone.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask on a terminal.")] = False,
    dry_run: DryRun = False,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Let a place leave the collection: its points go, but those that another place lists too. No image is touched.

    polyglance forget ~/Pictures/2019
    """
    from connector.settings import Settings
    from workers.run.forget import forget as leave
    from workers.sources.open import open_source

    loaded = Settings.load(options.overrides(space=space, collection=collection, settings=settings, as_json=as_json))
    with closing(open_source(source, settings=loaded)) as place:
        root = place.root
    done = leave(root, settings=loaded, dry_run=True)
    if not (dry_run or yes or as_json) and done.removed and at_terminal():
        typer.confirm(f"Remove {done.removed:,} points of {printable(root)} from {loaded.collection}?", abort=True)
    if not dry_run:
        done = leave(root, settings=loaded, dry_run=False)
    if as_json:
        say_json({**asdict(done), "collection": loaded.collection, "dry_run": dry_run})
        return
    say(
        f"{'would remove' if dry_run else 'removed'} {done.removed:,} of the {done.points:,} points of "
        f"{printable(root)}; "
        f"{done.left:,} belong to another source too and stay"
    )
