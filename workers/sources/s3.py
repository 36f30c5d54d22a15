"""Images in a bucket of S3, or of a store that speaks its language."""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote, unquote

from connector.errors import CannotRead, SourceError
from connector.remote.s3 import Listed, S3Store, split_uri
from connector.settings import S3Settings
from connector.version import Version
from workers.records import Blob, Outcome, Ref, Reject, Unchanged
from workers.sources.exclusions import Exclusions
from workers.sources.passed_over import PassedOver
from workers.sources.s3_listing import S3Listing
from workers.sources.sidecars import MAX_SIDECAR_BYTES, Beside, BrokenSidecar, Sidecars, beginning, kind_of
from workers.sources.source import Whereabouts, is_hidden, is_image_name, rejected

log = logging.getLogger(__name__)

CHECK_S = 2.0
"""Seconds for which a check waits for a store that is away, and for each step of a request."""


class S3Source:
    """The objects under ``s3://bucket/prefix``, or the one object of that key.

    A prefix stands for a folder: ``s3://b/2024`` holds ``2024/dog.jpg`` and not ``2024-old/dog.jpg``; ``s3://b/2024*``
    holds both. What stands beside an image as its sidecar belongs to it, as in a folder. ``threads`` is how many will
    read at once. ``exclude`` are patterns, as in .gitignore, of keys below it.
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
        self._settings = settings
        self._store = S3Store(settings, connections=threads + settings.listers)
        self._checking = threading.Lock()
        self._checked: S3Store | None = None
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
            yield self._single(found)
            return
        listing = S3Listing(self._store, self._bucket, prefix=self._prefix, listers=self._listers)
        for stretch in listing.stretches():
            beside = self._beside([*stretch.objects, *stretch.around])
            for listed in stretch.objects:
                if self._wanted(listed.key):
                    yield self._ref(listed, top=self._top, beside=beside)
                elif kind := self._excluded(listed.key):
                    self._passed_over.note_kind(kind)
                elif self._visible(listed.key) and not listed.key.endswith("/"):
                    self._passed_over.note(listed.key)

    def read(self, refs: Sequence[Ref]) -> Iterator[Outcome]:
        """The bytes of each object, with the version and the user's metadata that came with them, and its sidecars'."""
        broken: dict[str, str] = {}
        for ref in refs:
            yield self._read(ref, broken)
        if broken:
            name, why = next(iter(broken.items()))
            log.warning("sidecars_ignored count=%d first=%s detail=%s", len(broken), name, why)

    def covers(self, uri: str) -> bool:
        """Whether a listing would name an image of this address, if it is there."""
        bucket, key = split_uri(uri)
        return bucket == self._bucket and (
            (self._exact and key == self._key) or (key.startswith(self._prefix) and self._wanted(key))
        )

    def belongs(self, uri: str) -> bool:
        """Whether an object of this address would be the sidecar of images that a listing names."""
        bucket, key = split_uri(uri)
        near = key.startswith(self._prefix) or (self._exact and key.startswith(_alike(self._key)))
        return bucket == self._bucket and near and self._is_sidecar(key)

    def scan(self, uri: str) -> Sequence[Ref]:
        """What a listing would name at an address: the image, or the images that a sidecar belongs to, or did."""
        key = split_uri(uri)[1]
        around = self._around(key)
        if not self._is_sidecar(key):
            here = {listed.key: listed for listed in around}
            found = here.get(key) or self._store.find(self._bucket, key)
            return [self._named(found, around)] if found else []
        told = Listed(key, 0, Version(""))
        with_it = self._beside([*around, told])
        images = [listed for listed in around if self.covers(f"s3://{self._bucket}/{listed.key}")]
        return [self._named(listed, around) for listed in images if told in with_it.belonging_to(listed.key)]

    def locate(self, uri: str) -> Whereabouts:
        """Whether an object that the listing does not name is there."""
        bucket, key = split_uri(uri)
        first = self._store.list_page(bucket, prefix=key).objects[:1]  # in their order, the key itself comes first
        return "there" if any(each.key == key for each in first) else "gone"

    def check(self) -> None:
        """Raise SourceError where the bucket could not be listed now; an outage is waited for some seconds."""
        with self._checking:
            if self._checked is None:
                self._checked = S3Store(_impatient(self._settings), connections=1)
            self._checked.list_page(self._bucket, prefix=self._prefix, delimiter="/")

    def close(self) -> None:
        """Close the connections."""
        self._store.close()
        with self._checking:
            if self._checked is not None:
                self._checked.close()

    def _read(self, ref: Ref, broken: dict[str, str]) -> Outcome:
        if ref.size is not None and ref.size > self._max_bytes:
            fault = CannotRead(f"{ref.size} bytes; limits.max_bytes is {self._max_bytes}", reason="too_large")
            return rejected(fault, ref.uri)
        if not ref.sidecars or ref.version is None or ref.size is None:
            return fetch(self._store, ref, limit=self._max_bytes)
        outcome = fetch(
            self._store, replace(ref, version=ref.version.without_sidecars(size=ref.size)), limit=self._max_bytes
        )
        if not isinstance(outcome, Blob):
            return outcome
        versions, said = self._read_sidecars(ref, broken)
        version, meta = outcome.version.with_sidecars(versions), {**outcome.meta, **said.meta, **ref.meta}
        return replace(outcome, ref=ref, version=version, meta=meta, fields=said.fields)

    def _read_sidecars(self, ref: Ref, broken: dict[str, str]) -> tuple[Sequence[Version], Sidecars]:
        """The versions of an image's sidecars and what they say; what cannot be used is noted in ``broken``."""
        folder = split_uri(ref.uri)[1].rpartition("/")
        versions, found = [], Sidecars()
        for name in map(unquote, ref.sidecars):
            key = f"{folder[0]}{folder[1]}{name}"
            try:
                fetched = self._store.fetch(self._bucket, key, limit=MAX_SIDECAR_BYTES)
                if fetched is not None:
                    versions.append(fetched.version)
                    found.add(fetched.data, kind=kind_of(name.encode()) or ".txt")
            except (CannotRead, BrokenSidecar) as error:
                broken[key] = str(error)
        return versions, found

    def _single(self, found: Listed) -> Ref:
        """The one object that was named; where nothing may be listed it has no sidecars."""
        try:
            around = self._around(found.key)
        except SourceError as error:
            log.info("sidecars_not_listed key=%s detail=%s", found.key, error)
            around = ()
        return self._named(found, around)

    def _around(self, key: str) -> Sequence[Listed]:
        """What begins as an image and its sidecars do: the first page of it."""
        return self._store.list_page(self._bucket, prefix=_alike(key)).objects

    def _named(self, listed: Listed, around: Sequence[Listed]) -> Ref:
        alone = self._exact and listed.key == self._key
        top = listed.key[: listed.key.rfind("/") + 1] if alone else self._top
        return self._ref(listed, top=top, beside=self._beside(around))

    def _beside(self, objects: Iterable[Listed]) -> "_ObjectsBeside":
        sidecars = {listed.key: listed for listed in objects if self._is_sidecar(listed.key)}
        images = (listed.key for listed in objects if is_image_name(listed.key)) if sidecars else ()
        return _ObjectsBeside(sidecars, images=images)

    def _is_sidecar(self, key: str) -> bool:
        below = key[len(self._top) :] if key.startswith(self._top) else key.rpartition("/")[2]
        return (
            kind_of(below.encode()) is not None
            and not self._exclusions.kind(below)
            and (self._hidden or not is_hidden(below))
        )

    def _wanted(self, key: str) -> bool:
        return is_image_name(key[len(self._top) :]) and self._visible(key) and not self._excluded(key)

    def _excluded(self, key: str) -> str | None:
        return self._exclusions.kind(key[len(self._top) :])

    def _visible(self, key: str) -> bool:
        return self._hidden or not is_hidden(key[len(self._top) :])

    def _ref(self, listed: Listed, *, top: str, beside: "_ObjectsBeside") -> Ref:
        folder, _, name = listed.key[len(top) :].rpartition("/")
        sidecars = beside.belonging_to(listed.key)
        return Ref(
            uri=f"s3://{self._bucket}/{listed.key}",
            source=self._root,
            object_key=f"{self._bucket}/{listed.key}",
            folder=folder,
            filename=name,
            version=listed.version.with_sidecars(each.version for each in sidecars),
            size=listed.size,
            sidecars=tuple(quote(each.key.rpartition("/")[2]) for each in sidecars),
        )


class _ObjectsBeside:
    """The sidecars among some objects, and the images that they may belong to, by their keys."""

    def __init__(self, sidecars: Mapping[str, Listed], *, images: Iterable[str]) -> None:
        self._sidecars = sidecars
        self._beside = Beside.of(images=map(str.encode, images), sidecars=map(str.encode, sidecars))

    def belonging_to(self, key: str) -> Sequence[Listed]:
        """An image's sidecars, the weakest word first."""
        found = self._beside.belonging_to(key.encode()) if self._sidecars else ()
        return [self._sidecars[name.decode()] for name in found]


def _impatient(settings: S3Settings) -> S3Settings:
    """The same store, asked by somebody who waits for an answer."""
    steps = {name: min(getattr(settings, name), CHECK_S) for name in ("connect_timeout_s", "read_timeout_s", "retry_s")}
    return settings.model_copy(update={**steps, "attempts": min(settings.attempts, 2)})


def _alike(key: str) -> str:
    """What the keys of an image and of its sidecars begin with."""
    folder, slash, name = key.rpartition("/")
    return f"{folder}{slash}{beginning(name)}"


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
