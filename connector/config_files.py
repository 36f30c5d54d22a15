"""The files that settings are read from, and what one that merely lies beside the caller may not do.

The one rule: who unpacks an archive and works in its folder has not chosen what ``polyglance.toml`` in it says. That
file is announced, and no address in it meets a secret from elsewhere unless the caller confirms it: ``--trust-config``.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from connector.errors import ConfigError
from connector.printable import printable

CONFIG_FILE = Path("polyglance.toml")
CONFIG_VARIABLE = "POLYGLANCE_CONFIG"
"""Names one file, which is then read in place of all others."""
TRUST_VARIABLE = "POLYGLANCE_TRUST_CONFIG"
"""Set to ``true``, confirms what stands in the working folder's file."""

_QDRANT = ("qdrant.api_key",)
_SERVE = ("serve.api_keys", "serve.read_keys", "serve.signing_key")
_AWS = "the keys that boto3 finds"
_EVERYTHING = "every setting, keys too,"
_IMAGES = "the images of this machine's collections"

MEETS: Mapping[str, tuple[str, ...]] = {
    "qdrant.url": _QDRANT,
    "qdrant.ca_file": _QDRANT,
    "serve.public_url": _SERVE,
    "serve.cors_origins": _SERVE,
    "serve.open_thumbnails": _SERVE,
    "serve.host": (_IMAGES,),
    "s3.endpoint_url": (_AWS,),
    "s3.ca_file": (_AWS,),
    "watch.sqs_url": (_AWS,),
    "ingest.runs": (_AWS,),
    "ingest.ray_address": (_EVERYTHING,),
}
"""The settings that say where something is sent, or who may have it, and the secrets that go there."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the command line says of files."""

    config: Path | None = None
    trusted: bool = False


_chosen: ContextVar[Chosen] = ContextVar("chosen", default=Chosen())  # noqa: B039  (frozen)
_announced: set[Path] = set()


@contextmanager
def choosing(*, config: Path | None, trusted: bool) -> Iterator[None]:
    """Read settings from this file within the block, and trust the one in the working folder where that is said."""
    token = _chosen.set(Chosen(config, trusted))
    try:
        yield
    finally:
        _chosen.reset(token)


def config_files() -> tuple[Path, ...]:
    """The files that are there, the one that counts most first. Raises ConfigError for a named one that is not."""
    named = _chosen.get().config or Path(os.environ.get(CONFIG_VARIABLE) or ".")
    if named != Path():
        if not named.is_file():
            raise ConfigError(f"the settings file {str(named)!r} is not there; --config or {CONFIG_VARIABLE} names it.")
        return (named,)
    found = [each for each in (CONFIG_FILE, user_config_file()) if each.is_file()]
    return tuple(found[:1] if len(found) == 2 and found[0].samefile(found[1]) else found)


def user_config_file() -> Path:
    """The file in the user's own folder for settings."""
    return Path(platformdirs.user_config_dir("polyglance")) / CONFIG_FILE


def announce() -> None:
    """Say once, on standard error, that settings come from a file in the working folder."""
    if CONFIG_FILE not in config_files():
        return
    place = CONFIG_FILE.absolute()
    if place not in _announced:
        _announced.add(place)
        sys.stderr.write(f"polyglance: settings are read from {printable(place)}, in the working folder.\n")


def _stays_here(name: str, values: Mapping[str, Any]) -> bool:
    """Whether a setting of ``MEETS`` has a value by which nothing leaves this machine with a secret."""
    match name:
        case "s3.endpoint_url" if values["s3.anonymous"]:
            return True
        case "serve.host":
            return values[name] in ("localhost", "::1") or str(values[name]).startswith("127.")
        case "ingest.runs":
            return not str(values[name]).lower().startswith("s3:")
        case _:
            return not values[name]


def check_pairs(values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    """Raise ConfigError where the working folder's file would send a secret from elsewhere to an address of its own."""
    if _chosen.get().trusted or os.environ.get(TRUST_VARIABLE, "").lower() in ("1", "true", "yes"):
        return
    for name, secrets in MEETS.items():
        if origins[name] != str(CONFIG_FILE) or _stays_here(name, values):
            continue
        for secret in secrets:
            if secret in values and (not values[secret] or origins[secret] == str(CONFIG_FILE)):
                continue
            source = f" ({origins[secret]})" if secret in origins else ""
            raise ConfigError(
                f"{name} stands in {CONFIG_FILE} of the working folder, and {secret}{source} would meet it. Confirm it "
                f"with --trust-config or {TRUST_VARIABLE}=true, or name the file with --config."
            )
