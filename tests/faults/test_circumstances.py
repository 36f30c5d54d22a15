"""A source that changes, a disk that is full, a clock that jumps, a source without end: the counts still balance."""

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from connector.errors import ConfigError, RunIncomplete, SourceError, StoreFull
from connector.records import Point
from connector.search.client import ImageSearch
from connector.store.edge.folder import RESERVE
from connector.store.edge.shared import SharedEngine
from connector.store.open import open_engine
from connector.version import Version
from tests.faults.battlefield import Album, Battle, Toll, lost
from tests.images import image, write_images
from tests.ingest_doubles import MemorySource, new_collection, pipeline
from tests.kill_migrations import settings_of
from tests.scratch import scratch_folder
from tests.second_space import NAME, write_turned
from tests.watch_scene import Scene
from workers.api import ingest as bring_in
from workers.executors.in_process import InProcess
from workers.executors.worker import Worker
from workers.migrate import steps
from workers.migrate.migration import migrate
from workers.records import Ref, Reject
from workers.run.files import LocalFiles
from workers.run.ingestion import Ingested, prune_source
from workers.run.loop import Progress, Run
from workers.run.prune import ListedIds
from workers.run.shards import AHEAD, Manifest, RunFolder
from workers.sources.open import open_source


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch_folder() as scratch:
        yield scratch


def ingest(
    scene: Scene, *, during: Callable[[Callable[[], Progress]], None] | None = None, prune: bool = False
) -> Ingested:
    """One ingestion of the scene's folder; ``during`` runs beside it."""

    @contextmanager
    def beside(progress: Callable[[], Progress]) -> Iterator[None]:
        if during is None:
            yield
            return
        thread = threading.Thread(target=during, args=(progress,))
        thread.start()
        try:
            yield
        finally:
            thread.join()

    settings = scene.settings
    with closing(open_source(str(scene.album), settings=settings)) as source, ListedIds() as listed_ids:
        with scene.workers(beside) as ingestion:
            done = ingestion.ingest(source, place=str(scene.album), listed_ids=listed_ids)
        if prune:
            prune_source(listed_ids, source=source, settings=settings, remove=True)
    return done


def points(scene: Scene) -> dict[str, object]:
    """Path to payload, but when it was written."""
    return {name: {**payload, "ingested_at": None} for name, payload in scene.stored().items()}


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_a_source_that_changes_meanwhile_is_caught_up_with(folder: Path, seed: int) -> None:
    """Whatever was added, changed and removed during a run, the next one leaves what one in peace would make."""
    album = Album(folder / "album", count=150)
    chance = random.Random(seed)

    def stir(progress: Callable[[], Progress]) -> None:
        for number in range(120):
            while progress().done < number and progress().in_flight:
                time.sleep(0.001)
            path = album.folder / chance.choice(album.names)
            match chance.choice(["add", "change", "remove", "move"]):
                case "add":
                    (album.folder / f"{chance.random()}.png").write_bytes(image(1_000 + number, size=24))
                case "change":
                    path.write_bytes(image(2_000 + number, size=24))
                case "remove":
                    path.unlink(missing_ok=True)
                case "move" if path.exists():
                    path.rename(album.folder / f"moved-{number}.png")

    scene = Scene(album.folder, folder / "data", {"ingest.shard_size": 8, "ingest.max_prune": 1})
    stirred = ingest(scene, during=stir)
    ingest(scene, prune=True)
    peace = Scene(album.folder, folder / "peace", {})
    ingest(peace)

    assert stirred.report.counts.balanced
    assert len(points(scene)) > 50
    assert points(scene) == points(peace)


@contextmanager
def small_disk(where: Path, *, size: str) -> Iterator[Callable[[str], None]]:
    """A disk of so many bytes; gives what makes it larger. Skips where this machine lets us mount none."""
    where.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(where)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield partial(_enlarge, where)
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def _enlarge(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("mount") is None, reason="needs mount of Linux")
def test_a_full_disk_in_the_run_folder_stops_the_run_and_more_room_lets_it_go_on(folder: Path) -> None:
    album = Album(folder / "album", count=200)
    scene = Scene(album.folder, folder / "data", {"ingest.shard_size": 4, "ingest.runs": str(folder / "runs")})
    with small_disk(folder / "runs", size="64k") as enlarge:
        with pytest.raises(RunIncomplete, match=r"files cannot be kept in .*No space left.*Make room"):
            ingest(scene)
        before = scene.embedded
        enlarge("16m")
        done = ingest(scene)
        again = ingest(scene)

    assert done.report.counts.stored + done.report.counts.unchanged == 196
    assert (again.report.counts.unchanged, again.report.counts.rejected) == (196, 4)
    assert scene.embedded <= 196 + 8
    assert before < 196


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or shutil.which("mount") is None, reason="needs mount of Linux")
def test_a_disk_that_fills_up_stops_a_migration_and_more_room_lets_it_go_on(folder: Path) -> None:
    write_images(folder / "album", [f"{number}.png" for number in range(128)])
    settings, to, disk = settings_of(folder / "disk/data"), str(write_turned(folder)), folder / "disk"
    with small_disk(disk, size="1g") as enlarge:
        bring_in(folder / "album", settings=settings)
        full = shutil.disk_usage(disk).used + RESERVE // 2
        with (
            closing(open_engine(settings.qdrant, collection=settings.collection)) as engine,
            ImageSearch.open(settings=settings) as search,
        ):
            before = search.text("a dog", limit=20)
            with pytest.raises(StoreFull, match="What was stored before is safe"):
                migrate(settings, to=to, rate=64, on_progress=lambda _: enlarge(str(full)))
            left = steps.status(engine).left
            assert 0 < left < 128
            assert search.text("a dog", limit=20) == before
            enlarge("4g")
            with pytest.raises(ConfigError, match=f"{left} of 128 images have no vector of space {NAME} yet"):
                steps.switch(engine)
            assert migrate(settings, to=to).written == left
            assert steps.switch(engine).unseen == 0


JUMPING_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
#include <sys/time.h>
/* Every 200 ms the wall clock is somewhere else: up to 12 hours ahead of or behind the truth. */
static long jump(void) {
    static int (*real)(clockid_t, struct timespec *);
    struct timespec now;
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    real(CLOCK_MONOTONIC, &now);
    long step = now.tv_sec * 5 + now.tv_nsec / 200000000;
    return (step * 7919 % 86400) - 43200;
}
int clock_gettime(clockid_t clock, struct timespec *out) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(clock, out);
    if (clock == CLOCK_REALTIME) out->tv_sec += jump();
    return done;
}
time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("gcc") is None, reason="needs gcc, to make a clock that jumps"
)
def test_a_clock_that_jumps_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "clock.c").write_text(JUMPING_CLOCK)
    library = folder / "clock.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(folder / "clock.c"), "-ldl"], check=True)
    album = Album(folder / "album", count=100)
    peace, jumping = Toll(), Toll()
    calm = Battle(album, folder / "calm", server=None)
    calm.fight(["worker"], kills=0, chance=random.Random(0), toll=peace)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    look = [sys.executable, "-c", "import time; print(time.time())"]
    seen = {round(float(subprocess.run(look, capture_output=True, check=True).stdout) - time.time()) for _ in range(4)}
    assert max(map(abs, seen)) > 60  # it does jump
    stormy = Battle(album, folder / "stormy", server=None)
    stormy.fight(["worker"], kills=1, chance=random.Random(1), toll=jumping)
    monkeypatch.delenv("LD_PRELOAD")

    assert lost(stormy.points(), calm.points()) == 0
    assert (jumping.doubled, jumping.again, peace.embedded) == (0, 0, 98)


class SlowEngine(SharedEngine):
    """A store that takes its time."""

    def upsert(self, points: Sequence[Point]) -> None:
        time.sleep(0.002)
        super().upsert(points)


@pytest.mark.slow
def test_an_endless_source_with_a_slow_store_takes_no_more_memory_as_it_goes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The listing waits for the store: it is never more than ``AHEAD`` shards in front."""
    with closing(SlowEngine.open(folder, collection="images")) as made_anew:
        new_collection(made_anew)
    engine = SlowEngine.open(folder, collection="images")  # maps its files whole, which a new one does bit by bit
    source = MemorySource({"one.png": image(1)})
    (one,) = source.refs()
    enough = threading.Event()

    def endless() -> Iterator[Ref | Reject]:
        number = 0
        while True:
            if enough.is_set():
                raise SourceError("the test has seen enough")
            number += 1
            yield replace(one, uri=f"{one.uri}?{number % 500}", version=Version(f"{number}"))

    made = pipeline(engine)
    worker = Worker(made, settings=Scene(folder, folder).settings, open_place=lambda _: source)
    run = Run(
        endless,
        manifest=Manifest("run", place="album", source=source.root, started_at="2026-01-01T00:00:00Z"),
        folder=RunFolder(LocalFiles(folder / "run")),
        executor=InProcess(worker),
        threads=made.threads,
        shard_size=10,
    )
    sizes: list[int] = []
    ahead: list[int] = []

    def look() -> None:
        process = psutil.Process(os.getpid())
        while not enough.wait(0.2):
            now = run.progress()
            ahead.append(now.total - now.done)
            sizes.append(process.memory_info().rss)
            if now.done > 6_000:
                enough.set()

    looker = threading.Thread(target=look)
    looker.start()
    with pytest.raises(SourceError, match="seen enough"):
        run.execute()
    looker.join()
    engine.close()

    quarter = len(sizes) // 4
    early, late = max(sizes[quarter : 2 * quarter]), max(sizes[-quarter:])
    with capsys.disabled():
        print(f"\nendless: {early >> 20} MiB -> {late >> 20} MiB, ahead {max(ahead)}")  # noqa: T201  (the report)
    assert AHEAD * 10 // 2 < max(ahead) <= (AHEAD + 3) * 10
    assert late < early + 24 * 1024 * 1024
