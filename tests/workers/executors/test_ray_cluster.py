"""A Ray cluster of two nodes, of which one is killed while it works."""

import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.scripted import Script, ScriptedWorker, refs
from workers.executors.ray import Actor, connect
from workers.executors.slots import Slots
from workers.records import Counts
from workers.run.files import LocalFiles
from workers.run.loop import Run
from workers.run.shards import Manifest, RunFolder

IMAGES = 60

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head and a second node, each in processes of its own, with room for one worker each."""
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()
    made: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def test_a_node_that_dies_costs_the_shard_it_worked_on_and_nothing_else(cluster: Any, tmp_path: Path) -> None:
    """The other node does the rest: nothing waits for a place that is gone."""
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    connect(cluster.address)
    script = Script(tmp_path)
    script.write({ref.filename: ["slow"] for ref in refs(IMAGES)})

    def kill_when_both_work() -> None:
        while len(script.processes()) < 2:
            over.wait(0.1)
        cluster.remove_node(second, allow_graceful=False)

    over = threading.Event()
    killer = threading.Thread(target=kill_when_both_work)
    start = partial(ScriptedWorker.start, script)
    with closing(Slots(lambda _: Actor(start, gpus=0), count=lambda _: 2)) as slots:
        slots.prepare(recreate=True)
        killer.start()
        report = Run(
            lambda: iter(refs(IMAGES)),
            manifest=Manifest("one", place="/", source="file:///", started_at=""),
            folder=RunFolder(LocalFiles(tmp_path / "run")),
            executor=slots,
            threads={"read": 1},
            shard_size=10,
        ).execute()
        killer.join()

    again = sum(count - 1 for count in script.worked().values())
    sys.stdout.write(f"\ntwo nodes, one killed: {len(script.stored())} of {IMAGES} stored, {again} begun twice\n")
    assert report.counts == Counts(IMAGES, stored=report.counts.stored, unchanged=IMAGES - report.counts.stored)
    assert len(script.stored()) == IMAGES
    assert again <= 1
