"""The command ``polyglance serve``."""

import ipaddress
from typing import TYPE_CHECKING, Annotated

import typer

from connector import options
from connector.errors import ConfigError

if TYPE_CHECKING:
    from connector.settings import ServeSettings

app = typer.Typer()


@app.command()
def serve(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on; 0 takes a free one.")] = None,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
) -> None:
    """Serve the gallery and the REST interface on http://127.0.0.1:8000; Ctrl-C ends it.

    polyglance serve --space mini
    """
    from connector.search import ImageSearch
    from connector.settings import Settings

    flags = {"serve.host": host, "serve.port": port}
    given = options.overrides(space=space, collection=collection, settings=settings)
    loaded = Settings.load({**given, **{name: value for name, value in flags.items() if value is not None}})
    check_reach(loaded.serve)
    try:
        import uvicorn

        from connector.service.app import create_app
    except ImportError as error:
        raise ConfigError(f"the service needs {error.name}: pip install 'polyglance[serve]'.") from error
    search = ImageSearch.open(settings=loaded)
    uvicorn.run(
        create_app(search, settings=loaded),
        host=loaded.serve.host,
        port=loaded.serve.port,
        server_header=False,
        timeout_graceful_shutdown=10,
    )


def check_reach(serve: "ServeSettings") -> None:
    """Raise ConfigError for a service that strangers could reach without a key."""
    if serve.api_keys or serve.open_to_all or _is_loopback(serve.host):
        return
    raise ConfigError(
        f"serve.host {serve.host} can be reached from other machines, and there is no key. Set "
        'POLYGLANCE_SERVE__API_KEYS=["a-long-secret"], or serve.open_to_all where a proxy in front asks for one.'
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
