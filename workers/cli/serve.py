"""The command ``polyglance serve``."""

from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options
from connector.cli.output import say
from connector.cli.recent import DEMO
from connector.errors import CollectionMissing, ConfigError
from connector.extras import require

if TYPE_CHECKING:
    from connector.search.client import ImageSearch
    from connector.settings import ServeSettings, Settings

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on; 0 takes a free one.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes that answer; more than one needs a Qdrant server.")
    ] = None,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
) -> None:
    """Serve the gallery and the REST interface on http://127.0.0.1:8000; Ctrl-C ends it.

    Without --space, and where nothing was ingested into the default space, the demo collection is served.

    polyglance serve --space mini
    """
    from connector.settings import Settings

    flags = {"serve.host": host, "serve.port": port, "serve.workers": workers}
    require("serve", what="the service")
    given = options.overrides(space=space, collection=collection, settings=settings)
    given |= {name: value for name, value in flags.items() if value is not None}
    loaded = Settings.load(given)
    from connector.service.run import run
    from workers.service.app import writing

    check_reach(loaded.serve)
    chosen = {name for name, origin in Settings.origins(given).items() if origin != "default"}
    search, opened = open_some(loaded, choose=not chosen & {"model.space", "qdrant.collection"})
    run(search, settings=opened, extend=writing)


def open_some(settings: "Settings", *, choose: bool) -> "tuple[ImageSearch, Settings]":
    """Open the collection; with ``choose``, and where it is not there, that of the demo."""
    from connector.search.client import ImageSearch

    try:
        return ImageSearch.open(settings=settings), settings
    except CollectionMissing:
        model = settings.model.model_copy(update={"space": "mini"})
        demo = settings.model_copy(
            update={"model": model, "qdrant": settings.qdrant.model_copy(update={"collection": DEMO})}
        )
        if not choose:
            raise
        try:
            search = ImageSearch.open(settings=demo)
        except CollectionMissing:
            demo = settings
        if demo is settings:
            raise
    say(f"There is no collection {settings.collection} yet; this is the demo's, {demo.collection}.", err=True)
    return search, demo


def check_reach(serve: "ServeSettings") -> None:
    """Raise ConfigError for a service that strangers could reach without a key."""
    from connector.service.guard import is_loopback

    if serve.api_keys or serve.read_keys or serve.open_to_all or is_loopback(serve.host):
        return
    raise ConfigError(
        f"serve.host {serve.host} can be reached from other machines, and there is no key. Set "
        'POLYGLANCE_SERVE__API_KEYS=["a-long-secret"], or serve.open_to_all where a proxy in front asks for one.'
    )
