"""The command-line options that many commands share, and what they override in the settings.

The rule: the options of a search are the fields of ``SearchOptions``; a command writes ``**given`` in their place.
"""

import json
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_args

import typer

from connector.cli.output import say
from connector.cli.recent import defaults
from connector.errors import ConfigError, InvalidQuery
from connector.search.options import search_options, with_parameters

C = TypeVar("C", bound=Callable[..., Any])
SHORT = {"limit": ("-n",)}
"""The short forms of options."""

Space = Annotated[
    str | None,
    typer.Option(
        "--space", help="Embedding space, or a file ./x.toml that declares one; by default that of the last ingest."
    ),
]
Collection = Annotated[
    str | None, typer.Option("--collection", help="Name of the collection; by default that of the last ingest.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Paths = Annotated[bool, typer.Option("--paths", help="Print the paths alone, one a line, for other programs.")]
Null = Annotated[bool, typer.Option("-0", "--null", help="The same, each ended by a NUL, as xargs -0 reads it.")]
SetAny = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting, such as qdrant.url=http://localhost:6333."),
]


def check_paths(paths: bool, *, as_json: bool) -> None:
    """Refuse what cannot be printed beside paths."""
    if paths and as_json:
        raise InvalidQuery("--paths lists images and nothing else; leave --json out.")


def takes_search_options(*, before: str, **defaults: Any) -> Callable[[C], C]:
    """Give a command with ``**given`` an option for every field of ``SearchOptions``, before the parameter named."""

    def with_options(command: C) -> C:
        parameters = {}
        for each in search_options():
            name = each.name.replace("_", "-")
            flags = (f"--{name}/--no-{name}" if each.default is True else f"--{name}", *SHORT.get(each.name, ()))
            kind: Any = Annotated[get_args(each.annotation)[0], typer.Option(*flags, help=each.description)]
            parameters[each.name] = (kind, defaults.get(each.name, each.default))
        return with_parameters(command, parameters, before=before)

    return with_options


def overrides(
    *,
    space: str | None,
    collection: str | None,
    settings: list[str] | None,
    as_json: bool = False,
    ingesting: bool = False,
) -> dict[str, Any]:
    """What the shared options say, by dotted setting name, and what the last ingestion says of what they leave open.

    The latter is said in one line, but not where a script reads (``as_json``). Raises ConfigError for a ``--set`` that
    is none.
    """
    given = explicit(space=space, collection=collection, settings=settings)
    meant = defaults(given, ingesting=ingesting)
    if meant and not as_json:
        _announce({**given, **meant}, meant)
    return {**given, **meant}


def explicit(*, space: str | None, collection: str | None, settings: list[str] | None) -> dict[str, Any]:
    """What the shared options say, and nothing else."""
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


def _announce(given: dict[str, Any], meant: dict[str, str]) -> None:
    """Say in one line what the last ingestion decided, where that is not what holds anyway."""
    from connector.settings import Settings

    now, plain = Settings.load(given), Settings.load({k: v for k, v in given.items() if k not in meant})
    if (now.collection, now.model.space) != (plain.collection, plain.model.space):
        say(
            f"polyglance: collection {now.collection}, space {now.model.space}, as ingested into last; --collection "
            "and --space name others.",
            err=True,
        )


def _value(text: str, value: str) -> Any:
    if not value.startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ConfigError(f"--set {text!r} holds broken JSON: {error}.") from error
