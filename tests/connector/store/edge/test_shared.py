"""One embedded collection in many processes: who hosts it, who takes over, and what two that disagree say."""

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector import errors
from connector.errors import (
    CollectionMissing,
    InvalidQuery,
    Overloaded,
    PolyglanceError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from connector.store.edge import host as hosting
from connector.store.edge.engine import EmbeddedEngine
from connector.store.edge.host import ADDRESS, SOCKET
from connector.store.edge.shared import SharedEngine
from connector.store.edge.wire import MOST_BYTES, VERSION, failure, raised, receive, send
from tests.connector.store.edge.test_engine import ROOT, SCHEMA
from tests.hosts import HostProcess
from tests.kill_hosts import APART
from tests.points import points
from tests.scratch import scratch_folder


@pytest.fixture
def data() -> Iterator[Path]:
    """The data folder, not yet there."""
    with scratch_folder() as folder:
        yield folder / "data"


@pytest.fixture
def other() -> Iterator[HostProcess]:
    """A process that a test may kill."""
    with HostProcess() as process:
        yield process


@pytest.fixture
def engine(data: Path) -> Iterator[SharedEngine]:
    """An engine of this process; whether it hosts is up to the test."""
    engine = SharedEngine.open(data, collection="images")
    yield engine
    engine.close()


def run(code: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """A process that runs ``code`` after the imports it needs."""
    head = (
        "import os, sys\nfrom pathlib import Path\nfrom connector.store.edge.shared import SharedEngine\n"
        "from tests.connector.store.edge.test_engine import SCHEMA, points\n"
        "e = SharedEngine.open(Path(sys.argv[1]), collection='images')\n"
    )
    command = [sys.executable, "-c", head + code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


# who hosts


def test_opening_and_asking_in_vain_leaves_no_trace(data: Path, engine: SharedEngine) -> None:
    with pytest.raises(CollectionMissing):
        engine.info()
    engine.drop()
    engine.close()

    assert not data.exists()


def test_a_collection_is_written_and_asked_by_two_processes_at_once(data: Path, engine: SharedEngine) -> None:
    engine.create(SCHEMA)
    engine.upsert(points(3))

    ran = run("e.upsert(points(5)); print(e.count()); e.close()", data)

    assert (ran.stdout, ran.returncode) == ("5\n", 0), ran.stderr
    assert engine.count() == 5


def test_a_process_goes_on_where_the_host_lets_go(data: Path, other: HostProcess, engine: SharedEngine) -> None:
    other.host(data, collection="images")
    engine.create(SCHEMA)
    engine.upsert(points(3))

    other.close(data, collection="images")

    assert engine.count() == 3
    assert (data / "images" / "lock.pid").read_text() == str(os.getpid())


def test_a_process_goes_on_where_the_host_is_killed(data: Path, other: HostProcess, engine: SharedEngine) -> None:
    other.host(data, collection="images")
    engine.create(SCHEMA)
    engine.upsert(points(3))

    other.signal(signal.SIGKILL)

    engine.upsert(points(5))
    assert engine.count() == 5


def test_what_a_killed_host_leaves_behind_stands_in_nobodys_way(data: Path, engine: SharedEngine) -> None:
    ran = run("e.create(SCHEMA); e.upsert(points(4)); os.kill(os.getpid(), 9)", data)

    assert ran.returncode == -signal.SIGKILL
    assert (data / "images" / ADDRESS).exists()
    assert engine.count() == 4


def test_a_host_that_lets_go_leaves_nothing_but_the_collection(data: Path, engine: SharedEngine) -> None:
    engine.create(SCHEMA)
    assert {SOCKET, ADDRESS} <= {each.name for each in (data / "images").iterdir()}

    engine.close()

    assert {each.name for each in (data / "images").iterdir()} == {"collection.json", "shard", "lock"}


def test_engines_of_one_process_share_and_the_last_one_lets_go(data: Path, engine: SharedEngine) -> None:
    engine.create(SCHEMA)
    second = SharedEngine.open(data, collection="images")
    second.upsert(points(2))

    engine.close()

    assert second.count() == 2
    with pytest.raises(StoreUnavailable):
        EmbeddedEngine.open(data, collection="images").hold()
    second.close()
    run_after = EmbeddedEngine.open(data, collection="images")
    assert run_after.count() == 2
    run_after.close()


def test_a_closed_engine_refuses_and_says_so(engine: SharedEngine) -> None:
    engine.create(SCHEMA)
    engine.close()

    with pytest.raises(StoreRefused, match="was closed; open another one"):
        engine.count()


def test_a_collection_held_before_it_was_made_leaves_no_folder(data: Path, engine: SharedEngine) -> None:
    engine.hold()
    engine.close()

    assert not (data / "images").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_asks_its_parent_and_takes_nothing_with_it(data: Path) -> None:
    code = (
        "e.create(SCHEMA); e.upsert(points(2))\n"
        "if child := os.fork():\n"
        "    status = os.waitpid(child, 0)[1]\n"
        "    print(status, e.count(), flush=True)\n"
        "else:\n"
        "    e.upsert(points(6)); assert e.count() == 6; e.close(); os._exit(0)\n"
        "e.close()\n"
    )

    ran = run(code, data)

    assert ran.stdout == "0 6\n", ran.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_outlives_its_parent(data: Path) -> None:
    code = (
        "e.create(SCHEMA); e.upsert(points(2)); reading, writing = os.pipe()\n"
        "if os.fork(): os.close(reading); os._exit(0)\n"
        "os.close(writing); os.read(reading, 1)\n"  # the end of the parent
        "e.upsert(points(6)); print(e.count(), flush=True); e.close()\n"
    )

    ran = run(code, data)

    assert ran.stdout == "6\n", ran.stderr


# what goes wrong


@pytest.mark.slow
def test_a_collection_whose_holder_hosts_nothing_is_in_use(data: Path, engine: SharedEngine) -> None:
    """Such as an earlier version of polyglance, or one on another machine that shares the disk."""
    holder = EmbeddedEngine.open(data, collection="images")
    holder.create(SCHEMA)

    with pytest.raises(StoreUnavailable, match=f"is in use: another engine of this very process .{os.getpid()}"):
        engine.count()
    holder.close()
    assert engine.count() == 0


@contextlib.contextmanager
def stranger(data: Path, *, says: bytes) -> Iterator[None]:
    """Whoever has the collection locked, and says this to everybody at its socket."""
    holder = EmbeddedEngine.open(data, collection="images")
    holder.create(SCHEMA)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = {"port": listener.getsockname()[1], "secret": ""}
        (data / "images" / ADDRESS).write_text(json.dumps(address))

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(4096)
                        connection.sendall(says)

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    holder.close()


def frame(text: bytes) -> bytes:
    return struct.pack(">II", len(text), 0) + text


def test_another_version_is_refused_and_named(data: Path, engine: SharedEngine) -> None:
    with (
        stranger(data, says=frame(b'{"version":"0123"}')),
        pytest.raises(StoreRefused, match="another version of polyglance"),
    ):
        engine.count()


@pytest.mark.parametrize(
    "says",
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="http"),
        pytest.param(b"", id="nothing", marks=pytest.mark.slow),
        pytest.param(frame(b"[]"), id="no message", marks=pytest.mark.slow),
        pytest.param(frame(b"{"), id="half a message", marks=pytest.mark.slow),
        pytest.param(struct.pack(">II", 2**31, 2**31), id="more than there is memory", marks=pytest.mark.slow),
    ],
)
def test_what_is_no_host_counts_as_none(data: Path, engine: SharedEngine, says: bytes) -> None:
    with stranger(data, says=says), pytest.raises(StoreUnavailable, match="is in use"):
        engine.count()


def connected(data: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(str(data / "images" / SOCKET))
    return connection


@pytest.mark.parametrize(
    "says",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        frame(b'{"version": "0123", "secret": ""}'),
        frame(b'{"version": "0123", "secret": "\xc3\xa4"}'),
        struct.pack(">II", 2**31, 2**31),
        frame(b'"x"'),
        b"\0",
    ],
)
def test_whoever_does_not_introduce_himself_is_shown_out(data: Path, engine: SharedEngine, says: bytes) -> None:
    engine.create(SCHEMA)
    with connected(data) as connection:
        connection.sendall(says)
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):  # where it did not read to the end
            while connection.recv(4096):
                pass

    assert engine.count() == 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"call": "close", "args": []}, "is nothing that can be asked"),
        ({"call": "__init__", "args": []}, "is nothing that can be asked"),
        ({"call": "count", "args": [1, 2, 3]}, "TypeError"),
        ({"call": "count", "args": [], "what": 1}, "TypeError"),
        ({}, "KeyError"),
    ],
)
def test_a_call_that_means_nothing_is_refused_and_the_next_is_answered(
    data: Path, engine: SharedEngine, call: dict[str, object], said: str
) -> None:
    engine.create(SCHEMA)
    with connected(data) as connection:
        send(connection, {"version": VERSION, "secret": ""})
        assert receive(connection) == {"version": VERSION}
        send(connection, call)
        refused = receive(connection)["failure"]
        assert refused["kind"] == "StoreRefused"
        assert said in refused["message"]
        send(connection, {"call": "count", "args": []})
        assert receive(connection) == {"result": 0}


def test_a_record_that_nobody_knows_is_refused(data: Path, engine: SharedEngine) -> None:
    engine.create(SCHEMA)
    with connected(data) as connection:
        send(connection, {"version": VERSION, "secret": ""})
        receive(connection)
        connection.sendall(frame(b'{"call":"upsert","args":[[{"is":"Popen","fields":{"args":"true"}}]]}'))
        assert "cannot read the call: KeyError('Popen')" in receive(connection)["failure"]["message"]


def test_a_path_too_long_for_a_socket_does_as_well(data: Path, other: HostProcess) -> None:
    deep = data / ("x" * 90)
    other.host(deep, collection="images")
    engine = SharedEngine.open(deep, collection="images")
    engine.create(SCHEMA)
    engine.upsert(points(3))
    address = deep / "images" / ADDRESS

    assert engine.count() == 3
    engine.close()
    said = json.loads(address.read_text())
    assert address.stat().st_mode & 0o777 == 0o600
    with socket.create_connection(("127.0.0.1", said["port"])) as stranger:
        send(stranger, {"version": VERSION, "secret": "0" * 64})
        assert stranger.recv(1) == b""


@pytest.mark.slow
def test_more_connections_than_it_takes_are_asked_to_come_again(
    data: Path, engine: SharedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosting, "MOST_GUESTS", 0)
    engine.create(SCHEMA)

    ran = run("try: e.count()\nexcept Exception as error: print(type(error).__name__, error.retry_after)", data)

    assert ran.stdout == "Overloaded 1.0\n", ran.stderr


@pytest.mark.slow
def test_what_is_too_large_for_a_frame_says_so_and_harms_nothing(
    data: Path, other: HostProcess, engine: SharedEngine
) -> None:
    other.host(data, collection="images")
    engine.create(SCHEMA)
    (point,) = points(1)

    with pytest.raises(StoreRefused, match=r"too many for one call between two processes"):
        engine.set_payload(point.id, {"meta": {"prose": "x" * MOST_BYTES}})
    assert engine.count() == 0


def test_many_points_at_once_are_all_checked_before_one_is_written(
    data: Path, other: HostProcess, engine: SharedEngine
) -> None:
    other.host(data, collection="images")
    engine.create(SCHEMA)
    many = points(2500)
    spoilt = type(many[0])(str(uuid.UUID(int=9999)), many[0].vector[:-1], {})

    with pytest.raises(ValueError, match="has shape"):
        engine.upsert([*many, spoilt])
    assert engine.count() == 0
    engine.upsert(many)
    assert engine.count() == 2500


def kinds() -> list[type[PolyglanceError]]:
    return [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, PolyglanceError)]


@pytest.mark.parametrize("kind", kinds())
def test_every_error_crosses_as_it_is(kind: type[PolyglanceError]) -> None:
    error = kind.__new__(kind, "why")
    error.args = ("why",)
    error.__dict__.update({"retry_after": 1.5, "position": 3})

    again = raised(json.loads(json.dumps(failure(error))))

    assert type(again) is kind
    assert (str(again), again.__dict__) == ("why", {"retry_after": 1.5, "position": 3})


def test_what_is_none_of_ours_crosses_as_a_refusal_that_names_it() -> None:
    again = raised(failure(ZeroDivisionError("division by zero")))

    assert isinstance(again, StoreRefused)
    assert "ZeroDivisionError('division by zero')" in str(again)
    assert type(raised(failure(ValueError("no UUID")))) is ValueError
    assert isinstance(raised(failure(StoreFull("x"))), StoreFull)
    assert raised(failure(Overloaded("x", retry_after=2.0))).__dict__ == {"retry_after": 2.0}
    assert raised(failure(InvalidQuery("x", position=4))).__dict__ == {"position": 4}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGSTOP")
def test_a_host_that_is_stopped_is_told_of_and_waited_for(data: Path, other: HostProcess, engine: SharedEngine) -> None:
    other.host(data, collection="images")
    engine.create(SCHEMA)

    other.signal(signal.SIGSTOP)

    with pytest.raises(StoreUnavailable, match="gives no answer"):
        engine.count()
    other.signal(signal.SIGCONT)
    assert engine.count() == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_hundred_hosts_are_killed_and_nothing_is_lost(data: Path, engine: SharedEngine) -> None:
    command = [sys.executable, "-m", "tests.kill_hosts", str(data), "100"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    for number, last in enumerate(json.loads(ran.stdout)):
        ids = [str(uuid.UUID(int=each)) for each in range(number * APART, last)]
        assert len(engine.retrieve(ids, fields=[])) == len(ids) > 0
