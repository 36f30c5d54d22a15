"""The command ``polyglance mcp``."""

import typer

from connector.cli import options
from connector.extras import require

app = typer.Typer()


@app.command()
def mcp(space: options.Space = None, collection: options.Collection = None, settings: options.SetAny = None) -> None:
    """Serve search, like, classify and facets to an agent, over standard input and output (Model Context Protocol).

    polyglance mcp --space mini
    """
    require("mcp", what="a server of tools for agents")
    from connector.integrations.mcp import make_server
    from connector.search.client import ImageSearch

    overrides = options.overrides(space=space, collection=collection, settings=settings)
    with ImageSearch.open(overrides=overrides) as search:
        make_server(search).run("stdio")
