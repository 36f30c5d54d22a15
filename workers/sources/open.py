"""The one door to every source: the form of the argument tells which kind it is."""

from pathlib import Path
from typing import TYPE_CHECKING

from connector.errors import SourceError
from connector.printable import mask_credentials
from connector.records import path_of
from connector.settings import Settings
from workers.sources.disk import DiskSource
from workers.sources.source import Source, scheme_of

if TYPE_CHECKING:
    from workers.sources.list_file import ListFile

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def open_source(where: str, *, settings: Settings) -> Source:
    """The source that ``where`` names.

    A folder or an image, ``s3://bucket/prefix``, ``https://host/dog.jpg``; or, on disk or S3, a text file of addresses
    (``.txt``), a table (``.csv .tsv .jsonl .ndjson .parquet``), tars (``shards-{000..099}.tar``).
    Raises SourceError, here or at listing, for anything else.
    """
    name = where.lower()
    scheme = scheme_of(where)
    if name.endswith(_COMPRESSED):
        raise SourceError(
            f"{mask_credentials(where)} is compressed: no image in it can be found by position. "
            "Unpack it to a plain .tar."
        )
    if name.endswith(".tar") and scheme in ("", "s3"):
        return _open_tar(where, settings=settings)
    match scheme:
        case "s3" if name.endswith((*_TABLES, ".txt")):
            return _open_s3_list(where, settings=settings)
        case "s3":
            return _open_s3(where, settings=settings)
        case "http" | "https":
            return _open_url(where, settings=settings)
        case "file":
            return _open_path(_path(where), settings=settings)
        case "":
            return _open_path(Path(where).expanduser(), settings=settings)
    raise SourceError(
        f"{mask_credentials(where)!r} is no source: {scheme}:// is not read. Name a folder, a file, or an address that "
        "begins with s3, http or https."
    )


def _path(uri: str) -> Path:
    try:
        return path_of(uri)
    except ValueError as error:
        raise SourceError(mask_credentials(str(error))) from error


def _open_path(path: Path, *, settings: Settings) -> Source:
    kind = path.suffix.lower()
    if path.is_dir() or kind not in (*_TABLES, ".txt"):
        return DiskSource(
            path,
            hidden=settings.ingest.hidden,
            max_bytes=settings.limits.max_bytes,
            exclude=settings.ingest.exclude,
        )
    from workers.sources.list_file import DiskFile

    return _open_list(DiskFile(path), settings=settings)


def _open_list(file: "ListFile", *, settings: Settings) -> Source:
    if file.name.lower().endswith(".txt"):
        from workers.sources.urls import UrlListSource

        return UrlListSource(file, settings=settings)
    from workers.sources.table import TableSource

    return TableSource(file, settings=settings)


def _open_url(where: str, *, settings: Settings) -> Source:
    from workers.sources.urls import UrlSource

    return UrlSource(where, settings=settings)


# boto3 and httpx take a quarter of a second to import: sources that need them are imported when they are asked for.


def _open_s3(where: str, *, settings: Settings) -> Source:
    from workers.sources.s3 import S3Source

    return S3Source(
        where,
        settings=settings.s3,
        threads=settings.ingest.readers,
        hidden=settings.ingest.hidden,
        exclude=settings.ingest.exclude,
        max_bytes=settings.limits.max_bytes,
    )


def _open_s3_list(where: str, *, settings: Settings) -> Source:
    from connector.remote.s3 import S3Store
    from workers.sources.list_file import S3File

    store = S3Store(settings.s3, connections=settings.ingest.readers + 1)
    return _open_list(S3File(where, store=store), settings=settings)


def _open_tar(where: str, *, settings: Settings) -> Source:
    from connector.remote.s3 import S3Store
    from workers.sources.tar import TarSource

    remote = where.lower().startswith("s3://")
    return TarSource(
        where,
        store=S3Store(settings.s3, connections=settings.ingest.readers + 1) if remote else None,
        hidden=settings.ingest.hidden,
        exclude=settings.ingest.exclude,
        max_bytes=settings.limits.max_bytes,
    )
