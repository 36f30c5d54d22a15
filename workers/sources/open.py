"""The one door to every source: the form of the argument tells which kind it is."""

from pathlib import Path

from workers.settings import Settings
from workers.sources.disk import DiskSource
from workers.sources.source import Source


def open_source(where: str, *, settings: Settings) -> Source:
    """The source that ``where`` names: a folder or a file.

    Raises SourceError, here or at listing, for anything else.
    """
    return DiskSource(Path(where).expanduser(), hidden=settings.ingest.hidden, max_bytes=settings.limits.max_bytes)
