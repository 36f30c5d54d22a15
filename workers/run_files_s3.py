"""A run's folder on S3: what ``workers.run_files`` promises, by the store that sources use."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from connector.settings import S3Settings
from workers.errors import RunIncomplete, SourceError
from workers.sources.faults import CannotRead
from workers.sources.s3_store import S3Store, split_uri

LARGEST = 1 << 40
"""Bytes of one file: no limit that a run could meet."""


class S3Files:
    """A prefix of a bucket. S3 puts an object as a whole."""

    def __init__(self, uri: str, *, settings: S3Settings) -> None:
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
                f"the run's books cannot be kept in {self.where}: {error} What is stored stays stored; the same "
                "command goes on with the rest."
            ) from error
