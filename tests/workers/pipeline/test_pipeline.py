"""The pipeline over real parts: real images, the real embedded engine, a tower that sees colours only."""

import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from connector.errors import ItemsLost, ModelError, SourceError, StageFailed, StoreFull
from connector.records import Pixels, Point, StoredPoint, Vectors
from connector.store.edge.engine import EmbeddedEngine
from connector.version import Version
from tests.corpus_files import saved, scene
from tests.images import image, numbered
from tests.ingest_doubles import ColourTower, MemorySource, full_engine, new_collection, pipeline
from tests.scratch import scratch_folder
from workers.pipeline.counters import Counters, RunReport
from workers.pipeline.pipeline import UPSERT_POINTS, Pipeline
from workers.records import Blob, Counts, Outcome, Ref, Reject, Unchanged
from workers.sources.disk import DiskSource

LONG = 30.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch_folder() as scratch:
        yield scratch


@pytest.fixture
def engine(folder: Path) -> Iterator[EmbeddedEngine]:
    """An empty collection."""
    engine = EmbeddedEngine.open(folder, collection="images")
    new_collection(engine)
    yield engine
    engine.close()


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Whatever happens, every thread is home afterwards."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def album(count: int) -> MemorySource:
    return MemorySource({f"{number}.png": image(number) for number in range(count)})


def run(pipeline: Pipeline, source: MemorySource, counters: Counters | None = None) -> RunReport:
    return pipeline.run(source.refs(), source=source, counters=counters or Counters(threads=pipeline.threads))


def stored(engine: EmbeddedEngine) -> dict[str, StoredPoint]:
    """Every point by file name."""
    page = engine.scroll(limit=10_000, vectors=True)
    assert page.next is None
    return {point.payload["filename"]: point for point in page.points}


# what becomes of an image


def test_every_image_becomes_a_point_with_what_is_known_of_it(engine: EmbeddedEngine) -> None:
    source = album(20)

    report = run(pipeline(engine), source)

    assert report.counts == Counts(listed=20, stored=20)
    points = stored(engine)
    assert points.keys() == source.files.keys()
    for ref in source.refs():
        point = points[ref.filename]
        assert point.id == ref.point_id
        assert point.payload["uri"] == ref.uri
        assert (point.payload["width"], point.payload["format"]) == (48, "png")
        assert point.payload["bytes"] == len(source.files[ref.filename])
        assert point.payload["version"] == ref.version


def test_an_empty_shard_is_done_at_once(engine: EmbeddedEngine) -> None:
    assert run(pipeline(engine), album(0)).counts == Counts()


def test_a_second_run_reads_nothing_and_stores_nothing(engine: EmbeddedEngine) -> None:
    source = album(12)
    tower = ColourTower()
    pipe = pipeline(engine, tower=tower)
    run(pipe, source)
    asked, batches = len(source.asked), len(tower.batches)

    assert run(pipe, source).counts == Counts(listed=12, unchanged=12)
    assert len(source.asked) == asked
    assert len(tower.batches) == batches


def test_images_that_an_earlier_release_stored_are_not_read_again(engine: EmbeddedEngine, tmp_path: Path) -> None:
    stamped("plain.png", image(1), folder=tmp_path)
    stamped("described.png", image(2), folder=tmp_path)
    stamped("described.json", b'{"rating": 5}', folder=tmp_path)
    size = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    written = {
        "plain.png": f"{size['plain.png']}-{STAMP}",
        "described.png": f"{size['described.png']}-{STAMP}+13-{STAMP}",
    }
    source = DiskSource(tmp_path, hidden=False, max_bytes=10**6)
    refs = [item for item in source.list() if isinstance(item, Ref)]
    vector = np.ones(128, np.float32) / np.sqrt(np.float32(128))
    engine.upsert([Point(ref.point_id, vector, {"uri": ref.uri, "version": written[ref.filename]}) for ref in refs])

    pipe = pipeline(engine)
    report = pipe.run(refs, source=source, counters=Counters(threads=pipe.threads))

    assert report.counts == Counts(listed=2, unchanged=2)


STAMP = 1_700_000_000_123_456_789


def stamped(name: str, data: bytes, *, folder: Path) -> None:
    """A file of a fixed modification time."""
    (folder / name).write_bytes(data)
    os.utime(folder / name, ns=(STAMP, STAMP))


def test_a_changed_image_is_embedded_again_under_its_id(engine: EmbeddedEngine) -> None:
    source = album(5)
    run(pipeline(engine), source)
    before = stored(engine)["3.png"]
    source.files["3.png"] = image(99, size=50)

    assert run(pipeline(engine), source).counts == Counts(listed=5, stored=1, unchanged=4)
    after = stored(engine)["3.png"]
    assert after.id == before.id
    assert after.payload["width"] == 50
    assert after.payload["content_hash"] != before.payload["content_hash"]
    assert not np.allclose(np.asarray(after.vector), np.asarray(before.vector))
    assert engine.count() == 5


def test_a_source_that_knows_no_version_is_asked_and_may_answer_unchanged(engine: EmbeddedEngine) -> None:
    source = album(4)
    source.versions = dict.fromkeys(source.files)
    assert run(pipeline(engine), source).counts == Counts(listed=4, stored=4)
    source.asked.clear()
    source.outcomes = dict.fromkeys(list(source.files)[:3], Unchanged)

    assert run(pipeline(engine), source).counts == Counts(listed=4, stored=1, unchanged=3)
    assert [ref.stored_version for ref in source.asked] == ["read"] * 4


def test_one_bad_image_is_a_reject_at_its_stage_and_stops_nothing(engine: EmbeddedEngine) -> None:
    good = album(10)
    source = MemorySource(
        {
            **good.files,
            "gone.png": b"",
            "page.jpg": b"<html>404</html>",
            "cut.png": image(50)[:-200],
            "wide.png": saved(scene(2000, 2), "PNG"),
            "huge.png": saved(scene(1001, 1000), "PNG"),
            "nothing.png": b"",
            "nan.png": image(60, size=64),
            "inf.png": image(61, size=64),
            "zero.png": image(62, size=64),
        }
    )
    source.outcomes["gone.png"] = lambda ref: Reject(ref.uri, stage="read", reason="missing", detail="gone since")
    spoilt = {name: ColourTower().embed(pixels_of(source.files[name])) for name in ("nan.png", "inf.png", "zero.png")}
    pipe = pipeline(engine, tower=SpoiltTower(spoilt), max_pixels=1_000_000)
    counters = Counters(threads=pipe.threads)

    report = run(pipe, source, counters)

    assert report.counts == Counts(listed=19, stored=11, rejected=8)
    assert {(reject.uri.rpartition("/")[2], reject.stage, reject.reason) for reject in counters.rejects} == {
        ("gone.png", "read", "missing"),
        ("page.jpg", "decode", "not_an_image"),
        ("cut.png", "decode", "truncated"),
        ("huge.png", "decode", "too_many_pixels"),
        ("nothing.png", "decode", "empty"),
        ("nan.png", "embed", "not_finite"),
        ("inf.png", "embed", "not_finite"),
        ("zero.png", "embed", "zero_vector"),
    }
    assert all(reject.detail for reject in counters.rejects)
    assert stored(engine).keys() == {*good.files, "wide.png"}


def pixels_of(data: bytes) -> Pixels:
    from connector.images.decode import decode

    return decode(data, size=64, max_pixels=10**6).pixels[None]


class SpoiltTower(ColourTower):
    """Gives no sound vector to the images whose sound vectors are known here, by name."""

    def __init__(self, spoilt: dict[str, Vectors]) -> None:
        super().__init__()
        self._spoilt = spoilt
        self._values = {"nan.png": np.nan, "inf.png": np.inf, "zero.png": 0.0}

    def embed(self, pixels: Pixels) -> Vectors:
        vectors = super().embed(pixels)
        for name, known in self._spoilt.items():
            vectors[(np.abs(vectors - known) < 1e-6).all(axis=1)] = self._values[name]
        return vectors


# what breaks a run


def test_a_tower_that_fails_breaks_the_run_and_names_its_stage(engine: EmbeddedEngine) -> None:
    def fail(_: Pixels) -> None:
        raise ModelError("out of device memory")

    with pytest.raises(StageFailed, match="the image tower failed: out of device memory") as caught:
        run(pipeline(engine, tower=ColourTower(before=fail)), album(30))

    assert caught.value.stage == "embed"
    assert isinstance(caught.value.__cause__, ModelError)


def test_a_full_store_is_raised_and_what_was_stored_stays(folder: Path) -> None:
    engine = full_engine(folder, room=10)
    with pytest.raises(StoreFull, match="no room left"):
        run(pipeline(engine, batch_size=4, decoders=1), album(40))

    kept = engine.count()
    assert kept <= 10
    engine.room = 10**9
    assert run(pipeline(engine), album(40)).counts == Counts(listed=40, stored=40 - kept, unchanged=kept)
    engine.close()


def test_a_source_that_is_gone_breaks_the_run(engine: EmbeddedEngine) -> None:
    source = album(300)

    def fail(_: Ref) -> Outcome:
        raise SourceError("the bucket is gone")

    source.outcomes["200.png"] = fail
    with pytest.raises(SourceError, match="the bucket is gone"):
        run(pipeline(engine), source)


def test_an_image_without_an_outcome_is_never_overlooked(engine: EmbeddedEngine) -> None:
    class Forgetful(MemorySource):
        def read(self, refs: Sequence[Ref]) -> Iterator[Outcome]:
            return (outcome for outcome in super().read(refs) if not outcome_is(outcome, "3.png"))

    def outcome_is(outcome: Outcome, name: str) -> bool:
        return isinstance(outcome, Blob) and outcome.ref.filename == name

    with pytest.raises(ItemsLost, match=r"listed=5, stored=4.*defect"):
        run(pipeline(engine), Forgetful(album(5).files))


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_leaves_no_thread_and_what_was_stored_stays(engine: EmbeddedEngine) -> None:
    source = album(200)
    main = threading.main_thread().ident or 0

    def interrupt(ref: Ref) -> Outcome:
        signal.pthread_kill(main, signal.SIGINT)
        return source.blob(ref)

    source.outcomes["100.png"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        run(pipeline(engine), source)

    kept = engine.count()
    source.outcomes.clear()
    assert run(pipeline(engine), source).counts == Counts(listed=200, stored=200 - kept, unchanged=kept)


# how the work is spread


def test_every_spread_of_work_gives_the_same_points(folder: Path) -> None:
    """One thread and batches of two against many of each; payloads and vectors are equal."""
    results = []
    source = album(40)
    for many in (1, 7):
        engine = EmbeddedEngine.open(folder, collection=f"images-{many}")
        new_collection(engine)
        run(pipeline(engine, batch_size=2 * many, readers=many, decoders=many, chunk=many), source)
        results.append(stored(engine))
        engine.close()

    alone, spread = results
    assert alone.keys() == spread.keys() == source.files.keys()
    for name, point in alone.items():
        assert np.array_equal(np.asarray(point.vector), np.asarray(spread[name].vector))
        assert {**point.payload, "ingested_at": None} == {**spread[name].payload, "ingested_at": None}


def test_batches_are_full_save_the_last_of_each_thread(engine: EmbeddedEngine) -> None:
    tower = ColourTower()
    pipe = pipeline(engine, tower=tower, batch_size=8)
    run(pipe, album(50))

    assert sum(tower.batches) == 50
    assert max(tower.batches) == 8
    assert sum(size < 8 for size in tower.batches) <= pipe.threads["embed"]


def test_the_report_names_every_stage_and_what_was_slow(engine: EmbeddedEngine) -> None:
    report = run(pipeline(engine), album(30))

    assert set(report.busy) == {"read", "decode", "embed", "upsert"}
    assert all(seconds > 0 for seconds in report.busy.values())
    assert report.bottleneck in report.busy
    assert report.rate > 0


def test_a_pipeline_leaves_torchs_threads_as_they_were(engine: EmbeddedEngine) -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        run(pipeline(engine), album(3))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


class Counted(bytes):
    """Bytes that are counted while they live, and tell when so many of them do."""

    lock = threading.Lock()
    alive = 0
    most = 0
    many = 0
    are_many = threading.Event()

    def __new__(cls, data: bytes) -> "Counted":
        with cls.lock:
            cls.alive += 1
            cls.most = max(cls.most, cls.alive)
            if cls.most > cls.many:
                cls.are_many.set()
        return super().__new__(cls, data)

    def __del__(self) -> None:
        with Counted.lock:
            Counted.alive -= 1


class SlowSource(MemorySource):
    """Tells when the last image was read."""

    def __init__(self, count: int, data: bytes) -> None:
        super().__init__({f"{number}.png": numbered(data, number) for number in range(count)})
        self.all_read = threading.Event()

    def blob(self, ref: Ref) -> Blob:
        if len(self.asked) == len(self.files):
            self.all_read.set()
        return Blob(ref, Counted(self.files[ref.filename]), Version("1"), {})


def test_a_store_that_stands_still_stops_the_reading_and_memory_stays_bounded(folder: Path) -> None:
    """A megabyte may wait; the images are 16 KB each, so some eighty of thousands are held at most."""
    data = saved(scene(64, 64), "BMP") + bytes(3696)
    count = 3 * UPSERT_POINTS  # twice as many points may wait for the store, without their images' bytes
    source = SlowSource(count, data)
    waiting = 1024 * 1024 // len(data)
    Counted.many = int(waiting * 0.8)

    class SlowEngine(EmbeddedEngine):
        first = True

        def upsert(self, points: Sequence[Point]) -> None:
            if self.first:
                self.first = False
                assert Counted.are_many.wait(60), "little was read while nothing could be stored"
                assert not source.all_read.wait(2), "everything was read while nothing could be stored"
            super().upsert(points)

    engine = SlowEngine.open(folder, collection="images")
    new_collection(engine)
    pipe = pipeline(engine, batch_size=4, readers=2, decoders=2, buffer_bytes=1024 * 1024, chunk=16)

    assert run(pipe, source).counts.stored == count
    bundles = 2 * 2 * (waiting // 16 + 2)
    decoding = 2 * 4
    assert waiting * 0.8 < Counted.most <= waiting + bundles + decoding
    assert Counted.alive == 0
    engine.close()


# reads that hang


def test_a_read_that_hangs_is_given_up_and_everything_else_goes_on(engine: EmbeddedEngine) -> None:
    """Also what the hanging thread had read before, and what it would have read next."""
    source, released = album(30), threading.Event()

    def hang(ref: Ref) -> Blob:
        assert released.wait(60)
        return source.blob(ref)

    source.outcomes["7.png"] = source.outcomes["19.png"] = hang
    try:
        pipe = pipeline(engine, readers=1, chunk=16, read_timeout_s=2.0)
        counters = Counters(threads=pipe.threads)
        report = pipe.run(source.refs(), source=source, counters=counters)
    finally:
        released.set()

    assert report.counts == Counts(listed=30, stored=28, rejected=2)
    assert {(r.uri.rpartition("/")[2], r.stage, r.reason) for r in counters.rejects} == {
        ("7.png", "read", "timeout"),
        ("19.png", "read", "timeout"),
    }
    assert all(reject.ref is not None for reject in counters.rejects)


def test_a_source_that_only_hangs_ends_the_run(engine: EmbeddedEngine) -> None:
    with hanging(album(40), range(40)) as (source, came_back):
        with pytest.raises(SourceError, match=r"reads in a row gave no answer within 0\.1 seconds"):
            run(pipeline(engine, readers=4, chunk=4, read_timeout_s=0.1), source)
        assert came_back == [], "nobody waited for what hangs"


def test_a_run_that_breaks_waits_for_no_read_that_hangs(folder: Path) -> None:
    engine = full_engine(folder, room=4)
    with hanging(album(40), [0]) as (source, came_back):
        with pytest.raises(StoreFull):
            run(pipeline(engine, readers=2, chunk=4, batch_size=4, read_timeout_s=0.5), source)
        assert came_back == []
    engine.close()


@contextmanager
def hanging(source: MemorySource, numbers: Iterable[int]) -> Iterator[tuple[MemorySource, list[Ref]]]:
    """A source some of whose images hang until the block ends, and those that came back, with their threads."""
    released = threading.Event()
    came_back: list[Ref] = []
    stuck: list[threading.Thread] = []

    def hang(ref: Ref) -> Blob:
        stuck.append(threading.current_thread())
        assert released.wait(60)
        came_back.append(ref)
        return source.blob(ref)

    source.outcomes.update({f"{number}.png": hang for number in numbers})
    try:
        yield source, came_back
    finally:
        released.set()
        for thread in stuck:
            thread.join()
