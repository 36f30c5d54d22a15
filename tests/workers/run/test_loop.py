"""A run: listing, shards and run files, from a source to a collection."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest

from connector.errors import ItemsLost, ModelError, SourceError, StageFailed, StoreFull
from connector.records import Pixels
from connector.settings import Settings
from connector.store.edge.shared import SharedEngine
from tests.images import image, numbered
from tests.ingest_doubles import ROOT, ColourTower, MemorySource, full_engine, new_collection, pipeline
from tests.scratch import scratch_folder
from workers.executors.in_process import InProcess
from workers.executors.worker import Worker
from workers.pipeline.pipeline import Pipeline
from workers.records import Counts, Ref, Reject
from workers.run.files import LocalFiles
from workers.run.loop import Progress, Run
from workers.run.shards import Manifest, RunFolder

IMAGE = image(1)
NOWHERE = Reject(f"{ROOT}/link.png", stage="list", reason="missing", detail="a link to nowhere")


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch_folder() as scratch:
        yield scratch


@pytest.fixture
def engine(folder: Path) -> Iterator[SharedEngine]:
    engine = SharedEngine.open(folder, collection="images")
    new_collection(engine)
    yield engine
    engine.close()


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Whatever happens, every thread is home afterwards."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def album(count: int, *, rejects: Sequence[Reject] = ()) -> MemorySource:
    return MemorySource({f"{number}.png": numbered(IMAGE, number) for number in range(count)}, rejects=rejects)


def run_folder_in(folder: Path) -> RunFolder:
    return RunFolder(LocalFiles(folder / "run"))


def run_of(
    source: MemorySource,
    pipeline: Pipeline,
    folder: Path,
    *,
    shard_size: int = 10,
    name: str = "one",
    run_folder: RunFolder | None = None,
) -> Run:
    """A run of this source in this process. Signs of life come as fast as they can."""
    worker = Worker(pipeline, settings=Settings(), open_place=lambda _: source, beat_s=0.001)
    return Run(
        source.list,
        manifest=Manifest(name, place=ROOT, source=ROOT, started_at="2024-05-01T00:00:00+00:00"),
        folder=run_folder or run_folder_in(folder),
        executor=InProcess(worker),
        threads=pipeline.threads,
        shard_size=shard_size,
    )


def test_the_books_of_many_shards_and_of_the_listing_add_up(engine: SharedEngine, folder: Path) -> None:
    source = album(35, rejects=[NOWHERE])
    source.files["bad.png"] = b"no image"
    run = run_of(source, pipeline(engine), folder)

    report = run.execute()

    assert report.counts == Counts(listed=37, stored=35, rejected=2)
    assert report.reasons == {"missing": 1, "not_an_image": 1}
    assert report.threads["list"] == 1
    assert report.busy["list"] > 0
    assert {reject.reason for reject in run_folder_in(folder).rejects()} == {"missing", "not_an_image"}
    assert engine.count() == 35


def test_a_second_run_stores_nothing_and_tries_rejects_again(engine: SharedEngine, folder: Path) -> None:
    source = album(12)
    source.files["3.png"] = b"no image"
    run_of(source, pipeline(engine), folder).execute()
    source.files["3.png"] = IMAGE

    again = run_of(source, pipeline(engine), folder, name="two").execute()
    assert again.counts == Counts(listed=12, stored=1, unchanged=11)
    assert list(run_folder_in(folder).rejects()) == []


def test_an_empty_source_is_done_at_once(engine: SharedEngine, folder: Path) -> None:
    assert run_of(album(0), pipeline(engine), folder).execute().counts == Counts()


def test_the_seconds_are_those_of_the_clock(engine: SharedEngine, folder: Path) -> None:
    """A listing that everybody waits for belongs to the run's time."""
    report = run_of(album(30), pipeline(engine), folder).execute()

    assert report.seconds >= report.busy["list"]
    assert all(report.seconds * report.threads[stage] >= busy for stage, busy in report.busy.items())


def test_progress_goes_up_and_ends_with_the_counts(engine: SharedEngine, folder: Path) -> None:
    seen: list[Progress] = []

    def look(_: Pixels) -> None:
        seen.append(run.progress())

    source = album(40, rejects=[NOWHERE])
    run = run_of(source, pipeline(engine, tower=ColourTower(before=look), batch_size=4), folder)
    report = run.execute()

    assert len(seen) >= 10
    done = [each.report.counts.stored + each.report.counts.rejected for each in seen]
    assert done[0] < done[-1] <= 41
    assert run.progress().report.counts == report.counts
    assert (run.progress().total, run.progress().listed_all) == (41, True)


def test_progress_may_be_asked_while_shards_come_and_go(engine: SharedEngine, folder: Path) -> None:
    """The bar is drawn by another thread: what is stored never goes down."""
    run = run_of(album(60), pipeline(engine), folder, shard_size=2)
    over = threading.Event()
    counts: list[int] = []

    def watch() -> None:
        while not over.is_set():
            counts.append(run.progress().report.counts.stored)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run.execute()
    over.set()
    watcher.join()

    assert counts == sorted(counts)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_leaves_no_thread_and_the_next_run_does_the_rest(engine: SharedEngine, folder: Path) -> None:
    source = album(50, rejects=[NOWHERE])
    source.files["4.png"] = b"no image"
    main = threading.main_thread().ident or 0

    def interrupt(ref: Ref) -> Reject:
        signal.pthread_kill(main, signal.SIGINT)
        return Reject(ref.uri, stage="read", reason="missing", detail="")

    source.outcomes["33.png"] = interrupt
    run = run_of(source, pipeline(engine, readers=1, chunk=1), folder)
    with pytest.raises(KeyboardInterrupt):
        run.execute()

    kept = engine.count()
    assert 29 <= run.progress().report.counts.stored <= kept
    assert {"missing", "not_an_image"} <= {reject.reason for reject in run_folder_in(folder).rejects()}
    source.outcomes.clear()
    again = run_of(source, pipeline(engine), folder, name="two").execute()
    assert again.counts == Counts(listed=51, stored=49 - kept, unchanged=kept, rejected=2)


def test_a_full_store_ends_the_run_with_what_it_knew_of_bad_images(folder: Path) -> None:
    engine = full_engine(folder, room=25)
    source = album(50)
    source.files["4.png"] = b"no image"
    with pytest.raises(StoreFull):
        run_of(source, pipeline(engine), folder).execute()

    assert [reject.reason for reject in run_folder_in(folder).rejects()] == ["not_an_image"]
    assert run_folder_in(folder).listed() is not None
    engine.close()


def test_a_listing_that_breaks_ends_the_run(engine: SharedEngine, folder: Path) -> None:
    class Broken(MemorySource):
        def list(self) -> Iterator[Ref | Reject]:
            yield NOWHERE
            yield from self.refs()
            raise SourceError("the bucket is gone")

    with pytest.raises(SourceError, match="the bucket is gone"):
        run_of(Broken(album(30).files), pipeline(engine), folder).execute()

    assert list(run_folder_in(folder).rejects()) == [NOWHERE]


def test_a_run_whose_books_do_not_balance_fails_loudly(engine: SharedEngine, folder: Path) -> None:
    class Losing(RunFolder):
        """Loses the last ref of every shard."""

        def read_shard(self, number: int) -> tuple[Ref, ...]:
            return super().read_shard(number)[:-1]

    run = run_of(album(5), pipeline(engine), folder, run_folder=Losing(LocalFiles(folder / "run")))

    with pytest.raises(ItemsLost, match=r"listed 5 images, but the counts .*listed=4, stored=4"):
        run.execute()


def test_a_run_that_broke_goes_on_with_the_shards_that_are_not_done(engine: SharedEngine, folder: Path) -> None:
    """Its listing is not made again, and what is done is not looked at."""
    source = album(60, rejects=[NOWHERE])
    source.files["44.png"] = b"no image"
    broken = pipeline(engine, tower=ColourTower(before=_breaks_at(33)), batch_size=1)
    with pytest.raises(StageFailed, match="this is batch 33"):
        run_of(source, broken, folder).execute()
    done = run_folder_in(folder).done()
    source.asked.clear()
    listed, source.list = source.list, _not_to_be_called  # type: ignore[method-assign]

    report = run_of(source, pipeline(engine), folder).execute()

    assert report.counts == Counts(
        listed=61, stored=59 - (report.counts.unchanged), unchanged=report.counts.unchanged, rejected=2
    )
    assert 0 < len(done) < 6
    assert len(source.asked) <= 60 - sum(each.counts.listed for each in done.values())
    assert {reject.reason for reject in run_folder_in(folder).rejects()} == {"missing", "not_an_image"}
    assert engine.count() == 59
    source.list = listed  # type: ignore[method-assign]
    assert run_of(source, pipeline(engine), folder, name="two").execute().counts == Counts(
        listed=61, unchanged=59, rejected=2
    )


def _breaks_at(batch: int) -> Callable[[Pixels], None]:
    seen = count(1)

    def before(_: Pixels) -> None:
        if next(seen) == batch:
            raise ModelError(f"this is batch {batch}")

    return before


def _not_to_be_called() -> Iterator[Ref | Reject]:
    raise AssertionError("listed again")
