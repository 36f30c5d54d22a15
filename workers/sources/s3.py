"""Images in a bucket of S3, or of a store that speaks its language.

A listing comes in pages of a thousand keys, one after the other. To have several at once, the keys are cut into
ranges at the sub-prefixes of the top, and each range is listed from where the one before it ends.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from connector.errors import CannotRead
from connector.remote.s3 import Listed, Page, S3Store, split_uri
from connector.settings import S3Settings
from workers.records import Blob, Outcome, Ref, Reject, Unchanged
from workers.sources.exclusions import Exclusions
from workers.sources.passed_over import PassedOver
from workers.sources.source import Whereabouts, is_hidden, is_image_name, rejected

KEY_RANGES_PER_LISTER = 4
"""More ranges than threads, so that a long one does not leave the others idle."""
DEEPEST_CUT = 4
"""How many lone sub-prefixes are followed to find a place to cut."""


@dataclass(frozen=True, slots=True)
class _KeyRange:
    """The keys after ``after`` up to and including ``until``, None for no end."""

    after: str
    until: str | None


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
        for page in self._pages(self._key_ranges()):
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

    def _key_ranges(self) -> Sequence[_KeyRange]:
        """Where to cut the listing: at the sub-prefixes of the first level that has several."""
        prefix = self._prefix
        ordered = not self._bucket.endswith("--x-s3")  # a directory bucket lists in no order: there is no cutting it
        for _ in range(DEEPEST_CUT if self._listers > 1 and ordered else 0):
            page = self._store.list_page(self._bucket, prefix=prefix, delimiter="/")
            if len(page.prefixes) > 1:
                return cut(page.prefixes, pieces=self._listers * KEY_RANGES_PER_LISTER)
            if not page.prefixes or page.token is not None:
                break
            (prefix,) = page.prefixes
        return [_KeyRange("", None)]

    def _pages(self, key_ranges: Sequence[_KeyRange]) -> Iterator[Sequence[Listed]]:
        """The pages of all key ranges as they come in; at most one page of each of ``listers`` ranges is held."""
        waiting = [*reversed(key_ranges)]
        running: dict[Future[Page], _KeyRange] = {}
        with ThreadPoolExecutor(self._listers, thread_name_prefix="list") as pool:
            while waiting or running:
                while waiting and len(running) < self._listers:
                    key_range = waiting.pop()
                    running[pool.submit(self._page, key_range, None)] = key_range
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    key_range = running.pop(future)
                    page = future.result()
                    within = [o for o in page.objects if key_range.until is None or o.key <= key_range.until]
                    if page.token is not None and len(within) == len(page.objects):
                        running[pool.submit(self._page, key_range, page.token)] = key_range
                    yield within

    def _page(self, key_range: _KeyRange, token: str | None) -> Page:
        return self._store.list_page(self._bucket, prefix=self._prefix, after=key_range.after, token=token)


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


def cut(prefixes: Sequence[str], *, pieces: int) -> Sequence[_KeyRange]:
    """At most ``pieces`` key ranges that together hold every key once, cut at some of the sorted ``prefixes``."""
    step = -(-len(prefixes) // pieces)
    marks = ["", *prefixes[step::step]]
    return [_KeyRange(after, until) for after, until in zip(marks, [*marks[1:], None], strict=True)]
