"""The files of a run's folder, on this machine or on S3.

The rule: a file is written as a whole or not at all, so that a marker that is there says the truth. Nothing waits for
the disk: what a power cut leaves unreadable is found out, and the run begins anew (``RunFilesUnreadable``).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from connector.errors import CannotRead, RunIncomplete, SourceError
from connector.files import DRAFT, replacing
from connector.settings import S3Settings


class RunFiles(Protocol):
    """A folder's files by name, such as ``done/000012.json``. All calls raise RunIncomplete where they fail."""

    @property
    def where(self) -> str:
        """The folder as a person would name it."""

    def write(self, name: str, data: bytes) -> None:
        """Put a file there, in place of one of this name; after a crash there is either the old or the new one."""

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None where there is none."""

    def names(self, below: str) -> list[str]:
        """The names of all files that begin with ``below``, in order."""

    def remove(self, names: Sequence[str]) -> None:
        """Take files away; those that are not there are ignored."""


class LocalFiles:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def where(self) -> str:
        return str(self.path)

    def write(self, name: str, data: bytes) -> None:
        with self._kept(), replacing(self.path / name) as draft:
            draft.write_bytes(data)

    def read(self, name: str) -> bytes | None:
        with self._kept():
            try:
                return (self.path / name).read_bytes()
            except FileNotFoundError:
                return None

    def names(self, below: str) -> list[str]:
        with self._kept():
            top = self.path / below
            return sorted(
                path.relative_to(self.path).as_posix()
                for path in top.rglob("*")
                if path.is_file() and not path.name.startswith(DRAFT)
            )

    def remove(self, names: Sequence[str]) -> None:
        with self._kept():
            for name in names:
                (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunIncomplete(
                f"the run's files cannot be kept in {self.path}: {error}. What is stored stays stored. Make room "
                "there, or give this user the rights to write; then the same command goes on with the rest."
            ) from error


def open_files(folder: str | Path, *, settings: S3Settings) -> RunFiles:
    """The files of a folder of this machine, or of one on S3 (``s3://bucket/prefix``)."""
    if isinstance(folder, str) and folder.lower().startswith("s3://"):
        return S3Files(folder, settings=settings)
    return LocalFiles(Path(folder).expanduser())


LARGEST = 1 << 40
"""Bytes of one file: no limit that a run could meet."""


class S3Files:
    """A prefix of a bucket. S3 puts an object as a whole."""

    def __init__(self, uri: str, *, settings: S3Settings) -> None:
        from connector.remote.s3 import S3Store, split_uri  # here: boto3 takes a quarter of a second to import

        self.where = uri.rstrip("/")
        self._bucket, prefix = split_uri(self.where)
        self._prefix = f"{prefix}/" if prefix else ""
        self._store = S3Store(settings, connections=4)

    def write(self, name: str, data: bytes) -> None:
        with self._kept():
            self._store.put(self._bucket, self._prefix + name, data)

    def read(self, name: str) -> bytes | None:
        with self._kept():
            try:
                fetched = self._store.fetch(self._bucket, self._prefix + name, limit=LARGEST)
            except CannotRead as fault:
                if fault.reason == "missing":
                    return None
                raise
            return None if fetched is None else fetched.data

    def names(self, below: str) -> list[str]:
        found: list[str] = []
        token: str | None = None
        with self._kept():
            while True:
                page = self._store.list_page(self._bucket, prefix=self._prefix + below, token=token)
                found += [item.key.removeprefix(self._prefix) for item in page.objects]
                if (token := page.token) is None:
                    return sorted(found)

    def remove(self, names: Sequence[str]) -> None:
        with self._kept():
            for name in names:
                self._store.remove(self._bucket, self._prefix + name)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except (CannotRead, SourceError) as error:
            raise RunIncomplete(
                f"the run's files cannot be kept in {self.where}: {error} What is stored stays stored; the same "
                "command goes on with the rest."
            ) from error
