"""The strict store behind both transports: one method for each operation, in REST models, under one lock.

Raises ``Refusal`` for whatever a server would answer with an error.
"""

import pickle
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.local.payload_value_extractor import value_by_key

from tests.qdrant_standin.journal import Journal, read_journal
from tests.qdrant_standin.limits import RateLimiter, Room, check_room
from tests.qdrant_standin.strict import (
    Refusal,
    Tokens,
    as_served,
    check_facet,
    check_filter,
    check_limit,
    check_most,
    check_order,
)

P = ParamSpec("P")
T = TypeVar("T")

NEWER_THAN_1_19 = ("bits8", "turbo8", "turbo16")
"""Values that client 1.20 can send and a 1.19 server does not know."""

DEFAULT_INDEXING_THRESHOLD = 10_000
"""Kilobytes of vectors in a segment before a graph is built."""

CHANGES = frozenset(
    {
        *("create_collection", "update_collection", "delete_collection", "create_index", "change_aliases"),
        *("upsert", "delete", "set_payload", "clear_payload", "delete_vectors"),
        *("create_vector_name", "delete_vector_name", "update_vectors"),
    }
)
"""Operations that a journal keeps."""

_KINDS: dict[type, str] = {
    models.KeywordIndexParams: "keyword",
    models.IntegerIndexParams: "integer",
    models.FloatIndexParams: "float",
    models.BoolIndexParams: "bool",
    models.GeoIndexParams: "geo",
    models.DatetimeIndexParams: "datetime",
    models.TextIndexParams: "text",
    models.UuidIndexParams: "uuid",
}


@dataclass
class _Made:
    """What the in-memory client forgets of a collection."""

    config: models.CreateCollection
    indexes: dict[str, models.PayloadIndexInfo] = field(default_factory=dict)
    indexing_threshold: int = DEFAULT_INDEXING_THRESHOLD
    metadata: dict[str, Any] = field(default_factory=dict)
    statuses: list[models.CollectionStatus] = field(default_factory=list)
    operations: int = 0
    versions: dict[models.ExtendedPointId, int] = field(default_factory=dict)
    rates: RateLimiter = field(default_factory=RateLimiter)

    @property
    def strict(self) -> models.StrictModeConfig | None:
        """Strict mode as the collection was made with it."""
        return self.config.strict_mode_config

    def limit(self, name: str) -> int | None:
        """A number of strict mode, None where it has none."""
        found: int | None = getattr(self.strict, name, None)
        return found

    def count_operation(self, ids: Iterable[models.ExtendedPointId] = (), *, steps: int = 1) -> int:
        """The number of this change, which is the version of the points that it wrote from now on."""
        self.operations += steps
        self.versions.update(dict.fromkeys(ids, self.operations))
        return self.operations


def _one_at_a_time(
    operation: Callable[Concatenate["Store", P], T],
) -> Callable[Concatenate["Store", P], T]:
    """Hold the lock, and turn the in-memory client's ValueError and KeyError into what a server answers."""

    @wraps(operation)
    def locked(self: "Store", /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._lock:
            try:
                check_room(operation.__name__, room=self.room)
                done = operation(self, *args, **kwargs)
                if operation.__name__ in CHANGES:
                    self._journal.note(operation.__name__, args, kwargs)
                return done
            except KeyError as error:
                raise Refusal(404, f"Not found: No point with id {error.args[0]} found") from error
            except ValueError as error:
                raise Refusal(400, f"Wrong input: {error}") from error

    return locked


class Store:
    """Collections, aliases and points, as strict as the server is documented to be.

    With a ``journal`` file it holds after a kill -9 what it had acknowledged before.
    """

    def __init__(self, journal: Path | None = None) -> None:
        self._lock = threading.RLock()
        self.room: Room = "free"
        self._client = QdrantClient(":memory:")
        self._made: dict[str, _Made] = {}
        self.snapshots: dict[str, bytes] = {}
        self._journal = Journal(None)
        if journal is not None:
            for name, args, kwargs in read_journal(journal):
                getattr(self, name)(*args, **kwargs)
            self._journal = Journal(journal)

    @_one_at_a_time
    def packed(self, name: str) -> bytes:
        """A collection as a snapshot."""
        if name not in self._made:
            raise Refusal(404, f"Not found: Collection `{name}` doesn't exist!")
        made = self._made[name]
        points, _ = self._client.scroll(name, limit=1_000_000, with_payload=True, with_vectors=True)
        found = [models.PointStruct(id=each.id, vector=each.vector or {}, payload=each.payload) for each in points]
        indexes = {key: info.params or info.data_type for key, info in made.indexes.items()}
        return pickle.dumps((made.config.model_copy(update={"metadata": made.metadata}), indexes, found))

    def unpack(self, name: str, snapshot: Any) -> None:
        """A collection of a snapshot."""
        config, indexes, points = snapshot
        self.create_collection(name, config)
        for key, params in indexes.items():
            self.create_index(name, key, params)
        if points:
            self.upsert(name, points)

    @_one_at_a_time
    def create_collection(self, name: str, config: models.CreateCollection) -> bool:
        """Make a collection; 409 where there is one, 400 for what a 1.19 server does not know."""
        if name in self._made:
            raise _exists(name)
        text = config.model_dump_json(exclude_none=True)
        unknown = [value for value in NEWER_THAN_1_19 if f'"{value}"' in text]
        if unknown or config.id_tracker is not None:
            raise Refusal(400, f"Format error in JSON body: unknown variant `{(*unknown, 'id_tracker')[0]}`")
        self._client.create_collection(
            name, vectors_config=config.vectors or {}, sparse_vectors_config=config.sparse_vectors
        )
        self._made[name] = _Made(config, metadata=dict(config.metadata or {}))
        return True

    @_one_at_a_time
    def update_collection(self, name: str, change: models.UpdateCollection) -> bool:
        """Change the indexing threshold and the metadata; a key set to null goes."""
        made = self._find(name)
        threshold = change.optimizers_config.indexing_threshold if change.optimizers_config else None
        if threshold is not None:
            made.indexing_threshold = threshold
        for key, value in (change.metadata or {}).items():
            if value is None:
                made.metadata.pop(key, None)
            else:
                made.metadata[key] = value
        if made.statuses[:1] == [models.CollectionStatus.GREY]:
            made.statuses[0] = models.CollectionStatus.YELLOW
        return True

    @_one_at_a_time
    def delete_collection(self, name: str) -> bool:
        """Remove a collection; false where there was none."""
        if self._made.pop(name, None) is None:  # an alias is not looked up: nothing is removed
            return False
        return bool(self._client.delete_collection(name))

    @_one_at_a_time
    def collections(self) -> models.CollectionsResponse:
        """The names of all collections."""
        return models.CollectionsResponse(collections=[models.CollectionDescription(name=name) for name in self._made])

    @_one_at_a_time
    def collection_exists(self, name: str) -> bool:
        """Whether a collection or an alias has this name."""
        return self._client.collection_exists(name)

    @_one_at_a_time
    def get_collection(self, name: str) -> models.CollectionInfo:
        """Status, size, stored configuration, payload schema, metadata."""
        made = self._find(name)
        points = self._client.count(name).count
        status = made.statuses[0] if made.statuses else models.CollectionStatus.GREEN
        if len(made.statuses) > 1 and status is not models.CollectionStatus.GREY:
            made.statuses.pop(0)
        return models.CollectionInfo(
            status=status,
            optimizer_status=models.OptimizersStatusOneOf1(error="disk failed")
            if status is models.CollectionStatus.RED
            else models.OptimizersStatusOneOf.OK,
            segments_count=2,
            points_count=points,
            indexed_vectors_count=self._indexed(made, points=points),
            payload_schema=self._with_counts(name, made.indexes),
            config=_config_of(made),
            update_queue=models.UpdateQueueInfo(length=0),
        )

    @_one_at_a_time
    def create_index(self, name: str, key: str, params: Any) -> int:
        """Remember a payload index; the change's number."""
        made = self._find(name)
        if params is None:
            raise Refusal(400, "Format error in JSON body: field_schema is missing")
        kind = params.value if isinstance(params, models.PayloadSchemaType) else _KINDS[type(params)]
        if isinstance(params, models.TextIndexParams) and params.tokenizer is None:
            params = params.model_copy(update={"tokenizer": models.TokenizerType.WORD})
        made.indexes[key] = models.PayloadIndexInfo(
            data_type=models.PayloadSchemaType(kind),
            params=None if isinstance(params, models.PayloadSchemaType) else params,
            points=0,
        )
        return made.count_operation(steps=2)

    @_one_at_a_time
    def create_vector_name(self, name: str, vector: str, config: models.VectorNameConfig) -> int:
        """Add an empty vector; harmless where it is there. The change's number."""
        made = self._find(name)
        vectors = made.config.vectors if isinstance(made.config.vectors, dict) else {}
        sparse = made.config.sparse_vectors or {}
        if isinstance(config, models.SparseVectorNameConfig):
            sparse = {**sparse, vector: models.SparseVectorParams(modifier=config.sparse.modifier)}
        else:
            kind = models.Datatype(config.dense.datatype.value) if config.dense.datatype else None
            params = models.VectorParams(size=config.dense.size, distance=config.dense.distance, datatype=kind)
            vectors = {**vectors, vector: params}
        return self._reshaped(name, made, vectors=vectors, sparse=sparse)

    @_one_at_a_time
    def delete_vector_name(self, name: str, vector: str) -> int:
        """Take a vector away from every point; the change's number."""
        made = self._find(name)
        vectors = made.config.vectors if isinstance(made.config.vectors, dict) else {}
        sparse = made.config.sparse_vectors or {}
        if vector not in {**vectors, **sparse}:
            raise Refusal(400, f"Wrong input: Not existing vector name error: {vector}")
        left = {each: of for each, of in vectors.items() if each != vector}
        return self._reshaped(name, made, vectors=left, sparse={k: v for k, v in sparse.items() if k != vector})

    def _reshaped(
        self,
        name: str,
        made: _Made,
        *,
        vectors: Mapping[str, models.VectorParams],
        sparse: Mapping[str, models.SparseVectorParams],
    ) -> int:
        """Keep all points, with these vectors of theirs and no others."""
        kept = self._client.scroll(name, limit=1_000_000, with_payload=True, with_vectors=True)[0]
        made.config = made.config.model_copy(update={"vectors": dict(vectors), "sparse_vectors": dict(sparse) or None})
        meant = next(each for each, of in self._made.items() if of is made)
        aliases = [each for each in self._client.get_aliases().aliases if each.collection_name == meant]
        self._client.delete_collection(meant)  # which takes no new vector
        self._client.create_collection(
            meant, vectors_config=made.config.vectors or {}, sparse_vectors_config=made.config.sparse_vectors
        )
        self._client.update_collection_aliases(
            [
                models.CreateAliasOperation(
                    create_alias=models.CreateAlias(collection_name=meant, alias_name=each.alias_name)
                )
                for each in aliases
            ]
        )
        known = {**vectors, **sparse}
        found = [
            models.PointStruct(
                id=each.id,
                vector={k: v for k, v in each.vector.items() if k in known} if isinstance(each.vector, dict) else {},
                payload=each.payload,
            )
            for each in kept
        ]
        if found:
            self._client.upsert(meant, found)
        return made.count_operation()

    @_one_at_a_time
    def update_vectors(
        self, name: str, points: Sequence[models.PointVectors], condition: models.Filter | None = None
    ) -> int:
        """Replace these vectors of points that match, and no other; the change's number. 404 for a missing point."""
        made = self._find(name)
        for point in points:
            _check_id(point.id)
            _check_vectors(point.vector, made.config)
        check_filter(condition, indexes=made.indexes, strict=made.strict)
        self._client.update_vectors(name, list(points), update_filter=condition)
        return made.count_operation(point.id for point in points)

    def update_batch(self, name: str, changes: Sequence[models.UpdateOperation]) -> list[int]:
        """Several changes one after the other; the numbers of each."""
        return [self._changed(name, change) for change in changes]

    def _changed(self, name: str, change: models.UpdateOperation) -> int:
        match change:
            case models.SetPayloadOperation(set_payload=set_payload):
                return self.set_payload(name, set_payload.points or [], set_payload.payload, set_payload.key)
            case models.UpdateVectorsOperation(update_vectors=update_vectors):
                return self.update_vectors(name, update_vectors.points, update_vectors.update_filter)
            case models.DeleteVectorsOperation(delete_vectors=delete_vectors):
                return self.delete_vectors(name, delete_vectors.points or [], delete_vectors.vector)
        raise Refusal(501, f"{type(change).__name__} in a batch is unknown to the stand-in")

    @_one_at_a_time
    def change_aliases(self, actions: Sequence[models.AliasOperations]) -> bool:
        """Apply alias operations, all or none."""
        for action in actions:
            if isinstance(action, models.CreateAliasOperation):
                self._find(action.create_alias.collection_name)
                if action.create_alias.alias_name in self._made:
                    raise _exists(action.create_alias.alias_name)
        return bool(self._client.update_collection_aliases(list(actions)))

    @_one_at_a_time
    def list_aliases(self) -> models.CollectionsAliasesResponse:
        """Every alias, and the collection that it names."""
        return self._client.get_aliases()

    @_one_at_a_time
    def upsert(self, name: str, points: Sequence[models.PointStruct]) -> int:
        """Write points, in the precision the collection keeps; the change's number."""
        made = self._find(name)
        for point in points:
            _check_id(point.id)
            _check_vectors(point.vector, made.config)
        check_most(len(points), made.limit("upsert_max_batchsize"), name="upsert limit", strict=made.strict)
        made.rates.take("Write", len(points), strict=made.strict)
        self._client.upsert(name, [_as_kept(point, made.config) for point in points])
        return made.count_operation(point.id for point in points)

    @_one_at_a_time
    def delete(self, name: str, selector: models.PointsSelector) -> int:
        """Remove points by id or by filter; the change's number."""
        made = self._find(name)
        if isinstance(selector, models.FilterSelector):
            check_filter(selector.filter, indexes=made.indexes, strict=made.strict)
        else:
            for point_id in selector.points:
                _check_id(point_id)
        self._client.delete(name, selector)
        return made.count_operation()

    @_one_at_a_time
    def set_payload(
        self, name: str, ids: Sequence[models.ExtendedPointId], payload: dict[str, Any], key: str | None
    ) -> int:
        """Merge a payload into points, or into an object of theirs; the change's number. 404 for a missing point."""
        made = self._find(name)
        for point_id in ids:
            _check_id(point_id)
        self._client.set_payload(name, payload, points=list(ids), key=key)
        return made.count_operation(ids)

    @_one_at_a_time
    def clear_payload(self, name: str, selector: models.PointsSelector) -> int:
        """Take away all of the payload, as one click in the dashboard does; the change's number."""
        made = self._find(name)
        self._client.clear_payload(name, selector)
        return made.count_operation()

    @_one_at_a_time
    def delete_vectors(self, name: str, ids: Sequence[models.ExtendedPointId], vectors: Sequence[str]) -> int:
        """Take these vectors away; the points stay; the change's number."""
        made = self._find(name)
        self._client.delete_vectors(name, list(vectors), points=list(ids))
        return made.count_operation(ids)

    @_one_at_a_time
    def retrieve(self, name: str, request: models.PointRequest) -> list[models.Record]:
        """Points by id."""
        self._find_to_read(name)
        for point_id in request.ids:
            _check_id(point_id)
        payload = True if request.with_payload is None else request.with_payload
        return self._client.retrieve(name, request.ids, with_payload=payload, with_vectors=request.with_vector or False)

    @_one_at_a_time
    def scroll(self, name: str, request: models.ScrollRequest) -> models.ScrollResult:
        """Points in id order."""
        made = self._find_to_read(name)
        check_limit(request.limit, asked_of="scroll_request", strict=made.strict)
        check_filter(request.filter, indexes=made.indexes, strict=made.strict)
        if request.order_by is not None:
            key = request.order_by if isinstance(request.order_by, str) else request.order_by.key
            check_order(key, indexes=made.indexes)
        points, following = self._client.scroll(
            name,
            scroll_filter=as_served(request.filter, tokens=self._tokens(name, made)),
            limit=request.limit or 10,
            offset=request.offset,
            with_payload=True if request.with_payload is None else request.with_payload,
            with_vectors=request.with_vector or False,
        )
        return models.ScrollResult(points=points, next_page_offset=following)

    @_one_at_a_time
    def count(self, name: str, request: models.CountRequest) -> int:
        """How many points match."""
        made = self._find_to_read(name)
        check_filter(request.filter, indexes=made.indexes, strict=made.strict)
        return self._client.count(name, count_filter=as_served(request.filter, tokens=self._tokens(name, made))).count

    @_one_at_a_time
    def facet(self, name: str, request: models.FacetRequest) -> models.FacetResponse:
        """Values of an indexed key and how often they occur."""
        made = self._find_to_read(name)
        check_limit(request.limit, asked_of="facet_request", strict=made.strict)
        check_filter(request.filter, indexes=made.indexes, strict=made.strict)
        check_facet(request.key, indexes=made.indexes)
        return self._client.facet(
            name,
            request.key,
            facet_filter=as_served(request.filter, tokens=self._tokens(name, made)),
            limit=request.limit or 10,
        )

    @_one_at_a_time
    def query(self, name: str, requests: Sequence[models.QueryRequest]) -> list[models.QueryResponse]:
        """Answer queries, exactly."""
        made = self._find_to_read(name)
        for request in requests:
            check_limit(request.limit, asked_of="internal", strict=made.strict)
            ef = request.params.hnsw_ef if request.params else None
            check_most(ef, made.limit("search_max_hnsw_ef"), name="hnsw_ef", strict=made.strict)
            check_filter(request.filter, indexes=made.indexes, strict=made.strict)
            _check_question(request, made)
        answers = self._client.query_batch_points(
            name,
            [
                each.model_copy(update={"filter": as_served(each.filter, tokens=self._tokens(name, made))})
                for each in requests
            ],
        )
        for answer in answers:
            answer.points = [
                point.model_copy(update={"version": made.versions.get(point.id, 0)}) for point in answer.points
            ]
        return answers

    @_one_at_a_time
    def check_timeout(self, name: str, timeout: int | None) -> None:
        """Refuse to work for longer than strict mode allows."""
        made = self._find(name)
        check_most(timeout, made.limit("max_timeout"), name="timeout", strict=made.strict)

    @_one_at_a_time
    def play_statuses(self, name: str, statuses: Sequence[str]) -> None:
        """Let ``get_collection`` show these statuses one after the other; the last one stays."""
        self._find(name).statuses = [models.CollectionStatus(status) for status in statuses]

    def _find(self, name: str) -> _Made:
        aliases = {entry.alias_name: entry.collection_name for entry in self._client.get_aliases().aliases}
        try:
            return self._made[aliases.get(name, name)]
        except KeyError as error:
            raise Refusal(404, f"Not found: Collection `{name}` doesn't exist!") from error

    def _find_to_read(self, name: str) -> _Made:
        made = self._find(name)
        made.rates.take("Read", 1, strict=made.strict)
        return made

    def _tokens(self, name: str, made: _Made) -> Tokens:
        """What the indexes hold that part a text at its spaces."""

        def tokens(key: str) -> dict[models.ExtendedPointId, list[str]] | None:
            params = made.indexes[key].params if key in made.indexes else None
            if not isinstance(params, models.TextIndexParams) or params.tokenizer != models.TokenizerType.WHITESPACE:
                return None
            points, _ = self._client.scroll(name, limit=1_000_000, with_payload=True)
            found = {point.id: value_by_key(point.payload or {}, key) for point in points}
            return {
                point_id: " ".join(map(str, values)).lower().split() for point_id, values in found.items() if values
            }

        return tokens

    def _with_counts(
        self, name: str, indexes: Mapping[str, models.PayloadIndexInfo]
    ) -> dict[str, models.PayloadIndexInfo]:
        """The indexes with the number of points that have a value each."""
        points, _ = self._client.scroll(name, limit=1_000_000, with_payload=True) if indexes else ([], None)
        counts = Counter(key for key in indexes for point in points if _value_at(point.payload or {}, key))
        return {key: index.model_copy(update={"points": counts[key]}) for key, index in indexes.items()}

    @staticmethod
    def _indexed(made: _Made, *, points: int) -> int:
        vectors = made.config.vectors
        dims = sum(params.size for params in vectors.values()) if isinstance(vectors, dict) else 0
        kilobytes = points * dims * 4 / 1024
        return points if made.indexing_threshold and kilobytes > made.indexing_threshold else 0


def _exists(name: str) -> Refusal:
    return Refusal(409, f"Wrong input: Collection `{name}` already exists!")


def _value_at(payload: Mapping[str, Any], key: str) -> bool:
    """Whether a payload has a value at a path such as ``meta.price``."""
    value: Any = payload
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value not in (None, [])


def _check_vectors(vectors: Any, config: models.CreateCollection) -> None:
    known = config.vectors if isinstance(config.vectors, dict) else {}
    for name, values in (vectors if isinstance(vectors, dict) else {"": vectors}).items():
        if isinstance(values, models.SparseVector):
            _check_sparse(name, config)
        else:
            _check_vector(values, name=name, known=known)


def _check_sparse(name: str, config: models.CreateCollection) -> None:
    if name not in (config.sparse_vectors or {}):
        raise Refusal(400, f"Wrong input: Not existing vector name error: {name}")


def _check_vector(values: Any, *, name: str, known: Mapping[str, models.VectorParams]) -> None:
    if name not in known:
        raise Refusal(400, f"Wrong input: Not existing vector name error: {name}")
    if len(values) != known[name].size:
        raise Refusal(
            400,
            f"Wrong input: Vector dimension error: expected dim: {known[name].size}, got {len(values)} "
            f"for vector '{name}'",
        )


def _check_question(request: models.QueryRequest, made: _Made) -> None:
    known = made.config.vectors if isinstance(made.config.vectors, dict) else {}
    match request.query:
        case models.OrderByQuery(order_by=order):
            check_order(order if isinstance(order, str) else order.key, indexes=made.indexes)
        case models.NearestQuery(nearest=models.SparseVector()):
            _check_sparse(request.using or "", made.config)
        case models.NearestQuery(nearest=list() as values):
            _check_vector(values, name=request.using or "", known=known)


def _check_id(point_id: models.ExtendedPointId) -> None:
    if isinstance(point_id, int):
        return
    try:
        uuid.UUID(str(point_id))
    except ValueError as error:
        raise Refusal(
            400,
            f"Format error in JSON body: value {point_id} is not a valid point ID, valid values are either an unsigned "
            "integer or a UUID",
            by_grpc=f"Unable to parse UUID: {point_id}",
        ) from error


def _as_kept(point: models.PointStruct, config: models.CreateCollection) -> models.PointStruct:
    """The point with its float16 vectors rounded as a server rounds them: after normalising."""
    params = config.vectors
    if not isinstance(point.vector, dict) or not isinstance(params, dict):
        return point
    kept: dict[str, Any] = {}
    for name, values in point.vector.items():
        kept[name] = values
        if name in params and params[name].datatype is models.Datatype.FLOAT16:
            # NaN comes by gRPC alone and is taken there; what is read back then was not recorded: zeros here
            vector = np.nan_to_num(np.asarray(values, dtype=np.float64))
            length = float(np.linalg.norm(vector)) or 1.0
            kept[name] = (vector / length).astype(np.float16).astype(np.float64).tolist()
    return models.PointStruct(id=point.id, vector=kept, payload=point.payload)


def _config_of(made: _Made) -> models.CollectionConfig:
    config = made.config
    hnsw = config.hnsw_config or models.HnswConfigDiff()
    strict = config.strict_mode_config
    return models.CollectionConfig(
        params=models.CollectionParams(
            vectors=config.vectors,
            sparse_vectors=config.sparse_vectors,
            shard_number=config.shard_number or 1,
            replication_factor=config.replication_factor or 1,
            write_consistency_factor=config.write_consistency_factor or 1,
            on_disk_payload=True,
        ),
        hnsw_config=models.HnswConfig(
            m=hnsw.m or 16,
            ef_construct=hnsw.ef_construct or 100,
            full_scan_threshold=hnsw.full_scan_threshold or 10_000,
            max_indexing_threads=hnsw.max_indexing_threads or 0,
            memory=hnsw.memory,
            on_disk=False,
        ),
        optimizer_config=models.OptimizersConfig(
            deleted_threshold=0.2,
            vacuum_min_vector_number=1000,
            default_segment_number=0,
            indexing_threshold=made.indexing_threshold,
            flush_interval_sec=5,
        ),
        wal_config=models.WalConfig(wal_capacity_mb=32, wal_segments_ahead=0, wal_retain_closed=1),
        quantization_config=config.quantization_config,
        strict_mode_config=models.StrictModeConfigOutput(**strict.model_dump(exclude_none=True)) if strict else None,
        metadata=made.metadata or None,
    )
