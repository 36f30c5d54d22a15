"""The gRPC side of the stand-in: the same store, the same script, the same keys, by the client's own conversions."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import grpc
from qdrant_client import grpc as qdrant
from qdrant_client import models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

from tests.qdrant_standin.faults import Broken, Fault, Script
from tests.qdrant_standin.keys import Keys, Right
from tests.qdrant_standin.store import Store
from tests.qdrant_standin.strict import Refusal

CODES: Mapping[int, grpc.StatusCode] = MappingProxyType(
    {
        400: grpc.StatusCode.INVALID_ARGUMENT,
        401: grpc.StatusCode.UNAUTHENTICATED,
        403: grpc.StatusCode.PERMISSION_DENIED,
        404: grpc.StatusCode.NOT_FOUND,
        408: grpc.StatusCode.DEADLINE_EXCEEDED,
        409: grpc.StatusCode.ALREADY_EXISTS,
        422: grpc.StatusCode.INVALID_ARGUMENT,
        429: grpc.StatusCode.RESOURCE_EXHAUSTED,
        500: grpc.StatusCode.INTERNAL,
        501: grpc.StatusCode.UNIMPLEMENTED,
        502: grpc.StatusCode.UNAVAILABLE,
        503: grpc.StatusCode.UNAVAILABLE,
        504: grpc.StatusCode.DEADLINE_EXCEEDED,
        507: grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)

_FIELD_TYPES: Mapping[int, models.PayloadSchemaType] = MappingProxyType(
    {
        qdrant.FieldType.FieldTypeKeyword: models.PayloadSchemaType.KEYWORD,
        qdrant.FieldType.FieldTypeInteger: models.PayloadSchemaType.INTEGER,
        qdrant.FieldType.FieldTypeFloat: models.PayloadSchemaType.FLOAT,
        qdrant.FieldType.FieldTypeGeo: models.PayloadSchemaType.GEO,
        qdrant.FieldType.FieldTypeText: models.PayloadSchemaType.TEXT,
        qdrant.FieldType.FieldTypeBool: models.PayloadSchemaType.BOOL,
        qdrant.FieldType.FieldTypeDatetime: models.PayloadSchemaType.DATETIME,
        qdrant.FieldType.FieldTypeUuid: models.PayloadSchemaType.UUID,
    }
)


def _updated(operation: int) -> Any:
    result = qdrant.UpdateResult(operation_id=operation, status=qdrant.UpdateStatus.Completed)
    return qdrant.PointsOperationResponse(result=result)


def serve(
    port: int, *, store: Store, script: Script, keys: Keys, certificate: Path | None = None
) -> tuple[grpc.Server, int]:
    """A started gRPC server and the port that was chosen; with a ``certificate`` (key and chain) it speaks TLS."""
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(16), options=unlimited)
    door = _Door(store, script, keys)
    qdrant.add_PointsServicer_to_server(_Points(store, door), server)  # type: ignore[no-untyped-call]
    qdrant.add_CollectionsServicer_to_server(_Collections(store, door), server)  # type: ignore[no-untyped-call]
    address = f"127.0.0.1:{port}"
    if certificate is None:
        chosen = server.add_insecure_port(address)
    else:
        pem = certificate.read_bytes()
        chosen = server.add_secure_port(address, grpc.ssl_server_credentials([(pem, pem)]))
    server.start()
    return server, chosen


class _Door:
    """What every call passes: the key, the script, and the translation of refusals into statuses."""

    def __init__(self, store: Store, script: Script, keys: Keys) -> None:
        self._store = store
        self._script = script
        self._keys = keys

    def let_in(
        self, operation: str, request: Any, context: grpc.ServicerContext, act: Callable[[], Any], *, right: Right
    ) -> Any:
        headers = {name: str(value) for name, value in context.invocation_metadata()}
        collection = str(getattr(request, "collection_name", ""))

        def act_in_time() -> Any:
            if getattr(request, "timeout", 0) and right in ("read", "write"):
                self._store.check_timeout(collection, request.timeout)
            return act()

        try:
            self._keys.identify(headers).check(right, collection=collection)
            return self._script.play(operation, act_in_time)
        except Broken as broken:
            _break(broken.fault, context)
        except Refusal as refusal:
            _abort(
                context,
                CODES[refusal.status],
                refusal.by_grpc or refusal.message,
                retry_after=refusal.retry_after,
                trailing=refusal.trailing,
            )


def _break(fault: Fault, context: grpc.ServicerContext) -> NoReturn:
    match fault.kind:
        case "status":
            _abort(context, CODES[fault.status], fault.message, retry_after=fault.retry_after)
        case "html":  # what the C core says when a proxy answers with a page
            _abort(context, grpc.StatusCode.UNKNOWN, "Stream removed: invalid content-type text/html")
        case "drop" | "half" | "late":
            _abort(context, grpc.StatusCode.UNAVAILABLE, "Socket closed")


def _abort(
    context: grpc.ServicerContext,
    code: grpc.StatusCode,
    message: str,
    *,
    retry_after: int | None = None,
    trailing: tuple[tuple[str, str], ...] = (),
) -> NoReturn:
    if retry_after is not None:
        trailing = (*trailing, ("retry-after", str(retry_after)))
    if trailing:
        context.set_trailing_metadata(trailing)
    context.abort(code, message)
    raise AssertionError("abort raises")


class _Collections(qdrant.CollectionsServicer):
    def __init__(self, store: Store, door: _Door) -> None:
        self._store = store
        self._door = door

    def Create(self, request: qdrant.CreateCollection, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def act() -> Any:
            done = self._store.create_collection(request.collection_name, _create_collection(request))
            return qdrant.CollectionOperationResponse(result=done)

        return self._door.let_in("create_collection", request, context, act, right="make")

    def Update(self, request: qdrant.UpdateCollection, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def act() -> Any:
            change = models.UpdateCollection(
                optimizers_config=GrpcToRest.convert_optimizers_config_diff(request.optimizers_config)
                if request.HasField("optimizers_config")
                else None,
                metadata=GrpcToRest.convert_payload(request.metadata) or None,
            )
            done = self._store.update_collection(request.collection_name, change)
            return qdrant.CollectionOperationResponse(result=done)

        return self._door.let_in("update_collection", request, context, act, right="manage")

    def Delete(self, request: qdrant.DeleteCollection, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def act() -> Any:
            return qdrant.CollectionOperationResponse(result=self._store.delete_collection(request.collection_name))

        return self._door.let_in("delete_collection", request, context, act, right="manage")

    def Get(self, request: qdrant.GetCollectionInfoRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def act() -> Any:
            info = self._store.get_collection(request.collection_name)
            return qdrant.GetCollectionInfoResponse(result=RestToGrpc.convert_collection_info(info))

        return self._door.let_in("get_collection", request, context, act, right="read")

    def CollectionExists(  # noqa: N802
        self, request: qdrant.CollectionExistsRequest, context: grpc.ServicerContext
    ) -> Any:
        def act() -> Any:
            exists = self._store.collection_exists(request.collection_name)
            return qdrant.CollectionExistsResponse(result=qdrant.CollectionExists(exists=exists))

        return self._door.let_in("collection_exists", request, context, act, right="read")

    def List(  # noqa: N802
        self, request: qdrant.ListCollectionsRequest, context: grpc.ServicerContext
    ) -> Any:
        def act() -> Any:
            names = [qdrant.CollectionDescription(name=each.name) for each in self._store.collections().collections]
            return qdrant.ListCollectionsResponse(collections=names)

        return self._door.let_in("get_collections", request, context, act, right="read")

    def UpdateAliases(self, request: qdrant.ChangeAliases, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def act() -> Any:
            actions = [GrpcToRest.convert_alias_operations(action) for action in request.actions]
            return qdrant.CollectionOperationResponse(result=self._store.change_aliases(actions))

        return self._door.let_in("aliases", request, context, act, right="make")

    def ListAliases(self, request: qdrant.ListAliasesRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def act() -> Any:
            found = self._store.list_aliases().aliases
            return qdrant.ListAliasesResponse(aliases=[RestToGrpc.convert_alias_description(each) for each in found])

        return self._door.let_in("list_aliases", request, context, act, right="list")


class _Points(qdrant.PointsServicer):
    def __init__(self, store: Store, door: _Door) -> None:
        self._store = store
        self._door = door

    def Upsert(self, request: qdrant.UpsertPoints, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def act() -> Any:
            points = [GrpcToRest.convert_point_struct(point) for point in request.points]
            return _updated(self._store.upsert(request.collection_name, points))

        return self._door.let_in("upsert", request, context, act, right="write")

    def Delete(self, request: qdrant.DeletePoints, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def act() -> Any:
            return _updated(
                self._store.delete(request.collection_name, GrpcToRest.convert_points_selector(request.points))
            )

        return self._door.let_in("delete", request, context, act, right="write")

    def SetPayload(self, request: qdrant.SetPayloadPoints, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def act() -> Any:
            ids = [GrpcToRest.convert_point_id(point_id) for point_id in request.points_selector.points.ids]
            key = request.key if request.HasField("key") else None
            payload = GrpcToRest.convert_payload(request.payload)
            return _updated(self._store.set_payload(request.collection_name, ids, payload, key))

        return self._door.let_in("set_payload", request, context, act, right="write")

    def CreateVectorName(  # noqa: N802
        self, request: qdrant.CreateVectorNameRequest, context: grpc.ServicerContext
    ) -> Any:
        def act() -> Any:
            config: models.VectorNameConfig
            if request.HasField("dense_config"):
                dense = models.DenseVectorConfig(
                    size=request.dense_config.size,
                    distance=GrpcToRest.convert_distance(request.dense_config.distance),
                    datatype=models.VectorStorageDatatype.FLOAT16,
                )
                config = models.DenseVectorNameConfig(dense=dense)
            else:
                sparse = models.SparseVectorConfig(
                    modifier=GrpcToRest.convert_modifier(request.sparse_config.modifier),
                    datatype=models.VectorStorageDatatype.FLOAT16,
                )
                config = models.SparseVectorNameConfig(sparse=sparse)
            done = self._store.create_vector_name(request.collection_name, request.vector_name, config)
            return _updated(done)

        return self._door.let_in("create_vector_name", request, context, act, right="manage")

    def DeleteVectorName(  # noqa: N802
        self, request: qdrant.DeleteVectorNameRequest, context: grpc.ServicerContext
    ) -> Any:
        def act() -> Any:
            return _updated(self._store.delete_vector_name(request.collection_name, request.vector_name))

        return self._door.let_in("delete_vector_name", request, context, act, right="manage")

    def UpdateVectors(self, request: qdrant.UpdatePointVectors, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def act() -> Any:
            points = [GrpcToRest.convert_point_vectors(each) for each in request.points]
            condition = GrpcToRest.convert_filter(request.update_filter) if request.HasField("update_filter") else None
            return _updated(self._store.update_vectors(request.collection_name, points, condition))

        return self._door.let_in("update_vectors", request, context, act, right="write")

    def UpdateBatch(self, request: qdrant.UpdateBatchPoints, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def act() -> Any:
            changes = [GrpcToRest.convert_points_update_operation(each) for each in request.operations]
            numbers = self._store.update_batch(request.collection_name, changes)
            completed = qdrant.UpdateStatus.Completed
            results = [qdrant.UpdateResult(operation_id=number, status=completed) for number in numbers]
            return qdrant.UpdateBatchResponse(result=results)

        return self._door.let_in("update_batch", request, context, act, right="write")

    def CreateFieldIndex(  # noqa: N802
        self, request: qdrant.CreateFieldIndexCollection, context: grpc.ServicerContext
    ) -> Any:
        def act() -> Any:
            params: Any = _FIELD_TYPES[request.field_type]
            if request.HasField("field_index_params"):
                params = GrpcToRest.convert_payload_schema_params(request.field_index_params)
            return _updated(self._store.create_index(request.collection_name, request.field_name, params))

        return self._door.let_in("create_index", request, context, act, right="write")

    def Get(self, request: qdrant.GetPoints, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def act() -> Any:
            asked = models.PointRequest(
                ids=[GrpcToRest.convert_point_id(point_id) for point_id in request.ids],
                with_payload=_payload_selector(request),
                with_vector=_vector_selector(request),
            )
            found = self._store.retrieve(request.collection_name, asked)
            return qdrant.GetResponse(result=[_record(record) for record in found])

        return self._door.let_in("retrieve", request, context, act, right="read")

    def Scroll(self, request: qdrant.ScrollPoints, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def act() -> Any:
            asked = models.ScrollRequest(
                offset=GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None,
                limit=request.limit if request.HasField("limit") else None,
                filter=_filter(request),
                with_payload=_payload_selector(request),
                with_vector=_vector_selector(request),
                order_by=GrpcToRest.convert_order_by(request.order_by) if request.HasField("order_by") else None,
            )
            page = self._store.scroll(request.collection_name, asked)
            following = page.next_page_offset
            return qdrant.ScrollResponse(
                result=[_record(record) for record in page.points],
                next_page_offset=None if following is None else RestToGrpc.convert_extended_point_id(following),
            )

        return self._door.let_in("scroll", request, context, act, right="read")

    def Count(self, request: qdrant.CountPoints, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def act() -> Any:
            count = self._store.count(request.collection_name, models.CountRequest(filter=_filter(request)))
            return qdrant.CountResponse(result=qdrant.CountResult(count=count))

        return self._door.let_in("count", request, context, act, right="read")

    def Facet(self, request: qdrant.FacetCounts, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def act() -> Any:
            limit = request.limit if request.HasField("limit") else None
            asked = models.FacetRequest(key=request.key, limit=limit, filter=_filter(request))
            found = self._store.facet(request.collection_name, asked)
            return qdrant.FacetResponse(hits=[RestToGrpc.convert_facet_value_hit(hit) for hit in found.hits])

        return self._door.let_in("facet", request, context, act, right="read")

    def QueryBatch(self, request: qdrant.QueryBatchPoints, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def act() -> Any:
            asked = [GrpcToRest.convert_query_points(query) for query in request.query_points]
            answers = self._store.query(request.collection_name, asked)
            return qdrant.QueryBatchResponse(
                result=[
                    qdrant.BatchResult(result=[RestToGrpc.convert_scored_point(point) for point in answer.points])
                    for answer in answers
                ]
            )

        return self._door.let_in("query", request, context, act, right="read")


def _record(record: models.Record) -> Any:
    """The conversion fails on a record without a payload; over the wire both are the same."""
    return RestToGrpc.convert_retrieved_point(record.model_copy(update={"payload": record.payload or {}}))


def _filter(request: Any) -> models.Filter | None:
    return GrpcToRest.convert_filter(request.filter) if request.HasField("filter") else None


def _payload_selector(request: Any) -> Any:
    if not request.HasField("with_payload"):
        return False
    return GrpcToRest.convert_with_payload_selector(request.with_payload)


def _vector_selector(request: Any) -> Any:
    return GrpcToRest.convert_with_vectors_selector(request.with_vectors) if request.HasField("with_vectors") else False


def _create_collection(request: Any) -> models.CreateCollection:
    def given(name: str, convert: Callable[[Any], Any]) -> Any:
        return convert(getattr(request, name)) if request.HasField(name) else None

    return models.CreateCollection(
        vectors=given("vectors_config", GrpcToRest.convert_vectors_config),
        sparse_vectors=given("sparse_vectors_config", GrpcToRest.convert_sparse_vector_config),
        hnsw_config=given("hnsw_config", GrpcToRest.convert_hnsw_config_diff),
        quantization_config=given("quantization_config", GrpcToRest.convert_quantization_config),
        strict_mode_config=given("strict_mode_config", GrpcToRest.convert_strict_mode_config),
        id_tracker=given("id_tracker", GrpcToRest.convert_id_tracker_params),
        shard_number=request.shard_number if request.HasField("shard_number") else None,
        replication_factor=request.replication_factor if request.HasField("replication_factor") else None,
        metadata=GrpcToRest.convert_payload(request.metadata) or None,
    )
