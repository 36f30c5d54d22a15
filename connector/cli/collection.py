"""``polyglance collection``: look at a collection, make, name, back up, move or delete it."""

from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli import options
from connector.cli.output import progress_bar, say, say_json
from connector.errors import CollectionIncomplete, StoreRefused
from connector.printable import printable

if TYPE_CHECKING:
    from connector.settings import Settings
    from connector.store.engine import CollectionInfo, Engine

app = typer.Typer(
    help="Look at a collection, make, name, back up, move or delete it.", no_args_is_help=True, add_completion=False
)


@app.command()
def info(
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what built a collection, how many points it holds and which fields filters may use.

    polyglance collection info --space mini
    """
    loaded = _load(space, collection, settings, as_json=as_json)
    with closing(_open(loaded)) as engine:
        found = _plain(engine, engine.info())
    if as_json:
        say_json(found)
        return
    width = max(map(len, found))
    for name, value in found.items():
        shown = ", ".join(f"{key} ({kind})" for key, kind in value.items()) if isinstance(value, dict) else value
        say(f"{name:{width}}  {printable(shown)}")


@app.command(name="list")
def list_(settings: options.SetAny = None, as_json: options.AsJson = False) -> None:
    """List the collections of the store: their points, their space, and which of them commands mean by default.

    polyglance collection list
    """
    from connector.cli.recent import recent
    from connector.settings import Settings
    from connector.store.open import list_collections

    loaded = Settings.load(options.explicit(space=None, collection=None, settings=settings))
    last = next((each.collection for each in recent(loaded.qdrant)), None)
    found = [{**asdict(each), "last": each.name == last} for each in list_collections(loaded.qdrant)]
    if as_json:
        say_json({"collections": found})
        return
    if not found:
        say("there is no collection yet; `polyglance ingest FOLDER` makes one.", err=True)
    for each in found:
        unknown = "in use" if each["fault"] is None else "damaged"
        points = unknown if each["points"] is None else f"{each['points']:,} points"
        told = "   ingested into last" if each["last"] else ""
        made_by = each["space"] or printable(each["fault"] or "not made by polyglance")
        say(f"{printable(each['name']):32}  {points:>16}  {made_by}{told}")


@app.command()
def create(space: options.Space = None, collection: options.Collection = None, settings: options.SetAny = None) -> None:
    """Make a collection with its indexes; harmless when it is there, and adds indexes and meta fields that it lacks.

    Where the image model is on this machine, the fingerprint of its weights is written down too: a key that may only
    write points can then ingest.

    polyglance collection create --set 'qdrant.meta_fields={"price": "float"}'
    """
    from connector.models.catalog import find_space, fingerprint_of, image_tower_of
    from connector.models.lookup import weights_of
    from connector.store.schema import schema_for

    loaded = _load(space, collection, settings)
    wanted = find_space(loaded.model.space)
    weights = weights_of(image_tower_of(loaded.model, space=wanted))
    fingerprint = replace(fingerprint_of(wanted), weights=weights)
    schema = schema_for(fingerprint, loaded)
    with closing(_open(loaded)) as engine:
        with progress_bar(f"making sure of {loaded.collection} and its {len(schema.indexes)} indexes"):
            engine.create(schema)
        points, meant = engine.info().points, _meant(engine)
    say(f"collection {meant} is ready; it holds {points:,} points.")


@app.command()
def optimize(
    space: options.Space = None, collection: options.Collection = None, settings: options.SetAny = None
) -> None:
    """Build the search graph over what it does not cover yet, and wait for it.

    polyglance collection optimize
    """
    loaded = _load(space, collection, settings)
    with closing(_open(loaded)) as engine:
        meant = _meant(engine)
        engine.optimize()
        now = engine.info()
    say(f"collection {meant}: {_coverage(now)}")


@app.command()
def words(
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Index the words of every image anew, from what is stored: for a collection of before, and after other weights.

    No image is read and none embedded. Others search and ingest meanwhile; stopped, the same command goes on.

    polyglance collection words --set 'words.weights={"folder": 0, "ocr_text": 3}'
    """
    from connector.store.backfill import add_words
    from connector.store.schema import Words

    loaded = _load(space, collection, settings, as_json=as_json)
    with closing(_open(loaded)) as engine, progress_bar("indexing words", total=engine.info().points) as told:
        meant = _meant(engine)
        done = add_words(engine, Words(loaded.words.all_weights), on_progress=told)
    if as_json:
        say_json(asdict(done))
        return
    say(f"collection {meant} has the words of its {done.points:,} points; {done.changed:,} of them were written.")
    if done.changed:
        say("`polyglance collection optimize` builds the search graph over what was written.", err=True)


@app.command()
def alias(
    name: Annotated[str, typer.Argument(help="The name that is to mean this collection from now on.")],
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
) -> None:
    """Let another name mean this collection, in one step; only a server has aliases.

    polyglance collection alias images --collection images-2026
    """
    loaded = _load(space, collection, settings)
    with closing(_open(loaded)) as engine:
        engine.point_alias(name)
        meant = engine.resolved()
    say(f"{name} now means collection {meant}.")


@app.command()
def delete(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
) -> None:
    """Delete a collection with every point in it; the images themselves are not touched.

    polyglance collection delete --collection images-2025
    """
    from connector.settings import Settings

    loaded = Settings.load(options.explicit(space=space, collection=collection, settings=settings))
    with closing(_open(loaded)) as engine:
        try:
            points, meant = f"{engine.info().points:,} points", _meant(engine)
        except (CollectionIncomplete, StoreRefused):  # damaged: nothing tells how many they are
            points, meant = "its points", loaded.collection
        if not yes:
            typer.confirm(f"Delete collection {meant} with {points}?", abort=True)
        engine.drop()
    say(f"collection {meant} is deleted; {points} are gone.")


@app.command()
def push(
    to: Annotated[str, typer.Argument(help="Address of the server, such as http://localhost:6333.")],
    target: Annotated[
        str | None, typer.Option("--as", help="Name of the collection there; by default the same.")
    ] = None,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Copy an embedded collection to a Qdrant server; stopped or broken, the same command goes on.

    POLYGLANCE_QDRANT__API_KEY=… polyglance collection push http://localhost:6333 --space mini
    """
    from connector.store.open import open_embedded, open_server
    from connector.store.push import push as copy

    loaded = _load(space, collection, settings, as_json=as_json)
    with (
        closing(open_embedded(loaded.qdrant, collection=loaded.collection)) as origin,
        closing(open_server(loaded.qdrant, url=to, collection=target or loaded.collection)) as server,
        progress_bar("pushing", total=origin.info().points) as told,
    ):
        done = copy(origin, server, on_progress=told)
    if as_json:
        say_json(asdict(done))
        return
    say(
        f"sent {done.sent:,} points, {done.present:,} were there already; the counts agree, and so do "
        f"{done.compared:,} vectors that were compared."
    )
    if done.left_out:
        say(f"{done.left_out:,} points were left out: they have no vector. `--log` names them.", err=True)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Where to write it; a file that is there is replaced.")],
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
) -> None:
    """Write a collection into a file, as it is now, while others search and ingest: for a server, its snapshot.

    polyglance collection backup photos.backup
    """
    from connector.store.open import back_up

    loaded = _load(space, collection, settings)
    with progress_bar(f"writing {loaded.collection} to {printable(file)}"):
        back_up(loaded.qdrant, collection=loaded.collection, file=file)
    say(f"collection {loaded.collection} is in {printable(file)}: {file.stat().st_size:,} bytes.")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `polyglance collection backup` wrote.")],
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
) -> None:
    """Make a collection of a backup, under the name that it had or another; what is there is not written over.

    polyglance collection restore photos.backup
    """
    from connector.settings import Settings
    from connector.store.open import restore as make

    loaded = Settings.load(options.explicit(space=space, collection=collection, settings=settings))
    with progress_bar(f"restoring {printable(file)}"):
        name = make(loaded.qdrant, collection=loaded.qdrant.collection, default=loaded.collection, file=file)
    with closing(
        _open(loaded.model_copy(update={"qdrant": loaded.qdrant.model_copy(update={"collection": name})}))
    ) as engine:
        found = engine.info()
    say(f"collection {printable(name)} is restored: {found.points:,} points of space {found.schema.fingerprint.space}.")


@app.command()
def locate(
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Write the names of places for images that have coordinates and none yet; no image is read.

    polyglance collection locate
    """
    from connector.store.backfill import locate as write

    loaded = _load(space, collection, settings, as_json=as_json)
    with closing(_open(loaded)) as engine:
        engine.create(engine.info().schema)  # the field's index, where the collection is of before
        done = write(engine)
    if as_json:
        say_json(asdict(done))
    else:
        say(f"{done.named:,} images have the names of their places now; {done.nameless:,} lie where none is near.")


def _load(
    space: str | None, collection: str | None, settings: list[str] | None, *, as_json: bool = False
) -> "Settings":
    from connector.settings import Settings

    return Settings.load(options.overrides(space=space, collection=collection, settings=settings, as_json=as_json))


def _open(settings: "Settings") -> "Engine":
    from connector.store.open import open_engine

    return open_engine(settings.qdrant, collection=settings.collection)


def _meant(engine: "Engine") -> str:
    """The collection that is meant, with the alias that names it where one does."""
    meant = engine.resolved()
    return meant if meant == engine.collection else f"{meant} (which the alias {engine.collection} means)"


def _coverage(info: "CollectionInfo") -> str:
    """How much the search graph covers, and why that is enough."""
    rest = info.points - info.indexed
    if rest <= 0:
        return f"the graph covers all of its {info.points:,} points."
    if not info.indexed:
        return (
            f"its {info.points:,} points are too few for a graph; every question looks at each of them, which is "
            "quick and exact. There is nothing to do."
        )
    return (
        f"the graph covers {info.indexed:,} of {info.points:,} points; the other {rest:,} are too few for a graph of "
        "their own and are looked at one by one. There is nothing to do."
    )


def _plain(engine: "Engine", info: "CollectionInfo") -> dict[str, Any]:
    fingerprint, meant = info.schema.fingerprint, engine.resolved()
    return {
        "collection": meant,
        **({} if meant == engine.collection else {"alias": engine.collection}),
        "points": info.points,
        "indexed": info.indexed,
        "space": fingerprint.space,
        "dims": fingerprint.dims,
        "image_size": fingerprint.image_size,
        "weights": fingerprint.weights,
        "linked_fields": ", ".join(info.schema.linked_fields) or "none",
        "words": _words_of(info),
        "fields": info.schema.indexes,
    }


def _words_of(info: "CollectionInfo") -> str:
    """By which fields images are found by their words."""
    words = info.schema.words
    if words is None:
        return "none: made before they were indexed; `polyglance collection words` adds them"
    weights = ", ".join(f"{name} {weight:g}" for name, weight in words.weights.items())
    return weights if words.complete else f"{weights} (not of all points: run `polyglance collection words` again)"
