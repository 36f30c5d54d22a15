"""The changes of a folder of this machine, by the operating system's file events (``watchfiles``)."""

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import watchfiles

from connector.errors import SourceError
from connector.records import path_of
from workers.sources.disk import DiskSource, uri_of
from workers.sources.exclusions import IGNORE_FILE
from workers.watch.changes import Change, Changes
from workers.watch.watch import ScanResult

LOOK_MS = 500
"""Milliseconds between two looks at whether the folder is still the same, and whether it is time to end."""
TOGETHER_MS = 100
"""Milliseconds for which events are gathered at most before they are told."""


class FolderFeed:
    """Tells what changes below a folder. A folder that is replaced or comes back is watched again, from a full pass."""

    def __init__(self, source: DiskSource) -> None:
        self._source = source
        self._folder = path_of(source.root)

    def watch(self, changes: Changes, *, over: threading.Event) -> None:
        """Put changes down as they come. Raises SourceError where the system watches no more folders."""
        anew = False
        while not over.is_set():
            there = _identity(self._folder)
            if there is None:
                over.wait(LOOK_MS / 1000)
                continue
            for events in self._events(over):
                if not changes.listening.is_set():
                    changes.listening.set()
                elif anew:
                    changes.lose()  # between two watches nobody was told anything
                anew = False
                if any(os.path.basename(path) == IGNORE_FILE.decode() for _, path in events):  # noqa: PTH119
                    changes.lose()  # what is left out from now on, or no more, only a listing tells
                if events:
                    changes.add([Change(uri_of(Path(path))) for _, path in events])
                if _identity(self._folder) != there:
                    break
            anew = True

    def _events(self, over: threading.Event) -> Iterator[set[tuple[watchfiles.Change, str]]]:
        """What happens, and every ``LOOK_MS`` at least nothing."""
        try:
            yield from watchfiles.watch(
                self._folder,
                watch_filter=None,
                debounce=TOGETHER_MS,
                stop_event=over,
                rust_timeout=LOOK_MS,
                yield_on_timeout=True,
                ignore_permission_denied=True,
            )
        except FileNotFoundError:
            return  # it went while the watch began
        except OSError as error:
            raise SourceError(
                f"{self._folder} cannot be watched: {error}. Where it has more folders than the system watches, raise "
                "fs.inotify.max_user_watches."
            ) from error

    def scan(self, uris: Sequence[str]) -> ScanResult:
        """Look at these files and folders now."""
        gone = [uri for uri in uris if not os.path.lexists(path_of(uri))]
        if not self._folder.is_dir():
            gone = []  # with the folder itself away, nothing can be said of what was in it
        return ScanResult(lambda: self._source.scan(uris), gone)

    def done(self, changes: Sequence[Change]) -> None:
        """Nobody waits for an answer."""


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
