"""What a listing leaves out on purpose: the litter of systems, ``ingest.exclude``, and ``.polyglanceignore`` files.

The patterns are gitignore's, by ``pathspec``: the last one that matches decides, and one with ``!`` takes back in,
litter too. A ``.polyglanceignore`` holds for its folder and everything below.
"""

# pathlib knows no bytes paths:
# ruff: noqa: PTH118, PTH123

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore import GitIgnorePatternError

from connector.errors import SourceError
from workers.sources.source import readable

IGNORE_FILE = b".polyglanceignore"
MAX_IGNORE_BYTES = 1024 * 1024
"""A larger file of patterns is none."""

LITTER = (
    *("@eaDir", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information"),
    *("lost+found", ".Trash*", ".@__thumb", "__MACOSX"),
)
"""Folders that NAS systems, Windows, Linux and macOS leave beside what people keep, in capitals or not."""

_LITTER = re.compile(
    "(?:^|/)(?:" + "|".join(re.escape(name).replace(r"\*", "[^/]*") for name in LITTER) + ")(?:/|$)", re.IGNORECASE
)


class Exclusions:
    """Decides by paths relative to a place. ``patterns`` are the user's own."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._own = _spec(patterns, where="ingest.exclude")

    def kind(self, path: str) -> str | None:
        """Why the file at this relative path is left out: ``litter`` or ``excluded``; None where it is not.

        The path of a folder ends with a slash.
        """
        return _decide(path, [(0, self._own)])


class FolderExclusions:
    """The same for a folder of this machine, whose ``.polyglanceignore`` files count too."""

    def __init__(self, top: bytes, patterns: Iterable[str] = ()) -> None:
        self._own = _spec(patterns, where="ingest.exclude")
        self._top = top.rstrip(b"/")
        self._specs: dict[bytes, GitIgnoreSpec | None] = {}

    def begin(self) -> None:
        """Read the files anew from now on."""
        self._specs.clear()

    def inside(self, folder: bytes) -> Callable[[bytes, bool], str | None]:
        """Decides by the names in one folder, and by whether each is a folder: ``litter``, ``excluded`` or None.

        Raises OSError for a file of patterns that cannot be opened, SourceError for one that holds none.
        """
        if folder != self._top and not folder.startswith(self._top + b"/"):
            return lambda name, is_folder: None  # noqa: ARG005  (what lies elsewhere has no patterns)
        specs = [(0, self._own), *self._along(folder)]
        below = readable(folder[len(self._top) :].lstrip(b"/"))
        prefix = f"{below}/" if below else ""
        return lambda name, is_folder: _decide(f"{prefix}{readable(name)}{'/' * is_folder}", specs)

    def kind_at(self, path: bytes, *, folder: bool) -> str | None:
        """The same by a path."""
        parent, name = os.path.split(path)
        return self.inside(parent)(name, folder)

    def _along(self, folder: bytes) -> Iterator[tuple[int, GitIgnoreSpec]]:
        """The patterns of each folder on the way down, with the length of its own path below the top."""
        at = self._top
        for name in [b"", *folder[len(self._top) :].split(b"/")[1:]]:
            at = at + b"/" + name if name else at
            if at not in self._specs:
                self._specs[at] = _read(at)
            spec = self._specs[at]
            if spec is not None:
                yield len(readable(at[len(self._top) :])), spec


def is_litter(name: bytes) -> bool:
    """Whether a folder or file of this name is litter, whatever the user's patterns say."""
    return _LITTER.search(readable(name)) is not None


def _decide(path: str, specs: Iterable[tuple[int, GitIgnoreSpec]]) -> str | None:
    kind = "litter" if _LITTER.search(path) else None
    for length, spec in specs:
        matched = spec.check_file(path[length:]).include if spec.patterns else None
        if matched is not None:
            kind = "excluded" if matched else None
    return kind


def _read(folder: bytes) -> GitIgnoreSpec | None:
    file = os.path.join(folder, IGNORE_FILE)
    try:
        with open(file, "rb") as opened:
            data = opened.read(MAX_IGNORE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        raise
    if len(data) > MAX_IGNORE_BYTES:
        raise SourceError(f"{readable(file)} has more than {MAX_IGNORE_BYTES} bytes: it holds no patterns.")
    return _spec(data.decode("utf-8-sig", "surrogateescape").splitlines(), where=readable(file))


def _spec(patterns: Iterable[str], *, where: str) -> GitIgnoreSpec:
    try:
        return GitIgnoreSpec.from_lines(patterns)
    except (GitIgnorePatternError, ValueError) as error:
        raise SourceError(
            f"a pattern of {where} cannot be read: {error}. They are written as in .gitignore."
        ) from error
