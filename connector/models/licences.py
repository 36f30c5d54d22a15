"""Licences that do not allow commercial use: a space under one is loaded once somebody has accepted it.

The rule: what was accepted is noted by the licence's name and the model's, in the user's data folder.
"""

import json
from pathlib import Path

import platformdirs

from connector.errors import ConfigError
from connector.models.declaration import Space
from connector.models.onnx_files import publish


def check_licence(space: Space) -> None:
    """Raise ConfigError where a space's licence has to be accepted and was not."""
    if not is_accepted(space):
        raise ConfigError(
            f"space {space.name} is licensed under {space.licence}, which does not allow commercial use. Accept it by "
            f"`polyglance space pull {space.name} --accept-licence`, or by accept_licence = {space.licence!r} in its "
            "file."
        )


def is_accepted(space: Space) -> bool:
    """Whether nothing has to be accepted, or it was: in the space's file, or once before."""
    return space.commercial or space.accept_licence == space.licence or _note(space) in _accepted()


def accept(space: Space) -> None:
    """Note that the licence of a space was accepted."""
    known = sorted({*_accepted(), _note(space)})
    publish(_path(), lambda draft: draft.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8"))


def _note(space: Space) -> str:
    return f"{space.licence}: {space.image.model}"


def _accepted() -> list[str]:
    try:
        found = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [str(each) for each in found] if isinstance(found, list) else []


def _path() -> Path:
    return platformdirs.user_data_path("polyglance") / "accepted-licences.json"
