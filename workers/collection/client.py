"""Collection: add, get, change, remove and search images from a program.

    with Collection.open("photos") as photos:
        beach = photos.add("beach.jpg", meta={"album": "Norderney"})
        hits = photos.search.text("ein Hund im Schnee")

The rule: what is added goes through the pipeline of ingestion, with its decoder, its metadata and its rejects. Opening
loads no model; the first image that is added loads the image tower, which stays.
"""

import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, Unpack, cast, overload

from connector.errors import IMAGE_FAULTS, CollectionMissing, ConfigError, InvalidQuery, UnreadableImage
from connector.models.catalog import find_space
from connector.records import FacetCount, Payload, StoredPoint, masked_uri
from connector.search.client import ImageSearch
from connector.search.options import SearchArguments, Where, as_point_id, shown
from connector.settings import Settings
from connector.settings_sources import named_overrides
from connector.store.engine import CollectionInfo
from connector.store.open import open_engine
from workers.collection.given import GivenImage, GivenImages, checked_id, checked_meta, in_turn, is_one
from workers.records import Counts, Ref, Reject

if TYPE_CHECKING:
    from workers.alerts.delivering import Delivering
    from workers.duplicates.find import DuplicateReport
    from workers.duplicates.groups import DuplicateKind
    from workers.executors.worker import Worker
    from workers.run.check import CheckReport

TOGETHER = 1_000
"""Images that go through the pipeline together, and points that are read or removed at a time."""


AddStatus: TypeAlias = Literal["added", "replaced", "unchanged", "rejected"]


@dataclass(frozen=True, slots=True)
class Added:
    """What became of many images, in the order they were given.

    ``ids`` has one for each image, None for a reject, and ``statuses`` say what became of each; ``rejects`` are those
    of the images that were rejected, in their order. ``counts`` balance: listed is stored + unchanged + rejected.
    """

    ids: tuple[str | None, ...]
    statuses: tuple[AddStatus, ...]
    rejects: tuple[Reject, ...]
    counts: Counts


class Collection:
    """A collection of images to read and to write. Safe to use from many threads; closed by ``with`` or ``close``."""

    def __init__(self, settings: Settings, *, home: Path | None = None) -> None:
        """``home`` is a folder whose files count as of one source, that folder, and not each as one of its own."""
        self.settings = settings
        self._engine = open_engine(settings.qdrant, collection=settings.collection)
        self._given = GivenImages(settings, home=home)
        self._adding = threading.Lock()  # the pipeline takes one shard at a time
        self._opening = threading.Lock()
        self._worker: Worker | None = None
        self._search: ImageSearch | None = None
        self._delivering: Delivering | None = None
        self._closed = False

    @classmethod
    def open(
        cls,
        collection: str | None = None,
        *,
        space: str | None = None,
        settings: Settings | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> Self:
        """Open a collection by its name, by default the one of the space; the first ``add`` makes one that is missing.

        ``overrides`` maps dotted setting names to values, such as ``{"qdrant.url": "http://localhost:6333"}``;
        ``settings`` stand in for all of them. Raises ConfigError.
        """
        given = named_overrides(overrides, space=space, collection=collection, settings=settings)
        settings = settings or Settings.load(given)
        find_space(settings.model.space)  # before anything is opened
        return cls(settings)

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._engine.collection

    @property
    def search(self) -> ImageSearch:
        """The collection to ask, open for as long as this one. Raises CollectionMissing where nothing was added yet."""
        with self._opening:
            self._refuse_when_closed()
            if self._search is None:
                self._search = ImageSearch.open(settings=self.settings)
            return self._search

    @overload
    def add(  # type: ignore[overload-overlap]  # a str is one image, not many of one letter each
        self, image: GivenImage, *, meta: Mapping[str, Any] | None = None, id: str | uuid.UUID | None = None
    ) -> str: ...

    @overload
    def add(
        self,
        image: Iterable[GivenImage],
        *,
        meta: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        id: Sequence[str | uuid.UUID | None] | None = None,
    ) -> Added: ...

    def add(
        self,
        image: "GivenImage | Iterable[GivenImage]",
        *,
        meta: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        id: "str | uuid.UUID | Sequence[str | uuid.UUID | None] | None" = None,
    ) -> str | Added:
        """Add an image, or many; they can be found when this returns.

        One image gives its id, many an ``Added``. An image is a path, an address, a file's bytes, a PIL image or an
        array of uint8. ``meta`` is the user's own metadata, for all or one for each; its ``tags`` become the field of
        that name. ``id`` identifies an image in place of its address, or of its bytes where it has none: a UUID as it
        is, of any other text one is made. An image of the same identity is replaced; one that is stored in this very
        version is left as it is.

        Raises InvalidQuery for one image that cannot be read and UnreadableImage for what is none; of many, these
        become rejects. Raises InvalidQuery for ids that are given twice, StoreError, ModelError and IngestError.
        """
        if is_one(image):
            added = self._add([cast("GivenImage", image)], meta=[meta], ids=[id])
            if added.rejects:
                raise _error_of(added.rejects[0])
            return cast("str", added.ids[0])
        images = iter(cast("Iterable[GivenImage]", image))
        metas, ids = in_turn(meta, "meta", for_all=True), in_turn(id, "id", for_all=False)
        parts: list[Added] = []
        while some := [*islice(images, TOGETHER)]:
            parts.append(self._add(some, meta=metas(len(some)), ids=ids(len(some))))
        metas(None)
        ids(None)
        return _joined(parts)

    def get(self, id: str, *, vector: bool = False) -> StoredPoint | None:
        """The point of an id, None where there is none."""
        found = self.get_many([id], vectors=vector)
        return found[0] if found else None

    def get_many(self, ids: Sequence[str], *, vectors: bool = False) -> list[StoredPoint]:
        """The points of these ids that there are, in their order."""
        known = [as_point_id(each) for each in ids]
        found = {each.id: each for each in self._engine.retrieve(known, vectors=vectors)}
        return [found[each] for each in known if each in found]

    def iterate(
        self,
        *,
        where: Where = None,
        order_by: str | None = None,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
    ) -> Iterator[StoredPoint]:
        """Every image that matches, a page at a time: in the order of the ids, or of a number or date.

        ``order_by="-taken_at"`` begins with the latest; images without the field are left out then. ``fields`` limits
        the payload. Raises InvalidQuery.
        """
        cursor = None
        while True:
            page = self.search.page(
                where=where, order_by=order_by, fields=fields, vectors=vectors, limit=TOGETHER, cursor=cursor
            )
            yield from page.points
            if (cursor := page.next) is None:
                return

    def count(self, *, where: Where = None) -> int:
        """How many images match, exactly."""
        return self.search.count(where=where)

    def facets(self, field: str, **options: Unpack[SearchArguments]) -> list[FacetCount]:
        """The most frequent values of a field, as ``ImageSearch.facets`` gives them."""
        return self.search.facets(field, **options)

    def info(self) -> CollectionInfo:
        """Schema and size of the collection."""
        return self._engine.info()

    def duplicates(
        self, *, where: Where = None, kinds: "Iterable[DuplicateKind] | None" = None, near: float | None = None
    ) -> "DuplicateReport":
        """What is there more than once: the same bytes, the same image, the same moment, and look-alikes.

        ``kinds`` leaves lists out; a second look is taken at the pixels of pairs whose cosine is at least ``near``
        (0.85 by default). Nothing is deleted. Raises InvalidQuery and StoreError.
        """
        from workers.duplicates.find import find_duplicates
        from workers.duplicates.groups import KINDS, NEAR

        return find_duplicates(
            self._engine,
            settings=self.settings,
            where=where,
            kinds=KINDS if kinds is None else kinds,
            near=NEAR if near is None else near,
        )

    def decide_not_same(self, first: str, *others: str) -> None:
        """Remember that an image is not the same as others: ``duplicates`` puts it in no group with one of them.

        Raises InvalidQuery for an id that is not there.
        """
        from workers.duplicates.find import decide_not_same

        decide_not_same(self._engine, first, *others)

    def check(self, *, read_data: float = 0.0) -> "CheckReport":
        """Whether the collection, its files and its runs are as they should be; nothing is changed.

        ``read_data`` is the share of its points and images, 0 to 1, that is read too. Raises InvalidQuery, StoreError.
        """
        from workers.run.check import check

        return check(self.settings, read_data=read_data)

    def update(self, id: str, meta: Mapping[str, Any]) -> None:
        """Change the user's own metadata of an image, key by key; None takes a key away. Its vector stays.

        ``tags`` are the field of that name. Raises InvalidQuery for an id that is not there, and for what is no JSON.
        """
        with self._adding:
            (point,) = self.search.points([id])
            changed = dict(meta)
            tags = {"tags": changed.pop("tags") or []} if "tags" in meta else {}
            self.search.set_payload(point.id, {**tags, "meta": changed})

    def delete(self, ids: str | Sequence[str] | None = None, *, where: Where = None) -> int:
        """Remove the images of these ids, or all that match; returns how many there were. Raises InvalidQuery."""
        if (ids is None) == (where is None or where == ""):
            raise InvalidQuery("name what to delete: either ids, or where; delete(where='width > 0') takes many.")
        if ids is not None:
            known = {as_point_id(each) for each in ([ids] if isinstance(ids, str) else ids)}
            doomed = iter(each.id for each in self._engine.retrieve(sorted(known), fields=[]))
        else:
            doomed = iter(each.id for each in self.search.each(where=where, fields=[]))
        removed = 0
        while some := [*islice(doomed, TOGETHER)]:
            self._engine.delete(some)
            removed += len(some)
        return removed

    def close(self) -> None:
        """Let go of the store, the models and the connections. Harmless when repeated."""
        with self._adding, self._opening:
            self._closed = True
            worker, self._worker = self._worker, None
            search, self._search = self._search, None
            delivering, self._delivering = self._delivering, None
        if delivering is not None:
            delivering.end(wait_s=self.settings.alerts.wait_s)
        for each in (worker, search, self._given, self._engine):
            if each is not None:
                each.close()

    def _add(self, images: Sequence[GivenImage], *, meta: Sequence[Any], ids: Sequence[Any]) -> Added:
        """A shard of images, in the order given."""
        ids = [checked_id(each) for each in ids]
        often = Counter(each for each in ids if each is not None).most_common(1)
        if often and often[0][1] > 1:
            raise InvalidQuery(f"the id {shown(often[0][0])} is given {often[0][1]} times; each image has its own.")
        with self._adding:
            worker = self._at_work()
            try:
                rows = zip(images, meta, ids, strict=True)
                made = [
                    self._given.ref(image, position=number, meta=checked_meta(about), identity=identity)
                    for number, (image, about, identity) in enumerate(rows)
                ]
                refs = [each for each in made if isinstance(each, Ref)]
                before = self._stored([each.point_id for each in refs])
                counters = worker.bring_in(refs, source=self._given)
                self._tell_alerts(worker)
                after = self._stored([*before])
            finally:
                self._given.forget()
        late = {each.ref.point_id: each for each in counters.rejects if each.ref is not None}
        outcomes = [each if isinstance(each, Reject) else late.get(each.point_id, each) for each in made]
        counts, early = counters.report().counts, len(made) - len(refs)
        ids = tuple(each.point_id if isinstance(each, Ref) else None for each in outcomes)
        return Added(
            ids,
            tuple(_status(each, before=before, after=after) for each in ids),
            tuple(each for each in outcomes if isinstance(each, Reject)),
            Counts(len(images), counts.stored, counts.unchanged, counts.rejected + early),
        )

    def _stored(self, ids: Sequence[str]) -> dict[str, Payload]:
        """What tells whether points were written anew, of those that are there."""
        known = ["version", "content_hash", "ingested_at"]
        return {each.id: each.payload for each in self._engine.retrieve(ids, fields=known)} if ids else {}

    def _at_work(self) -> "Worker":
        """The tower and the pipeline, made ready when the first image comes; makes the collection too."""
        self._refuse_when_closed()
        if self._worker is None:
            from workers.executors.worker import Worker

            worker = Worker.start(self.settings)
            try:
                worker.prepare(recreate=False)
            except BaseException:
                worker.close()
                raise
            self._worker = worker
        else:
            try:
                self._engine.info()
            except CollectionMissing:  # somebody dropped it
                self._worker.prepare(recreate=False)
        return self._worker

    def _tell_alerts(self, worker: "Worker") -> None:
        """Tell of new images, from a thread of its own, from the first one on that was held against an alert."""
        if self._delivering is None and worker.pipeline.judge is not None:
            from workers.alerts.delivering import Delivering

            self._delivering = Delivering(self.settings)
            self._delivering.start()

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise ConfigError(f"the collection {self.name!r} was closed; open it again.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _status(id: str | None, *, before: Mapping[str, Payload], after: Mapping[str, Payload]) -> AddStatus:
    if id is None:
        return "rejected"
    if id not in before:
        return "added"
    return "unchanged" if before[id] == after.get(id) else "replaced"


def _joined(parts: Sequence[Added]) -> Added:
    return Added(
        tuple(chain.from_iterable(each.ids for each in parts)),
        tuple(chain.from_iterable(each.statuses for each in parts)),
        tuple(chain.from_iterable(each.rejects for each in parts)),
        Counts(*(sum(getattr(each.counts, one.name) for each in parts) for one in fields(Counts))),
    )


def _error_of(reject: Reject) -> InvalidQuery:
    message = f"{masked_uri(reject.uri)}: {reject.detail}"
    fault = next((each for each in IMAGE_FAULTS if each == reject.reason), None)
    return InvalidQuery(message) if fault is None else UnreadableImage(message, reason=fault)
