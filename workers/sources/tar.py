"""Images in tar files (WebDataset), on disk or on S3: listed by their headers, read by their position.

Members of one stem belong together, in whatever order: ``000.jpg 000.json 000.txt`` is an image with its metadata and
caption (``workers.sources.sidecar_window``).
"""

import itertools
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote_from_bytes

from connector.errors import CannotRead, SourceError
from connector.records import path_of
from connector.remote.s3 import S3Store, split_uri
from connector.remote.s3_bytes import Part
from connector.version import Version
from workers.records import Blob, Outcome, Ref, Reject
from workers.sources.archive import Archive, ArchiveReader, Member
from workers.sources.disk import uri_of
from workers.sources.exclusions import Exclusions
from workers.sources.file import opened, version_of
from workers.sources.passed_over import PassedOver
from workers.sources.sidecar_window import SidecarWindow
from workers.sources.sidecars import MAX_SIDECAR_BYTES, Sidecars, kind_of
from workers.sources.source import is_hidden, is_image_name, readable, rejected

log = logging.getLogger(__name__)

RUN_BYTES = 4 * 1024 * 1024
"""Neighbouring images are read together up to this size."""
MAX_TARS = 1_000_000
"""Names that one pattern may stand for."""
_LOCAL_WINDOW = 4 * 1024
_S3_WINDOW = 4 * 1024 * 1024


class TarSource:
    """One tar, or many named with braces: ``shards-{000..099}.tar``, ``s3://bucket/{train,val}.tar``.

    ``store`` is given for tars on S3. Of many, a broken or missing tar is rejected by name and the others go on.
    """

    def __init__(
        self, where: str, *, store: S3Store | None, hidden: bool, max_bytes: int, exclude: Sequence[str] = ()
    ) -> None:
        self._store = store
        self._root = where if store else uri_of(Path(os.path.abspath(where)))  # noqa: PTH100  (resolves "..")
        self._tars = [where] if store is None and Path(where).exists() else expand(where)
        self._hidden = hidden
        self._exclusions = Exclusions(exclude)
        self._max_bytes = max_bytes
        self._passed_over = PassedOver()

    @property
    def passed_over(self) -> Mapping[str, int]:
        """How many members the last listing left out for their name, by suffix."""
        return self._passed_over.counts

    @property
    def throttled(self) -> int:
        """How many requests the store of tars on S3 has refused so far because they were too many."""
        return 0 if self._store is None else self._store.throttled

    @property
    def root(self) -> str:
        """The URI of the tar, or of all of them with their braces."""
        return self._root

    def list(self) -> Iterator[Ref | Reject]:
        """Every image of every tar, in the order of the files, with what the members beside it say.

        A tar on disk is skipped through by its headers; one on S3 is streamed once to be listed. Raises SourceError
        when the only tar cannot be listed.
        """
        self._passed_over = PassedOver()
        for tar in self._tars:
            uri = tar if self._store else uri_of(Path(os.path.abspath(tar)))  # noqa: PTH100
            listed = 0
            try:
                with self._open(uri) as archive:
                    for listed, item in enumerate(self._list_one(archive), start=1):  # noqa: B007  (a count)
                        yield item
            except CannotRead as fault:
                if len(self._tars) == 1 and not listed:
                    raise SourceError(f"{tar} cannot be listed: {fault}. Name a readable, uncompressed tar.") from fault
                if fault.reason == "missing":
                    fault = CannotRead(str(fault), reason="missing_archive")
                yield rejected(fault, uri, stage="list")

    def read(self, refs: Sequence[Ref]) -> Iterator[Outcome]:
        """The bytes of each member; neighbours of one tar come with one request."""
        for run in runs(refs, limit=min(RUN_BYTES, self._max_bytes)):
            yield from self._read(run)

    def close(self) -> None:
        """Close the connections."""
        if self._store is not None:
            self._store.close()

    def _read(self, run: Sequence[Ref]) -> Iterator[Outcome]:
        size = run[0].size or 0
        start, stop = span_of(run[0])[0], span_of(run[-1])[1]
        uri = run[0].uri.rpartition("#")[0]
        try:
            if size > self._max_bytes:
                raise CannotRead(f"{size} bytes; limits.max_bytes is {self._max_bytes}", reason="too_large")
            parts = [Part(first - start, end - start, ref.crc32) for ref in run for first, end in [span_of(ref)]]
            with self._open(uri, version=_container(run[0]), parts=parts) as archive:
                data = archive.span(start, stop)
        except CannotRead as fault:
            if fault.reason == "checksum_mismatch" and len(run) > 1:  # one that differs costs no other
                for ref in run:
                    yield from self._read([ref])
            else:
                yield from (rejected(fault, ref.uri) for ref in run)
            return
        for ref in run:
            first, end = span_of(ref)
            yield Blob(ref, data[first - start : end - start], ref.version or Version(), ref.meta, ref.fields)

    @contextmanager
    def _open(self, uri: str, *, version: Version | None = None, parts: Sequence[Part] = ()) -> Iterator[Archive]:
        """A tar; one of exactly ``version`` if that is given. Raises CannotRead, also from within.

        On S3, ``parts`` are checked in what is read.
        """
        if self._store is not None:
            yield open_s3(self._store, uri, version=version, parts=parts)
            return
        with opened(os.fsencode(path_of(uri))) as (handle, found):
            if version not in (None, version_of(found)):
                raise CannotRead("the tar was changed after it was listed", reason="changed_meanwhile")
            yield Archive(
                uri=uri,
                object_key=readable(os.fsencode(path_of(uri))),
                size=found.st_size,
                version=version_of(found),
                span=lambda start, stop: _read_span(handle, start, stop),
                window=_LOCAL_WINDOW,
            )

    def _list_one(self, archive: Archive) -> Iterator[Ref | Reject]:
        window: SidecarWindow[Member] = SidecarWindow(archive.uri, passed_over=self._passed_over)
        seen: set[bytes] = set()
        try:
            for member, text in self._members(ArchiveReader(archive)):
                if text is not None:
                    window.add_sidecar(member.name, text)
                elif fault := _unfit(member, seen):
                    yield rejected(fault, _member_uri(archive, member), stage="list")
                else:
                    seen.add(member.name)
                    window.add_image(member.name, member)
                if window.full:
                    yield from (self._ref(archive, *each) for each in window.older_half())
        except CannotRead:
            yield from (self._ref(archive, *each) for each in window.rest())  # what stood before the break is whole
            raise
        yield from (self._ref(archive, *each) for each in window.rest())

    def _members(self, reader: ArchiveReader) -> Iterator[tuple[Member, bytes | None]]:
        """Images, and sidecars with their text: read on the way, while their bytes are at hand."""
        for member in reader.members():
            name = readable(member.name)
            if is_hidden(name) and not self._hidden:
                continue
            if kind := self._exclusions.kind(name.removeprefix("./").lstrip("/")):
                self._passed_over.note_kind(kind)
            elif is_image_name(name):
                yield (member if self._store is None else reader.summed(member)), None
            elif member.regular and kind_of(member.name):
                yield member, reader.read_at(member.offset, min(member.size, MAX_SIDECAR_BYTES + 1))
            else:
                self._passed_over.note(name)

    def _ref(self, archive: Archive, member: Member, sidecars: Sidecars) -> Ref:
        inner, _, filename = readable(member.name).removeprefix("./").strip("/").rpartition("/")
        tar = archive.object_key.rpartition("/")[2] if len(self._tars) > 1 else ""
        return Ref(
            uri=_member_uri(archive, member),
            source=self._root,
            object_key=f"{archive.object_key}#{readable(member.name)}",
            folder="/".join(filter(None, [tar, inner])),
            filename=filename,
            version=archive.version.of_member(offset=member.offset),
            size=member.size,
            meta=sidecars.meta,
            position=member.offset,
            fields=sidecars.fields,
            crc32=member.crc32,
        )


def open_s3(store: S3Store, uri: str, *, version: Version | None, parts: Sequence[Part] = ()) -> Archive:
    """A tar on S3, in which ``parts`` are checked. Its size is asked for where no ``version`` is given, and unknown
    otherwise. Raises CannotRead.
    """
    bucket, key = split_uri(uri)
    size = 0
    if version is None:
        found = store.find(bucket, key)
        if found is None:
            raise CannotRead("there is no such object, or this key may not read it", reason="missing")
        version, size = found.version, found.size
    wanted = version
    return Archive(
        uri=uri,
        object_key=f"{bucket}/{key}",
        size=size,
        version=version,
        span=lambda start, stop: store.fetch_span(bucket, key, start=start, stop=stop, version=wanted, parts=parts),
        window=_S3_WINDOW,
    )


def runs(refs: Sequence[Ref], *, limit: int) -> Iterator[Sequence[Ref]]:
    """Cut refs into runs of neighbours in one version of one tar, none longer than ``limit`` bytes but lone ones."""
    run: list[Ref] = []
    for ref in refs:
        if run and not (
            _home(ref) == _home(run[0])
            and span_of(run[-1])[1] <= span_of(ref)[0]
            and span_of(ref)[1] - span_of(run[0])[0] <= limit
        ):
            yield run
            run = []
        run.append(ref)
    if run:
        yield run


def span_of(ref: Ref) -> tuple[int, int]:
    """Where a member's bytes begin and end in its tar."""
    start = ref.position or 0
    return start, start + (ref.size or 0)


def expand(pattern: str) -> Sequence[str]:
    """The names that a pattern with braces stands for: ``{000..099}`` counts, ``{a,b}`` chooses.

    Raises SourceError for more than ``MAX_TARS``.
    """
    names = [*itertools.islice(_expand(pattern), MAX_TARS + 1)]
    if len(names) > MAX_TARS:
        raise SourceError(f"{pattern} stands for more than {MAX_TARS:,} tars. Check the numbers, or name fewer.")
    return names


_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", re.ASCII)


def _expand(pattern: str) -> Iterator[str]:
    match = _BRACES.search(pattern)
    if match is None:
        yield pattern
        return
    first, last, words = match.groups()
    choices: Iterator[str] = iter(words.split(",")) if words is not None else _count(first, last)
    for choice in choices:
        yield from _expand(pattern[: match.start()] + choice + pattern[match.end() :])


def _count(first: str, last: str) -> Iterator[str]:
    step = 1 if int(first) <= int(last) else -1
    width = max(len(first), len(last)) if "0" in (first[0], last[0]) else 0
    return (f"{number:0{width}}" for number in range(int(first), int(last) + step, step))


def _home(ref: Ref) -> tuple[str, Version]:
    return ref.uri.rpartition("#")[0], _container(ref)


def _container(ref: Ref) -> Version:
    return (ref.version or Version()).container


def _unfit(member: Member, seen: set[bytes]) -> CannotRead | None:
    if not member.regular:
        return CannotRead("a link, device or sparse member holds no image", reason="not_a_file")
    if member.name in seen:
        return CannotRead("a member of this name came before in the same tar", reason="bad_archive")
    return None


def _member_uri(archive: Archive, member: Member) -> str:
    return f"{archive.uri}#{quote_from_bytes(member.name)}"


def _read_span(handle: int, start: int, stop: int) -> bytes:
    data = os.pread(handle, stop - start, start)
    if len(data) != stop - start:
        raise CannotRead(f"the tar ends before byte {stop}", reason="read_error")
    return data
