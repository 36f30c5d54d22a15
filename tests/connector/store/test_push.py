"""A collection moves from the embedded engine to a server: whole, resumable, checked."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from connector.errors import CollectionMismatch, StoreRefused, StoreUnavailable
from connector.records import Point
from connector.store.edge.shared import SharedEngine
from connector.store.engine import Engine
from connector.store.push import push
from connector.store.schema import CollectionSchema, Fingerprint
from connector.store.server.engine import ServerEngine
from tests.conftest import CommandLine
from tests.qdrant_standin.standin import TRANSPORTS, Standin, Transport
from tests.scratch import scratch_folder

DIMS = 128
SCHEMA = CollectionSchema(Fingerprint("mini", dims=DIMS, image_size=64, weights="abc"), {"price": "float"})
COUNT = 700


def points(count: int, *, seed: int = 0) -> list[Point]:
    """Points in many directions, each with a version and a price."""
    vectors = np.random.default_rng(seed).normal(size=(count, DIMS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [str(uuid.uuid5(uuid.NAMESPACE_URL, f"memory://{number}")) for number in range(count)]
    return [
        Point(id, vector, {"uri": f"memory://{id}", "version": "1", "meta": {"price": float(number)}})
        for number, (id, vector) in enumerate(zip(ids, vectors, strict=True))
    ]


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch_folder() as scratch:
        yield scratch


@pytest.fixture
def origin(folder: Path) -> Iterator[SharedEngine]:
    """An embedded collection of 700 points."""
    with closing(SharedEngine.open(folder, collection="images-mini")) as engine:
        engine.create(SCHEMA)
        engine.upsert(points(COUNT))
        yield engine


@pytest.fixture(params=TRANSPORTS)
def target(request: pytest.FixtureRequest, standin: Standin, collection: str) -> Iterator[ServerEngine]:
    transport: Transport = request.param
    with closing(ServerEngine.connect(standin.settings(transport), collection=collection)) as engine:
        yield engine


class Breaking:
    """A target that breaks once it has taken so many points."""

    def __init__(self, engine: Engine, *, after: int) -> None:
        self._engine = engine
        self._left = after
        self.collection, self.capabilities = engine.collection, engine.capabilities
        self.create, self.info, self.retrieve = engine.create, engine.info, engine.retrieve
        self.query, self.scroll, self.count, self.facet = engine.query, engine.scroll, engine.count, engine.facet
        self.sample, self.ordered = engine.sample, engine.ordered
        self.set_payload, self.delete = engine.set_payload, engine.delete
        self.optimize, self.drop, self.close = engine.optimize, engine.drop, engine.close
        self.bulk_load, self.point_alias = engine.bulk_load, engine.point_alias
        self.resolved, self.recreate = engine.resolved, engine.recreate
        self.set_words, self.index_words = engine.set_words, engine.index_words
        self.set_spaces, self.write_vectors = engine.set_spaces, engine.write_vectors
        self.set_alerts = engine.set_alerts

    def upsert(self, points: Sequence[Point]) -> None:
        self._left -= len(points)
        if self._left < 0:
            raise StoreUnavailable("the server went away")
        self._engine.upsert(points)


def test_a_pushed_collection_has_every_point_payload_and_index(origin: SharedEngine, target: ServerEngine) -> None:
    on_progress: list[int] = []
    done = push(origin, target, on_progress=on_progress.append)
    assert (done.sent, done.present) == (COUNT, 0)
    assert done.compared >= 200
    assert on_progress[-1] == COUNT == target.count()
    assert target.info().schema == origin.info().schema
    one = points(COUNT)[17]
    (there,) = target.retrieve([one.id], vectors=True)
    assert there.payload == one.payload
    assert there.vector is not None
    assert float(there.vector @ one.vector) > 0.999


def test_a_push_that_broke_goes_on_where_it_broke(origin: SharedEngine, target: ServerEngine) -> None:
    with pytest.raises(StoreUnavailable):
        push(origin, Breaking(target, after=300))
    done = push(origin, target)
    assert (done.sent, done.present) == (COUNT - 256, 256)
    assert push(origin, target).sent == 0


def test_a_changed_point_is_sent_again(origin: SharedEngine, target: ServerEngine) -> None:
    push(origin, target)
    origin.set_payload([points(1)[0].id], {"version": "2"})
    assert push(origin, target).sent == 1


def test_a_target_of_another_space_is_refused(origin: SharedEngine, target: ServerEngine) -> None:
    target.create(CollectionSchema(Fingerprint("other", dims=32, image_size=64)))
    with pytest.raises(CollectionMismatch, match="other"):
        push(origin, target)


def test_vectors_that_do_not_agree_are_told(origin: SharedEngine, target: ServerEngine) -> None:
    target.create(SCHEMA)
    target.upsert(points(COUNT, seed=1))  # the same ids and versions, other vectors
    with pytest.raises(StoreRefused, match="cosine"):
        push(origin, target)


def test_the_command_pushes_and_shows_the_collection(
    origin: SharedEngine, standin: Standin, collection: str, folder: Path, cli: CommandLine
) -> None:
    origin.close()
    here = ("--space", "mini", "--set", f"qdrant.path={folder}")
    port = ("--set", f"qdrant.grpc_port={standin.grpc_port}")
    pushed = cli("collection", "push", standin.url, "--as", collection, *here, *port, "--json")
    assert pushed.json == {"sent": COUNT, "present": 0, "compared": pushed.json["compared"], "left_out": 0}
    there = ("--space", "mini", "--collection", collection, "--set", f"qdrant.url={standin.url}", *port)
    shown = cli("collection", "info", *there, "--json").json
    assert (shown["points"], shown["space"], shown["fields"]["meta.price"]) == (COUNT, "mini", "float")
    assert cli("collection", "alias", f"{collection}-now", *there).code == 0
    assert cli("collection", "optimize", *there).code == 0
    assert cli("collection", "delete", *there, "--yes").code == 0
    assert "ingest" in cli("collection", "info", *there).err


def test_the_embedded_engine_has_no_aliases(folder: Path, cli: CommandLine) -> None:
    done = cli("collection", "alias", "images", "--space", "mini", "--set", f"qdrant.path={folder}")
    assert (done.code, "server" in done.err) == (2, True)


def test_creating_a_collection_twice_is_harmless_and_adds_fields(folder: Path, cli: CommandLine) -> None:
    here = ("--space", "mini", "--set", f"qdrant.path={folder}")
    assert cli("collection", "create", *here).code == 0
    assert cli("collection", "create", *here, "--set", 'qdrant.meta_fields={"price": "float"}').code == 0
    assert cli("collection", "info", *here, "--json").json["fields"]["meta.price"] == "float"
