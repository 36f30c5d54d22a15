"""Every refusal of a real server of 1.19, over both transports: its code, its words, what travels beside them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import UnexpectedResponse

from connector.errors import NotAllowed, StoreFull, StoreRefused
from connector.records import Point
from connector.store.schema import CollectionSchema, Fingerprint
from connector.store.server.engine import ServerEngine
from tests.qdrant_standin.images import DIMS, SCHEMA, points
from tests.qdrant_standin.keys import token_for
from tests.qdrant_standin.limits import FULL_DISK, QUOTA
from tests.qdrant_standin.standin import TRANSPORTS, Standin, Transport, running

KEY = "the-full-key-of-this-server"
READ_ONLY = "the-read-only-key"
LIMITS = models.StrictModeConfig(
    enabled=True,
    unindexed_filtering_retrieve=False,
    max_query_limit=100,
    search_max_hnsw_ef=256,
    upsert_max_batchsize=300,
    max_timeout=30,
)
NO_INDEX = (
    'Bad request: Index required but not found for "k" of one of the following types: [integer]. Help: Create an index '
    "for this key or use a different filter."
)
BY_K = models.Filter(must=[models.FieldCondition(key="k", match=models.MatchValue(value=1))])


def struct(number: int = 1, **vectors: list[float]) -> models.PointStruct:
    return models.PointStruct(id=number, vector=dict(vectors) or {"v": [0.1] * DIMS}, payload={})


def query(**more: Any) -> models.QueryRequest:
    return models.QueryRequest(**{"query": [0.1] * DIMS, "using": "v", **more})


@dataclass(frozen=True)
class Case:
    """A request, and what both transports answer; ``said`` is how the words begin."""

    ask: Callable[[QdrantClient, str], object]
    status: int
    code: grpc.StatusCode
    said: str
    by_grpc: str | None = None


BAD = (400, grpc.StatusCode.INVALID_ARGUMENT)
CASES = {
    "limit": Case(
        lambda c, n: c.scroll(n, limit=5000),
        *BAD,
        'Bad request: Limit exceeded 5000 > 100 for "limit". Help: Reduce the "limit" parameter to or below 100.',
    ),
    "filter-query": Case(lambda c, n: c.query_batch_points(n, [query(filter=BY_K)]), *BAD, NO_INDEX),
    "filter-count": Case(lambda c, n: c.count(n, count_filter=BY_K), *BAD, NO_INDEX),
    "filter-scroll": Case(lambda c, n: c.scroll(n, scroll_filter=BY_K), *BAD, NO_INDEX),
    "filter-delete": Case(lambda c, n: c.delete(n, models.FilterSelector(filter=BY_K)), *BAD, NO_INDEX),
    "facet": Case(
        lambda c, n: c.facet(n, "k"),
        *BAD,
        "Wrong input: No appropriate index for faceting: `k`. Please create one to facet on this field. Check https://",
    ),
    "order-scroll": Case(
        lambda c, n: c.scroll(n, order_by="k"),
        *BAD,
        "Wrong input: No range index for `order_by` key: `k`. Please create one ",
    ),
    "order-query": Case(
        lambda c, n: c.query_batch_points(n, [models.QueryRequest(query=models.OrderByQuery(order_by="k"))]),
        *BAD,
        "Wrong input: No range index for `order_by` key: `k`. Please create one ",
    ),
    "hnsw_ef": Case(
        lambda c, n: c.query_batch_points(n, [query(params=models.SearchParams(hnsw_ef=512))]),
        *BAD,
        'Bad request: Limit exceeded 512 > 256 for "hnsw_ef"',
    ),
    "upsert-batch": Case(
        lambda c, n: c.upsert(n, [struct(number) for number in range(400)]),
        *BAD,
        'Bad request: Limit exceeded 400 > 300 for "upsert limit"',
    ),
    "timeout": Case(lambda c, n: c.count(n, timeout=31), *BAD, 'Bad request: Limit exceeded 31 > 30 for "timeout"'),
    "limit-0-query": Case(
        lambda c, n: c.query_batch_points(n, [query(limit=0)]),
        422,
        grpc.StatusCode.INVALID_ARGUMENT,
        "Validation error in JSON body: [internal.limit: ",
        "Validation error in body: [limit: ",
    ),
    "limit-0-scroll": Case(
        lambda c, n: c.scroll(n, limit=0),
        422,
        grpc.StatusCode.INVALID_ARGUMENT,
        "Validation error in JSON body: [scroll_request.limit: ",
        "Validation error in body: [limit: ",
    ),
    "dims": Case(
        lambda c, n: c.upsert(n, [struct(v=[0.1] * 64)]),
        *BAD,
        f"Wrong input: Vector dimension error: expected dim: {DIMS}, got 64 for vector 'v'",
    ),
    "vector-name": Case(
        lambda c, n: c.upsert(n, [struct(w=[0.1] * DIMS)]), *BAD, "Wrong input: Not existing vector name error: w"
    ),
    "id": Case(
        lambda c, n: c.upsert(n, [models.PointStruct(id="abc", vector={"v": [0.1] * DIMS})]),
        *BAD,
        "Format error in JSON body: value abc is not a valid point ID, ",
        "Unable to parse UUID: abc",
    ),
    "collection": Case(
        lambda c, _: c.count("nope"),
        404,
        grpc.StatusCode.NOT_FOUND,
        "Not found: Collection `nope` doesn't exist!",
    ),
    "point": Case(
        lambda c, n: c.set_payload(n, {"a": 1}, points=[99999]),
        404,
        grpc.StatusCode.NOT_FOUND,
        "Not found: No point with id 99999 found",
    ),
    "exists": Case(
        lambda c, n: c.create_collection(n, vectors_config={}),
        409,
        grpc.StatusCode.ALREADY_EXISTS,
        "Wrong input: Collection `errs` already exists!",
    ),
    "alias": Case(
        lambda c, n: c.update_collection_aliases(
            [
                models.CreateAliasOperation(
                    create_alias=models.CreateAlias(collection_name=n, alias_name=n)
                )
            ]
        ),
        409,
        grpc.StatusCode.ALREADY_EXISTS,
        "Wrong input: Collection `errs` already exists!",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Standin]:
    with running() as standin, closing(client_of(standin, "rest")) as client:
        params = models.VectorParams(size=DIMS, distance=models.Distance.COSINE, datatype=models.Datatype.FLOAT16)
        client.create_collection("errs", vectors_config={"v": params}, strict_mode_config=LIMITS)
        yield standin


@pytest.fixture(scope="module")
def guarded() -> Iterator[Standin]:
    """A server with keys, and a collection that its owner made for everybody else."""
    with running("--api-key", KEY, "--read-only-api-key", READ_ONLY) as standin:
        with closing(ServerEngine.connect(standin.settings("rest", key=KEY), collection="images")) as engine:
            engine.create(SCHEMA)
            engine.upsert(points(3))
        yield standin


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    found: Transport = request.param
    return found


def client_of(standin: Standin, transport: Transport, *, key: str | None = None) -> QdrantClient:
    return QdrantClient(
        url=standin.url,
        grpc_port=standin.grpc_port,
        prefer_grpc=transport == "grpc",
        check_compatibility=False,
        timeout=60,
        headers={"api-key": key} if key else None,
    )


def refusal(client: QdrantClient, ask: Callable[[QdrantClient], object]) -> tuple[object, str]:
    """The code and the words that a request is answered with."""
    with pytest.raises((UnexpectedResponse, grpc.RpcError)) as raised:
        ask(client)
    error = raised.value
    if isinstance(error, UnexpectedResponse):
        body = error.structured() if error.content.startswith(b"{") else {"status": {"error": error.content.decode()}}
        return error.status_code, body["status"]["error"]
    assert isinstance(error, grpc.Call)
    return error.code(), error.details() or ""


@pytest.mark.parametrize("name", CASES)
def test_a_refusal_has_the_servers_code_and_words(server: Standin, transport: Transport, name: str) -> None:
    case = CASES[name]
    with closing(client_of(server, transport)) as client:
        code, said = refusal(client, lambda client: case.ask(client, "errs"))
    rest = transport == "rest"
    assert code == (case.status if rest else case.code)
    assert said.startswith(case.said if rest or case.by_grpc is None else case.by_grpc)


def test_only_rest_refuses_a_heavy_body_and_what_is_no_number(server: Standin) -> None:
    heavy = models.PointStruct(id=7, vector={"v": [0.1] * DIMS}, payload={"note": "x" * 40_000_000})
    no_number = struct(8, v=[float("nan")] + [0.1] * (DIMS - 1))
    with closing(client_of(server, "rest")) as rest, closing(client_of(server, "grpc")) as rpc:
        code, said = refusal(rest, lambda client: client.upsert("errs", [heavy]))
        assert code == 400
        assert said.startswith("JSON payload (40")
        assert said.endswith("is larger than allowed (limit: 33554432 bytes).")
        code, said = refusal(rest, lambda client: client.upsert("errs", [no_number]))
        assert (code, said.endswith("untagged enum VectorStruct")) == (400, True)
        rpc.upsert("errs", [heavy, no_number])
        assert {record.id for record in rest.retrieve("errs", [7, 8], with_payload=False)} == {7, 8}
        rest.delete("errs", [7, 8])


def test_what_is_not_there_is_dropped_without_a_word(server: Standin, transport: Transport) -> None:
    gone = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="nobody"))
    with closing(client_of(server, transport)) as client:
        assert client.delete_collection("nobody") is False
        assert client.update_collection_aliases([gone]) is True


def test_a_collection_is_not_dropped_by_its_alias(server: Standin, transport: Transport) -> None:
    other = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name="errs", alias_name="other"))
    with closing(client_of(server, transport)) as client:
        client.update_collection_aliases([other])
        assert client.delete_collection("other") is False
        assert client.collection_exists("errs")


def test_rates_are_refused_with_the_moment_to_come_back_unless_it_never_comes(
    server: Standin, transport: Transport, collection: str
) -> None:
    params = models.VectorParams(size=DIMS, distance=models.Distance.COSINE)
    strict = models.StrictModeConfig(enabled=True, read_rate_limit=3, write_rate_limit=10)
    with closing(client_of(server, transport)) as client:
        client.create_collection(collection, vectors_config={"v": params}, strict_mode_config=strict)
        code, said = refusal(client, lambda c: c.upsert(collection, [struct(number) for number in range(11)]))
        assert code == (429 if transport == "rest" else grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert said == (
            "Rate limiting exceeded: Write rate limit exceeded, request larger than rate limiter capacity, please try "
            "to split your request"
        )
        for _ in range(3):
            client.count(collection)
        with pytest.raises(ResourceExhaustedResponse) as raised:
            client.count(collection)
    assert raised.value.retry_after_s == 20
    assert "Read rate limit exceeded: Operation requires 1 tokens but only 0.0 were available. Retry after 20s" in str(
        raised.value.message
    )


@pytest.mark.parametrize(
    ("room", "codes", "said", "stopped"),
    [
        ("low", (500, "INTERNAL"), FULL_DISK, {"upsert", "delete", "index"}),
        ("none", (500, "INTERNAL"), FULL_DISK, {"upsert", "delete", "index", "create"}),
        ("quota", (507, "RESOURCE_EXHAUSTED"), QUOTA, {"upsert", "index"}),
    ],
)
def test_without_room_writing_is_refused_and_reading_is_not(
    server: Standin, transport: Transport, collection: str, room: Any, codes: tuple[int, str],
    said: str, stopped: set[str],
) -> None:  # fmt: skip
    asked: dict[str, Callable[[QdrantClient], object]] = {
        "upsert": lambda c: c.upsert("errs", [struct()]),
        "delete": lambda c: c.delete("errs", [1]),
        "index": lambda c: c.create_payload_index("errs", "width", models.PayloadSchemaType.INTEGER),
        "create": lambda c: c.create_collection(collection, vectors_config={}),
    }
    with ExitStack() as stack:
        client = stack.enter_context(closing(client_of(server, transport)))
        stack.callback(server.set_room, "free")
        server.set_room(room)
        for name, ask in asked.items():
            if name not in stopped:
                ask(client)
                continue
            found = refusal(client, ask)
            assert found[0] == (codes[0] if transport == "rest" else grpc.StatusCode[codes[1]])
            assert found[1] == said or (name == "create" and found[1].endswith("No space left on device (os error 28)"))
        assert client.count("errs").count >= 0


def test_a_quota_says_so_in_metadata_and_a_full_disk_does_not(server: Standin) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(closing(client_of(server, "grpc")))
        stack.callback(server.set_room, "free")
        for room, sent in (("quota", "1"), ("low", None)):
            server.set_room(room)  # type: ignore[arg-type]
            with pytest.raises(grpc.RpcError) as raised:
                client.upsert("errs", [struct()])
            assert isinstance(raised.value, grpc.Call)
            metadata: Any = raised.value.trailing_metadata()
            assert dict(metadata).get("qdrant-insufficient-storage") == sent


def test_a_server_says_what_it_is_to_anybody(guarded: Standin) -> None:
    answer = httpx.get(guarded.url, timeout=60).raise_for_status().json()
    assert answer["title"] == "qdrant - vector search engine"
    assert answer["version"] == "1.19.0"


ONE = [{"collection": "images", "access": "rw"}]
OTHER = [{"collection": "others", "access": "rw"}]
READS = [{"collection": "images", "access": "r"}]
MANAGED = "Forbidden: Manage access for this operation is required"
GLOBAL = "Forbidden: Global access is required"
RIGHTS = ("read", "write", "manage", "make")
MANAGE = "Forbidden: Global manage access is required"
KEYS: dict[str, tuple[str | None, dict[str, str]]] = {
    "none": (None, dict.fromkeys(RIGHTS, "Must provide an API key or an Authorization bearer token")),
    "wrong": ("nobody's", dict.fromkeys(RIGHTS, "Invalid API key or JWT")),
    "wrongly signed": (
        token_for("m", key="another"),
        dict.fromkeys(RIGHTS, "Invalid API key or JWT"),
    ),
    "read-only": (READ_ONLY, dict.fromkeys(RIGHTS[1:], MANAGE)),
    "JWT r": (token_for("r", key=KEY), dict.fromkeys(RIGHTS[1:], MANAGE)),
    "JWT m": (token_for("m", key=KEY), {}),
    "JWT rw": (token_for(ONE, key=KEY), {"manage": MANAGED, "make": GLOBAL}),
    "JWT reads one": (
        token_for(READS, key=KEY),
        {
            "write": "Forbidden: Write access to collection images is required",
            "manage": MANAGED,
            "make": GLOBAL,
        },
    ),
    "JWT of another": (
        token_for(OTHER, key=KEY),
        {
            **dict.fromkeys(RIGHTS[:3], "Forbidden: Access to collection images is required"),
            "make": GLOBAL,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_a_key_opens_what_it_is_for(guarded: Standin, transport: Transport, name: str) -> None:
    key, refused = KEYS[name]
    asked: dict[str, Callable[[QdrantClient], object]] = {
        "read": lambda c: c.count("images"),
        "write": lambda c: c.delete("images", [1]),
        "manage": lambda c: c.update_collection("images", optimizers_config=models.OptimizersConfigDiff()),
        "make": lambda c: c.update_collection_aliases([]),
    }
    with closing(client_of(guarded, transport, key=key)) as client:
        for right, ask in asked.items():
            if right not in refused:
                ask(client)
                continue
            code, said = refusal(client, ask)
            unknown = not refused[right].startswith("Forbidden")
            codes = (401, grpc.StatusCode.UNAUTHENTICATED) if unknown else (403, grpc.StatusCode.PERMISSION_DENIED)
            assert (code, said) == (codes[0] if transport == "rest" else codes[1], refused[right])


def test_a_wrong_body_is_refused_before_the_right_to_write_is_looked_at(guarded: Standin) -> None:
    with closing(client_of(guarded, "rest", key=READ_ONLY)) as client:
        wrong = models.PointStruct(id=1, vector={"mini": [float("nan")]})
        assert refusal(client, lambda c: c.upsert("images", [wrong]))[0] == 400
        assert refusal(client, lambda c: c.upsert("images", [struct()]))[0] == 403


def test_whoever_may_write_one_collection_can_do_all_of_an_ingestion(guarded: Standin, transport: Transport) -> None:
    settings = guarded.settings(transport, key=token_for(ONE, key=KEY))
    with closing(ServerEngine.connect(settings, collection="images")) as engine:
        engine.check_rights()
        with pytest.raises(NotAllowed):
            engine.check_rights(managing=True)
        engine.create(SCHEMA)  # as it stands there already
        images = points(20)
        engine.upsert(images)
        engine.set_payload([images[0].id], {"tags": ["new"]})
        assert engine.count() == 20
        engine.delete([point.id for point in images])
        engine.optimize()


def test_what_takes_more_than_writing_says_who_may(guarded: Standin, transport: Transport) -> None:
    settings = guarded.settings(transport, key=token_for([*ONE, {"collection": "new", "access": "rw"}], key=KEY))
    more = CollectionSchema(SCHEMA.fingerprint, meta_fields={"colour": "keyword"})
    weights = CollectionSchema(Fingerprint(space="mini", dims=DIMS, image_size=64, weights="abc"))
    with closing(ServerEngine.connect(settings, collection="images")) as engine:
        for schema in (more, weights):
            with pytest.raises(NotAllowed, match="let `polyglance collection create` write it once"):
                engine.create(schema)
        with pytest.raises(NotAllowed, match="without it the same images are ingested"), engine.bulk_load():
            pass
    with closing(ServerEngine.connect(settings, collection="new")) as engine:
        with pytest.raises(NotAllowed, match=r"docs/engines\.md says which right each command needs"):
            engine.check_rights()
        with pytest.raises(NotAllowed, match="creating collection 'new' at"):
            engine.create(SCHEMA)


def test_the_right_to_write_is_asked_for_without_writing(guarded: Standin, transport: Transport) -> None:
    readers = (READ_ONLY, token_for(READS, key=KEY), token_for(OTHER, key=KEY), "nobody's")
    for key in readers:
        engine = ServerEngine.connect(guarded.settings(transport, key=key), collection="images")
        with closing(engine), pytest.raises(NotAllowed):
            engine.check_rights()
    with closing(ServerEngine.connect(guarded.settings(transport, key=KEY), collection="images")) as engine:
        before = engine.info()
        engine.check_rights()
        assert engine.info() == before
    with closing(ServerEngine.connect(guarded.settings(transport, key=KEY), collection="nowhere")) as engine:
        engine.check_rights()


@pytest.mark.parametrize("limit", ["write_rate_limit", "upsert_max_batchsize"])
def test_a_batch_that_can_never_pass_is_sent_in_smaller_ones(
    server: Standin, transport: Transport, collection: str, limit: str
) -> None:
    strict = models.StrictModeConfig(enabled=True, **{limit: 300})
    params = models.VectorParams(size=DIMS, distance=models.Distance.COSINE, datatype=models.Datatype.FLOAT16)
    batch = 256 + 128
    settings = server.settings(transport, in_flight=1)
    with closing(client_of(server, "rest")) as client:
        client.create_collection(
            collection, vectors_config={"mini": params}, strict_mode_config=strict, metadata=SCHEMA.to_json()
        )
    server.script()
    with closing(ServerEngine.connect(settings, collection=collection)) as engine:
        if limit == "upsert_max_batchsize":
            engine.upsert(points(batch))
            assert engine.count() == batch
        else:
            engine.upsert(points(250))
            assert engine.count() == 250


def test_points_too_heavy_together_are_sent_apart_and_one_too_heavy_alone_is_refused(
    standin: Standin, collection: str
) -> None:
    def heavy(note: int) -> list[Point]:
        return [Point(each.id, each.vector, {**each.payload, "meta": {"note": "x" * note}}) for each in points(4)]

    with closing(ServerEngine.connect(standin.settings("rest"), collection=collection)) as engine:
        engine.create(SCHEMA)
        engine.upsert(heavy(12_000_000))
        assert engine.count() == 4
        assert standin.counts()["upsert.done"] == 2  # two at a time
        with pytest.raises(StoreRefused, match="keep less metadata"):
            engine.upsert(heavy(40_000_000)[:1])


def test_a_full_disk_says_that_deleting_does_not_help(standin: Standin, transport: Transport, collection: str) -> None:
    settings = standin.settings(transport, full_wait_s=0.01)
    with ExitStack() as stack:
        engine = stack.enter_context(closing(ServerEngine.connect(settings, collection=collection)))
        engine.create(SCHEMA)
        stack.callback(standin.set_room, "free")
        standin.set_room("low")
        with pytest.raises(StoreFull, match="Deleting points does not help"):
            engine.upsert(points(1))
        with pytest.raises(StoreFull, match="Deleting points does not help"):
            engine.delete([points(1)[0].id])
        standin.set_room("quota")
        with pytest.raises(StoreFull, match="delete points, drop a collection"):
            engine.upsert(points(1))
