"""Workers are started for an image that is new, and for nothing else."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from connector.records import Point
from connector.settings import Settings
from connector.store.edge.engine import EmbeddedEngine
from connector.store.schema import CollectionSchema, Fingerprint
from connector.version import Version
from tests.images import write_images
from tests.scratch import scratch_folder
from tests.scripted import refs
from workers.executors.executor import OnHeartbeat
from workers.executors.in_process import LazyExecutor
from workers.pipeline.counters import Heartbeat, RunReport, ShardReport
from workers.records import Counts, Prepared, Ref, Shard


class Started:
    """An executor that stores whatever it gets, and remembers what it was asked."""

    workers = 2
    wants = 3

    def __init__(self) -> None:
        self.prepared: list[bool] = []
        self.shards: list[int] = []
        self.closed = False

    def prepare(self, *, recreate: bool) -> Prepared:
        self.prepared.append(recreate)
        return Prepared(threads={"read": 4, "embed": 2}, gpus=0)

    def submit(self, shard: Shard, *, on_heartbeat: OnHeartbeat) -> Future[ShardReport]:
        on_heartbeat(Heartbeat(RunReport()))
        self.shards.append(shard.number)
        answer: Future[ShardReport] = Future()
        answer.set_result(ShardReport(RunReport(counts=Counts(len(shard.refs), stored=len(shard.refs))), ()))
        return answer

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def settings() -> Iterator[Settings]:
    with scratch_folder() as folder:
        yield Settings.load({"model.space": "mini", "qdrant.path": str(folder / "data")})


@pytest.fixture
def stored(settings: Settings) -> list[Ref]:
    """Twenty images that the collection holds."""
    images = refs(20)
    with closing(EmbeddedEngine.open(settings.qdrant.path, collection=settings.collection)) as engine:
        engine.create(CollectionSchema(Fingerprint(space="mini", dims=128, image_size=64, weights="w")))
        vector = np.full(128, 128**-0.5, dtype=np.float32)
        engine.upsert(
            [
                Point(
                    ref.point_id,
                    vector,
                    {"uri": ref.uri, "version": str(ref.version), "source": [ref.source], "folder": [ref.folder]},
                )
                for ref in images
            ]
        )
    return images


def quiet(_: str) -> nullcontext[None]:
    return nullcontext()


def submit(to: LazyExecutor, number: int, images: list[Ref]) -> RunReport:
    shard = Shard(number, place="file:///", refs=tuple(images))
    return to.submit(shard, on_heartbeat=lambda _: None).result(timeout=60).report


def test_a_shard_that_holds_nothing_new_starts_nobody(settings: Settings, stored: list[Ref]) -> None:
    started: list[Started] = []

    def start() -> Started:
        started.append(Started())
        return started[-1]

    with closing(LazyExecutor(start, settings=settings, wait=quiet)) as lazy:
        prepared = lazy.prepare(recreate=False)
        assert submit(lazy, 0, stored).counts == Counts(listed=20, unchanged=20)
        assert (started, lazy.workers, prepared.threads) == ([], 1, {"read": 1})

        changed = [*stored[:-1], replace(stored[-1], version=Version("2"))]
        assert submit(lazy, 1, changed).counts.stored == 20
        assert submit(lazy, 2, stored).counts.stored == 20  # looked up by whoever is there
        (workers,) = started
        assert (workers.prepared, workers.shards, workers.closed) == ([False], [1, 2], False)
        assert (lazy.workers, lazy.wants, prepared.threads) == (2, 3, {"read": 4, "embed": 2})
    assert workers.closed


def test_a_collection_that_is_missing_or_begun_anew_or_of_another_space_is_the_workers(
    settings: Settings, request: pytest.FixtureRequest
) -> None:
    missing, anew, other = Started(), Started(), Started()
    with closing(LazyExecutor(lambda: missing, settings=settings, wait=quiet)) as lazy:
        lazy.prepare(recreate=False)
    request.getfixturevalue("stored")
    with closing(LazyExecutor(lambda: anew, settings=settings, wait=quiet)) as lazy:
        lazy.prepare(recreate=True)
    elsewhere = Settings.load(
        {"qdrant.path": str(settings.qdrant.path), "qdrant.collection": settings.collection}
    )  # the published space
    with closing(LazyExecutor(lambda: other, settings=elsewhere, wait=quiet)) as lazy:
        lazy.prepare(recreate=False)
    assert (missing.prepared, anew.prepared, other.prepared) == ([False], [True], [False])


@pytest.mark.usefixtures("stored")
def test_fields_that_are_asked_for_anew_are_made_without_workers(settings: Settings) -> None:
    qdrant = settings.qdrant.model_copy(update={"meta_fields": {"n": "integer"}})
    asking = settings.model_copy(update={"qdrant": qdrant})
    with closing(LazyExecutor(Started, settings=asking, wait=quiet)) as lazy:
        lazy.prepare(recreate=False)
    with closing(EmbeddedEngine.open(settings.qdrant.path, collection=settings.collection)) as engine:
        assert engine.info().schema.meta_fields == {"n": "integer"}


UNNEEDED = ("torch", "transformers", "boto3", "qdrant_client", "multiprocessing.popen_spawn_posix")
WATCHED = f"""
UNNEEDED = {UNNEEDED}
import sys, polyglance
try:
    polyglance.main(sys.argv[1:])
finally:
    print("LOADED", *sorted({{*UNNEEDED}} & {{*sys.modules}}))
"""


@pytest.mark.slow
def test_an_ingestion_with_nothing_to_do_loads_no_model_and_starts_no_process(tmp_path: Path) -> None:
    write_images(tmp_path / "album", ["a.png", "b.png"])

    def ingest() -> str:
        return subprocess.run(
            [sys.executable, "-P", "-c", WATCHED, "ingest", str(tmp_path / "album")],
            env={**os.environ, "POLYGLANCE_QDRANT__PATH": str(tmp_path / "data"), "POLYGLANCE_MODEL__SPACE": "mini"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert "stored 2" in ingest()
    again = ingest()
    assert "unchanged 2" in again
    assert again.splitlines()[-1] == "LOADED"
