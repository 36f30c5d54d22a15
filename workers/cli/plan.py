"""``polyglance plan``: how large a Qdrant cluster a library needs."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options
from connector.cli.output import say, say_json
from connector.errors import ConfigError

if TYPE_CHECKING:
    from workers.sizing.plan import Migration, Plan

app = typer.Typer(add_completion=False)

GB = 1e9


@app.command()
def plan(
    images: Annotated[float, typer.Option("--images", min=1, help="How many images, such as 1e9.")],
    payload_bytes: Annotated[
        int, typer.Option("--payload-bytes", min=1, help="What an image's payload takes as JSON, metadata included.")
    ] = 600,
    words: Annotated[
        int,
        typer.Option(
            "--words", min=0, help="Words of an image: its caption's, tags', names'; 13 of names and two tags alone."
        ),
    ] = 25,
    node_memory_gb: Annotated[
        float, typer.Option("--node-memory-gb", min=1, help="Memory of one node that Qdrant may take, in GB.")
    ] = 64.0,
    node_disk_gb: Annotated[float, typer.Option("--node-disk-gb", min=1, help="Disk of one node, in GB.")] = 1000.0,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0.001, help="Images a second from end to end on one GPU; `tune` measures it."),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="A space to migrate to: what it takes besides, and afterwards.")
    ] = None,
    space: options.Space = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what memory, disk, shards, nodes and GPU hours so many images need; docs/planning.md has the formulas.

    polyglance plan --images 1e9 --set qdrant.replicas=2

    polyglance plan --images 1e6 --space clip-vit-b-32 --to siglip2-b32
    """
    from connector.models.catalog import find_space, fingerprint_of, image_tower_of
    from connector.settings import Settings
    from connector.store.schema import schema_for
    from workers.sizing import plan as planning
    from workers.sizing.image_work import image_work

    if not images.is_integer():
        raise ConfigError(f"--images {images} is no whole number of images.")
    loaded = Settings.load(options.explicit(space=space, collection=None, settings=settings))
    wanted = find_space(loaded.model.space)
    fingerprint = fingerprint_of(wanted)
    work = image_work(image_tower_of(loaded.model, space=wanted))
    published = planning.published_rate(work.gflop)
    schema = schema_for(fingerprint, loaded)
    found = planning.plan(
        int(images),
        collection=planning.Collection(schema=schema, payload_bytes=payload_bytes, words=words),
        node=planning.Node(memory_bytes=node_memory_gb * GB, disk_bytes=node_disk_gb * GB),
        replicas=loaded.qdrant.replicas or 1,
        rate=rate or published,
    )
    other = None
    if to is not None:
        following = find_space(to)
        other = planning.plan_migration(
            int(images),
            collection=planning.Collection(schema=schema, payload_bytes=payload_bytes, words=words),
            to=schema_for(fingerprint_of(following), loaded),
            replicas=loaded.qdrant.replicas or 1,
            rate=rate or planning.published_rate(image_work(following.image).gflop),
        )
    if as_json:
        say_json({**asdict(found), **({} if other is None else {"migration": asdict(other)})})
        return
    scaled = "" if published == planning.PUBLISHED_RATE else f" with ViT-B/32, by {work.gflop:,.0f} GFLOP an image"
    source = "given" if rate else f"the best published for one A100{scaled}; `polyglance tune` measures yours"
    for line in _lines(found, rate=rate or published, source=source):
        say(line)
    if other is not None:
        for line in _migration_lines(other):
            say(line)


def _migration_lines(found: "Migration") -> Iterator[str]:
    yield f"\nmigration to {found.to}, until the old space is dropped:"
    yield f"memory     {_size(found.memory_bytes)} more, {_size(found.after_memory_bytes)} in all afterwards"
    yield f"disk       {_size(found.disk_bytes)} more, {_size(found.after_disk_bytes)} in all afterwards"
    yield f"GPU hours  {found.gpu_hours:,.1f}"


def _lines(found: "Plan", *, rate: float, source: str) -> Iterator[str]:
    copies = "one copy" if found.replicas == 1 else f"{found.replicas} copies"
    yield f"{found.images:,} images, {copies} of each point, by formula and not by trial (docs/planning.md):\n"
    yield f"memory     {_size(found.memory_bytes)}"
    yield f"disk       {_size(found.disk_bytes)}"
    yield f"shards     {found.shards:,}    --set qdrant.shards={found.shards}, fixed once the collection is made"
    yield f"nodes      {found.nodes:,}    {found.limit} decides"
    yield f"GPU hours  {found.gpu_hours:,.1f}    at {rate:,.0f} images a second ({source})\n"
    yield "bytes of one point    in memory    on disk"
    for kind in dict.fromkeys([*found.point.memory, *found.point.disk]):
        yield f"{kind:18} {found.point.memory.get(kind, 0):12,.0f} {found.point.disk.get(kind, 0):10,.0f}"


def _size(size: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size / 1e6:,.0f} MB"
