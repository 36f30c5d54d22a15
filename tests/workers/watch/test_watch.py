"""A watcher keeps a collection in step with its folder, whatever happens there and whatever goes wrong."""

import json
import os
import re
import shutil
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from connector.errors import SourceError, StoreUnavailable
from connector.settings import Settings
from connector.store.edge.engine import EmbeddedEngine
from connector.store.edge.shared import SharedEngine
from tests.conftest import CommandLine, finish
from tests.images import image, write_images
from tests.scratch import scratch_folder
from tests.watch_scene import COLLECTION, Scene, in_store, until
from workers.run.ingestion import Ingestion
from workers.run.shards import RunFolder
from workers.sources.disk import uri_of
from workers.sources.open import open_source
from workers.watch.watch import Watcher


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scratch_folder() as folder:
        write_images(tmp_path / "album", ["a.png", "b/c.png", "b/deep/d.png"])
        yield Scene(tmp_path / "album", folder / "data")


def test_what_happens_in_the_folder_happens_in_the_collection(scene: Scene) -> None:
    """And only what happened is read: 3 images at first, then one that is new and one that changed."""
    album = scene.album
    with scene.watched() as watcher:
        assert scene.names() == {"a.png", "b/c.png", "b/deep/d.png"}

        (album / "new.png").write_bytes(image(10))
        in_store(lambda: "new.png" in scene.names())
        old = scene.stored()["a.png"]
        (album / "a.png").write_bytes(image(11))
        in_store(lambda: scene.stored()["a.png"]["content_hash"] != old["content_hash"])
        assert scene.embedded == 5

        (album / "b" / "c.png").unlink()
        in_store(lambda: "b/c.png" not in scene.names())
        assert scene.names() == {"a.png", "new.png", "b/deep/d.png"}
        until(lambda: watcher.health()["waiting"] == 0)
        assert watcher.health()["healthy"] is True


def test_a_folder_that_moves_takes_its_points_along_and_costs_no_embedding(scene: Scene) -> None:
    album = scene.album
    with scene.watched():
        (album / "b").rename(album / "moved")
        in_store(lambda: scene.names() == {"a.png", "moved/c.png", "moved/deep/d.png"})
        shutil.rmtree(album / "moved")
        in_store(lambda: scene.names() == {"a.png"})
    assert scene.embedded == 3


def test_a_sidecar_brings_its_image_in_again(scene: Scene) -> None:
    with scene.watched():
        (scene.album / "a.txt").write_text("a dog")
        in_store(lambda: scene.stored()["a.png"].get("meta") == {"caption": "a dog"})
        (scene.album / "a.txt").unlink()
        in_store(lambda: "meta" not in scene.stored()["a.png"])


def test_new_patterns_hold_at_once_for_what_is_stored_too(scene: Scene) -> None:
    scene.changes = {"ingest.max_prune": 0.5}
    with scene.watched():
        (scene.album / ".polyglanceignore").write_text("a.png")
        in_store(lambda: "a.png" not in scene.names())
        (scene.album / ".polyglanceignore").unlink()
        in_store(lambda: "a.png" in scene.names())


def test_files_that_are_no_images_wake_nobody(scene: Scene) -> None:
    with scene.watched() as watcher:
        passes = watcher.metrics.registry.get_sample_value
        name, labels = "polyglance_watch_passes_total", {"source": uri_of(scene.album)}
        before = passes(name, labels)
        (scene.album / "notes.md").write_text("x")
        (scene.album / ".hidden.png").write_bytes(image(1))
        until(lambda: (passes(name, labels) or 0) > (before or 0))
        runs = passes("polyglance_ingest_runs_total", {"state": "done"})
    assert runs == 1
    assert len(scene.names()) == 3


def test_a_full_pass_makes_up_for_changes_that_nobody_told(scene: Scene) -> None:
    scene.changes = {"watch.every_s": 0.3, "ingest.max_prune": 0.5}
    with scene.watched(feed=False):
        write_images(scene.album, ["late.png"], first_seed=20)
        (scene.album / "a.png").unlink()
        in_store(lambda: scene.names() == {"late.png", "b/c.png", "b/deep/d.png"})


@pytest.mark.slow
def test_changes_before_the_start_are_found_at_the_start(scene: Scene) -> None:
    with scene.watched():
        pass
    write_images(scene.album, ["while-away.png"], first_seed=20)
    with scene.watched():
        assert "while-away.png" in scene.names()


@pytest.mark.slow
def test_a_folder_that_is_away_loses_nothing_and_is_watched_again_when_it_is_back(scene: Scene) -> None:
    away = scene.album.with_name("away")
    with scene.watched() as watcher:
        scene.album.rename(away)
        until(lambda: watcher.health()["error"] is not None or watcher.health()["waiting"] == 0)
        assert len(scene.names()) == 3
        write_images(away, ["e.png"], first_seed=20)
        away.rename(scene.album)
        in_store(lambda: "e.png" in scene.names())
        write_images(scene.album, ["f.png"], first_seed=21)
        in_store(lambda: "f.png" in scene.names())
    assert len(scene.names()) == 5


@pytest.mark.slow
def test_many_that_go_at_once_stay_until_somebody_looks(scene: Scene) -> None:
    write_images(scene.album / "many", [f"{number}.png" for number in range(120)], first_seed=100)
    with scene.watched() as watcher:
        assert len(scene.names()) == 123
        shutil.rmtree(scene.album / "many")
        write_images(scene.album, ["after.png"], first_seed=20)
        in_store(lambda: "after.png" in scene.names() and watcher.health()["waiting"] == 0)
        assert len(scene.names()) == 124


@pytest.mark.slow
def test_a_pass_that_fails_is_told_and_tried_again(scene: Scene) -> None:
    with scene.watched() as watcher:
        other = EmbeddedEngine.open(scene.data, collection=COLLECTION)  # which answers nobody
        until(lambda: _opened(other))
        write_images(scene.album, ["e.png"], first_seed=20)
        until(lambda: watcher.health()["error"] is not None)
        health = watcher.health()
        other.close()
        assert (health["healthy"], health["waiting"]) == (True, 1)
        assert "process" in str(health["error"])
        in_store(lambda: "e.png" in scene.names())
        until(lambda: watcher.health()["error"] is None)


def _opened(engine: EmbeddedEngine) -> bool:
    try:
        return engine.count() >= 0
    except StoreUnavailable:
        return False


def test_what_cannot_be_read_stands_in_the_books_of_the_place_until_it_can(scene: Scene) -> None:
    source = open_source(str(scene.album), settings=scene.settings)
    run_folder = RunFolder.of(source.root, settings=scene.settings)
    (scene.album / "a.png").write_bytes(b"broken")
    with scene.watched():
        assert [each.uri for each in run_folder.rejects()] == [uri_of(scene.album / "a.png")]
        (scene.album / "e.png").write_bytes(b"broken too")
        until(lambda: len([*run_folder.rejects()]) == 2)
        (scene.album / "e.png").write_bytes(b"broken as well")
        until(lambda: max(each.attempt for each in run_folder.rejects()) == 2)
        (scene.album / "e.png").write_bytes(image(1))
        until(lambda: [each.uri for each in run_folder.rejects()] == [uri_of(scene.album / "a.png")])


def test_what_breaks_the_first_pass_is_raised(scene: Scene) -> None:
    shutil.rmtree(scene.album)
    with pytest.raises(SourceError, match="does not exist"), scene.watched(feed=False):
        pass


@pytest.mark.slow
def test_every_thread_is_home_afterwards(scene: Scene) -> None:
    before = set(threading.enumerate())
    with scene.watched():
        pass
    assert set(threading.enumerate()) <= before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_the_service_tells_how_it_is_and_stops_when_told(cli: CommandLine, data_folder: Path, tmp_path: Path) -> None:
    album = tmp_path / "album"
    write_images(album, ["a.png"])
    child = cli.start("watch", album, "--space", "mini", "--settle", "0.1", "--metrics-port", "0")
    assert child.stderr is not None
    said = child.stderr.readline() + child.stderr.readline()
    (url,) = re.findall(r"health on (http\S+)/healthz", said)

    def health() -> dict[str, Any]:
        with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
            return dict(json.load(answer))

    until(lambda: health()["last_pass"] is not None)
    write_images(album, ["b.png"], first_seed=5)
    until(lambda: metric(url, "polyglance_ingest_images_total", outcome="stored") == 2)
    asked = time.monotonic()
    child.send_signal(signal.SIGTERM)
    ran = finish(child)

    assert (ran.code, "stopped; what was stored" in ran.err) == (0, True)
    assert time.monotonic() - asked < 20
    engine = SharedEngine.open(data_folder, collection=COLLECTION)
    assert engine.count() == 2
    engine.close()


def metric(url: str, name: str, **labels: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    label = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name}{{{label}}}")), 0.0)


def test_a_queue_is_for_buckets(cli: CommandLine, tmp_path: Path) -> None:
    ran = cli("watch", tmp_path, "--space", "mini", "--sqs-url", "http://localhost:1/queue")
    assert (ran.code, "tells the changes of a bucket" in ran.err) == (2, True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_thousands_of_changes_leave_memory_as_it_was(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """Forty rounds of a hundred changes each; the first eight fill caches and heaps."""
    scene.changes = {"watch.idle_s": 60}  # the workers stay: it is their memory too
    process = psutil.Process(os.getpid())
    sizes: list[int] = []
    with scene.watched() as watcher:
        value = watcher.metrics.registry.get_sample_value
        for number in range(40):
            for each in range(50):
                (scene.album / f"{each}.png").write_bytes(image(number * 50 + each, size=16))
            for each in range(50):
                with suppress(FileNotFoundError):
                    (scene.album / f"odd-{number - 1}-{each}.png").unlink()
                (scene.album / f"odd-{number}-{each}.txt").write_text(str(number))
            told = (number + 1) * 50
            until(lambda told=told: (value("polyglance_ingest_images_total", {"outcome": "stored"}) or 0) >= told)  # type: ignore[misc]
            until(lambda: watcher.health()["waiting"] == 0)
            sizes.append(process.memory_info().rss)
        changes = value("polyglance_watch_changes_total", {"source": uri_of(scene.album)})

    early, late = sorted(sizes[8:16])[4], sorted(sizes[-8:])[4]
    with capsys.disabled():
        print(f"\nwatch: {changes:.0f} changes, {early >> 20} MiB -> {late >> 20} MiB")  # noqa: T201  (the report)
    assert (changes or 0) >= 4_000
    assert late < early + 24 * 1024 * 1024


def test_a_watcher_is_not_healthy_while_its_folder_cannot_be_listed(tmp_path: Path) -> None:
    settings = Settings.load({"qdrant.path": tmp_path / "data"})
    album = tmp_path / "album"
    album.mkdir()
    source = open_source(str(album), settings=settings)
    watcher = Watcher(
        source,
        place=str(album),
        settings=settings,
        feed=None,
        workers=lambda show: Ingestion.open(settings, recreate=False, show=show, wait=lambda _: nullcontext()),
        wait=lambda _: nullcontext(),
    )
    assert watcher.health()["healthy"]
    album.rename(tmp_path / "away")
    health = watcher.health()
    assert (health["healthy"], "does not exist" in str(health["error"])) == (False, True)
    (tmp_path / "away").rename(album)
    assert watcher.health()["healthy"]
