"""Relocate: a place that moved, or whose images were renamed, keeps its vectors: new points with them, old ones go.

    the same name below the new root, and the same version     not even read
    the same bytes, whatever the name                          read and hashed
    neither                                                    left for an ingestion

The rule: a new point is written before the old one goes, so that whatever stops it, the same call goes on.
"""

import itertools
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from connector.errors import ConfigError, ItemsLost, RunIncomplete
from connector.records import Payload, Point, SpaceVector, StoredPoint, id_of
from connector.run_status import RunStatus
from connector.service.signatures import thumbnail_address
from connector.settings import Settings
from connector.store.engine import Engine
from connector.store.open import open_engine
from workers.pipeline.metadata import CONTENT_FIELDS, address_fields, content_again, describe, hash_of, places_of
from workers.plain_json import clean
from workers.records import REF_VALUES, Blob, Places, Ref, Reject
from workers.run.ingestion import absolute, manifest_of, remembered
from workers.run.prune import of_source
from workers.run.shards import Manifest, RunFolder, exclusive, local_folder, run_folders
from workers.run.status import now
from workers.sources.open import open_source
from workers.sources.source import Source, readable

if TYPE_CHECKING:
    from qdrant_client.models import Filter

BATCH = 256
"""Images looked up, and points written, at a time."""


@dataclass(slots=True)
class Relocated:
    """What became of the images of the new place: listed = moved + present + unknown + rejected.

    ``renamed`` of the moved have another name, or lie in another folder, than before; ``present`` were there already;
    ``unknown`` were never stored, and ``polyglance ingest`` brings them in; ``rejected`` cannot be read. ``left`` are
    the points of the old place whose image is not in the new one.
    """

    old: str
    new: str
    listed: int = 0
    moved: int = 0
    renamed: int = 0
    present: int = 0
    unknown: int = 0
    rejected: int = 0
    left: int = 0


def relocate(old: str, new: str, *, settings: Settings, dry_run: bool) -> Relocated:
    """Move the points of everything below ``old`` to where it lies now, without embedding anything again.

    Raises ConfigError where both are one place, SourceError where the new one cannot be listed, and RunIncomplete where
    the collection holds nothing of the old one.
    """
    with closing(open_source(old, settings=settings)) as before:
        root = before.root
    manifest = RunFolder.of(root, settings=settings).manifest()
    reading = settings if manifest is None else remembered(settings, manifest=manifest)
    with ExitStack() as stack:
        source = stack.enter_context(closing(open_source(new, settings=reading)))
        if source.root == root:
            raise ConfigError(f"{root} is the old place and the new one.")
        for place in sorted({root, source.root}):
            stack.enter_context(exclusive(place, settings=settings))
        engine = stack.enter_context(closing(open_engine(settings.qdrant, collection=settings.collection)))
        spool = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
        thumbnail = thumbnail_address(settings.serve)
        move = _Move(engine, source, old=root, thumbnail=thumbnail, spool=spool, dry_run=dry_run)
        done = move.execute()
        roots = engine.count(where=of_source(source.root))
    if not dry_run:
        _move_runs(old, new, done, settings=settings, is_root=roots > 0)
    return done


@dataclass(frozen=True, slots=True)
class _Pair:
    """An image of the new place, the point that was made of it at the old one, and what is known of it now."""

    ref: Ref
    stored: StoredPoint
    payload: Payload


class _Move:
    """One relocation on its way. What has not the name and version that it had waits in ``spool`` for its bytes."""

    def __init__(
        self,
        engine: Engine,
        source: Source,
        *,
        old: str,
        thumbnail: Callable[[str], str] | None,
        spool: IO[str],
        dry_run: bool,
    ) -> None:
        self._engine = engine
        self._source = source
        self._old, self._new = old, source.root
        self._thumbnail = thumbnail
        self._spool = spool
        self._dry_run = dry_run
        self._claimed: set[str] = set()  # old points that a dry run would have removed
        self._done = Relocated(old, source.root)

    def execute(self) -> Relocated:
        """Those that kept their name first: they are nobody else's. Then the rest, by their bytes."""
        done, before = self._done, self._count_old()
        known = before or self._engine.count(where=of_source(self._new))
        if not known:
            raise RunIncomplete(f"the collection holds nothing of {self._old}; `polyglance status` names its places.")
        listed = self._listed()
        while refs := [*itertools.islice(listed, BATCH)]:
            self._by_name(refs)
        self._spool.seek(0)
        waiting = (Ref(*json.loads(line)) for line in self._spool)
        while refs := [*itertools.islice(waiting, BATCH)]:
            self._by_content(refs)
        done.left = before - len(self._claimed) if self._dry_run else self._count_old()
        if done.listed != done.moved + done.present + done.unknown + done.rejected:
            raise ItemsLost(f"the counts of {done} do not balance. This is a defect: report it.")
        return done

    def _listed(self) -> Iterator[Ref]:
        for item in self._source.list():
            self._done.listed += 1
            if isinstance(item, Reject):
                self._done.rejected += 1
            else:
                yield item

    def _by_name(self, refs: Sequence[Ref]) -> None:
        """Move those whose point is found by their name, in the version that they have; put the others down."""
        there = {point.id: point for point in self._engine.retrieve([ref.point_id for ref in refs])}
        old_ids = {ref.point_id: id_of(uri) for ref in refs if (uri := _moved(ref.uri, self._new, self._old))}
        stored = {point.id: point for point in self._engine.retrieve([*old_ids.values()])}
        pairs: list[_Pair] = []
        stale: list[str] = []
        joined: list[StoredPoint] = []
        for ref in refs:
            before = stored.get(old_ids.get(ref.point_id, ""))
            if (here := there.get(ref.point_id)) is not None:
                if self._roots_moved(here):
                    joined.append(here)
                else:
                    self._done.present += 1
                if before is not None and _content(before) == _content(here):  # stopped between writing and removing
                    stale.append(before.id)
            elif before is not None and ref.version is not None and ref.version == before.payload.get("version"):
                now_there = address_fields(ref, version=ref.version, now=datetime.now(UTC))
                pairs.append(_Pair(ref, before, {**before.payload, **now_there}))
            else:
                self._spool.write(json.dumps(REF_VALUES(ref)) + "\n")
        self._join(joined)
        self._write(pairs, stale=stale)

    def _by_content(self, refs: Sequence[Ref]) -> None:
        """Move those whose bytes are known; the others are for an ingestion."""
        pairs: list[_Pair] = []
        taken: set[str] = set()
        for outcome in self._source.read(refs):
            if not isinstance(outcome, Blob):
                self._done.rejected += 1
                continue
            found = self._find(outcome, taken=taken)
            if found is None:
                self._done.unknown += 1
                continue
            taken.add(found.id)
            self._done.renamed += found.id != id_of(_moved(outcome.ref.uri, self._new, self._old) or "")
            pairs.append(_Pair(outcome.ref, found, _described(outcome, found.payload)))
        self._write(pairs, stale=())

    def _find(self, blob: Blob, *, taken: set[str]) -> StoredPoint | None:
        """The old point with these bytes, the one with the image's name before others."""
        from qdrant_client import models

        same = models.FieldCondition(key="content_hash", match=models.MatchValue(value=hash_of(blob.data)))
        page = self._engine.scroll(limit=BATCH, where=models.Filter(must=[same, self._below_old()]))
        free = [point for point in page.points if point.id not in taken and point.id not in self._claimed]
        wanted = id_of(_moved(blob.ref.uri, self._new, self._old) or "")
        return min(free, key=lambda point: (point.id != wanted, point.id), default=None)

    def _write(self, pairs: Sequence[_Pair], *, stale: Sequence[str]) -> None:
        self._done.moved += len(pairs)
        gone = [*(pair.stored.id for pair in pairs), *stale]
        if self._dry_run:
            self._claimed.update(gone)
            return
        vectors = self._vectors([pair.stored.id for pair in pairs])
        points = [
            Point(pair.ref.point_id, first.vector, self._payload(pair), space=first.space, others=others)
            for pair in pairs
            for first, *others in [vectors[pair.stored.id]]
            if first.vector is not None
        ]
        if points:
            self._engine.upsert(points)
        if gone:
            self._engine.delete(gone)

    def _vectors(self, ids: Sequence[str]) -> dict[str, list[SpaceVector]]:
        """The vectors of points in every space of the collection, that of the answering one first."""
        found: dict[str, list[SpaceVector]] = {each: [] for each in ids}
        for space in self._engine.info().schema.dims if ids else ():
            stored = self._engine.retrieve(ids, fields=[], vectors=True, space=space)
            vectors = {each.id: each.vector for each in stored}
            for each in ids:
                found[each].append(SpaceVector(space, vectors.get(each)))
        return found

    def _payload(self, pair: _Pair) -> Payload:
        """What is known of the image, with the places that it has now."""
        payload = dict(pair.payload)
        places = self._places(pair.stored.payload, uri=pair.ref.uri) or places_of(pair.ref)
        if self._thumbnail is not None:
            payload["thumbnail_url"] = self._thumbnail(pair.ref.point_id)
        return {**payload, **places.payload()}

    def _places(self, before: Payload, *, uri: str) -> Places:
        """The places of a moved image: roots that moved with it, roots above both places, and lists."""
        places, was = Places(), str(before.get("uri"))
        for root, folder in Places.of(before).items():
            moved = _moved(root, self._old, self._new) or root
            if _folder_below(root, was) is None:  # a list, or a pattern: it names what it names
                places[moved] = folder
            elif (below := _folder_below(moved, uri)) is not None:
                places[moved] = below
        return places

    def _roots_moved(self, point: StoredPoint) -> bool:
        roots = Places.of(point.payload)
        return any(_moved(root, self._old, self._new) and not _moved(root, self._new, self._new) for root in roots)

    def _join(self, points: Sequence[StoredPoint]) -> None:
        """Images whose address is the same, of a list that moved: only the root is another."""
        for point in points:
            self._done.moved += 1
            self._claimed.add(point.id)
            if not self._dry_run:
                places = self._places(point.payload, uri=str(point.payload.get("uri")))
                self._engine.set_payload([point.id], {**places.payload()})

    def _count_old(self) -> int:
        return self._engine.count(where=self._below_old())

    def _below_old(self) -> "Filter":
        """Points whose address or root is the old place, or lies below it, and that are not at the new one."""
        from connector.filters.parse import parse_filter

        def below(place: str) -> str:
            ends = (f"uri startswith {json.dumps(place + end)}" for end in "/#")
            return " or ".join([f"uri == {json.dumps(place)}", *ends])

        inside = "" if _moved(self._new, self._old, self._old) is None else f" and not ({below(self._new)})"
        text = f"({below(self._old)} or source == {json.dumps(self._old)}){inside}"
        return parse_filter(text, indexes=self._engine.info().schema.indexes)


def _moved(address: str, old: str, new: str) -> str | None:
    """An address below ``old`` as it is below ``new``; None for one that lies elsewhere."""
    if address == old:
        return new
    return new + address[len(old) :] if address.startswith((f"{old}/", f"{old}#")) else None


def _folder_below(root: str, uri: str) -> str | None:
    """The folder of an image below a root, as its listing would say; None for one that lies elsewhere."""
    if _moved(uri, root, root) is None or uri == root:
        return None
    folder = uri[len(root) + 1 :].rpartition("/")[0]
    return clean(readable(unquote_to_bytes(folder))) if uri.startswith("file:") and "#" not in uri else folder


def _described(blob: Blob, before: Payload) -> Payload:
    """What an image that was read says of itself and beside itself; what was written into its point later stays."""
    content = {name: before[name] for name in CONTENT_FIELDS if name in before}
    described = describe(blob, content_again(blob.data, content), now=datetime.now(UTC))
    later = {name: before[name] for name in ("tenant", "labels") if name in before}
    tags = [*described.get("tags", ()), *(tag for tag in before.get("tags", ()) if tag in before.get("labels", {}))]
    meta = {**before.get("meta", {}), **described.get("meta", {})}
    kept = {"tags": [*dict.fromkeys(tags)], "meta": meta}
    return {**described, **later, **{name: value for name, value in kept.items() if value}}


def _content(point: StoredPoint) -> object:
    return point.payload.get("content_hash")


def _move_runs(old: str, new: str, done: Relocated, *, settings: Settings, is_root: bool) -> None:
    """Let what is kept of the runs follow: the service hands out originals only of places that it finds there."""
    for folder in run_folders(settings):
        manifest = folder.manifest()
        moved = None if manifest is None else _moved(manifest.source, done.old, done.new)
        if manifest is None or moved is None or _moved(manifest.source, done.new, done.new):
            continue
        place = _moved(manifest.place, absolute(old), absolute(new)) or moved
        _note_place(replace(manifest, source=moved, place=place), settings=settings)
        if not done.left:
            folder.remove()
            local_folder(manifest.source, settings=settings).remove()
    if is_root:
        _note_place(manifest_of(done.new, place=new, settings=settings), settings=settings)


def _note_place(manifest: Manifest, *, settings: Settings) -> None:
    """Write down a place that holds what was ingested elsewhere, unless it is known."""
    folder = RunFolder.of(manifest.source, settings=settings)
    if folder.manifest() is not None:
        return
    folder.begin(manifest)
    status = RunStatus(
        run=manifest.run,
        source=manifest.source,
        collection=settings.collection,
        state="done",
        started_at=manifest.started_at,
        updated_at=now(),
    )
    for each in (folder, local_folder(manifest.source, settings=settings)):
        each.write_status(status)
