"""A cluster of several nodes: whichever is lost, the others are asked, and at once."""

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from connector.errors import ConfigError, StoreUnavailable
from connector.store.engine import NearestQuery
from connector.store.server.engine import ServerEngine
from tests.qdrant_standin.images import SCHEMA, points
from tests.qdrant_standin.standin import TRANSPORTS, Standin, Transport
from tests.qdrant_standin.wire import Wire, wired


class Cluster:
    """Two addresses that lead to the same points, as two nodes with a copy each; either can be cut off."""

    def __init__(self, standin: Standin, *, transport: Transport, stack: ExitStack) -> None:
        self._target = standin.grpc_port if transport == "grpc" else standin.rest_port
        self._stack = stack
        first = stack.enter_context(wired(self._target, host="127.0.0.1"))
        self.port = first.port
        self._nodes: list[Wire] = [first, self._wire(1)]
        url = ", ".join(f"http://127.0.0.{number}:{self.port}" for number in (1, 2))
        self._settings = standin.settings(transport, url=url, grpc_port=self.port)

    def connect(self, collection: str, **settings: float) -> ServerEngine:
        """An engine that knows both nodes, on a collection with ten points."""
        engine = ServerEngine.connect(self._settings.model_copy(update=settings), collection=collection)
        self._stack.enter_context(closing(engine))
        engine.create(SCHEMA)
        engine.upsert(points(10))
        return engine

    def lose(self, number: int) -> None:
        """Cut a node off; what it was asked meanwhile gets no answer."""
        self._nodes[number].close()

    def bring_back(self, number: int) -> None:
        """Let a node answer again, at its old address."""
        self._nodes[number] = self._wire(number)

    def _wire(self, number: int) -> Wire:
        return self._stack.enter_context(wired(self._target, host=f"127.0.0.{number + 1}", port=self.port))


@pytest.fixture(params=TRANSPORTS)
def cluster(request: pytest.FixtureRequest, standin: Standin) -> Iterator[Cluster]:
    with ExitStack() as stack:
        try:
            yield Cluster(standin, transport=request.param, stack=stack)
        except OSError as error:
            pytest.skip(f"this machine has no second loopback address: {error}")


def found(engine: ServerEngine) -> list[str]:
    (hits,) = engine.query([NearestQuery(points(10)[3].vector, limit=3)])
    return [hit.id for hit in hits]


def test_where_a_node_is_lost_another_is_asked_without_a_wait(cluster: Cluster, collection: str) -> None:
    engine = cluster.connect(collection, retry_s=4.0, retry_first_s=60.0)  # no patience for a first wait
    before = found(engine)
    cluster.lose(0)
    assert found(engine) == before
    engine.upsert(points(12))
    assert engine.count() == 12


def test_each_node_may_be_lost_in_turn(cluster: Cluster, collection: str) -> None:
    engine = cluster.connect(collection, retry_s=30.0)
    before = found(engine)
    for lost in (0, 1, 0):
        cluster.lose(lost)
        assert found(engine) == before
        cluster.bring_back(lost)


def test_where_all_nodes_are_lost_one_of_them_is_named(cluster: Cluster, collection: str) -> None:
    engine = cluster.connect(collection, retry_s=0.3)
    cluster.lose(0)
    cluster.lose(1)
    with pytest.raises(StoreUnavailable, match=rf"at http://127\.0\.0\.[12]:{cluster.port} "):
        engine.count()


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("http://a:6333,", "''"),
        ("http://a:6333, b:6333", "'b:6333'"),
        ("http://a:6333;http://b:6333", "http://a:6333;http://b:6333"),
    ],
)
def test_an_address_among_several_is_checked_as_one_alone(standin: Standin, url: str, wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"qdrant\.url") as raised:
        ServerEngine.connect(standin.settings("rest", url=url), collection="a")
    assert wrong in str(raised.value) or "cannot be read" in str(raised.value)
