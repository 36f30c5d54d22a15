"""The one door to every source: the form of the argument tells which kind it is."""

from pathlib import Path

from workers.errors import SourceError
from workers.settings import Settings
from workers.sources.disk import DiskSource
from workers.sources.source import Source

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def open_source(where: str, *, settings: Settings) -> Source:
    """The source that ``where`` names: a folder, a file, ``s3://bucket/prefix``, ``shards-{000..099}.tar``.

    Raises SourceError, here or at listing, for anything else.
    """
    name = where.lower()
    if name.endswith(_COMPRESSED):
        raise SourceError(
            f"{where} is compressed, so its pictures cannot be found by position. Unpack it to a plain .tar."
        )
    if name.endswith(".tar"):
        return _open_tar(where, settings=settings)
    if name.startswith("s3://"):
        return _open_s3(where, settings=settings)
    return DiskSource(Path(where).expanduser(), hidden=settings.ingest.hidden, max_bytes=settings.limits.max_bytes)


# boto3 takes a quarter of a second to import, so the sources that need it are imported when they are asked for.


def _open_s3(where: str, *, settings: Settings) -> Source:
    from workers.sources.s3 import S3Source

    return S3Source(
        where,
        settings=settings.s3,
        threads=settings.ingest.readers,
        hidden=settings.ingest.hidden,
        max_bytes=settings.limits.max_bytes,
    )


def _open_tar(where: str, *, settings: Settings) -> Source:
    from workers.sources.s3_store import S3Store
    from workers.sources.tar import TarSource

    remote = where.lower().startswith("s3://")
    return TarSource(
        where,
        store=S3Store(settings.s3, connections=settings.ingest.readers + 1) if remote else None,
        hidden=settings.ingest.hidden,
        max_bytes=settings.limits.max_bytes,
    )
