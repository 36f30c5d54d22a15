"""A journal of changes, one pickle after the other: what the stand-in acknowledged before it was killed."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Change = tuple[str, tuple[Any, ...], dict[str, Any]]
"""An operation's name and what it was given."""


class Journal:
    """Notes changes in a file, each of them before it is acknowledged; nowhere where there is no file."""

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else path.open("ab", buffering=0)

    def note(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Write a change down; it outlives this process, if not the machine."""
        if self._file is not None:
            self._file.write(pickle.dumps((name, args, kwargs)))


def read_journal(path: Path) -> Iterator[Change]:
    """The changes in a journal; a last one that a kill left half written was never acknowledged, and goes."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        whole = 0
        while True:
            try:
                change: Change = pickle.load(file)
            except (EOFError, pickle.UnpicklingError):
                break
            whole = file.tell()
            yield change
        file.truncate(whole)
