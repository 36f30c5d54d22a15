"""Executors over scripted failures: what a death costs, and how often somebody really worked on each image.

The same rules hold for worker processes and for a Ray cluster.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest

from connector.errors import ModelError, RunIncomplete, WorkerDied
from connector.settings import Settings
from tests.conftest import ROOT, CommandLine, finish
from tests.images import write_images
from tests.scripted import Act, Script, ScriptedWorker, refs
from workers.executors.executor import Remote
from workers.executors.processes import Child, count_workers
from workers.executors.slots import Slots
from workers.pipeline.counters import Heartbeat, RunReport
from workers.records import Counts, Shard
from workers.run.files import LocalFiles
from workers.run.loop import Run
from workers.run.shards import Manifest, RunFolder

IMAGES = 24
SHARD = 8

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")


def child(script: Script) -> Remote:
    return Child(partial(ScriptedWorker.start, script), name="scripted", stall_s=60.0)


def actor(script: Script) -> Remote:
    from workers.executors.ray import Actor, connect

    connect("local")
    return Actor(partial(ScriptedWorker.start, script), gpus=0)


@dataclass(frozen=True)
class House:
    """A store and its workers, each started when a shard comes and again after it died."""

    script: Script
    slots: Slots

    def run(self, acts: Mapping[str, Sequence[Act]], *, name: str) -> RunReport:
        """Bring the images into an empty store."""
        self.script.write(acts)
        self.slots.prepare(recreate=True)
        return self.go_on(name=name)

    def go_on(self, *, name: str) -> RunReport:
        """Bring in what the store lacks; a run of the same name goes on where it stopped."""
        return Run(
            lambda: iter(refs(IMAGES)),
            manifest=Manifest(name, place="/", source="file:///", started_at=""),
            folder=self.run_folder,
            executor=self.slots,
            threads={"read": 1},
            shard_size=SHARD,
        ).execute()

    @property
    def run_folder(self) -> RunFolder:
        return RunFolder(LocalFiles(self.script.folder / "run"))


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.slow)])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    start: Callable[[Script], Remote] = {"local": child, "ray": actor}[request.param]
    script = Script(tmp_path)
    slots = Slots(lambda _: start(script), count=lambda _: 1)
    with closing(slots):
        yield House(script, slots)


def names(first: int, last: int) -> set[str]:
    return {f"{number:02d}.png" for number in range(first, last)}


def test_every_image_is_worked_on_once_by_a_worker_elsewhere(house: House) -> None:
    report = house.run({}, name="plain")

    assert report.counts == Counts(listed=IMAGES, stored=IMAGES)
    assert house.script.worked() == dict.fromkeys(names(0, IMAGES), 1)
    assert len(house.script.processes()) == 1
    assert os.getpid() not in house.script.processes()


@pytest.mark.parametrize("act", ["kill", "exit"])
def test_a_death_costs_one_attempt_of_one_shard(house: House, act: Act) -> None:
    report = house.run({"10.png": [act]}, name=act)

    assert report.counts == Counts(listed=IMAGES, stored=IMAGES - 2, unchanged=2)  # 08 and 09 were stored before
    assert {name for name, count in house.script.worked().items() if count > 1} == {"10.png"}
    assert len(house.script.processes()) == 2


def test_the_image_that_kills_every_worker_is_found_and_rejected(house: House) -> None:
    report = house.run({"13.png": ["kill"] * 99}, name="poison")

    assert report.counts.rejected == 1
    assert house.script.stored() == names(0, IMAGES) - {"13.png"}
    (reject,) = house.run_folder.rejects()
    assert (reject.uri, reject.stage, reject.reason) == ("file:///13.png", "worker", "kills_worker")
    assert reject.ref is not None
    assert house.script.worked()["13.png"] == 2 + 2 + 2  # in the shard twice, in each half once, alone twice
    assert set(house.script.worked().values()) == {1, 6}


def test_an_error_that_may_pass_is_tried_again(house: House) -> None:
    assert house.run({"03.png": ["busy"]}, name="busy").counts.rejected == 0
    assert house.script.worked()["03.png"] == 2
    assert len(house.script.processes()) == 1


def test_an_error_that_will_not_pass_ends_the_run_as_it_is(house: House) -> None:
    with pytest.raises(ModelError, match="the model of this test is broken") as raised:
        house.run({"20.png": ["broken"]}, name="broken")

    assert "In the worker:" in "".join(raised.value.__notes__)
    assert house.script.worked()["20.png"] == 1


def test_a_run_that_broke_goes_on_with_the_shards_that_are_not_done(house: House) -> None:
    with pytest.raises(ModelError):
        house.run({"20.png": ["broken"]}, name="twice")
    assert set(house.run_folder.done()) == {0, 1}
    house.script.write({})

    assert house.go_on(name="twice").counts == Counts(listed=IMAGES, stored=IMAGES - 4, unchanged=4)
    assert set(house.script.worked()) == names(20, 24)


def test_workers_that_die_before_they_begin_end_the_run(house: House) -> None:
    """They are no image's fault: nothing is rejected."""
    house.script.write({"01.png": ["kill"]})
    house.slots.prepare(recreate=True)
    (house.script.folder / "dies at start").touch()
    with pytest.raises(RunIncomplete, match="3 workers in a row died before they began"):
        house.go_on(name="never")

    (house.script.folder / "dies at start").unlink()
    report = house.go_on(name="never")
    assert (report.counts.rejected, house.script.stored()) == (0, names(0, IMAGES))


def test_several_workers_share_the_work(house: House) -> None:
    house.script.write({"10.png": ["kill"]})
    start = house.slots._start
    with closing(Slots(start, count=lambda _: 3)) as slots:
        slots.prepare(recreate=True)
        report = House(house.script, slots).go_on(name="three")

    assert report.counts.listed == report.counts.stored + report.counts.unchanged == IMAGES
    assert house.script.stored() == names(0, IMAGES)
    assert 2 <= len(house.script.processes()) <= 4


def test_closing_drops_what_is_under_way_and_leaves_no_process(house: House) -> None:
    house.script.write({"05.png": ["hang"]})
    house.slots.prepare(recreate=True)
    recording = threading.Event()

    def on_heartbeat(_: Heartbeat) -> None:
        if house.script.worked()["05.png"]:
            recording.set()

    answer = house.slots.submit(Shard(0, place="/", refs=tuple(refs(IMAGES))), on_heartbeat=on_heartbeat)
    assert recording.wait(60)
    (worker,) = house.script.processes()

    house.slots.close()

    assert isinstance(answer.exception(timeout=10), WorkerDied)
    with suppress(psutil.NoSuchProcess):
        psutil.Process(worker).wait(timeout=30)


# worker processes


def test_a_worker_that_gets_nowhere_counts_as_dead(tmp_path: Path) -> None:
    script = Script(tmp_path)
    slots = Slots(
        lambda _: Child(partial(ScriptedWorker.start, script), name="scripted", stall_s=3.0), count=lambda _: 1
    )
    with closing(slots):
        report = House(script, slots).run({"05.png": ["hang"]}, name="stalled")

    assert report.counts.rejected == 0
    assert script.stored() == names(0, IMAGES)
    assert script.worked()["05.png"] == 2


def test_a_worker_ends_with_its_parent_however_that_ends(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from functools import partial\n"
        "from tests.scripted import Script, ScriptedWorker\n"
        "from workers.executors.processes import Child\n"
        "if __name__ == '__main__':\n"
        "    child = Child(partial(ScriptedWorker.start, Script(Path(sys.argv[1]))), name='one', stall_s=9)\n"
        "    child.prepare(recreate=False)\n"
        "    print(child._process.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    (tmp_path / "parent.py").write_text(code)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py"), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()

    worker.wait(timeout=30)


def test_machines_that_the_embedded_engine_does_not_serve_are_refused(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png"])

    ran = cli("ingest", "album", "--space", "mini", "--executor", "ray", f"--set=qdrant.path={workplace / 'data'}")

    assert ran.code == 2
    assert "a Ray cluster needs a Qdrant server" in ran.err
    assert not (workplace / "data").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("data_folder")
def test_a_run_in_worker_processes_stores_what_one_in_this_process_does(cli: CommandLine, workplace: Path) -> None:
    """The real worker, whole, with a status that says how it ended."""
    write_images(workplace / "album", ["a.png", "b.png"])
    (workplace / "album" / "c.png").write_bytes(b"no image")

    ran = finish(cli.start("-v", "--log-json", "ingest", "album", "--space", "mini", "--workers", "1", "--json"))

    assert (ran.code, ran.json["stored"], ran.json["rejected"]) == (0, 2, 1)
    logged = [json.loads(line) for line in ran.err.splitlines() if line.startswith('{"time"')]
    assert {"shard_done", "image_tower"} <= {each["message"].split()[0] for each in logged}  # of parent and worker
    (status,) = cli("status", "--space", "mini", "--json").json
    assert (status["state"], status["stored"], status["reasons"]) == ("done", 2, {"not_an_image": 1})
    assert cli("ingest", "album", "--space", "mini", "--json").json["unchanged"] == 2


@pytest.mark.parametrize(
    ("url", "workers", "gpus", "expected"),
    [(None, None, 2, 6), ("http://localhost:6333", None, 2, 6), ("http://localhost:6333", None, 0, 1), (None, 1, 2, 1)],
)
def test_gpus_are_shared_by_processes_save_where_the_engine_serves_one(
    url: str | None, workers: int | None, gpus: int, expected: int
) -> None:
    settings = Settings.model_validate({"qdrant": {"url": url}, "ingest": {"workers": workers}})

    assert count_workers(settings, gpus=gpus) == expected
