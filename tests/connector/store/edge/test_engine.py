"""What only the embedded engine has: a folder, a lock, a write-ahead log, and a disk that can fill up."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import models

from benchmarks.structured import structured_vectors
from connector.errors import (
    CollectionMismatch,
    CollectionMissing,
    ConfigError,
    InvalidQuery,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from connector.filters.parse import parse_filter
from connector.records import Point
from connector.settings import QdrantSettings
from connector.store.edge.engine import EmbeddedEngine
from connector.store.edge.errors import edge_errors
from connector.store.edge.folder import RESERVE
from connector.store.edge.optimize import optimize_apart
from connector.store.engine import SEAL_LEAST, NearestQuery
from connector.store.open import open_engine
from connector.store.schema import CollectionSchema, Fingerprint
from tests.points import DIMS, points
from tests.scratch import scratch_folder

SCHEMA = CollectionSchema(Fingerprint("mini", dims=DIMS, image_size=64), {"price": "float"})
ROOT = Path(__file__).parents[3]


@pytest.fixture
def data() -> Iterator[Path]:
    """The data folder, not yet there."""
    with scratch_folder() as folder:
        yield folder / "data"


@pytest.fixture
def engine(data: Path) -> Iterator[EmbeddedEngine]:
    """An engine on an empty collection."""
    engine = EmbeddedEngine.open(data, collection="images")
    engine.create(SCHEMA)
    yield engine
    engine.close()


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that runs ``code`` after the imports it needs; its output comes line by line."""
    head = (
        "import os, sys\nfrom pathlib import Path\nfrom connector.store.edge.engine import EmbeddedEngine\n"
        "from tests.connector.store.edge.test_engine import SCHEMA, points\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def optimizers_of(pid: int) -> set[int]:
    """The processes that optimize a shard for this one, once they run their own program; Linux only."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread or a child that just ended
            children = [int(each) for each in (task / "children").read_text().split()]
            found |= {each for each in children if "connector.store.edge.optimize" in command_of(each)}
    return found


def command_of(pid: int) -> list[str]:
    """The command line of a process; between fork and exec it is still its parent's."""
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def runs(pid: int) -> bool:
    """Whether a process is there and more than a name that waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="finds the optimizer's process in /proc")


# opening


def test_opening_and_asking_in_vain_leaves_no_trace(data: Path) -> None:
    engine = EmbeddedEngine.open(data, collection="images")

    with pytest.raises(CollectionMissing):
        engine.info()
    engine.drop()
    engine.close()

    assert not data.exists()


def test_a_missing_collection_is_named_with_its_folder_and_its_neighbours(data: Path, engine: EmbeddedEngine) -> None:
    with pytest.raises(CollectionMissing) as caught:
        EmbeddedEngine.open(data, collection="photos").info()

    assert str(caught.value) == (
        f"collection 'photos' does not exist in {data}; it holds images. `polyglance ingest FOLDER` makes and fills it."
    )
    assert engine.count() == 0


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc"])
def test_a_collection_cannot_be_named_out_of_its_folder(data: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a folder"):
        EmbeddedEngine.open(data, collection=name)


def test_the_settings_choose_the_embedded_engine_unless_they_name_a_server(data: Path) -> None:
    engine = open_engine(QdrantSettings(path=data), collection="images")

    assert engine.capabilities.in_process
    assert engine.collection == "images"


def test_a_closed_engine_refuses_and_says_so(engine: EmbeddedEngine) -> None:
    engine.close()

    with pytest.raises(StoreRefused, match="was closed; open another one"):
        engine.count()


# the lock


def test_a_second_engine_in_this_process_is_told_who_has_the_collection(data: Path, engine: EmbeddedEngine) -> None:
    second = EmbeddedEngine.open(data, collection="images")

    for ask in (second.count, second.optimize, second.drop, lambda: second.create(SCHEMA)):
        with pytest.raises(StoreUnavailable) as caught:
            ask()
        assert caught.value.retryable
        assert str(caught.value) == (
            f"the collection in {data / 'images'} is in use: another engine of this very process "
            f"({os.getpid()}) has it open, and answers nobody: it is of an older version, or on another machine. Wait "
            "for it or stop it; for several machines run a Qdrant server (POLYGLANCE_QDRANT__URL=http://localhost:6333)."
        )
    engine.close()
    assert second.count() == 0
    second.close()


def test_a_second_process_is_told_which_process_has_the_collection(data: Path, engine: EmbeddedEngine) -> None:
    code = "try: EmbeddedEngine.open(Path(sys.argv[1]), collection='images').count()\nexcept Exception as e: print(e)"
    with child(code, data) as other:
        said = other.communicate()[0]

    assert f"is in use: another polyglance process ({os.getpid()}) has it open" in said
    assert engine.count() == 0


def test_the_lock_dies_with_its_process(data: Path) -> None:
    code = "e = EmbeddedEngine.open(Path(sys.argv[1]), collection='images'); e.create(SCHEMA); os.kill(os.getpid(), 9)"
    with child(code, data) as other:
        assert other.wait() == -signal.SIGKILL

    engine = EmbeddedEngine.open(data, collection="images")
    assert engine.count() == 0
    engine.close()


def test_two_collections_of_one_folder_are_open_at_once(data: Path, engine: EmbeddedEngine) -> None:
    other = EmbeddedEngine.open(data, collection="others")
    other.create(SCHEMA)
    other.upsert(points(2))

    assert (engine.count(), other.count()) == (0, 2)
    other.close()


# crashes


def test_a_kill_loses_no_acknowledged_point(data: Path) -> None:
    code = (
        "e = EmbeddedEngine.open(Path(sys.argv[1]), collection='images'); e.create(SCHEMA)\n"
        "for first in range(0, 10**9, 50):\n"
        "    e.upsert(points(50, first=first)); print(first + 50, flush=True)\n"
    )
    with child(code, data) as writer:
        assert writer.stdout is not None
        for _ in range(40):
            acknowledged = int(writer.stdout.readline())
        writer.kill()
        for line in writer.stdout:  # what it could still say before it died
            acknowledged = int(line) if line.endswith("\n") else acknowledged

    engine = EmbeddedEngine.open(data, collection="images")
    ids = [str(uuid.UUID(int=number)) for number in range(acknowledged)]
    assert len(engine.retrieve(ids, fields=[])) == acknowledged >= 2000
    assert engine.info().schema == SCHEMA
    engine.close()


def test_a_crash_during_creation_is_healed_by_creating_again(data: Path, engine: EmbeddedEngine) -> None:
    engine.close()
    whole = data / "images"
    states = {
        "only the folder": [],
        "nothing of a shard": ["shard.made"],
        "half a shard": ["shard.made", "shard/segments", "shard/edge_config.json"],
        "a whole shard": ["shard.made", "shard"],
        "half a schema beside it": ["shard.made", "shard", "collection.json.new"],
        "only the schema": ["collection.json"],
        "half a schema": ["collection.json.new"],
        "a shard without its schema": ["shard"],
    }
    sources = {
        "shard.made": whole / "lock",
        "shard/segments": whole / "shard" / "segments",
        "shard/edge_config.json": whole / "lock",
        "shard": whole / "shard",
        "collection.json": whole / "collection.json",
        "collection.json.new": whole / "lock",
    }
    for number, (state, left) in enumerate(states.items()):
        broken = data / f"broken-{number}"
        broken.mkdir()
        for name in left:
            copy = shutil.copytree if sources[name].is_dir() else shutil.copy
            copy(sources[name], broken / name)  # copytree makes the folders above as well
        healed = EmbeddedEngine.open(data, collection=broken.name)
        with pytest.raises(CollectionMissing):
            healed.count()
        healed.create(CollectionSchema(Fingerprint("other", dims=DIMS, image_size=32)))
        healed.upsert(points(3))
        assert healed.count() == 3, state
        assert sorted(path.name for path in broken.iterdir()) == ["collection.json", "lock", "lock.pid", "shard"]
        healed.close()


def test_a_crash_in_the_last_moment_of_creation_leaves_a_collection(data: Path, engine: EmbeddedEngine) -> None:
    engine.close()
    being_made = data / "images" / "shard.made"
    being_made.touch()

    whole = EmbeddedEngine.open(data, collection="images")
    assert whole.count() == 0
    assert not being_made.exists(), "or points would go with it, should the schema be lost"
    whole.close()


def test_a_shard_that_holds_points_is_not_thrown_away_for_want_of_its_schema(
    data: Path, engine: EmbeddedEngine
) -> None:
    engine.upsert(points(3))
    engine.close()
    schema = data / "images" / "collection.json"
    kept = schema.read_text()
    schema.unlink()

    again = EmbeddedEngine.open(data, collection="images")
    with pytest.raises(StoreRefused, match=r"holds 3 points but no collection\.json"):
        again.create(SCHEMA)
    schema.write_text(kept)
    assert again.count() == 3
    again.close()


def test_a_damaged_schema_is_named(data: Path, engine: EmbeddedEngine) -> None:
    engine.close()
    (data / "images" / "collection.json").write_text('{"fingerprint": ')

    again = EmbeddedEngine.open(data, collection="images")
    with pytest.raises(StoreRefused, match=r"collection\.json cannot be read"):
        again.info()


@pytest.mark.usefixtures("engine")
def test_the_schema_is_kept_as_readable_json(data: Path) -> None:
    assert json.loads((data / "images" / "collection.json").read_text()) == SCHEMA.to_json()


def test_weights_learnt_later_are_kept(engine: EmbeddedEngine) -> None:
    known = CollectionSchema(Fingerprint("mini", dims=DIMS, image_size=64, weights="abc"))

    engine.create(known)
    engine.create(SCHEMA)

    assert engine.info().schema.fingerprint.weights == "abc"
    with pytest.raises(CollectionMismatch):
        engine.create(CollectionSchema(Fingerprint("mini", dims=DIMS, image_size=64, weights="xyz")))


# a full disk


@pytest.mark.slow
def test_a_disk_that_fills_up_stops_the_writer_and_harms_nothing(tmp_path: Path) -> None:
    """Edge writes through memory maps: without the reserve, the process dies of SIGBUS."""
    disk, image = tmp_path / "disk", tmp_path / "disk.img"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(RESERVE + 100 * 1024 * 1024)
    # a file system that files lie on: in memory, looking at a hole takes the room of what could be written there
    for command in (["mkfs.ext4", "-q", "-m", "0", str(image)], ["mount", "-o", "loop", str(image), str(disk)]):
        if shutil.which(command[0]) is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a small file system in a file needs root, e2fsprogs and a loop device")
    try:
        code = (
            "from connector.errors import StoreFull\n"
            "e = EmbeddedEngine.open(Path(sys.argv[1]), collection='images'); e.create(SCHEMA)\n"
            "try:\n"
            "    for first in range(0, 10**9, 2000):\n"
            "        e.upsert(points(2000, first=first)); print(first + 2000, flush=True)\n"
            "except StoreFull as error: print(error)\n"
            "print(e.count()); e.close()\n"
        )
        with child(code, disk) as writer:
            *acknowledged, said, count = writer.communicate()[0].splitlines()

        assert writer.returncode == 0
        assert "MiB free; the embedded engine writes only while 128 MiB are." in said
        assert int(count) == int(acknowledged[-1]) > 0
        engine = EmbeddedEngine.open(disk, collection="images")
        assert engine.count() == int(count)
        with pytest.raises(StoreFull, match="MiB free"):
            engine.optimize()
        assert engine.count() == int(count)
        engine.close()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_file_that_may_not_grow_is_a_full_store(data: Path) -> None:
    code = (
        "import resource, signal\nfrom connector.errors import StoreFull\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))\n"
        "e = EmbeddedEngine.open(Path(sys.argv[1]), collection='images')\n"
        "try: e.create(SCHEMA)\n"
        "except StoreFull as error: print(error)\n"
    )
    with child(code, data) as writer:
        said = writer.communicate()[0]

    assert "has no room" in said
    assert "What was stored before is safe" in said


# errors


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Service runtime error: failed to open WAL s/wal: Can't init WAL: Kind(WouldBlock)", StoreUnavailable),
        ("Service runtime error: No space left on device (os error 28)", StoreFull),
        ('Can\'t init WAL: Os { code: 27, kind: FileTooLarge, message: "File too large" }', StoreFull),
        ("Service runtime error: cannot load edge shard: directory s does not exist", CollectionMissing),
        ("Service runtime error: edge config is not provided and no segments were loaded", CollectionMissing),
        ("Vector dimension error: expected dim: 128, got 5", StoreRefused),
    ],
)
def test_an_error_of_edge_is_told_by_its_text_and_keeps_its_cause(text: str, kind: type[Exception]) -> None:
    original = Exception(text)

    with pytest.raises(kind) as caught, edge_errors(Path("/data/images")):
        raise original

    assert type(caught.value) is kind
    assert caught.value.__cause__ is original
    assert "/data/images" in str(caught.value)


def test_errors_that_are_not_edges_pass_as_they_are() -> None:
    for error in (ValueError("x"), InvalidQuery("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, edge_errors(Path("/data")):
            raise error
        assert caught.value is error


def test_a_filter_that_edge_does_not_know_is_an_invalid_query(engine: EmbeddedEngine) -> None:
    sliced = models.Filter(must=[models.SliceCondition(slice=models.Slice(total=2, index=0))])
    with pytest.raises(InvalidQuery, match="knows no SliceCondition"):
        engine.count(where=sliced)
    odd = models.Filter(must=[models.FieldCondition(key="a b", match=models.MatchValue(value=1))])
    with pytest.raises(InvalidQuery, match="invalid JSON path a b"):
        engine.count(where=odd)


# optimizing


def grown(engine: EmbeddedEngine, *, count: int = 60_000) -> int:
    """Enough points that the graph is worth building, at 16 dims."""
    for first in range(0, count, 5_000):
        engine.upsert(points(5_000, first=first))
    return count


@pytest.mark.slow
def test_optimizing_indexes_a_large_collection_while_other_threads_run(data: Path) -> None:
    engine = EmbeddedEngine.open(data, collection="large")
    wide = CollectionSchema(Fingerprint("clip-vit-b-32", dims=512, image_size=224))
    engine.create(wide)
    random = np.random.default_rng(0)
    basis = random.normal(size=(16, 512))
    for first in range(0, 24_000, 2_000):
        rows = (random.normal(size=(2_000, 16)) @ basis + random.normal(size=(2_000, 512))).astype(np.float32)
        engine.upsert([Point(str(uuid.UUID(int=first + n)), row, {}) for n, row in enumerate(rows)])
    done, ticks = threading.Event(), 0

    def optimize() -> None:
        engine.optimize()
        done.set()

    with_progress = threading.Thread(target=optimize)
    with_progress.start()
    while not done.wait(0.01):
        ticks += 1
    with_progress.join()

    assert ticks > 20  # Edge in this process would hold the interpreter lock throughout: no tick at all
    info = engine.info()
    assert info.points == 24_000
    assert info.indexed >= 20_000
    query = NearestQuery(rows[0], limit=10)
    exact, approximate = engine.query([NearestQuery(rows[0], limit=10, exact=True), query])
    assert len({hit.id for hit in exact} & {hit.id for hit in approximate}) >= 9
    engine.close()


@pytest.mark.slow
@needs_proc
def test_an_optimizer_that_is_killed_is_reported_and_nothing_is_lost(engine: EmbeddedEngine) -> None:
    count = grown(engine)
    failures: list[StoreRefused] = []

    def optimize() -> None:
        try:
            engine.optimize()
        except StoreRefused as error:
            failures.append(error)

    thread = threading.Thread(target=optimize)
    thread.start()
    while thread.is_alive() and not (children := optimizers_of(os.getpid())):
        pass
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    thread.join()

    assert "was killed by signal 9" in str(failures[0])
    assert engine.count() == count
    engine.upsert(points(1, first=count))
    assert engine.info().points == count + 1


@pytest.mark.slow
@needs_proc
@pytest.mark.usefixtures("interruptible")
def test_an_optimizer_that_is_interrupted_leaves_no_child_and_loses_nothing(data: Path) -> None:
    code = (
        "from tests.connector.store.edge.test_engine import grown\n"
        "e = EmbeddedEngine.open(Path(sys.argv[1]), collection='images'); e.create(SCHEMA); grown(e)\n"
        "print('grown', flush=True)\n"
        "try: e.optimize()\n"
        "except KeyboardInterrupt: print('interrupted', e.count(), flush=True)\n"
        "e.close()\n"
    )
    with child(code, data) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "grown\n"
        while not (children := optimizers_of(process.pid)):
            pass
        process.send_signal(signal.SIGINT)
        said = process.stdout.readline()

    assert said == "interrupted 60000\n"
    assert process.returncode == 0
    assert not any(runs(pid) for pid in children)
    engine = EmbeddedEngine.open(data, collection="images")
    assert engine.count() == 60_000
    engine.close()


def test_what_the_optimizer_dies_of_is_told(data: Path) -> None:
    with pytest.raises(StoreRefused, match=r"No such file or directory: .*nowhere/collection.json"):
        optimize_apart(data / "nowhere", kind="graph", started=lambda _: None)


@pytest.mark.slow
def test_the_log_stays_small_however_much_is_written(data: Path, engine: EmbeddedEngine) -> None:
    """Unless it is written through the log would hold every point ever written, and a restart would replay it."""
    prose, count = "x" * 8_000, 12 * SEAL_LEAST
    for first in range(0, count, 500):
        engine.upsert([Point(each.id, each.vector, {"meta": {"prose": prose}}) for each in points(500, first=first)])

    logs = [path.stat().st_size for path in (data / "images" / "shard" / "wal").iterdir()]
    assert sum(logs) < count * len(prose) / 2


def test_sealing_bounds_what_waits_and_leaves_the_graph_to_optimize(data: Path, engine: EmbeddedEngine) -> None:
    for first in range(0, 2 * SEAL_LEAST, 1_000):
        engine.upsert(points(1_000, first=first))

    before = engine.info()
    assert (before.points, before.indexed) == (2 * SEAL_LEAST, 0)
    assert len(list((data / "images" / "shard" / "segments").iterdir())) == 3  # two sealed, one being written
    engine.optimize()
    assert engine.info().indexed == 2 * SEAL_LEAST
    engine.close()
    assert EmbeddedEngine.open(data, collection="images").info().indexed == 2 * SEAL_LEAST


@pytest.mark.slow
def test_filters_of_any_breadth_find_what_an_exact_search_finds(data: Path) -> None:
    """The graph is walked from 10,000 matches up, and what does not match would cut it into pieces."""
    count = 40_000
    engine = EmbeddedEngine.open(data, collection="wide")
    engine.create(CollectionSchema(Fingerprint("clip-vit-b-32", dims=512, image_size=224)))
    vectors = structured_vectors(count, seed=0)
    for first in range(0, count, 1_000):
        engine.upsert(
            [
                Point(
                    str(uuid.UUID(int=number)), vectors[number], {"width": number * 7919 % 100, "height": number % 97}
                )
                for number in range(first, first + 1_000)
            ]
        )
    engine.optimize()
    asked = structured_vectors(50, seed=1)
    for condition in ("width < 30", "width < 60 and height < 50", "width < 95"):
        where = parse_filter(condition, indexes=SCHEMA.indexes)
        found = engine.query([NearestQuery(vector, where=where) for vector in asked])
        exact = engine.query([NearestQuery(vector, where=where, exact=True) for vector in asked])
        both = zip(found, exact, strict=True)
        shares = [len({hit.id for hit in ours} & {hit.id for hit in theirs}) / 10 for ours, theirs in both]
        assert np.mean(shares) > 0.97, condition
    engine.close()


@pytest.mark.slow
def test_a_large_collection_is_sealed_more_rarely(data: Path, engine: EmbeddedEngine) -> None:
    for first in range(0, 8 * SEAL_LEAST, 1_000):
        engine.upsert(points(1_000, first=first))

    assert engine.info().points == 8 * SEAL_LEAST
    # sealed at 5, 10, 15, 20 and 25 thousand, then after a quarter more: at 32 and 40
    assert len(list((data / "images" / "shard" / "segments").iterdir())) == 8  # seven of them sealed


def test_a_seal_that_fails_stops_no_upsert(data: Path, engine: EmbeddedEngine) -> None:
    engine.upsert(points(10))
    (data / "images" / "sealed.new").mkdir()  # the count of what is sealed cannot be written

    for first in range(0, SEAL_LEAST, 1_000):
        engine.upsert(points(1_000, first=first))
    assert engine.info().points == SEAL_LEAST


@pytest.mark.slow
@needs_proc
def test_questions_are_answered_while_the_graph_is_built_and_writers_wait(engine: EmbeddedEngine) -> None:
    count = grown(engine)
    thread = threading.Thread(target=engine.optimize)
    thread.start()
    while thread.is_alive() and not (children := optimizers_of(os.getpid())):
        pass
    (child,) = children
    os.kill(child, signal.SIGSTOP)  # it takes as long as this test wants
    writer = threading.Thread(target=engine.upsert, args=[points(1, first=count)])
    writer.start()

    assert engine.count() == count
    assert len(engine.query([NearestQuery(points(1)[0].vector)])[0]) == 10
    assert writer.is_alive()
    os.kill(child, signal.SIGCONT)
    writer.join()
    thread.join()
    assert engine.info().points == count + 1
    assert engine.info().indexed >= count / 2


@pytest.mark.slow
@needs_proc
def test_whoever_closes_does_not_wait_for_the_graph(data: Path, engine: EmbeddedEngine) -> None:
    count = grown(engine)
    failures: list[StoreRefused] = []

    def optimize() -> None:
        try:
            engine.optimize()
        except StoreRefused as error:
            failures.append(error)

    thread = threading.Thread(target=optimize)
    thread.start()
    while thread.is_alive() and not (children := optimizers_of(os.getpid())):
        pass
    for pid in children:
        os.kill(pid, signal.SIGSTOP)

    engine.close()

    thread.join()
    assert "was closed" in str(failures[0])
    assert not any(runs(pid) for pid in children)
    again = EmbeddedEngine.open(data, collection="images")
    assert again.count() == count
    assert {each.name for each in (data / "images").iterdir()} >= {"collection.json", "shard"}
    assert not (data / "images" / "shard.next").exists()
    again.close()


@pytest.mark.parametrize("state", ["copying", "before the swap", "in the swap", "after the swap"])
def test_a_crash_while_the_graph_is_put_in_place_loses_nothing(data: Path, engine: EmbeddedEngine, state: str) -> None:
    engine.upsert(points(20))
    engine.close()
    folder = data / "images"
    shard, old, following = folder / "shard", folder / "shard.old", folder / "shard.next"
    if state == "copying":
        shutil.copytree(shard / "wal", following / "wal")
    elif state == "before the swap":
        shutil.copytree(shard, following)
    else:
        shutil.copytree(shard, following)
        shard.rename(old)
        if state == "after the swap":
            following.rename(shard)

    again = EmbeddedEngine.open(data, collection="images")

    assert again.count() == 20
    assert not old.exists()
    assert not following.exists()
    again.close()


@needs_proc
def test_questions_are_answered_while_points_are_sealed(engine: EmbeddedEngine) -> None:
    engine.upsert(points(SEAL_LEAST - 1))
    writer = threading.Thread(target=engine.upsert, args=[points(1, first=SEAL_LEAST)])
    writer.start()
    while writer.is_alive() and not (children := optimizers_of(os.getpid())):
        pass
    for pid in children:
        os.kill(pid, signal.SIGSTOP)

    assert engine.count() == SEAL_LEAST

    assert writer.is_alive()
    for pid in children:
        os.kill(pid, signal.SIGCONT)
    writer.join()
    assert engine.info().points == SEAL_LEAST
