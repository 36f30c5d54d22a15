"""The front door: one command, ``polyglance``, made of both packages' commands."""

import json
import logging
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from pydantic import SecretStr

import connector.cli.classify
import connector.cli.collection
import connector.cli.evaluate
import connector.cli.export
import connector.cli.mcp
import connector.cli.search
import connector.cli.serve
import workers.cli.ingest
import workers.cli.plan
import workers.cli.prune
import workers.cli.runs
import workers.cli.tune
import workers.cli.watch
from connector.cli import options
from connector.cli.output import say, say_json
from connector.errors import ConfigError, InvalidQuery, PolyglanceError
from connector.process import set_up_logs

app = typer.Typer(
    help="Search your own images in any language.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(workers.cli.ingest.app)
app.add_typer(workers.cli.tune.app)
app.add_typer(workers.cli.plan.app)
app.add_typer(workers.cli.runs.app)
app.add_typer(workers.cli.prune.app)
app.add_typer(workers.cli.watch.app)
app.add_typer(connector.cli.search.app)
app.add_typer(connector.cli.serve.app)
app.add_typer(connector.cli.evaluate.app)
app.add_typer(connector.cli.classify.app)
app.add_typer(connector.cli.export.app)
app.add_typer(connector.cli.mcp.app)
app.add_typer(connector.cli.collection.app, name="collection")


@app.callback()
def front(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens, to standard error.")] = False,
) -> None:
    """Search your own images in any language."""
    set_up_logs(logging.INFO if verbose else logging.WARNING)


@app.command()
def settings(
    space: options.Space = None,
    collection: options.Collection = None,
    given: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Show every setting, its value and where the value comes from; keys are masked.

    POLYGLANCE_QDRANT__URL=http://localhost:6333 polyglance settings
    """
    from connector.settings import Settings

    overrides = options.overrides(space=space, collection=collection, settings=given)
    loaded, origins = Settings.load(overrides), Settings.origins(overrides)
    rows = {name: (_shown(loaded, name), origin) for name, origin in origins.items()}
    if as_json:
        say_json({name: {"value": value, "from": origin} for name, (value, origin) in rows.items()})
        return
    width = max(len(name) for name in rows)
    for name, (value, origin) in rows.items():
        say(f"{name:{width}}  {json.dumps(value):32}  {origin}")
    say(f"\n{_memory(loaded)}")


def _memory(settings: Any) -> str:
    """What an ingestion with these settings takes of this machine's memory."""
    from connector.process import usable_cores
    from workers.sizing.footprint import footprint

    found = footprint(settings, cores=usable_cores())
    ordinary, most, million = found.ordinary / 2**30, found.most / 2**30, found.point * 1_000_000 / 2**30
    stored = f" Each million points of the embedded collection add {million:.1f} GiB." if found.point else ""
    return (
        f"An ingestion takes about {ordinary:.1f} GiB of memory in each process; {most:.1f} GiB if every decoder "
        f"meets an image of limits.max_pixels at once.{stored} docs/planning.md has the sum."
    )


def _shown(loaded: Any, name: str) -> Any:
    section, key = name.split(".")
    value = getattr(getattr(loaded, section), key)
    if isinstance(value, SecretStr):
        return str(value)
    return value if isinstance(value, int | float | bool | str | dict | None) else str(value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: exit 0 when done, 1 when something is left undone, 2 for a wrong call or settings.

    ``arguments`` stand in for those of the process.
    """
    try:
        app(args=arguments)
    except (ConfigError, InvalidQuery) as error:
        _fail(error, code=2)
    except PolyglanceError as error:
        _fail(error, code=1)


def _fail(error: PolyglanceError, *, code: int) -> None:
    say(f"polyglance: {error}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
