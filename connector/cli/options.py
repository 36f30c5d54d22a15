"""The command-line options that every command shares, and what they override in the settings."""

import json
from typing import Annotated, Any

import typer

from connector.errors import ConfigError

Space = Annotated[
    str | None, typer.Option("--space", help="Embedding space: clip-vit-b-32 (default) or mini (bundled).")
]
Collection = Annotated[
    str | None, typer.Option("--collection", help="Name of the collection; by default images-SPACE.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
SetAny = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting, such as qdrant.url=http://localhost:6333."),
]


def overrides(*, space: str | None, collection: str | None, settings: list[str] | None) -> dict[str, Any]:
    """What the shared options say, by dotted setting name. Raises ConfigError for a ``--set`` that is none."""
    given: dict[str, Any] = {}
    for text in settings or []:
        name, equals, value = text.partition("=")
        if not equals or "." not in name:
            raise ConfigError(f"--set {text!r} is no NAME=VALUE; one looks like --set model.batch_size=128.")
        given[name] = _value(text, value)
    if space is not None:
        given["model.space"] = space
    if collection is not None:
        given["qdrant.collection"] = collection
    return given


def _value(text: str, value: str) -> Any:
    if not value.startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ConfigError(f"--set {text!r} holds broken JSON: {error}.") from error
