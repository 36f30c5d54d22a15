"""``polyglance duplicates``: images that are there more than once, in four lists, each with its evidence."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options
from connector.cli.output import progress_bar, say, say_json, show_uris
from connector.errors import InvalidQuery
from connector.extras import require
from connector.printable import printable
from connector.records import local_path

if TYPE_CHECKING:
    from workers.duplicates.find import DuplicateReport
    from workers.duplicates.groups import Duplicate, DuplicateGroup

app = typer.Typer(add_completion=False)

SHOWN = 20
"""Groups of a kind that a person is shown."""
HEADINGS = {
    "identical": "identical bytes",
    "same_image": "the same image in another form",
    "same_moment": "the same moment, taken again",
    "look_alikes": "look-alikes: by their vectors alone",
}
UNREAD = 5
"""Images that could not be read that a person is shown."""


@app.command()
def duplicates(
    where: Annotated[str | None, typer.Option("--where", help="Only among images that match this filter.")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Only this list: identical, same_image, same_moment or look_alikes; repeatable."),
    ] = None,
    near: Annotated[
        float,
        typer.Option(
            "--near",
            help="Cosine from which two images are compared by their pixels; lower finds more, and takes longer.",
        ),
    ] = 0.85,
    not_same: Annotated[
        tuple[str, str] | None,
        typer.Option("--not-same", metavar="ID ID", help="Remember that these two points are not the same image."),
    ] = None,
    paths: Annotated[
        bool,
        typer.Option("--paths", help="With --kind: print the paths of all but the best of each group."),
    ] = False,
    null: options.Null = False,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Find images that are there more than once: the same bytes, the same image, the same moment, and look-alikes.

    polyglance duplicates

    polyglance duplicates --kind same_image --where 'folder == "2024"' --json

    polyglance duplicates --kind identical -0 | xargs -0 mv -t spare/

    Vectors only propose; the pixels decide what is the same image: recompressed, resized, a little cropped, turned by a
    quarter, watermarked, in another format. Another exposure of a scene is not. The best of each group stands first,
    with the reason. Nothing is deleted. Exit code 1 where images could not be read again.
    """
    from contextlib import closing

    from connector.settings import Settings
    from connector.store.open import open_engine
    from workers.duplicates.find import decide_not_same
    from workers.duplicates.groups import KINDS

    paths = paths or null
    options.check_paths(paths, as_json=as_json)
    if paths and not kind:
        raise InvalidQuery("--paths prints what could go; say of which list, such as --kind identical.")
    given = options.overrides(space=space, collection=collection, settings=settings, as_json=as_json)
    loaded = Settings.load(given)
    with closing(open_engine(loaded.qdrant, collection=loaded.collection)) as engine:
        if not_same is not None:
            decide_not_same(engine, *not_same)
            if as_json:
                say_json({"not_same": list(not_same)})
            else:
                say(f"{printable(not_same[0])} and {printable(not_same[1])} are not the same image: remembered.")
            return
        from workers.duplicates.find import find_duplicates

        require("serve", what="duplicates")  # before a bar is drawn
        with progress_bar("counting") as told:
            report = find_duplicates(
                engine,
                settings=loaded,
                where=where,
                near=near,
                kinds=kind or KINDS,  # type: ignore[arg-type]  # what is no kind is refused there
                on_progress=lambda stage, done, total: told(done, total, stage),
            )
    if as_json:
        say_json(asdict(report))
    elif paths:
        show_uris(dict.fromkeys(each.uri for group in report.groups for each in group.images[1:]), null=null)
    else:
        _show(report)
    raise typer.Exit(1 if report.unread else 0)


def _show(report: "DuplicateReport") -> None:
    for kind, heading in HEADINGS.items():
        groups = [each for each in report.groups if each.kind == kind]
        if not groups:
            continue
        say(f"{heading}: {len(groups):,} {'group' if len(groups) == 1 else 'groups'}")
        for group in groups[:SHOWN]:
            _show_group(group)
        if len(groups) > SHOWN:
            say(f"  and {len(groups) - SHOWN:,} more groups; --json has them")
    if report.featureless:
        say(f"{report.featureless:,} of one colour or too small: nothing in their pixels to compare")
    for point_id, why in [*report.unread.items()][:UNREAD]:
        say(f"not read: {printable(point_id)}: {printable(why)}")
    if len(report.unread) > UNREAD:
        say(f"not read: {len(report.unread) - UNREAD:,} more; --json has them")
    say(
        f"{report.images:,} images, {report.distinct:,} with bytes of their own, {report.compared:,} pairs compared by "
        f"their pixels, in {report.seconds:,.1f} s"
    )


def _show_group(group: "DuplicateGroup") -> None:
    advice = "keep the first" if group.kind in ("identical", "same_image") else "the first is the best"
    say(f"  {group.id}: {group.size:,} images; {advice}: {printable(group.reason)}")
    for image in group.images[:SHOWN]:
        name = str(local_path(image.uri) or image.uri)
        size = f"{image.width}x{image.height}" if image.width and image.height else "size unknown"
        say(f"    {image.id}  {size:>11}  {printable(name)}{printable(_why(image))}")
    if group.size > SHOWN:
        say(f"    and {group.size - SHOWN:,} more")


def _why(image: "Duplicate") -> str:
    """The evidence in a few words; nothing for the image that the others were held against."""
    found = image.evidence
    if found is None:
        return ""
    said = []
    if found.pixels is not None and found.pixels.same:
        pixels = found.pixels
        said.append(f"{pixels.agreement:.0%} of the tiles agree")
        if pixels.turns:
            said.append(f"turned by {90 * pixels.turns} degrees")
        if pixels.overlap < 0.995:
            said.append(f"shows {pixels.overlap:.0%} of the area")
        if pixels.overlay is not None:
            said.append("has a watermark" if pixels.overlay == "first" else "without the watermark")
    if found.seconds is not None:
        said.append(f"{found.seconds:g} s apart")
    if found.cosine is not None:
        said.append(f"cosine {found.cosine:.3f}")
    return f"  ({', '.join(said)})" if said else ""
