"""Images in a bucket of S3, or of a store that speaks its language."""

from collections.abc import Iterator, Mapping, Sequence

from connector.errors import CannotRead
from connector.remote.s3 import Listed, S3Store, split_uri
from connector.settings import S3Settings
from workers.records import Blob, Outcome, Ref, Reject, Unchanged
from workers.sources.exclusions import Exclusions
from workers.sources.passed_over import PassedOver
from workers.sources.s3_listing import S3Listing
from workers.sources.source import Whereabouts, is_hidden, is_image_name, rejected


class S3Source:
    """The objects under ``s3://bucket/prefix``, or the one object of that key.

    A prefix stands for a folder: ``s3://b/2024`` holds ``2024/dog.jpg`` and not ``2024-old/dog.jpg``; ``s3://b/2024*``
    holds both. ``threads`` is how many will read at once. ``exclude`` are patterns, as in .gitignore, of keys below it.
    Objects of more than ``max_bytes`` are not read.
    """

    def __init__(
        self,
        where: str,
        *,
        settings: S3Settings,
        threads: int,
        hidden: bool,
        max_bytes: int,
        exclude: Sequence[str] = (),
    ) -> None:
        self._bucket, key = split_uri(where)
        self._key = key.removesuffix("*")
        self._exact = bool(self._key) and key == self._key and not key.endswith("/")
        self._prefix = f"{self._key}/" if self._exact else self._key
        self._top = self._prefix[: self._prefix.rfind("/") + 1]
        self._root = f"s3://{self._bucket}/{key.rstrip('/')}".rstrip("/")
        self._listers = settings.listers
        self._hidden = hidden
        self._exclusions = Exclusions(exclude)
        self._max_bytes = max_bytes
        self._store = S3Store(settings, connections=threads + settings.listers)
        self._passed_over = PassedOver()

    @property
    def passed_over(self) -> Mapping[str, int]:
        """How many objects the last listing left out for their name, by suffix."""
        return self._passed_over.counts

    @property
    def throttled(self) -> int:
        """How many requests the store has refused so far because they were too many."""
        return self._store.throttled

    @property
    def root(self) -> str:
        """The canonical URI of the bucket, the prefix or the object."""
        return self._root

    def list(self) -> Iterator[Ref | Reject]:
        """Every object whose name looks like an image's, in no promised order, while later pages are on their way.

        Raises SourceError, at the first step, where the bucket cannot be listed.
        """
        self._passed_over = PassedOver()
        if self._exact and (found := self._store.find(self._bucket, self._key)):
            yield self._ref(found, top=self._key[: self._key.rfind("/") + 1])
            return
        for page in S3Listing(self._store, self._bucket, prefix=self._prefix, listers=self._listers).pages():
            for listed in page:
                if self._wanted(listed.key):
                    yield self._ref(listed, top=self._top)
                elif kind := self._excluded(listed.key):
                    self._passed_over.note_kind(kind)
                elif self._visible(listed.key) and not listed.key.endswith("/"):
                    self._passed_over.note(listed.key)

    def read(self, refs: Sequence[Ref]) -> Iterator[Outcome]:
        """The bytes of each object, with the version and the user's metadata that came with them."""
        return map(self._read, refs)

    def covers(self, uri: str) -> bool:
        """Whether a listing would name an image of this address, if it is there."""
        bucket, key = split_uri(uri)
        return bucket == self._bucket and (
            (self._exact and key == self._key) or (key.startswith(self._prefix) and self._wanted(key))
        )

    def scan(self, uri: str) -> Ref | None:
        """The object as a listing would name it, by its address; None where there is none."""
        key = split_uri(uri)[1]
        found = self._store.find(self._bucket, key)
        alone = self._exact and key == self._key
        return self._ref(found, top=key[: key.rfind("/") + 1] if alone else self._top) if found else None

    def locate(self, uri: str) -> Whereabouts:
        """Whether an object that the listing does not name is there."""
        bucket, key = split_uri(uri)
        first = self._store.list_page(bucket, prefix=key).objects[:1]  # in their order, the key itself comes first
        return "there" if any(each.key == key for each in first) else "gone"

    def check(self) -> None:
        """Raise SourceError where the bucket could not be listed now."""
        self._store.list_page(self._bucket, prefix=self._prefix, delimiter="/")

    def close(self) -> None:
        """Close the connections."""
        self._store.close()

    def _read(self, ref: Ref) -> Outcome:
        if ref.size is not None and ref.size > self._max_bytes:
            fault = CannotRead(f"{ref.size} bytes; limits.max_bytes is {self._max_bytes}", reason="too_large")
            return rejected(fault, ref.uri)
        return fetch(self._store, ref, limit=self._max_bytes)

    def _wanted(self, key: str) -> bool:
        return is_image_name(key[len(self._top) :]) and self._visible(key) and not self._excluded(key)

    def _excluded(self, key: str) -> str | None:
        return self._exclusions.kind(key[len(self._top) :])

    def _visible(self, key: str) -> bool:
        return self._hidden or not is_hidden(key[len(self._top) :])

    def _ref(self, listed: Listed, *, top: str) -> Ref:
        folder, _, name = listed.key[len(top) :].rpartition("/")
        return Ref(
            uri=f"s3://{self._bucket}/{listed.key}",
            source=self._root,
            object_key=f"{self._bucket}/{listed.key}",
            folder=folder,
            filename=name,
            version=listed.version,
            size=listed.size,
        )


def fetch(store: S3Store, ref: Ref, *, limit: int) -> Outcome:
    """Read one ref with an S3 URI; asks conditionally where the listing did not know a version."""
    bucket, key = split_uri(ref.uri)
    try:
        fetched = store.fetch(
            bucket,
            key,
            limit=limit,
            stored_version=ref.stored_version if ref.version is None else None,
            listed=ref.version,
        )
    except CannotRead as fault:
        return rejected(fault, ref.uri)
    if fetched is None:
        return Unchanged(ref)
    return Blob(ref, fetched.data, fetched.version, {**fetched.meta, **ref.meta})
