"""The command ``polyglance mcp``."""

import typer

from connector.cli import options
from connector.errors import ConfigError

app = typer.Typer()


@app.command()
def mcp(space: options.Space = None, collection: options.Collection = None, settings: options.SetAny = None) -> None:
    """Serve search, like, classify and facets to an agent, over standard input and output (Model Context Protocol).

    polyglance mcp --space mini
    """
    from connector.search.client import ImageSearch

    try:
        from connector.integrations.mcp import make_server
    except ImportError as error:
        raise ConfigError(f"the tools for agents need {error.name}: pip install 'polyglance[mcp]'.") from error
    overrides = options.overrides(space=space, collection=collection, settings=settings)
    with ImageSearch.open(overrides=overrides) as search:
        make_server(search).run("stdio")
