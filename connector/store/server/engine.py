"""ServerEngine: one collection on a Qdrant server or cluster, over gRPC or REST.

The one rule: every call of qdrant-client goes through ``_call``, which translates its errors (``server_errors``)
and tries again (``retries``). Every operation here may be repeated without harm, so an answer that was lost on the
way costs time and nothing else.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Self, TypeVar

from qdrant_client import models
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_result,
    stop_after_delay,
    stop_any,
    stop_when_event_set,
    wait_exponential,
)
from tenacity.nap import sleep_using_event
from urllib3.util import Url

from connector.errors import CollectionMissing, StoreRefused, StoreUnavailable
from connector.records import FacetCount, Hit, Point, StoredPoint
from connector.settings import QdrantSettings
from connector.store.engine import SERVER, CollectionInfo, NearestQuery, Page
from connector.store.points import (
    check_facet,
    check_ids,
    check_order,
    check_payload,
    check_points,
    check_query_vectors,
    sent_id,
)
from connector.store.schema import CollectionSchema
from connector.store.server import schema as server_schema
from connector.store.server.client import describe_address, open_client, parse_address
from connector.store.server.errors import FOREIGN, Call, translate
from connector.store.server.points import payload_selector, request, stored, struct
from connector.store.server.retries import RetryPolicy, persist

log = logging.getLogger(__name__)

T = TypeVar("T")

BATCH = 256
"""Points in one upsert, ids in one retrieve or delete."""


class ServerEngine:
    """One collection on a server. Safe to use from many threads; ``close`` ends every wait."""

    capabilities = SERVER

    def __init__(self, settings: QdrantSettings, *, collection: str, address: Url) -> None:
        self._settings = settings
        self._collection = collection
        self._address = describe_address(settings, address=address)
        self._closing = threading.Event()
        self._retry_policy = RetryPolicy(
            total_s=settings.retry_s,
            full_s=settings.full_wait_s,
            first_s=settings.retry_first_s,
            closing=self._closing,
        )
        self._schema: CollectionSchema | None = None
        self._client = open_client(settings, address=address)

    @classmethod
    def connect(cls, settings: QdrantSettings, *, collection: str) -> Self:
        """An engine for this collection; the first call that needs the server connects.

        Raises ConfigError where ``settings.url`` is none or no http(s) address.
        """
        return cls(settings, collection=collection, address=parse_address(settings.url))

    def __repr__(self) -> str:
        return f"ServerEngine({self._collection!r} at {self._address})"

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
                self._create(schema)
            except StoreRefused:
                if not self._exists():  # another process was no faster: the refusal stands
                    raise
        info = self._info("reading the schema")
        joined = server_schema.join_schema(schema, info, collection=self._collection)
        if joined != server_schema.read_schema(info, collection=self._collection):
            self._update(models.OptimizersConfigDiff(), metadata=joined.to_json(), doing="adding to the schema")
        self._create_indexes(joined, info=info)
        self._end_bulk_load(info)
        self._schema = joined

    def info(self) -> CollectionInfo:
        """Schema and size. Raises CollectionMissing; CollectionMismatch for a collection that is not ours."""
        info = self._info("reading the schema")
        schema = server_schema.read_schema(info, collection=self._collection)
        return CollectionInfo(schema=schema, points=self.count(), indexed=info.indexed_vectors_count or 0)

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points in batches, several in flight; returns when all of them can be read back.

        Raises ValueError, before anything is sent, for a point that cannot be stored as it is.
        """
        schema = self._known_schema()
        check_points(points, dims=schema.fingerprint.dims)
        if len(points) <= BATCH:
            self._upsert(points, vector_name=schema.vector_name)
            return
        with ThreadPoolExecutor(self._settings.in_flight, thread_name_prefix="upsert") as pool:
            futures = [pool.submit(self._upsert, batch, vector_name=schema.vector_name) for batch in _batches(points)]
            try:
                for future in futures:
                    future.result()
            finally:
                for future in futures:
                    future.cancel()

    def set_payload(self, point_id: str, payload: dict[str, object]) -> None:
        """Merge ``payload`` into one point's payload. Raises StoreRefused where there is no such point."""
        check_ids([point_id])
        check_payload(payload, point_id=point_id)
        self._call(
            lambda: self._client.set_payload(self._collection, payload, points=[sent_id(point_id)], wait=True),
            doing=f"changing the payload of point {point_id}",
        )

    def delete(self, ids: Sequence[str]) -> None:
        """Remove points; ids that are not there are ignored."""
        check_ids(ids)
        for batch in _batches(ids):
            selector = models.PointIdsList(points=[*map(sent_id, batch)])
            self._call(
                partial(self._client.delete, self._collection, selector, wait=True),
                doing=f"deleting {len(batch)} points",
            )

    def retrieve(
        self, ids: Sequence[str], *, fields: Sequence[str] | None = None, vectors: bool = False
    ) -> list[StoredPoint]:
        """The points of these ids that exist, in no promised order; ``fields`` limits the payload (None: all of it)."""
        check_ids(ids)
        name = self._known_schema().vector_name
        found: list[StoredPoint] = []
        for batch in _batches(ids):
            read = partial(
                self._client.retrieve,
                self._collection,
                [*map(sent_id, batch)],
                with_payload=payload_selector(fields),
                with_vectors=[name] if vectors else False,
            )
            records = self._call(read, doing=f"reading {len(batch)} points")
            found.extend(stored(record, vector_name=name) for record in records)
        return found

    def query(self, queries: Sequence[NearestQuery]) -> list[list[Hit]]:
        """Answer each query with its hits, best first."""
        if not queries:
            return []
        schema = self._known_schema()
        check_query_vectors([query.vector for query in queries], dims=schema.fingerprint.dims)
        requests = [request(query, vector_name=schema.vector_name) for query in queries]
        answers = self._call(
            lambda: self._client.query_batch_points(self._collection, requests),
            doing=f"answering {len(queries)} queries" if len(queries) > 1 else "answering a query",
        )
        return [[Hit(str(p.id), float(p.score), p.payload or {}) for p in answer.points] for answer in answers]

    def scroll(
        self,
        *,
        limit: int,
        start: str | None = None,
        where: models.Filter | None = None,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
    ) -> Page:
        """Walk the collection in id order, at most ``limit`` points at a time."""
        name = self._known_schema().vector_name
        read = partial(
            self._client.scroll,
            self._collection,
            scroll_filter=where,
            limit=min(limit, server_schema.MAX_QUERY_LIMIT),
            offset=None if start is None else sent_id(start),
            with_payload=payload_selector(fields),
            with_vectors=[name] if vectors else False,
        )
        records, following = self._call(read, doing="scrolling")
        points = [stored(record, vector_name=name) for record in records]
        return Page(points=points, next=None if following is None else str(following))

    def count(self, *, where: models.Filter | None = None) -> int:
        """How many points match, exactly."""
        answer = self._call(
            lambda: self._client.count(self._collection, count_filter=where, exact=True), doing="counting"
        )
        return answer.count

    def facet(self, key: str, *, where: models.Filter | None = None, limit: int = 10) -> list[FacetCount]:
        """The field's most frequent values and their exact counts, largest first; equal counts in order of the value.

        Raises InvalidQuery where the field has no index that counts values.
        """
        check_facet(key, indexes=self._known_schema().indexes)
        count = partial(self._client.facet, self._collection, key, facet_filter=where, limit=limit, exact=True)
        return [FacetCount(hit.value, hit.count) for hit in self._call(count, doing=f"counting values of {key}").hits]

    def sample(self, limit: int, *, where: models.Filter | None = None) -> list[StoredPoint]:
        """Points picked at random."""
        picked = models.SampleQuery(sample=models.Sample.RANDOM)
        return self._picked(models.QueryRequest(query=picked, filter=where, limit=limit, with_payload=True))

    def ordered(
        self, key: str, *, descending: bool, limit: int, offset: int = 0, where: models.Filter | None = None
    ) -> list[StoredPoint]:
        """Points in the order of an indexed number or date."""
        check_order(key, indexes=self._known_schema().indexes)
        direction = models.Direction.DESC if descending else models.Direction.ASC
        order = models.OrderByQuery(order_by=models.OrderBy(key=key, direction=direction))
        return self._picked(
            models.QueryRequest(query=order, filter=where, limit=limit, offset=offset or None, with_payload=True)
        )

    def optimize(self) -> None:
        """Switch indexing on and wait until the server has built its graph; progress goes to the log.

        Raises StoreRefused where the optimizer failed, StoreUnavailable when it takes longer than
        ``settings.optimize_wait_s``; the server goes on by itself.
        """
        self._end_bulk_load(self._info("reading the schema"))
        self._trigger_optimizers()
        info = Retrying(
            retry=retry_if_result(server_schema.still_optimizing),
            wait=wait_exponential(multiplier=self._settings.retry_first_s, max=10.0),
            stop=stop_any(stop_after_delay(self._settings.optimize_wait_s), stop_when_event_set(self._closing)),
            sleep=sleep_using_event(self._closing),
            before_sleep=_say_progress,
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )(self._info, "waiting for the optimizers")
        if info.status is models.CollectionStatus.RED:
            raise StoreRefused(
                f"the optimizer of collection {self._collection!r} failed: {server_schema.optimizer_error(info)}"
            )
        if server_schema.still_optimizing(info):
            raise StoreUnavailable(
                f"collection {self._collection!r} was still {info.status.value} after "
                f"{self._settings.optimize_wait_s:g} s, {server_schema.progress(info)}. The server goes on by itself; "
                "`polyglance collection optimize` waits again."
            )

    @contextmanager
    def bulk_load(self) -> Iterator[None]:
        """Put off indexing while many points are written; it is switched back on however the block ends.

        After a kill, the next ``create`` or ``optimize`` on this collection switches it back on.
        """
        info = self._info("reading the schema")
        threshold = info.config.optimizer_config.indexing_threshold
        if not server_schema.bulk_load_of(info):
            self._update(
                models.OptimizersConfigDiff(indexing_threshold=0),
                metadata={server_schema.BULK_LOAD: {"indexing_threshold": threshold}},
                doing="putting off indexing",
            )
        try:
            yield
        finally:
            self._end_bulk_load(self._info("reading the schema"))

    def point_alias(self, alias: str) -> None:
        """Let ``alias`` name this collection from now on, whatever it named before, in one step."""
        steps: list[models.AliasOperations] = [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)),
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name=self._collection, alias_name=alias)
            ),
        ]
        self._call(partial(self._client.update_collection_aliases, steps), doing=f"pointing the alias {alias!r}")

    def drop(self) -> None:
        """Delete the collection with everything in it; harmless when there is none."""
        self._call(lambda: self._client.delete_collection(self._collection), doing="deleting the collection")
        self._schema = None

    def close(self) -> None:
        """Let go of the connections; calls that wait in other threads give up."""
        self._closing.set()
        self._client.close()

    def _call(self, operation: Callable[[], T], *, doing: str) -> T:
        """What ``operation`` answers, its errors translated, tried again while that can help."""
        return persist(partial(self._once, operation, doing=doing), retry_policy=self._retry_policy, doing=doing)

    def _once(self, operation: Callable[[], T], *, doing: str) -> T:
        if self._closing.is_set():
            raise StoreUnavailable(f"{doing} in collection {self._collection!r} was given up: the engine is closed.")
        try:
            return operation()
        except FOREIGN as error:
            call = Call(doing, collection=self._collection, address=self._address, secret=self._settings.api_key)
            ours = translate(error, call=call)
            if isinstance(ours, CollectionMissing):
                self._schema = None  # what comes to stand there next may be another
            raise ours from error

    def _picked(self, request: models.QueryRequest) -> list[StoredPoint]:
        ask = partial(self._client.query_batch_points, self._collection, requests=[request])
        (answer,) = self._call(ask, doing="picking points")
        return [StoredPoint(id=str(point.id), payload=point.payload or {}) for point in answer.points]

    def _exists(self) -> bool:
        return self._call(partial(self._client.collection_exists, self._collection), doing="looking for the collection")

    def _info(self, doing: str) -> models.CollectionInfo:
        return self._call(partial(self._client.get_collection, self._collection), doing=doing)

    def _known_schema(self) -> CollectionSchema:
        """The schema, asked of the server once."""
        if self._schema is None:
            self._schema = server_schema.read_schema(self._info("reading the schema"), collection=self._collection)
        return self._schema

    def _create(self, schema: CollectionSchema) -> None:
        create = partial(
            self._client.create_collection,
            self._collection,
            vectors_config=server_schema.vectors_config(schema),
            hnsw_config=server_schema.HNSW,
            quantization_config=server_schema.QUANTIZATION,
            strict_mode_config=server_schema.STRICT_MODE,
            shard_number=self._settings.shards,
            replication_factor=self._settings.replicas,
            metadata=schema.to_json(),
        )
        self._call(create, doing="creating the collection")

    def _create_indexes(self, schema: CollectionSchema, *, info: models.CollectionInfo) -> None:
        for name, kind in server_schema.missing_indexes(schema, info).items():
            params: Any = server_schema.index_params(name, kind)
            create = partial(self._client.create_payload_index, self._collection, name, field_schema=params, wait=True)
            self._call(create, doing=f"creating the index of {name}")

    def _upsert(self, points: Sequence[Point], *, vector_name: str) -> None:
        if not points:
            return
        structs = [struct(point, vector_name=vector_name) for point in points]
        self._call(
            partial(self._client.upsert, self._collection, structs, wait=True), doing=f"writing {len(points)} points"
        )

    def _update(self, optimizers: models.OptimizersConfigDiff, *, metadata: dict[str, Any] | None, doing: str) -> None:
        update = partial(
            self._client.update_collection, self._collection, optimizers_config=optimizers, metadata=metadata
        )
        self._call(update, doing=doing)

    def _end_bulk_load(self, info: models.CollectionInfo) -> None:
        put_off = server_schema.bulk_load_of(info)
        if put_off:
            self._update(
                models.OptimizersConfigDiff(indexing_threshold=put_off.get("indexing_threshold")),
                metadata={server_schema.BULK_LOAD: None},
                doing="switching indexing back on",
            )

    def _trigger_optimizers(self) -> None:
        """A collection that is grey, as after a restart of the server, optimizes only after some update."""
        if self._info("reading the schema").status is models.CollectionStatus.GREY:
            self._update(models.OptimizersConfigDiff(), metadata=None, doing="starting the optimizers")


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def _say_progress(state: RetryCallState) -> None:
    assert state.outcome is not None
    info = state.outcome.result()
    log.info("collection_optimizing status=%s progress=%r", info.status.value, server_schema.progress(info))
