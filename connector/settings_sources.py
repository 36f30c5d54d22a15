"""Where settings are read from: names, variables, files; and what is said of a name or value that does not fit."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from connector.config_files import CONFIG_VARIABLE, TRUST_VARIABLE
from connector.errors import ConfigError
from connector.printable import mask_credentials

PREFIX = "POLYGLANCE_"
TEST_PREFIX = "POLYGLANCE_TEST_"
"""Names under this prefix belong to the test suite and are not settings."""


class Section(BaseModel):
    """A frozen group of settings; an unknown name in it is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def holds_secret(annotation: Any) -> bool:
    """Whether a value of this type is never shown."""
    return annotation is SecretStr or any(map(holds_secret, get_args(annotation)))


def secret_names(sections: Mapping[str, FieldInfo]) -> set[str]:
    """Of the sections of a tree of settings those whose values are never shown, by dotted name."""
    return {
        f"{section}.{name}"
        for section, whole in sections.items()
        if isinstance(whole.annotation, type) and issubclass(whole.annotation, BaseModel)
        for name, field in whole.annotation.model_fields.items()
        if holds_secret(field.annotation)
    }


def expanded(path: Path) -> Path:
    """A path with the home that its ``~`` stands for. Raises ValueError where this machine knows of none."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def space_file(value: str) -> str:
    """The name of a space as it is; of a file that declares one its whole path, which holds in every process."""
    return str(expanded(Path(value)).absolute()) if value.endswith(".toml") else value


Folder = Annotated[Path, AfterValidator(expanded)]
SpaceName = Annotated[str, AfterValidator(space_file)]


def variable_of(name: str) -> str:
    """The environment variable of a setting: ``qdrant.url`` -> ``POLYGLANCE_QDRANT__URL``."""
    return PREFIX + name.upper().replace(".", "__")


def nest(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``{"qdrant.url": x}`` into ``{"qdrant": {"url": x}}``."""
    tree: dict[str, dict[str, Any]] = {}
    for name, value in overrides.items():
        section, _, key = name.partition(".")
        tree.setdefault(section, {})[key] = value
    return tree


def named_overrides(
    overrides: Mapping[str, Any] | None, *, space: str | None, collection: str | None, settings: object
) -> dict[str, Any]:
    """Overrides by dotted names, with the two that have arguments of their own.

    Raises ConfigError where ready ``settings`` were given besides.
    """
    named = {"model.space": space, "qdrant.collection": collection}
    given = {**(overrides or {}), **{name: value for name, value in named.items() if value is not None}}
    if settings is not None and given:
        raise ConfigError("give either settings, or space, collection and overrides.")
    return given


def check_environment_names(known: set[str]) -> None:
    """Refuse a ``POLYGLANCE_…`` variable that is no setting. Raises ConfigError naming the nearest one."""
    variables = {variable_of(name) for name in known}
    for variable in sorted(os.environ):
        if not variable.startswith(PREFIX) or variable.startswith(TEST_PREFIX):
            continue
        if variable in (CONFIG_VARIABLE, TRUST_VARIABLE):
            continue
        if variable.upper() in variables or variable.upper().startswith(f"{PREFIX}QDRANT__META_FIELDS__"):
            continue
        ours = [each.removeprefix(PREFIX) for each in sorted(variables)]
        raise ConfigError(
            f"{variable} is not a setting. {_nearest(variable.removeprefix(PREFIX), ours, prefix=PREFIX)}"
        )


def _nearest(name: str, known: list[str], *, prefix: str = "") -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"The nearest one is {prefix}{close[0]}." if close else "`polyglance settings` lists them all."


def explain(error: ValidationError, *, known: list[str], secret: set[str]) -> str:
    """A validation error in words: each setting, the value seen unless it is secret, and the nearest known name."""
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{name} is not a setting. {_nearest(name, known)}")
        else:
            hidden = name in secret or name.rpartition(".")[0] in secret
            seen = "" if hidden else f" = {mask_credentials(repr(problem['input']))}"
            lines.append(f"setting {name}{seen} does not fit: {problem['msg']}.")
    return "\n".join(lines)


def known_encoding(name: str) -> str:
    """The name itself. Raises ValueError for what is no encoding of text."""
    try:
        "".encode(name)
    except LookupError as error:
        raise ValueError(f"{name!r} is no encoding of text; there are utf-8, latin-1, cp1252, shift_jis, …") from error
    return name
