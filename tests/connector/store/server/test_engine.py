"""What the server engine does beyond the contract of every engine: how it connects, creates, loads and waits."""

import logging
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr
from qdrant_client import QdrantClient, models

from connector.errors import CollectionMismatch, CollectionMissing, ConfigError, StoreRefused, StoreUnavailable
from connector.records import Point
from connector.settings import QdrantSettings
from connector.store.engine import NearestQuery
from connector.store.schema import CollectionSchema, Fingerprint
from connector.store.server.engine import ServerEngine
from connector.store.server.points import BATCH
from tests.qdrant_standin.faults import Fault
from tests.qdrant_standin.images import DIMS, SCHEMA, points
from tests.qdrant_standin.standin import ROOT, TRANSPORTS, Standin, Transport, running


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    chosen: Transport = request.param
    return chosen


@pytest.fixture
def engine(standin: Standin, transport: Transport, collection: str) -> Iterator[ServerEngine]:
    """An engine whose collection does not exist yet."""
    engine = ServerEngine.connect(standin.settings(transport), collection=collection)
    yield engine
    engine.close()


@pytest.fixture
def client(standin: Standin) -> Iterator[QdrantClient]:
    """The bare client, to look behind the engine."""
    client = QdrantClient(url=standin.url, check_compatibility=False)
    yield client
    client.close()


# connecting


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (None, "POLYGLANCE_QDRANT__URL is not set"),
        ("ftp://db", "is no http or https address"),
        ("localhost:6333", "is no http or https address"),
        ("http://", "is no http or https address"),
        ("https://me:hunter2@db", "put the key into POLYGLANCE_QDRANT__API_KEY"),
        ("http://[::1", "cannot be read as an address"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused_at_once(url: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        ServerEngine.connect(QdrantSettings(url=url), collection="photos")
    assert "hunter2" not in str(raised.value)


def test_connecting_asks_nothing_of_the_server(transport: Transport) -> None:
    engine = ServerEngine.connect(QdrantSettings(url="http://127.0.0.1:9", transport=transport), collection="photos")
    assert engine.collection == "photos"
    engine.close()


def test_a_key_over_plain_http_is_warned_of_unless_it_stays_on_this_machine(caplog: pytest.LogCaptureFixture) -> None:
    key = SecretStr("key-17aa")
    for url in ("http://localhost:6333", "http://127.0.0.1", "https://db.example:6333", "http://db.example:6333"):
        ServerEngine.connect(QdrantSettings(url=url, api_key=key), collection="photos").close()
    warned = [line for line in caplog.messages if line.startswith("api_key_in_clear")]
    assert warned == ["api_key_in_clear address=db.example:6333 advice='use https'"]


def test_neither_engine_nor_settings_show_the_key() -> None:
    settings = QdrantSettings(url="https://db.example", api_key=SecretStr("key-17aa"))
    engine = ServerEngine.connect(settings, collection="photos")
    assert repr(engine) == "ServerEngine('photos' at https://db.example:6334 (gRPC))"
    assert "key-17aa" not in f"{engine!r} {settings!r} {settings.model_dump_json()}"
    engine.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that no machine trusts by itself."""
    return trustme.CA()


@pytest.fixture(scope="module")
def secured(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standin]:
    """A stand-in that speaks TLS only, with a certificate of that authority."""
    certificate = tmp_path_factory.mktemp("tls") / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    with running("--certificate", str(certificate)) as standin:
        yield standin


def test_tls_is_spoken_over_both_transports_to_a_server_that_is_trusted(
    secured: Standin, authority: trustme.CA, transport: Transport, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    url = f"https://localhost:{secured.rest_port}"
    settings = secured.settings(transport, url=url, ca_file=tmp_path / "ca.pem")
    engine = ServerEngine.connect(settings, collection=f"tls-{transport}")
    engine.create(SCHEMA)
    engine.upsert(points(3))
    assert engine.count() == 3
    engine.close()


def test_an_address_without_tls_of_a_server_that_speaks_it_is_told_at_once(
    secured: Standin, transport: Transport
) -> None:
    settings = secured.settings(transport, url=f"http://localhost:{secured.rest_port}", retry_s=600.0)
    with (
        closing(ServerEngine.connect(settings, collection="tls")) as engine,
        pytest.raises(StoreRefused, match=r"This server speaks TLS: begin POLYGLANCE_QDRANT__URL with https://"),
    ):
        engine.count()


def test_an_address_with_tls_of_a_server_that_speaks_none_is_told_at_once(
    standin: Standin, transport: Transport
) -> None:
    settings = standin.settings(transport, url=f"https://localhost:{standin.rest_port}", retry_s=600.0)
    with (
        closing(ServerEngine.connect(settings, collection="tls")) as engine,
        pytest.raises(StoreRefused, match=r"does not speak TLS: begin POLYGLANCE_QDRANT__URL with http://"),
    ):
        engine.count()


def test_a_certificate_for_another_name_is_told_as_such(
    secured: Standin, authority: trustme.CA, transport: Transport, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    url = f"https://127.0.0.1:{secured.rest_port}"
    settings = secured.settings(transport, url=url, ca_file=tmp_path / "ca.pem", retry_s=600.0)
    with (
        closing(ServerEngine.connect(settings, collection="tls")) as engine,
        pytest.raises(StoreRefused, match="certificate is for another name"),
    ):
        engine.count()


def test_a_server_that_is_not_trusted_is_refused_at_once(secured: Standin, transport: Transport) -> None:
    url = f"https://localhost:{secured.rest_port}"
    engine = ServerEngine.connect(secured.settings(transport, url=url), collection="tls")
    with pytest.raises(StoreRefused, match="name it in POLYGLANCE_QDRANT__CA_FILE"):
        engine.count()
    engine.close()


@pytest.mark.parametrize("content", [None, "no certificate", "-----BEGIN CERTIFICATE-----\nbroken\n"])
def test_a_file_without_certificates_is_refused_at_once(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match="holds no PEM certificates"):
        ServerEngine.connect(QdrantSettings(url="https://db.example", ca_file=path), collection="photos")


def test_a_closed_engine_says_so(engine: ServerEngine) -> None:
    engine.close()
    with pytest.raises(StoreUnavailable, match="the engine is closed"):
        engine.count()


# creating


def test_a_new_collection_is_what_the_documentation_recommends(
    standin: Standin, transport: Transport, collection: str, client: QdrantClient
) -> None:
    engine = ServerEngine.connect(standin.settings(transport, shards=12, replicas=2), collection=collection)
    engine.create(SCHEMA)
    engine.close()
    info = client.get_collection(collection)
    config = info.config
    assert config.params.vectors == {
        "mini": models.VectorParams(
            size=DIMS,
            distance=models.Distance.COSINE,
            datatype=models.Datatype.FLOAT16,
            memory=models.Memory.COLD,
        )
    }
    assert (config.params.shard_number, config.params.replication_factor) == (12, 2)
    assert (config.hnsw_config.m, config.hnsw_config.ef_construct) == (16, 100)
    assert config.hnsw_config.memory is models.Memory.CACHED
    assert config.quantization_config == models.TurboQuantization(
        turbo=models.TurboQuantQuantizationConfig(bits=models.TurboQuantBitSize.BITS4, memory=models.Memory.PINNED)
    )
    strict = config.strict_mode_config
    assert strict is not None
    assert (strict.enabled, strict.unindexed_filtering_retrieve, strict.unindexed_filtering_update) == (
        True,
        False,
        False,
    )
    assert strict.max_query_limit == 10_000
    assert config.metadata == SCHEMA.to_json()
    assert {name: index.data_type.value for name, index in info.payload_schema.items()} == SCHEMA.indexes
    tenant = info.payload_schema["tenant"].params
    assert isinstance(tenant, models.KeywordIndexParams)
    assert (tenant.is_tenant, tenant.enable_hnsw) == (True, True)
    width = info.payload_schema["width"].params
    assert isinstance(width, models.IntegerIndexParams)
    assert width.enable_hnsw is False


def test_every_index_is_made_before_the_first_point(engine: ServerEngine, standin: Standin) -> None:
    standin.script()
    engine.create(SCHEMA)
    assert standin.counts()["create_index.done"] == len(SCHEMA.indexes)
    engine.create(SCHEMA)
    counts = standin.counts()
    assert counts["create_collection.done"] == 1
    assert counts["create_index.done"] == len(SCHEMA.indexes)
    assert "update_collection.asked" not in counts


def test_a_creation_that_was_interrupted_is_completed(
    engine: ServerEngine, standin: Standin, client: QdrantClient
) -> None:
    standin.script(Fault("status", 400, operation="create_index"))
    with pytest.raises(StoreRefused):
        engine.create(SCHEMA)
    standin.script()
    engine.create(SCHEMA)
    assert set(client.get_collection(engine.collection).payload_schema) == set(SCHEMA.indexes)


def test_a_creation_whose_answer_was_lost_is_no_conflict(engine: ServerEngine, standin: Standin) -> None:
    standin.script(Fault("drop", operation="create_collection", after=True))
    engine.create(SCHEMA)
    assert engine.info().schema == SCHEMA


def test_weights_that_become_known_are_remembered(engine: ServerEngine) -> None:
    engine.create(SCHEMA)
    known = CollectionSchema(Fingerprint("mini", dims=DIMS, image_size=64, weights="abc"), SCHEMA.meta_fields)
    engine.create(known)
    assert engine.info().schema == known
    other = CollectionSchema(Fingerprint("mini", dims=DIMS, image_size=64, weights="xyz"), SCHEMA.meta_fields)
    with pytest.raises(CollectionMismatch, match="weights: xyz here, abc there"):
        engine.create(other)


@pytest.mark.parametrize(
    ("vectors", "metadata", "message"),
    [
        ({}, None, "was not made by polyglance: its metadata hold no fingerprint that can be read .keys: none"),
        ({}, {"owner": "me"}, "was not made by polyglance.*keys: owner"),
        ({}, {"fingerprint": {"shape": 3}}, "was made by another version of polyglance"),
        ({"other": DIMS}, SCHEMA.to_json(), "vector: mini here, other there"),
        ({"mini": 3}, SCHEMA.to_json(), "vector size: 128 here, 3 there"),
    ],
)
def test_a_collection_that_is_not_ours_is_refused_with_the_difference(
    engine: ServerEngine,
    client: QdrantClient,
    vectors: dict[str, int],
    metadata: dict[str, object] | None,
    message: str,
) -> None:
    params = {name: models.VectorParams(size=size, distance=models.Distance.COSINE) for name, size in vectors.items()}
    client.create_collection(engine.collection, vectors_config=params, metadata=metadata)
    with pytest.raises(CollectionMismatch, match=message):
        engine.create(SCHEMA)


def test_a_distance_or_an_index_of_another_kind_is_a_difference(engine: ServerEngine, client: QdrantClient) -> None:
    dot = {"mini": models.VectorParams(size=DIMS, distance=models.Distance.DOT)}
    client.create_collection(engine.collection, vectors_config=dot, metadata=SCHEMA.to_json())
    client.create_payload_index(engine.collection, "width", field_schema=models.PayloadSchemaType.KEYWORD)
    with pytest.raises(
        CollectionMismatch, match="distance: Cosine here, Dot there; index of width: integer here, keyword"
    ):
        engine.create(SCHEMA)


# writing and asking


def test_points_go_in_batches_and_can_be_read_at_the_end(engine: ServerEngine, standin: Standin) -> None:
    engine.create(SCHEMA)
    standin.script()
    engine.upsert(points(3 * BATCH + 1))
    assert standin.counts()["upsert.asked"] == 4
    assert engine.count() == 3 * BATCH + 1


def test_one_unsound_point_keeps_every_batch_back(engine: ServerEngine, standin: Standin) -> None:
    engine.create(SCHEMA)
    standin.script()
    images = points(2 * BATCH)
    images[-1].vector[0] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        engine.upsert(images)
    assert standin.counts() == {}


def test_an_engine_asks_for_the_schema_once(engine: ServerEngine, standin: Standin, transport: Transport) -> None:
    engine.create(SCHEMA)
    other = ServerEngine.connect(standin.settings(transport), collection=engine.collection)
    standin.script()
    for image in points(3):
        other.upsert([image])
        other.query([NearestQuery(image.vector)])
    other.close()
    assert standin.counts()["get_collection.asked"] == 1


def test_a_page_is_never_larger_than_strict_mode_allows(engine: ServerEngine) -> None:
    engine.create(SCHEMA)
    assert engine.scroll(limit=1_000_000).points == []


# aliases


def test_an_alias_is_switched_in_one_step(engine: ServerEngine, standin: Standin, transport: Transport) -> None:
    engine.create(SCHEMA)
    engine.upsert(points(3))
    alias = f"{engine.collection}-live"
    second = ServerEngine.connect(standin.settings(transport), collection=f"{engine.collection}-2")
    second.create(SCHEMA)
    live = ServerEngine.connect(standin.settings(transport), collection=alias)
    engine.point_alias(alias)
    assert live.count() == 3
    standin.script()
    second.point_alias(alias)
    assert live.count() == 0
    assert standin.counts()["aliases.asked"] == 1
    second.close()
    live.close()


def test_by_an_alias_the_collection_behind_it_is_changed_and_deleted(
    engine: ServerEngine, standin: Standin, transport: Transport
) -> None:
    engine.create(SCHEMA)
    engine.upsert(points(3))
    alias = f"{engine.collection}-live"
    engine.point_alias(alias)
    with closing(ServerEngine.connect(standin.settings(transport), collection=alias)) as live:
        assert (live.collection, live.resolved(), engine.resolved()) == (alias, engine.collection, engine.collection)
        live.create(CollectionSchema(SCHEMA.fingerprint, {**SCHEMA.meta_fields, "added": "integer"}))
        assert "meta.added" in engine.info().schema.indexes
        live.point_alias(f"{alias}-too")  # an alias of an alias means the collection
        live.drop()
        with pytest.raises(CollectionMissing):
            engine.info()
        with pytest.raises(CollectionMissing):
            live.count()


def test_a_collection_made_anew_behind_an_alias_leaves_the_old_one(
    engine: ServerEngine, standin: Standin, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    engine.create(SCHEMA)
    engine.upsert(points(3))
    alias = f"{engine.collection}-live"
    engine.point_alias(alias)
    with closing(ServerEngine.connect(standin.settings(transport), collection=alias)) as live:
        live.recreate(SCHEMA)
        assert (live.count(), engine.count()) == (0, 3)
        assert live.resolved().startswith(f"{alias}-")
        assert live.info().schema == SCHEMA
        live.upsert(points(1))
        assert (live.count(), engine.count()) == (1, 3)
    assert f"from={engine.collection}" in caplog.text
    engine.recreate(SCHEMA)
    assert engine.count() == 0


def test_a_key_for_one_collection_alone_needs_no_list_of_aliases(engine: ServerEngine, standin: Standin) -> None:
    engine.create(SCHEMA)
    standin.script(Fault("status", 403, operation="list_aliases", times=9))
    assert engine.resolved() == engine.collection
    engine.drop()


# optimizing and bulk loads


def test_optimizing_waits_until_the_collection_is_green(
    engine: ServerEngine, standin: Standin, caplog: pytest.LogCaptureFixture
) -> None:
    engine.create(SCHEMA)
    engine.upsert(points(3))
    standin.show_statuses(engine.collection, "yellow", "yellow", "yellow", "yellow", "green")
    with caplog.at_level(logging.INFO):
        engine.optimize()
    progress = [line for line in caplog.messages if line.startswith("collection_optimizing")]
    assert progress
    assert "with 0 of 3 vectors in the graph" in progress[0]


def test_a_grey_collection_is_woken_up(engine: ServerEngine, standin: Standin) -> None:
    engine.create(SCHEMA)
    standin.show_statuses(engine.collection, "grey", "green")
    standin.script()
    engine.optimize()
    assert standin.counts()["update_collection.done"] == 1


def test_an_optimizer_that_failed_is_an_error(engine: ServerEngine, standin: Standin) -> None:
    engine.create(SCHEMA)
    standin.show_statuses(engine.collection, "yellow", "red")
    with pytest.raises(StoreRefused, match="failed: disk failed"):
        engine.optimize()


def test_optimizing_has_an_end(standin: Standin, transport: Transport, collection: str) -> None:
    engine = ServerEngine.connect(standin.settings(transport, optimize_wait_s=0.1), collection=collection)
    engine.create(SCHEMA)
    standin.show_statuses(collection, "yellow")
    with pytest.raises(StoreUnavailable, match=r"still yellow after 0\.1 s, with 0 of 0 vectors in the graph"):
        engine.optimize()
    engine.close()


def indexing_threshold(client: QdrantClient, collection: str) -> int | None:
    return client.get_collection(collection).config.optimizer_config.indexing_threshold


def test_a_bulk_load_puts_off_indexing_and_switches_it_back_on(engine: ServerEngine, client: QdrantClient) -> None:
    engine.create(SCHEMA)
    client.update_collection(
        engine.collection, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=12_345)
    )
    with engine.bulk_load():
        assert indexing_threshold(client, engine.collection) == 0
        engine.upsert(points(3))
    assert indexing_threshold(client, engine.collection) == 12_345
    assert client.get_collection(engine.collection).config.metadata == SCHEMA.to_json()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_an_interrupted_bulk_load_switches_indexing_back_on(
    engine: ServerEngine, client: QdrantClient, interruption: type[BaseException]
) -> None:
    engine.create(SCHEMA)
    with pytest.raises(interruption), engine.bulk_load():
        raise interruption
    assert indexing_threshold(client, engine.collection) == 10_000


KILLED = """
import sys
from connector.store.server.engine import ServerEngine
from connector.records import Point
from connector.settings import QdrantSettings

engine = ServerEngine.connect(QdrantSettings.model_validate_json(sys.argv[1]), collection=sys.argv[2])
with engine.bulk_load():
    print("loading", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("heal", ["create", "optimize", "bulk_load"])
def test_after_a_kill_the_next_run_switches_indexing_back_on(
    engine: ServerEngine, standin: Standin, transport: Transport, client: QdrantClient, heal: str
) -> None:
    engine.create(SCHEMA)
    settings = standin.settings(transport).model_dump_json(exclude={"api_key"})
    command = (sys.executable, "-c", textwrap.dedent(KILLED), settings, engine.collection)
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "loading\n"
        child.send_signal(signal.SIGKILL)
    assert indexing_threshold(client, engine.collection) == 0
    match heal:
        case "create":
            engine.create(SCHEMA)
        case "optimize":
            engine.optimize()
        case _:
            with engine.bulk_load():
                assert indexing_threshold(client, engine.collection) == 0
    assert indexing_threshold(client, engine.collection) == 10_000
    assert client.get_collection(engine.collection).config.metadata == SCHEMA.to_json()


def test_a_collection_that_was_made_anew_is_asked_for_its_schema_again(
    engine: ServerEngine, standin: Standin, transport: Transport
) -> None:
    engine.create(SCHEMA)
    other = ServerEngine.connect(standin.settings(transport), collection=engine.collection)
    other.drop()
    with pytest.raises(CollectionMissing):
        engine.count()
    narrow = CollectionSchema(Fingerprint("mini", dims=3, image_size=64))
    other.create(narrow)
    other.close()
    with pytest.raises(ValueError, match=r"the collection holds \(3,\)"):
        engine.upsert(points(1))


def test_addresses_lie_in_lists_and_both_layouts_are_found_alike(engine: ServerEngine, standin: Standin) -> None:
    engine.create(SCHEMA)
    first, second, *_ = points(2)
    engine.upsert(
        [Point(each.id, each.vector, {"uri": f"file:///a/{n}.jpg"}) for n, each in enumerate((first, second))]
    )
    with closing(QdrantClient(url=standin.url, check_compatibility=False)) as client:
        client.set_payload(engine.collection, {"uri": "file:///a/1.jpg"}, points=[second.id])  # as it was before
        raw = {str(each.id): each.payload for each in client.retrieve(engine.collection, [first.id, second.id])}
    assert raw == {first.id: {"uri": ["file:///a/0.jpg"]}, second.id: {"uri": "file:///a/1.jpg"}}
    assert {each.id: each.payload for each in engine.retrieve([first.id, second.id])} == {
        first.id: {"uri": "file:///a/0.jpg"},
        second.id: {"uri": "file:///a/1.jpg"},
    }
    for number, each in enumerate((first, second)):
        value = models.MatchValue(value=f"file:///a/{number}.jpg")
        where = models.Filter(must=[models.FieldCondition(key="uri", match=value)])
        assert [found.id for found in engine.scroll(limit=5, where=where).points] == [each.id]
    engine.set_payload([second.id], {"uri": "file:///a/1.jpg"})  # what mends a point of before
    (hits,) = engine.query([NearestQuery(first.vector, limit=2)])
    assert {hit.uri for hit in hits} == {"file:///a/0.jpg", "file:///a/1.jpg"}
