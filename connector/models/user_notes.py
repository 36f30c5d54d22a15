"""Notes on models in the user's data folder, each file a list of lines: what was accepted, what was checked."""

import json
from pathlib import Path

import platformdirs

from connector.files import replacing


def noted(name: str) -> list[str]:
    """The lines of the file of this name; none where there is none, or one that cannot be read."""
    try:
        found = json.loads(_path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [str(each) for each in found] if isinstance(found, list) else []


def note(name: str, line: str) -> None:
    """Add a line to the file of this name; one that is there stays the only one."""
    known = sorted({*noted(name), line})
    with replacing(_path(name)) as draft:
        draft.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def _path(name: str) -> Path:
    return platformdirs.user_data_path("polyglance") / name
