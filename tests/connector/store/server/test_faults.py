"""What a server can do to a run, scripted in the stand-in and counted there: nothing is lost, nothing is done twice."""

import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pytest

from connector.errors import CollectionMissing, StoreError, StoreFull, StoreRefused, StoreUnavailable
from connector.records import Point
from connector.settings import QdrantSettings
from connector.store.server.engine import ServerEngine
from connector.store.server.retries import LOGGED_ATTEMPTS
from tests.qdrant_standin.faults import Fault
from tests.qdrant_standin.images import SCHEMA, points
from tests.qdrant_standin.standin import TRANSPORTS, Standin, Transport, running
from tests.qdrant_standin.wire import wired

KEY, READ_ONLY_KEY = "full-key-7f3a", "read-key-91bc"


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    chosen: Transport = request.param
    return chosen


@pytest.fixture
def engine(standin: Standin, transport: Transport, collection: str) -> Iterator[ServerEngine]:
    """An engine on a fresh collection, before any fault."""
    engine = ServerEngine.connect(standin.settings(transport), collection=collection)
    engine.create(SCHEMA)
    standin.script()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def locked() -> Iterator[Standin]:
    """A stand-in that wants a key."""
    with running("--api-key", KEY, "--read-only-api-key", READ_ONLY_KEY) as standin:
        yield standin


def assert_exactly_once(engine: ServerEngine, written: list[Point]) -> None:
    """Every vector is there, once, and is the one that was written."""
    assert engine.count() == len(written)
    stored = {point.id: point.vector for point in engine.retrieve([p.id for p in written], vectors=True)}
    for point in written:
        vector = stored[point.id]
        assert vector is not None
        assert float(vector @ point.vector) > 0.999


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def refused_settings(transport: Transport, *, rest: int, grpc: int, retry_s: float) -> QdrantSettings:
    return QdrantSettings(
        url=f"http://127.0.0.1:{rest}", grpc_port=grpc, transport=transport, retry_s=retry_s, retry_first_s=0.02
    )


@dataclass(frozen=True)
class GivenUp:
    """What was said at a limit, and how many attempts it spoke of."""

    error: StoreError
    attempts: int


def given_up(engine_for: Callable[[float], ServerEngine], act: Callable[[ServerEngine], object]) -> GivenUp:
    """Let ``act`` run into the limit of an engine that has that many seconds.

    On a busy machine a single attempt may take longer than a short limit, which is then made ten times as long. What is
    said of the seconds is compared with a clock.
    """
    for limit_s in (0.3, 3.0, 30.0):
        with closing(engine_for(limit_s)) as engine:
            started = time.monotonic()
            with pytest.raises((StoreUnavailable, StoreFull)) as raised:
                act(engine)
            took = time.monotonic() - started
        said = re.search(r" Gave up after (\d+) attempts? in (\d+\.\d) s\.$", str(raised.value))
        assert said is not None, raised.value
        attempts, seconds = int(said[1]), float(said[2])
        assert seconds <= took + 0.05
        if attempts > 2:
            assert "attempts" in said[0]
            return GivenUp(raised.value, attempts)
    raise AssertionError(f"only {attempts} attempts in {limit_s} s")


def test_no_server_is_waited_for_and_said_and_given_up_on(
    transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    def engine_for(limit_s: float) -> ServerEngine:
        caplog.clear()
        settings = refused_settings(transport, rest=free_port(), grpc=free_port(), retry_s=limit_s)
        return ServerEngine.connect(settings, collection="photos")

    with caplog.at_level(logging.WARNING):
        gave_up = given_up(engine_for, lambda engine: engine.create(SCHEMA))
    assert "Check that the server runs" in str(gave_up.error)
    assert "127.0.0.1" in str(gave_up.error)
    told = [line for line in caplog.messages if line.startswith("store_retry")]
    assert len(told) == min(gave_up.attempts - 1, LOGGED_ATTEMPTS) >= 2


def test_a_server_that_starts_late_is_waited_for(transport: Transport) -> None:
    rest, grpc = free_port(), free_port()
    engine = ServerEngine.connect(refused_settings(transport, rest=rest, grpc=grpc, retry_s=60.0), collection="photos")
    with ThreadPoolExecutor(1) as pool:
        created = pool.submit(engine.create, SCHEMA)
        with running("--rest-port", str(rest), "--grpc-port", str(grpc)):
            created.result()
            assert engine.count() == 0
    engine.close()


def test_closing_ends_a_wait_in_another_thread(transport: Transport, caplog: pytest.LogCaptureFixture) -> None:
    settings = refused_settings(transport, rest=free_port(), grpc=free_port(), retry_s=600.0)
    engine = ServerEngine.connect(settings.model_copy(update={"retry_first_s": 300.0}), collection="photos")
    waiting = threading.Event()
    caplog.set_level(logging.WARNING)
    caplog.handler.addFilter(lambda _: waiting.set() or True)  # type: ignore[func-returns-value]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(engine.count)
        assert waiting.wait(30)
        engine.close()
        with pytest.raises(StoreUnavailable):
            asked.result(timeout=30)


def test_a_connection_cut_in_the_middle_of_a_request_costs_nothing(
    standin: Standin, transport: Transport, collection: str
) -> None:
    images = points(200)
    target = standin.grpc_port if transport == "grpc" else standin.rest_port
    with wired(target, budgets=[30_000, 60_000, 500]) as wire:
        url = f"http://127.0.0.1:{wire.port}"
        direct = ServerEngine.connect(standin.settings(transport), collection=collection)
        direct.create(SCHEMA)
        engine = ServerEngine.connect(standin.settings(transport, url=url, grpc_port=wire.port), collection=collection)
        engine.upsert(images)
        engine.upsert(images)
        engine.close()
        assert wire.cuts >= 1
        assert_exactly_once(direct, images)
        direct.close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_dropped_connection_is_tried_again(engine: ServerEngine, standin: Standin, *, after: bool) -> None:
    standin.script(Fault("drop", operation="upsert", after=after, times=2))
    images = points(20)
    engine.upsert(images)
    assert_exactly_once(engine, images)
    assert standin.counts()["upsert.asked"] == 3


def test_half_an_answer_is_no_answer(engine: ServerEngine, standin: Standin) -> None:
    standin.script(Fault("half", operation="upsert"))
    images = points(20)
    engine.upsert(images)
    assert_exactly_once(engine, images)
    assert standin.counts()["upsert.done"] == 2


def test_an_answer_after_the_timeout_is_asked_for_again(
    standin: Standin, transport: Transport, collection: str
) -> None:
    engine = ServerEngine.connect(standin.settings(transport, timeout_s=3.0), collection=collection)
    engine.create(SCHEMA)
    standin.script(Fault("late", seconds=3.6, operation="upsert"))
    images = points(20)
    engine.upsert(images)
    assert_exactly_once(engine, images)
    assert standin.counts()["upsert.asked"] == 2
    engine.close()


def test_a_retry_after_is_obeyed(engine: ServerEngine, standin: Standin, caplog: pytest.LogCaptureFixture) -> None:
    standin.script(Fault("status", 429, retry_after=1, operation="upsert"))
    with caplog.at_level(logging.WARNING):
        engine.upsert(points(20))
    (record,) = [record for record in caplog.records if record.getMessage().startswith("store_retry")]
    assert "wait_s=1.0" in record.getMessage()
    assert standin.counts()["upsert.asked"] == 2


def test_a_retry_after_beyond_our_patience_ends_at_once(engine: ServerEngine, standin: Standin) -> None:
    standin.script(Fault("status", 429, retry_after=3600, operation="upsert"))
    with pytest.raises(StoreUnavailable) as raised:
        engine.upsert(points(20))
    assert raised.value.retry_after == 3600
    assert standin.counts()["upsert.asked"] == 1


@pytest.mark.parametrize("status", [429, 500, 503, 408, 502])
def test_a_burst_of_errors_passes(engine: ServerEngine, standin: Standin, status: int) -> None:
    standin.script(Fault("status", status, operation="upsert", times=3))
    images = points(20)
    engine.upsert(images)
    assert_exactly_once(engine, images)
    assert standin.counts()["upsert.asked"] == 4


def test_a_proxys_page_passes_or_is_named(engine: ServerEngine, standin: Standin) -> None:
    standin.script(Fault("html", operation="upsert", times=2))
    images = points(20)
    engine.upsert(images)
    assert_exactly_once(engine, images)


def test_a_proxy_that_stays_is_named_at_the_limit(standin: Standin, transport: Transport, collection: str) -> None:
    def engine_for(limit_s: float) -> ServerEngine:
        standin.script(Fault("html", times=None))
        return ServerEngine.connect(standin.settings(transport, retry_s=limit_s), collection=collection)

    gave_up = given_up(engine_for, lambda engine: engine.create(SCHEMA))
    assert isinstance(gave_up.error, StoreUnavailable)
    assert "look for a proxy in between" in str(gave_up.error)
    assert sum(asked for name, asked in standin.counts().items() if name.endswith(".asked")) == gave_up.attempts


@pytest.mark.parametrize("key", [None, "wrong-key-5521"])
def test_a_wrong_key_is_refused_once_and_never_shown(
    locked: Standin, transport: Transport, key: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    locked.script()
    engine = ServerEngine.connect(locked.settings(transport, key=key), collection="photos")
    with caplog.at_level(logging.DEBUG), pytest.raises(StoreRefused, match="POLYGLANCE_QDRANT__API_KEY") as raised:
        engine.create(SCHEMA)
    engine.close()
    shown = f"{raised.value} {raised.value!r} {raised.value.__cause__!r} {engine!r} {caplog.text}"
    assert key is None or key not in shown
    assert not [line for line in caplog.messages if line.startswith("store_retry")]


def test_a_read_only_key_reads_and_is_told_that_it_cannot_write(locked: Standin, transport: Transport) -> None:
    locked.script()
    name = f"locked-{transport}"
    writer = ServerEngine.connect(locked.settings(transport, key=KEY), collection=name)
    writer.create(SCHEMA)
    writer.upsert(points(5))
    reader = ServerEngine.connect(locked.settings(transport, key=READ_ONLY_KEY), collection=name)
    assert reader.count() == 5
    reader.create(SCHEMA)  # it exists alike: nothing has to be written
    with pytest.raises(StoreRefused, match="The key in POLYGLANCE_QDRANT__API_KEY does not reach that far"):
        reader.upsert(points(5))
    assert locked.counts()["upsert.asked"] == 1
    writer.close()
    reader.close()


def test_a_collection_that_goes_missing_ends_the_run_at_once(
    engine: ServerEngine, standin: Standin, transport: Transport, collection: str
) -> None:
    engine.upsert(points(5))
    other = ServerEngine.connect(standin.settings(transport), collection=collection)
    other.drop()
    other.close()
    standin.script()
    with pytest.raises(CollectionMissing, match="polyglance ingest FOLDER"):
        engine.upsert(points(5))
    assert standin.counts()["upsert.asked"] == 1


def test_a_full_disk_is_paused_for_and_said(
    engine: ServerEngine, standin: Standin, caplog: pytest.LogCaptureFixture
) -> None:
    standin.script(Fault("status", 507, operation="upsert", times=3))
    images = points(20)
    with caplog.at_level(logging.WARNING):
        engine.upsert(images)
    assert_exactly_once(engine, images)
    paused = [line for line in caplog.messages if line.startswith("store_full_paused")]
    assert len(paused) == 3
    assert "Disk usage is at 74%" in paused[0]


def test_a_disk_that_stays_full_ends_in_one_sentence(
    engine: ServerEngine, standin: Standin, transport: Transport
) -> None:
    def engine_for(limit_s: float) -> ServerEngine:
        standin.script(Fault("status", 507, operation="upsert", times=None))
        settings = standin.settings(transport, full_wait_s=limit_s)
        return ServerEngine.connect(settings, collection=engine.collection)

    gave_up = given_up(engine_for, lambda engine: engine.upsert(points(20)))
    assert isinstance(gave_up.error, StoreFull)
    assert "Make room " in str(gave_up.error)
    assert standin.counts()["upsert.asked"] == gave_up.attempts
    standin.script()
    images = points(20)
    engine.upsert(images)  # and once there is room, the same call finishes the job
    assert_exactly_once(engine, images)


def test_a_refusal_in_one_batch_ends_the_others(engine: ServerEngine, standin: Standin) -> None:
    slow = Fault("late", seconds=1.0, operation="upsert", times=None)
    standin.script(Fault("status", 400, operation="upsert"), slow)
    with pytest.raises(StoreRefused):
        engine.upsert(points(5000))
    assert standin.counts()["upsert.asked"] < 10, "of twenty batches"


RANDOM_FAULTS = (
    Fault("drop", times=None, rate=0.05),
    Fault("drop", times=None, rate=0.05, after=True),
    Fault("half", times=None, rate=0.05),
    Fault("html", times=None, rate=0.05),
    Fault("status", 429, times=None, rate=0.05),
    Fault("status", 500, times=None, rate=0.05, after=True),
    Fault("status", 503, times=None, rate=0.05),
)
"""About 30 % of all requests go wrong, half of them after the work was done."""


def test_thirty_percent_faults_leave_every_vector_exactly_once(engine: ServerEngine, standin: Standin) -> None:
    images = points(3000)
    chunks = [images[start : start + 20] for start in range(0, len(images), 20)]
    standin.script(*RANDOM_FAULTS, seed=4)
    with ThreadPoolExecutor(4) as pool:
        for written in [pool.submit(engine.upsert, chunk) for chunk in chunks]:
            written.result()
    counts = standin.counts()
    standin.script()
    assert_exactly_once(engine, images)
    assert 0.2 < counts["upsert.broken"] / counts["upsert.asked"] < 0.4
    assert counts["upsert.done"] > len(chunks), "some answers were lost after the work was done"
    walked = [point.id for point in engine.scroll(limit=5000).points]
    assert sorted(walked) == sorted({point.id for point in images})
    assert np.unique(walked).size == len(images)
