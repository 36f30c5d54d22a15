"""The one door to every source: the form of the argument tells which kind it is."""

from pathlib import Path

from workers.settings import Settings
from workers.sources.disk import DiskSource
from workers.sources.source import Source


def open_source(where: str, *, settings: Settings) -> Source:
    """The source that ``where`` names: a folder, a file, or ``s3://bucket/prefix``.

    Raises SourceError, here or at listing, for anything else.
    """
    limit = settings.limits.max_bytes
    hidden = settings.ingest.hidden
    if where.startswith("s3://"):
        from workers.sources.s3 import S3Source

        return S3Source(where, settings=settings.s3, threads=settings.ingest.readers, hidden=hidden, max_bytes=limit)
    return DiskSource(Path(where).expanduser(), hidden=hidden, max_bytes=limit)
