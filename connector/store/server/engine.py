"""ServerEngine: one collection on a Qdrant server or cluster, over gRPC or REST.

The one rule: every call of qdrant-client goes through ``Calls``. Every operation here may be repeated without harm.
"""

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self, TypeVar

from qdrant_client import QdrantClient, models

from connector.errors import BatchTooLarge, CollectionMissing, NotAllowed, StoreRefused
from connector.records import FacetCount, Hit, Point, StoredPoint
from connector.settings import QdrantSettings
from connector.store.engine import SERVER, CollectionInfo, NearestQuery, NewVector, Page, WordsQuery
from connector.store.links import walk_of
from connector.store.points import (
    as_read,
    as_stored,
    check_facet,
    check_ids,
    check_new_vectors,
    check_order,
    check_payload,
    check_points,
    payload_selector,
    sent_id,
)
from connector.store.schema import CollectionSchema, Words, alert_keys
from connector.store.server import management
from connector.store.server import schema as server_schema
from connector.store.server.calls import Calls, results
from connector.store.server.known_schema import KnownSchema
from connector.store.server.optimize import build_graph
from connector.store.server.points import batches, meant, reading, requests_of, stored, struct
from connector.store.server.spaces import set_spaces, write_vectors
from connector.store.server.words import index_words, set_words
from connector.store.words import WORDS, no_words, wording_of

log = logging.getLogger(__name__)

T = TypeVar("T")

BATCH = 256
"""Points in one upsert, ids in one retrieve or delete."""


class ServerEngine:
    """One collection on a server. Safe to use from many threads; ``close`` ends every wait."""

    capabilities = SERVER

    def __init__(self, settings: QdrantSettings, *, calls: Calls) -> None:
        self._settings = settings
        self._collection = calls.collection
        self._calls = calls
        self._batch = BATCH
        self._schema = KnownSchema(calls.collection, read=self._info)

    @classmethod
    def connect(cls, settings: QdrantSettings, *, collection: str) -> Self:
        """An engine for this collection; the first call that needs the server connects.

        Raises ConfigError where ``settings.url`` is none or holds something else than http(s) addresses.
        """
        return cls(settings, calls=Calls(settings, collection=collection))

    def __repr__(self) -> str:
        return f"ServerEngine({self._calls})"

    @property
    def collection(self) -> str:
        """The collection's name."""
        return self._collection

    def create(self, schema: CollectionSchema) -> None:
        """Create the collection with its indexes; one that exists alike gets the indexes it lacks.

        Raises CollectionMismatch, with the differences, when it exists otherwise.
        """
        if not self._exists():
            try:
                management.make_collection(self._calls, schema, settings=self._settings)
            except StoreRefused:
                if not self._exists():  # another process was no faster: the refusal stands
                    raise
        info = self._info()
        joined = server_schema.join_schema(schema, info, collection=self._collection)
        before = server_schema.read_schema(info, collection=self._collection)
        if joined != before:
            management.change_schema(self._calls, joined, was=before)
        management.make_indexes(self._calls, joined, info=info)
        management.end_bulk_load(self._calls, info)
        self._schema.keep(joined)

    def info(self) -> CollectionInfo:
        """Schema and size. Raises CollectionMissing; CollectionMismatch for a collection that is not ours."""
        info = self._info()
        schema = server_schema.read_schema(info, collection=self._collection)
        return CollectionInfo(schema=schema, points=self.count(), indexed=info.indexed_vectors_count or 0)

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points in batches, several in flight; returns when all of them can be read back.

        Raises ValueError, before anything is sent, for a point that cannot be stored as it is.
        """
        schema = self._schema.now()
        check_points(points, schema=schema)
        if len(points) <= self._batch:
            self._upsert(points, schema=schema)
            return
        with ThreadPoolExecutor(self._settings.in_flight, thread_name_prefix="upsert") as pool:
            results([pool.submit(self._upsert, each, schema=schema) for each in batches(points, self._batch)])

    def set_payload(self, ids: Sequence[str], payload: dict[str, object]) -> None:
        """Merge ``payload`` into the payload of points. Raises StoreRefused where there is no such point."""
        check_ids(ids)
        check_payload(payload, ids=ids)
        points = models.PointIdsList(points=[*map(sent_id, ids)])
        change = as_stored(payload)
        self._call(
            lambda client: client.set_payload(self._collection, change, points=points, wait=True),
            doing=f"changing the payload of {len(ids)} points",
        )
        wording = wording_of(self._schema.known())
        if wording is not None and wording.reads(payload):
            index_words(self._calls, ids, wording=wording)

    def set_words(self, words: Words) -> None:
        """Let the collection have words, weighted so. Raises NotAllowed."""
        schema = replace(self._schema.known(), words=words)
        set_words(self._calls, schema, info=self._info())
        self._schema.keep(schema)

    def index_words(self, ids: Sequence[str]) -> int:
        """Compute the words of stored points anew, from their payloads; how many had others or none."""
        check_ids(ids)
        wording = wording_of(self._schema.known())
        if wording is None:
            raise no_words(self._collection)
        return index_words(self._calls, ids, wording=wording)

    def set_spaces(self, schema: CollectionSchema, *, was: CollectionSchema) -> None:
        """Say which space answers and which there is besides. Raises CollectionMismatch where others changed them."""
        self._schema.keep(set_spaces(self._calls, schema, was=was, info=self._info()))

    def write_vectors(self, vectors: Sequence[NewVector], *, space: str) -> None:
        """Give stored images their vectors in a space; nothing else of them is touched."""
        name = self._schema.vector_in(space)
        check_new_vectors(vectors, dims=self._schema.known().dims[name])
        for batch in batches(vectors):
            write_vectors(self._calls, batch, space=name)

    def set_alerts(self, changes: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Write down alerts by their ids, and take away those that are None. Raises NotAllowed."""
        management.change(self._calls, metadata=alert_keys(changes), doing="changing the alerts")
        self._schema.forget()

    def delete(self, ids: Sequence[str]) -> None:
        """Remove points; ids that are not there are ignored."""
        check_ids(ids)
        for batch in batches(ids):
            self._delete(models.PointIdsList(points=[*map(sent_id, batch)]), doing=f"deleting {len(batch)} points")

    def retrieve(
        self,
        ids: Sequence[str],
        *,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
        terms: Sequence[int] = (),
        space: str | None = None,
    ) -> list[StoredPoint]:
        """The points of these ids that exist."""
        check_ids(ids)
        name = self._schema.vector_in(space) if vectors else None
        wanted = [*([] if name is None else [name]), *[WORDS] * bool(terms)]
        found: list[StoredPoint] = []
        asked = frozenset(terms)
        for batch in batches(ids):
            read = reading(self._collection, batch, fields=fields, vectors=wanted)
            records = self._call(read, doing=f"reading {len(batch)} points")
            found.extend(stored(record, vector_name=name, terms=asked) for record in records)
        return found

    def query(self, queries: Sequence[NearestQuery | WordsQuery]) -> list[list[Hit]]:
        """Answer each query with its hits, best first."""
        schema = self._schema.for_queries(queries) if queries else None
        if schema is None:
            return []
        share = partial(self._share, schema=schema)
        requests = requests_of(queries, schema=schema, collection=self._collection, share=share)
        asked = [each for each in requests if each is not None]
        if not asked:
            return [[] for _ in queries]
        with self._schema.asking(queries):
            answers = self._call(
                lambda client: client.query_batch_points(self._collection, asked),
                doing=f"answering {len(asked)} queries" if len(asked) > 1 else "answering a query",
            )
        points = iter([answer.points for answer in answers])
        found = [[] if request is None else next(points) for request in requests]
        return [[Hit(str(p.id), float(p.score), as_read(p.payload or {})) for p in answer] for answer in found]

    def scroll(
        self,
        *,
        limit: int,
        start: str | None = None,
        where: models.Filter | None = None,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
        space: str | None = None,
    ) -> Page:
        """Walk the collection in id order, at most ``limit`` points at a time."""
        name, condition = self._schema.vector_in(space) if vectors else None, self._meant(where)
        records, following = self._call(
            lambda client: client.scroll(
                self._collection,
                scroll_filter=condition,
                limit=min(limit, server_schema.MAX_QUERY_LIMIT),
                offset=None if start is None else sent_id(start),
                with_payload=payload_selector(fields),
                with_vectors=[name] if name else False,
            ),
            doing="scrolling",
        )
        points = [stored(record, vector_name=name) for record in records]
        return Page(points=points, next=None if following is None else str(following))

    def count(self, *, where: models.Filter | None = None) -> int:
        """How many points match, exactly."""
        return self._counted(where, exact=True, doing="counting")

    def facet(self, key: str, *, where: models.Filter | None = None, limit: int = 10) -> list[FacetCount]:
        """The field's most frequent values and their exact counts, largest first; equal counts in order of the value.

        Raises InvalidQuery where the field has no index that counts values.
        """
        check_facet(key, indexes=self._schema.known().indexes)
        answer = self._call(
            lambda client: client.facet(
                self._collection, key, facet_filter=self._meant(where), limit=limit, exact=True
            ),
            doing=f"counting values of {key}",
        )
        return [FacetCount(hit.value, hit.count) for hit in answer.hits]

    def sample(self, limit: int, *, where: models.Filter | None = None) -> list[StoredPoint]:
        """Points picked at random."""
        return self._picked(models.SampleQuery(sample=models.Sample.RANDOM), limit=limit, where=where)

    def ordered(
        self, key: str, *, descending: bool, limit: int, offset: int = 0, where: models.Filter | None = None
    ) -> list[StoredPoint]:
        """Points in the order of an indexed number or date."""
        check_order(key, indexes=self._schema.known().indexes)
        direction = models.Direction.DESC if descending else models.Direction.ASC
        order = models.OrderByQuery(order_by=models.OrderBy(key=key, direction=direction))
        return self._picked(order, limit=limit, offset=offset, where=where)

    def optimize(self) -> None:
        """Switch indexing on and wait until the server has built its graph; progress goes to the log.

        Raises StoreRefused where the optimizer failed, StoreUnavailable when it takes longer than
        ``settings.optimize_wait_s``; the server goes on by itself.
        """
        build_graph(self._calls, settings=self._settings)

    @contextmanager
    def bulk_load(self) -> Iterator[None]:
        """Put off indexing while many points are written; it is switched back on however the block ends.

        After a kill, the next ``create`` or ``optimize`` on this collection switches it back on.
        """
        management.put_off_indexing(self._calls, self._info())
        try:
            yield
        finally:
            management.end_bulk_load(self._calls, self._info())

    def point_alias(self, alias: str) -> None:
        """Let ``alias`` name the collection that is meant here from now on, whatever it named before, in one step."""
        management.point_alias(self._calls, alias, at=self.resolved())

    def resolved(self) -> str:
        """The collection that is meant: a server deletes nothing, and points no alias, by an alias."""
        return management.resolved(self._calls)

    def recreate(self, schema: CollectionSchema) -> None:
        """An empty collection under this name: a new one behind an alias, whose old one stays."""
        before, alias = self.resolved(), self._collection
        if before == alias:
            self.drop()
            self.create(schema)
            return
        made = f"{alias}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        with closing(ServerEngine.connect(self._settings, collection=made)) as engine:
            engine.create(schema)
        management.point_alias(self._calls, alias, at=made)
        self._schema.forget()
        log.warning("alias_switched alias=%s from=%s to=%s: the first stays until it is deleted", alias, before, made)

    def drop(self) -> None:
        """Delete the collection that is meant with everything in it; harmless when there is none."""
        meant = self.resolved()
        self._call(lambda client: client.delete_collection(meant), doing="deleting the collection")
        self._schema.forget()

    def check_rights(self, *, managing: bool = False) -> None:
        """Raise NotAllowed where this key may not write into the collection, or may not make it where there is none.

        ``managing`` asks for the right to change the collection as such, where it is there. Nothing is changed: a
        point that is not there is deleted, or nothing of the collection set.
        """
        if self._exists() and not managing:
            self._delete(models.PointIdsList(points=[str(uuid.UUID(int=0))]), doing="asking for the right to write")
            return
        try:
            management.change(self._calls, doing="asking for the right to make or change the collection")
        except CollectionMissing:
            return
        except NotAllowed as error:
            raise NotAllowed(
                f"{error} Making a collection, --bulk and --recreate take a key that may manage collections."
            ) from error

    def close(self) -> None:
        """Let go of the connections; calls that wait in other threads give up."""
        self._calls.close()

    def _call(self, operation: Callable[[QdrantClient], T], *, doing: str) -> T:
        try:
            return self._calls.ask(operation, doing=doing)
        except CollectionMissing:
            self._schema.forget()  # what comes to stand there next may be another
            raise

    def _meant(self, where: models.Filter | None) -> models.Filter | None:
        return None if where is None else meant(where, schema=self._schema.known())

    def _share(self, where: models.Filter | None, *, schema: CollectionSchema) -> float:
        """Which part of the points matches a filter without links, as the indexes estimate it; 1 for all others."""
        if where is None or walk_of(where, schema=schema).linked:
            return 1.0
        matching, all_ = (self._counted(each, exact=False, doing="estimating matches") for each in (where, None))
        return matching / max(1, all_)

    def _counted(self, where: models.Filter | None, *, exact: bool, doing: str) -> int:
        condition = self._meant(where)
        return self._call(
            lambda client: client.count(self._collection, count_filter=condition, exact=exact), doing=doing
        ).count

    def _picked(
        self, query: models.Query, *, limit: int, offset: int = 0, where: models.Filter | None
    ) -> list[StoredPoint]:
        request = models.QueryRequest(
            query=query, filter=self._meant(where), limit=limit, offset=offset or None, with_payload=True
        )
        (answer,) = self._call(
            lambda client: client.query_batch_points(self._collection, requests=[request]), doing="picking points"
        )
        return [StoredPoint(id=str(point.id), payload=as_read(point.payload or {})) for point in answer.points]

    def _exists(self) -> bool:
        return self._call(lambda client: client.collection_exists(self._collection), doing="looking for the collection")

    def _info(self) -> models.CollectionInfo:
        return self._call(lambda client: client.get_collection(self._collection), doing="reading the schema")

    def _delete(self, selector: models.PointIdsList, *, doing: str) -> None:
        self._call(lambda client: client.delete(self._collection, selector, wait=True), doing=doing)

    def _upsert(self, points: Sequence[Point], *, schema: CollectionSchema) -> None:
        """Write points in one request, or in smaller ones where the server takes none of this size."""
        if not points:
            return
        wording = wording_of(schema)
        structs = [struct(point, schema=schema, wording=wording) for point in points]
        try:
            self._call(
                lambda client: client.upsert(self._collection, structs, wait=True),
                doing=f"writing {len(points)} points",
            )
        except BatchTooLarge:
            half = len(points) // 2
            if not half:
                raise
            self._batch = min(self._batch, half)
            log.info("batch_split collection=%s points=%d into=%d", self._collection, len(points), half)
            for batch in batches(points, half):
                self._upsert(batch, schema=schema)
