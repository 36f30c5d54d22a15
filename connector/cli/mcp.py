"""The command ``polyglance mcp``."""

from contextlib import closing

import typer

from connector.cli import options
from connector.extras import require

app = typer.Typer(add_completion=False)


@app.command()
def mcp(space: options.Space = None, collection: options.Collection = None, settings: options.SetAny = None) -> None:
    """Serve search, like, classify and facets to an agent, over standard input and output (Model Context Protocol).

    polyglance mcp --space mini
    """
    require("mcp", what="a server of tools for agents")
    from connector.integrations.mcp import SmallImages, make_server
    from connector.search.client import ImageSearch
    from connector.settings import Settings

    loaded = Settings.load(options.overrides(space=space, collection=collection, settings=settings))
    with ImageSearch.open(settings=loaded) as search, closing(SmallImages(loaded)) as small:
        make_server(search, small=small).run("stdio")
