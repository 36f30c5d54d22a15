"""Mounts: which folders below a place are disks of their own, and whether they still are.

The rule: what lies on a disk that is not there now was not deleted. A disk is known by its device number and, as that
may change when the machine starts again, by the id of its file system.
"""

# pathlib knows no bytes paths:
# ruff: noqa: PTH116, PTH120

import os
import sys
from collections.abc import Mapping
from typing import TypeAlias

Disk: TypeAlias = tuple[int, int]
"""A disk's device number, and the id of its file system, 0 where the system tells none."""


class Mounts:
    """The mounts below one folder. ``seen`` are those of the last listing, ``known`` also those of earlier ones."""

    def __init__(self) -> None:
        self.seen: dict[bytes, Disk] = {}
        self.known: dict[bytes, Disk] = {}

    def begin(self) -> None:
        """A listing begins: nothing is seen yet."""
        self.seen = {}

    def note(self, folder: bytes) -> None:
        """A listing came to a folder. Raises OSError."""
        found = os.stat(folder)
        if found.st_dev != os.stat(os.path.dirname(folder)).st_dev:
            self.seen[folder] = _disk(folder, found)

    def recall(self, known: Mapping[bytes, Disk]) -> None:
        """What earlier listings saw, which a listing of now corrects only where it saw the same disk, or a new one."""
        self.known = {**self.seen, **known}

    def missing(self, path: bytes, *, top: bytes) -> bytes | None:
        """The folder above ``path`` whose disk is not there, or another one; None where all are."""
        folder = os.path.dirname(path)
        while self.known and len(folder) >= len(top):
            if folder in self.known and not _same(self.known[folder], _find(folder)):
                return folder
            if folder == top:
                break
            folder = os.path.dirname(folder)
        return None


def _same(known: Disk, now: Disk | None) -> bool:
    """By the ids of their file systems where both tell one: a device number is given to the next disk."""
    if now is None:
        return False
    return known[1] == now[1] if known[1] and now[1] else known[0] == now[0]


def _find(folder: bytes) -> Disk | None:
    try:
        return _disk(folder, os.stat(folder))
    except OSError:
        return None


def _disk(folder: bytes, found: os.stat_result) -> Disk:
    if sys.platform == "win32":
        return found.st_dev, 0
    try:
        return found.st_dev, os.statvfs(folder).f_fsid
    except OSError:
        return found.st_dev, 0
