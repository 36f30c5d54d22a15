"""Where originals may be read: the places that ingestions into this collection wrote down on this machine.

The one rule: a payload is what somebody wrote into the store; it opens nothing outside these places and
``serve.roots``. What stands in a list or a table may lie beside it, in a bucket that is named, or on the public web.
"""

import logging
import os
import posixpath
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

from connector.errors import OriginalMissing
from connector.printable import printable
from connector.run_status import read_runs
from connector.settings import Settings

log = logging.getLogger(__name__)

_LISTS = (".txt", ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
"""Sources whose images lie elsewhere than under their own address."""
_FRESH_S = 1.0
"""Seconds for which what was read of the runs holds."""


class Roots:
    """The places of one collection. Safe to use from many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._named = [place for place in map(_place_of, settings.serve.roots) if place]
        self._read: tuple[float, list[str], bool] = (0.0, [], False)

    def name(self, *places: str) -> None:
        """Let originals below these addresses be read too; ``https://`` stands for all of the public web."""
        self._named += places

    def check(self, uri: Any) -> None:
        """Raise OriginalMissing for an address that is none, or lies outside the places."""
        place = _place_of(uri) if isinstance(uri, str) else None
        if place is None:
            raise OriginalMissing("the payload of this point names no file that could be handed out.")
        recorded, with_lists = self._recorded()
        if any(_is_under(place, root) for root in [*self._named, *recorded]):
            return
        if with_lists and place.startswith(("http://", "https://")):
            return
        log.warning("original_outside uri=%s; serve.roots names more places", printable(uri))
        raise OriginalMissing("this image lies outside the places that ingestions wrote down here, and serve.roots.")

    def _recorded(self) -> tuple[list[str], bool]:
        read_at, places, with_lists = self._read
        if not read_at or time.monotonic() - read_at > _FRESH_S:
            runs = read_runs(self._settings.qdrant, collection=self._settings.collection)
            sources = [place for place in (_place_of(run.source) for run in runs) if place]
            places, with_lists = _with_surroundings(sources)
            self._read = (time.monotonic(), places, with_lists)
        return places, with_lists


def _with_surroundings(sources: Sequence[str]) -> tuple[list[str], bool]:
    lists = [source for source in sources if source.lower().endswith(_LISTS)]
    beside = [posixpath.dirname(source) for source in lists if source.startswith(("file://", "s3://"))]
    return [*sources, *beside], bool(lists)


def _place_of(uri: str) -> str | None:
    """An address in one form, without what leads out of it (``..``) or into a tar (``#member``), or None."""
    try:
        parts = urlsplit(uri)
        path = unquote_to_bytes(parts.path)
    except ValueError:
        return None
    if b"\0" in path or len(uri) > _LONGEST:
        return None
    match parts.scheme:
        case "":
            return None if "://" in uri else f"file://{_plain(os.fsencode(os.path.abspath(os.path.expanduser(uri))))}"  # noqa: PTH100, PTH111
        case "file":
            return f"file://{_plain(path)}" if not parts.netloc and path.startswith(b"/") else None
        case "s3":  # a key is no path: nothing in it is an escape, and ".." leads nowhere
            return uri.partition("#")[0].rstrip("/") if parts.netloc else None
        case "http" | "https":
            return uri if parts.netloc else None
        case _:
            return None


_LONGEST = 8192
"""Letters of an address."""


def _plain(path: bytes) -> str:
    return quote(
        posixpath.normpath(path).replace(b"//", b"/", 1) if path.startswith(b"//") else posixpath.normpath(path)
    )


def _is_under(place: str, root: str) -> bool:
    stem, brace, _ = root.partition("{")  # shards-{000..099}.tar
    if brace or "*" in root:
        return place.startswith(stem.partition("*")[0])
    return place == root or place.startswith(f"{root.rstrip('/')}/")
