"""The stand-in is strict where the client's in-memory mode is lax, and speaks as Qdrant's own document says."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from connector.errors import StoreError
from connector.store.engine import NearestQuery, NewVector, WordsQuery
from connector.store.schema import Fingerprint, SecondSpace, Words
from connector.store.server.engine import ServerEngine
from tests.qdrant_standin.images import SCHEMA, points
from tests.qdrant_standin.openapi import VARIABLE, Judge, find_document
from tests.qdrant_standin.rest import ROUTES
from tests.qdrant_standin.standin import Standin, running

BY_OTHERS = {"clear_payload", "delete_vectors", "get_collections"}
"""Operations that the engine never asks for: tests do, in the place of somebody at the dashboard, or to list all."""
HOLIDAY = models.Filter(must=[models.FieldCondition(key="folder", match=models.MatchValue(value="holiday"))])
UNINDEXED = models.Filter(must=[models.FieldCondition(key="exposure", match=models.MatchValue(value="1/60"))])


@pytest.fixture
def client(standin: Standin) -> Iterator[QdrantClient]:
    """The bare client over REST, without our engine in between."""
    client = QdrantClient(url=standin.url, check_compatibility=False)
    yield client
    client.close()


@pytest.fixture
def engine(standin: Standin, collection: str) -> Iterator[ServerEngine]:
    engine = ServerEngine.connect(standin.settings("rest"), collection=collection)
    engine.create(SCHEMA)
    engine.upsert(points(12))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def judge() -> Judge:
    document = find_document()
    if document is None:
        pytest.skip(f"Qdrant's OpenAPI document is not on this machine: {VARIABLE} may name it")
    return Judge(document)


def use_everything(engine: ServerEngine, *, alias: str) -> None:
    """Every operation the engine has, with every kind of argument, and a few that are refused."""
    engine.create(SCHEMA)
    images = points(300)
    engine.upsert(images)
    ids = [point.id for point in images[:3]]
    engine.info()
    engine.query(
        [
            NearestQuery(images[0].vector, limit=3, offset=1, where=HOLIDAY, min_score=0.1),
            NearestQuery(images[1].vector, exact=True),
        ]
    )
    engine.retrieve(ids, fields=["uri", "location"], vectors=True)
    engine.retrieve(ids, fields=[])
    engine.scroll(limit=2, start=ids[0], where=HOLIDAY, vectors=True)
    engine.count(where=HOLIDAY)
    engine.facet("folder", where=HOLIDAY, limit=3)
    engine.set_payload([ids[0]], {"thumbnail_url": "http://localhost:8000/thumbnails/1.webp"})
    engine.set_words(Words({"tags": 1.0}))
    assert engine.index_words(ids) == len(ids)
    engine.query([WordsQuery("dog", limit=3, offset=1, where=HOLIDAY)])
    engine.set_words(Words({"title": 1.0}))
    assert engine.index_words(ids) == len(ids)
    one_space = engine.info().schema
    following = Fingerprint("following", dims=one_space.fingerprint.dims, image_size=one_space.fingerprint.image_size)
    two_spaces = replace(one_space, second=SecondSpace(following, role="next", declared="following"))
    engine.set_spaces(two_spaces, was=one_space)
    engine.write_vectors([NewVector(point.id, point.vector, None) for point in images[:3]], space="following")
    engine.write_vectors([NewVector(images[0].id, images[0].vector, "another")], space="following")
    engine.set_spaces(one_space, was=two_spaces)
    engine.delete(ids[:1])
    engine.optimize()
    with engine.bulk_load():
        engine.upsert(images[:1])
    engine.point_alias(alias)
    refused: list[Callable[[], object]] = [
        lambda: engine.count(where=UNINDEXED),
        lambda: engine.set_payload(["00000000-0000-0000-0000-000000000000"], {"a": 1}),
    ]
    for ask in refused:
        with pytest.raises(StoreError):
            ask()
    engine.drop()
    with pytest.raises(StoreError):
        engine.info()


def test_what_we_send_and_what_the_standin_answers_is_in_qdrants_document(
    judge: Judge, standin: Standin, collection: str
) -> None:
    engine = ServerEngine.connect(standin.settings("rest", shards=2, replicas=1), collection=collection)
    standin.record()
    use_everything(engine, alias=f"{collection}-alias")
    exchanges = standin.exchanges()
    engine.close()
    asked = {(route.method, route.path) for route in ROUTES if route.operation not in BY_OTHERS}
    assert {(one["method"], one["path"]) for one in exchanges} == asked
    assert {one["status"] for one in exchanges} == {200, 400, 404}
    found = [
        f"{one['method']} {one['path']} {one['status']}: {line}" for one in exchanges for line in judge.problems(one)
    ]
    assert found == []


def test_the_judge_sees_what_is_wrong(judge: Judge) -> None:
    scroll = {"method": "POST", "path": "/collections/{collection_name}/points/scroll", "query": {}, "status": 200}
    answer = {"result": {"points": [], "next_page_offset": None}, "status": "ok", "time": 0.1, "usage": None}
    good = {**scroll, "body": {"limit": 3, "offset": None}, "answer": answer}
    assert judge.problems(good) == []
    wrong: list[dict[str, Any]] = [
        {**good, "path": "/collections/{collection_name}/points/search"},  # gone in 1.19
        {**good, "query": {"wait": "true"}},
        {**good, "body": {"limit": "three"}},
        {**good, "body": {"limit": 3, "filter": 7}},  # an alternative to a bare nullable
        {**good, "body": {"limit": 3, "offset": {}}},
        {**good, "answer": {**answer, "result": {"points": [{"id": 1.5}]}}},
        {**good, "answer": {**answer, "usage": 3}},
        {**good, "status": 400, "answer": {"status": {"error": 5}}},
    ]
    for exchange in wrong:
        assert judge.problems(exchange), exchange


def test_an_unindexed_filter_is_refused(engine: ServerEngine, client: QdrantClient) -> None:
    for ask in (
        lambda: client.count(engine.collection, count_filter=UNINDEXED),
        lambda: client.scroll(engine.collection, scroll_filter=UNINDEXED),
        lambda: client.query_batch_points(
            engine.collection, [models.QueryRequest(query=[0.1] * 128, using="mini", filter=UNINDEXED)]
        ),
        lambda: client.delete(engine.collection, models.FilterSelector(filter=UNINDEXED)),
    ):
        with pytest.raises(UnexpectedResponse, match="Index required"):
            ask()


@pytest.mark.parametrize(
    "condition",
    [
        models.FieldCondition(key="width", match=models.MatchValue(value="640")),
        models.FieldCondition(key="folder", range=models.Range(gte=1)),
        models.FieldCondition(key="width", range=models.DatetimeRange(gte="2026-01-01T00:00:00Z")),
        models.FieldCondition(key="folder", match=models.MatchText(text="holiday")),
        models.IsEmptyCondition(is_empty=models.PayloadField(key="exposure")),
        models.Filter(should=[models.FieldCondition(key="nowhere", match=models.MatchAny(any=["a"]))]),
    ],
    ids=lambda condition: type(condition).__name__,
)
def test_an_index_of_the_wrong_type_does_not_serve_a_filter(
    engine: ServerEngine, client: QdrantClient, condition: Any
) -> None:
    with pytest.raises(UnexpectedResponse, match="Index required but not found"):
        client.count(engine.collection, count_filter=models.Filter(must=[condition]))


def test_facets_and_orders_without_an_index_are_refused(engine: ServerEngine, client: QdrantClient) -> None:
    with pytest.raises(UnexpectedResponse, match="No appropriate index for faceting"):
        client.facet(engine.collection, key="exposure")
    with pytest.raises(UnexpectedResponse, match="order_by"):
        client.scroll(engine.collection, order_by="exposure")


def test_limits_are_kept(engine: ServerEngine, client: QdrantClient) -> None:
    with pytest.raises(UnexpectedResponse, match="Limit exceeded 10001 > 10000"):
        client.scroll(engine.collection, limit=10_001)
    with pytest.raises(UnexpectedResponse, match="422"):
        client.scroll(engine.collection, limit=0)


def test_wrong_points_are_refused(engine: ServerEngine, client: QdrantClient) -> None:
    for struct in (
        models.PointStruct(id="no-uuid", vector={"mini": [0.1] * 128}),
        models.PointStruct(id=1, vector={"mini": [0.1] * 3}),
        models.PointStruct(id=1, vector={"other": [0.1] * 128}),
    ):
        with pytest.raises(UnexpectedResponse, match="400"):
            client.upsert(engine.collection, [struct])


def test_what_is_newer_than_the_server_is_refused(client: QdrantClient, collection: str) -> None:
    turbo8 = models.VectorParams(size=4, distance=models.Distance.COSINE, datatype=models.Datatype.TURBO8)
    with pytest.raises(UnexpectedResponse, match="turbo8"):
        client.create_collection(collection, vectors_config={"a": turbo8})


def test_a_collection_made_twice_is_a_conflict(engine: ServerEngine, client: QdrantClient) -> None:
    with pytest.raises(UnexpectedResponse, match="409"):
        client.create_collection(engine.collection, vectors_config={})


def test_a_body_above_the_limit_is_refused(engine: ServerEngine, client: QdrantClient) -> None:
    heavy = models.PointStruct(id=1, vector={"mini": [0.1] * 128}, payload={"note": "x" * (33 * 1024 * 1024)})
    with pytest.raises(UnexpectedResponse, match="larger than allowed"):
        client.upsert(engine.collection, [heavy])


def test_what_the_engine_does_not_use_is_not_there(
    engine: ServerEngine, client: QdrantClient, standin: Standin
) -> None:
    with pytest.raises(UnexpectedResponse, match="501"):
        client.overwrite_payload(engine.collection, {}, points=[1])
    rpc = QdrantClient(url=standin.url, grpc_port=standin.grpc_port, prefer_grpc=True, check_compatibility=False)
    with pytest.raises(Exception, match="UNIMPLEMENTED"):
        rpc.overwrite_payload(engine.collection, {}, points=[1])
    rpc.close()


def test_both_transports_show_the_same_collection(engine: ServerEngine, standin: Standin, client: QdrantClient) -> None:
    rpc = QdrantClient(url=standin.url, grpc_port=standin.grpc_port, prefer_grpc=True, check_compatibility=False)
    over_rest, over_grpc = client.get_collection(engine.collection), rpc.get_collection(engine.collection)
    rpc.close()
    assert over_grpc.config.metadata == over_rest.config.metadata
    assert over_grpc.config.params.vectors == over_rest.config.params.vectors
    assert over_grpc.config.quantization_config == over_rest.config.quantization_config
    assert {k: v.data_type for k, v in over_grpc.payload_schema.items()} == {
        k: v.data_type for k, v in over_rest.payload_schema.items()
    }


def test_the_standin_ends_with_the_one_who_started_it() -> None:
    with running() as standin:
        assert standin.process.stdin is not None
        standin.process.stdin.close()
        assert standin.process.wait(timeout=30) == 0
