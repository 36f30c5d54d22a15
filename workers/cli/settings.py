"""The command ``polyglance settings``."""

import json
from typing import TYPE_CHECKING, Any

import typer

from connector.cli import options
from connector.cli.output import say, say_json
from connector.cli.recent import defaults
from connector.printable import mask_credentials

if TYPE_CHECKING:
    from connector.settings import Settings

app = typer.Typer(add_completion=False)


@app.command()
def settings(
    space: options.Space = None,
    collection: options.Collection = None,
    given: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Show every setting, its value and where the value comes from; keys and passwords are masked.

    POLYGLANCE_QDRANT__URL=http://localhost:6333 polyglance settings
    """
    from connector.settings import Settings

    overrides = options.explicit(space=space, collection=collection, settings=given)
    meant = defaults(overrides)
    loaded = Settings.load({**overrides, **meant})
    origins = {**Settings.origins(overrides), **dict.fromkeys(meant, "the last ingest")}
    rows = {name: (_shown(loaded, name), origin) for name, origin in origins.items()}
    text_tower, image_tower = _text_tower(loaded), _image_tower(loaded)
    if as_json:
        told = {name: {"value": value, "from": origin} for name, (value, origin) in rows.items()}
        told["model.text_runtime"]["runs"] = text_tower
        told["model.precision"]["runs"] = image_tower
        say_json(told)
        return
    width = max(len(name) for name in rows)
    for name, (value, origin) in rows.items():
        say(f"{name:{width}}  {json.dumps(value):32}  {origin}")
    say(f"\nThe text tower runs by {text_tower}.\nThe image tower runs in {image_tower}.\n{_memory(loaded)}")


def _text_tower(settings: "Settings") -> str:
    """What runs the text tower, and why."""
    from connector.errors import ConfigError
    from connector.models.text_tower import plan_runner

    try:
        return plan_runner(settings.model)
    except ConfigError as error:  # the settings are shown all the same: they are what has to be mended
        return f"nothing: {error}"


def _image_tower(settings: "Settings") -> str:
    """In which arithmetic the image tower runs, and why."""
    from connector.errors import ConfigError
    from connector.models.image_kernels import plan_kernel

    try:
        return plan_kernel(settings.model)
    except ConfigError as error:
        return f"nothing: {error}"


def _memory(settings: "Settings") -> str:
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


def _shown(loaded: "Settings", name: str) -> Any:
    from pydantic import SecretStr

    section, key = name.split(".")
    value = getattr(getattr(loaded, section), key)
    if isinstance(value, int | float | bool | dict | None):
        return value
    return str(value) if isinstance(value, SecretStr) else mask_credentials(str(value))
