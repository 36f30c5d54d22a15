"""Images named one by one, by addresses of any kind: paths, ``file:``, ``s3:`` and ``http(s):`` URIs.

What a list or table says about an image belongs to its version. So a changed
caption brings the image in again, and an unchanged one is asked for conditionally.
"""

import os
import posixpath
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from connector.errors import CannotRead, SourceError
from connector.printable import mask_credentials, printable
from connector.records import path_of
from connector.remote.http import CannotFetch, WebClient, parse_url
from connector.remote.s3 import S3Store, split_uri
from connector.remote.signed import unsigned
from connector.settings import Settings
from connector.version import Version
from workers.records import Blob, Outcome, Ref, Reject, Unchanged
from workers.sources.disk import DiskSource, ref_of
from workers.sources.s3 import fetch as fetch_s3
from workers.sources.sidecars import Beside
from workers.sources.source import rejected, scheme_of

HELD_ADDRESSES = 4096
"""Signed addresses that stay in memory for threads that come a little late."""


class Addresses:
    """Turns addresses into refs and refs into images. ``source`` is the URI of the list they stand in.

    ``rows`` gives the addresses of the list again, each with its position: signed ones are looked up there; without it
    they are remembered. Relative paths begin in ``base``, a folder or s3://bucket/prefix. Clients are made when the
    first address needs them, but for a ``store`` that is there; ``read`` is for many threads.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        source: str,
        base: Path | str,
        rows: Callable[[], Iterator[tuple[int, str]]] | None = None,
        store: S3Store | None = None,
    ) -> None:
        self._settings = settings
        self._source = source
        self._prefix = base if isinstance(base, str) else None
        folder = Path("/") if isinstance(base, str) else base
        self._base = os.fsencode(folder)
        self._limit = settings.limits.max_bytes
        self._disk = DiskSource(folder, hidden=True, max_bytes=self._limit)
        self._s3 = store
        self._web: WebClient | None = None
        self._lock = threading.Lock()
        self._signed = None if rows is None else _SignedAddresses(rows)
        self._remembered: dict[str, str] = {}

    @property
    def throttled(self) -> int:
        """How many requests S3 has refused so far because they were too many."""
        return 0 if self._s3 is None else self._s3.throttled

    def ref(
        self, address: str, *, position: int | None, meta: Mapping[str, Any] | None = None, identity: str | None = None
    ) -> Ref | Reject:
        """The ref of the address in one row, or the reject of one that leads nowhere."""
        try:
            ref = self._ref(address.strip())
        except CannotFetch as fault:
            return _with_row(Reject(_shown(address), stage="list", reason=fault.reason, detail=str(fault)), position)
        except CannotRead as fault:
            return _with_row(rejected(fault, _shown(address), stage="list"), position)
        if isinstance(ref, Reject):
            return _with_row(ref, position)
        version = None if ref.version is None else ref.version.with_metadata(meta or {})
        return replace(ref, version=version, meta=meta or {}, position=position, identity=identity)

    def read(self, refs: Sequence[Ref]) -> Iterator[Outcome]:
        """One outcome for each ref, in order."""
        for ref in refs:
            plain = replace(
                ref,
                version=ref.version and ref.version.without_metadata(ref.meta),
                stored_version=ref.stored_version and ref.stored_version.without_metadata(ref.meta),
            )
            match self._read(plain):
                case Blob(data=data, version=version, meta=meta, fields=fields):
                    yield Blob(ref, data, version.with_metadata(ref.meta), meta, fields)
                case Unchanged():
                    yield Unchanged(ref)
                case Reject() as reject:
                    yield _with_row(reject, ref.position)

    def close(self) -> None:
        """Close the connections."""
        for client in (self._s3, self._web):
            if client is not None:
                client.close()

    def _ref(self, address: str) -> Ref | Reject:
        match scheme := scheme_of(address):
            case "http" | "https":
                ref = web_ref(address, source=self._source, signature=self._settings.web.signature_params)
                if ref.signed and self._signed is None:
                    self._remembered[ref.uri] = address
                return ref
            case "s3":
                return _s3_ref(address, source=self._source)
            case "" if self._prefix is not None and not address.startswith("/"):
                return _beside(address, prefix=self._prefix, source=self._source)
            case "file" | "":
                return self._disk_ref(address)
            case _:
                raise CannotRead(
                    f"{scheme}:// is not read; an address is a path or begins with file, s3, http or https",
                    reason="bad_address",
                )

    def _disk_ref(self, address: str) -> Ref | Reject:
        try:
            path = os.fsencode(path_of(address)) if address.startswith("file:") else os.fsencode(address)
        except ValueError as error:
            raise CannotRead(str(error), reason="bad_address") from error
        path = os.path.normpath(os.path.join(self._base, path))  # noqa: PTH118  (bytes)
        return ref_of(path, top=self._base, source=self._source, beside=Beside())

    def _read(self, ref: Ref) -> Outcome:
        match ref.uri.partition(":")[0]:
            case "file":
                return next(self._disk.read([ref]))
            case "s3":
                return fetch_s3(self._s3_store(), ref, limit=self._limit)
            case _:
                return read_web(self._web_client(), ref, address=self._address_of(ref) if ref.signed else None)

    def _address_of(self, ref: Ref) -> str | None:
        """A signed address, as it stands in the list."""
        return self._remembered.get(ref.uri) if self._signed is None else self._signed.at(ref.position or 0)

    def _s3_store(self) -> S3Store:
        with self._lock:
            if self._s3 is None:
                self._s3 = S3Store(self._settings.s3, connections=self._settings.ingest.readers)
            return self._s3

    def _web_client(self) -> WebClient:
        with self._lock:
            if self._web is None:
                self._web = WebClient(
                    self._settings.web, max_bytes=self._limit, connections=self._settings.ingest.readers
                )
            return self._web


class _SignedAddresses:
    """The addresses of a list by their position, read forwards again: who asks in their order reads the list once."""

    def __init__(self, rows: Callable[[], Iterator[tuple[int, str]]]) -> None:
        self._rows = rows
        self._lock = threading.Lock()
        self._reading: Iterator[tuple[int, str]] = iter(())
        self._held: OrderedDict[int, str] = OrderedDict()
        self._last = 0

    def at(self, position: int) -> str | None:
        """The address there; None where the list has none any more."""
        with self._lock:
            if position not in self._held and (position <= self._last or not self._last):
                self._reading, self._last = self._rows(), 0
                self._held.clear()
            while position not in self._held and (row := next(self._reading, None)) is not None:
                self._last, address = row
                self._held[self._last] = address
                if len(self._held) > HELD_ADDRESSES:
                    self._held.popitem(last=False)
            return self._held.get(position)


def web_ref(address: str, *, source: str, signature: Sequence[str] = ()) -> Ref:
    """The ref of an http(s) address, by its name without its signature; only asking its server tells its version.

    Raises CannotFetch.
    """
    url = parse_url(address)
    whole = str(url)
    uri = unsigned(whole, more=signature)
    folder, _, name = url.path.strip("/").rpartition("/")
    return Ref(
        uri=uri,
        source=source,
        object_key=uri.partition("://")[2],
        folder=f"{url.host}/{folder}".rstrip("/"),
        filename=name,
        version=None,
        signed=uri != whole,
    )


def read_web(web: WebClient, ref: Ref, *, address: str | None = None) -> Outcome:
    """Fetch one ref, by its signed ``address`` where it has one, conditionally where it is stored already."""
    stored = ref.stored_version
    try:
        page = web.get(address or ref.uri, etag=stored and stored.page_etag, modified=stored and stored.page_modified)
    except CannotFetch as fault:
        return Reject(ref.uri, stage="read", reason=fault.reason, detail=str(fault))
    if page is None:
        return Unchanged(ref)
    version = Version.of_page(etag=page.etag, modified=page.modified, data=page.data)
    return Unchanged(ref) if version == stored else Blob(ref, page.data, version, ref.meta)


def _s3_ref(address: str, *, source: str) -> Ref:
    try:
        bucket, key = split_uri(address)
    except SourceError as error:
        raise CannotRead(str(error), reason="bad_address") from error
    if not key or key.endswith("/"):
        raise CannotRead("no object is named; an address looks like s3://bucket/folder/dog.jpg", reason="bad_address")
    folder, _, name = key.rpartition("/")
    return Ref(
        uri=f"s3://{bucket}/{key}",
        source=source,
        object_key=f"{bucket}/{key}",
        folder=f"{bucket}/{folder}".rstrip("/"),
        filename=name,
        version=None,
    )


def _beside(path: str, *, prefix: str, source: str) -> Ref:
    """The ref of an object by its path from the prefix that its list lies below."""
    bucket, top = split_uri(f"{prefix}/")
    key = posixpath.normpath(top + path)
    if key == "." or key.startswith("../") or key == "..":
        raise CannotRead(f"{path!r:.200} leads out of the bucket {bucket}", reason="bad_address")
    ref = _s3_ref(f"s3://{bucket}/{key}", source=source)
    return replace(ref, folder=posixpath.dirname(key[len(top) :])) if key.startswith(top) else ref


def _with_row(reject: Reject, position: int | None) -> Reject:
    return reject if position is None else replace(reject, detail=f"row {position}: {reject.detail}")


def _shown(address: str) -> str:
    """An address for a report: of bounded length, without name and password, and text that can be shown."""
    return printable(mask_credentials(address)[:2000])
