"""What Prometheus reads of ingestion, and the dashboard that is made of it."""

import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from connector.errors import ConfigError
from connector.records import Pixels
from connector.settings import IngestSettings, Settings
from tests.conftest import CommandLine
from tests.images import image, numbered, write_images
from tests.ingest_doubles import ColourTower, MemorySource, new_collection, pipeline
from tests.scratch import scratch_folder
from workers.executors.in_process import InProcess
from workers.executors.worker import Worker
from workers.pipeline.counters import RunReport
from workers.pipeline.pipeline import Pipeline
from workers.records import Counts
from workers.run.files import LocalFiles
from workers.run.loop import Progress, Run
from workers.run.metrics import Metrics
from workers.run.shards import Manifest, RunFolder
from workers.run.status_server import serving

DASHBOARD = Path(__file__).parents[3] / "docs" / "grafana" / "polyglance-ingest.json"
ENDED = ("runs_total", "done"), ("runs_total", "stopped"), ("runs_total", "failed")


def values(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    """Every sample of ours by its name, without our prefix, and the value of its label."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    samples = [sample for family in families for sample in family.samples if sample.name.startswith("polyglance_")]
    return {(s.name.removeprefix("polyglance_ingest_"), "".join(s.labels.values())): s.value for s in samples}


def outcomes(registry: CollectorRegistry) -> tuple[float, ...]:
    found = values(registry)
    return tuple(found["images_total", outcome] for outcome in ("stored", "unchanged", "rejected"))


def a_run(source: MemorySource, made: Pipeline, folder: Path) -> Run:
    worker = Worker(made, settings=Settings.load({}), open_place=lambda _: source, beat_s=0.001)
    manifest = Manifest("run", place="album", source=source.root, started_at="2026-01-01T00:00:00Z")
    run_folder = RunFolder(LocalFiles(folder / "run"))
    return Run(
        source.list,
        manifest=manifest,
        folder=run_folder,
        executor=InProcess(worker),
        threads=made.threads,
        shard_size=5,
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch_folder() as scratch:
        yield scratch


def test_a_run_is_counted_while_it_works_and_afterwards(folder: Path) -> None:
    from connector.store.edge.shared import SharedEngine

    metrics = Metrics()
    seen: list[tuple[float, ...]] = []

    def look(_: Pixels) -> None:
        seen.append(outcomes(metrics.registry))

    engine = SharedEngine.open(folder, collection="images")
    new_collection(engine)
    source = MemorySource({f"{number}.png": numbered(image(1), number) for number in range(20)})
    source.files["bad.png"] = b"no image"
    made = pipeline(engine, tower=ColourTower(before=look))
    for expected in ((20, 0, 1), (20, 20, 2)):
        run = a_run(source, made, folder)
        with metrics.counted(run.progress):
            run.execute()
        assert outcomes(metrics.registry) == expected
    engine.close()

    assert seen == sorted(seen)
    assert (0.0 < seen[-1][0] < 20.0) or len(seen) < 3
    found = values(metrics.registry)
    assert found["rejected_images_total", "not_an_image"] == 2
    assert found["listed_images_total", ""] == 42
    assert found["shards_total", ""] == 10
    assert [found[each] for each in ENDED] == [2, 0, 0]
    assert found["stage_seconds_total", "embed"] > 0
    assert found["runs_in_progress", ""] == found["shards_in_flight", ""] == found["images_left", ""] == 0


def progress_of(stored: int, *, earlier: int = 0, **changes: Any) -> Progress:
    counts, before = Counts(listed=stored, stored=stored), Counts(listed=earlier, stored=earlier)
    return Progress(RunReport(counts), total=100, listed_all=True, earlier=RunReport(before), **changes)


def test_a_worker_that_dies_makes_no_counter_go_down() -> None:
    metrics = Metrics()
    steps = iter([progress_of(0), progress_of(30), progress_of(10), progress_of(40), progress_of(40)])
    with metrics.counted(lambda: next(steps)):
        seen = [outcomes(metrics.registry)[0] for _ in range(4)]

    assert seen == [0, 30, 30, 40]
    assert outcomes(metrics.registry)[0] == 40


def test_what_an_earlier_attempt_did_is_not_counted_again() -> None:
    metrics = Metrics()
    with metrics.counted(lambda: progress_of(60, earlier=50)):
        assert outcomes(metrics.registry)[0] == 10
        assert values(metrics.registry)["images_left", ""] == 40


def test_a_run_that_fails_or_is_stopped_is_counted_as_that() -> None:
    metrics = Metrics()
    for failure in (ValueError, KeyboardInterrupt):
        with pytest.raises(failure), metrics.counted(lambda: progress_of(1)):
            raise failure

    found = values(metrics.registry)
    assert [found[each] for each in ENDED] == [0, 1, 1]
    assert outcomes(metrics.registry)[0] == 2


def test_what_waits_and_the_device_are_of_this_moment() -> None:
    metrics = Metrics()
    now = progress_of(1, waiting={"blobs": 3, "points": 2}, device_bytes=1024, in_flight=2, deaths=1)
    with metrics.counted(lambda: now):
        found = values(metrics.registry)

    assert [found["waiting", channel] for channel in ("blobs", "images", "points")] == [3, 0, 2]
    assert (found["device_memory_bytes", ""], found["shards_in_flight", ""]) == (1024, 2)
    assert found["worker_deaths_total", ""] == 1


def fetched(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metrics_and_health_are_served() -> None:
    metrics = Metrics()
    health = {"healthy": True, "lag_s": 0.0}
    with serving(IngestSettings(metrics_port=0), registry=metrics.registry, health=lambda: health) as url:
        assert 'images_total{outcome="stored"} 0.0' in fetched(f"{url}/metrics")[1]
        assert fetched(f"{url}/healthz") == (200, '{"healthy": true, "lag_s": 0.0}\n')
        health["healthy"] = False
        assert fetched(f"{url}/healthz")[0] == 503
        assert fetched(f"{url}/nothing")[0] == 404


def test_a_port_that_is_taken_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = IngestSettings(metrics_port=taken.getsockname()[1])
        with (
            pytest.raises(ConfigError, match="another port with --metrics-port"),
            serving(settings, registry=CollectorRegistry(), health=dict),
        ):
            pass


def test_ingest_serves_metrics_where_it_is_told_to(cli: CommandLine, data_folder: Path, tmp_path: Path) -> None:
    del data_folder
    write_images(tmp_path / "album", ["a.png"])

    ran = cli("ingest", tmp_path / "album", "--space", "mini", "--metrics-port", "0")

    assert ran.code == 0
    assert re.search(r"metrics on http://127\.0\.0\.1:\d+/metrics", ran.err)


def test_no_metrics_are_served_unless_asked_for() -> None:
    from workers.cli.ingest import measured

    def show(_: object) -> nullcontext[None]:
        return nullcontext()

    with measured(Settings.load({}), also=show) as seen:
        assert seen is show


def test_every_expression_of_the_dashboard_names_a_metric_that_is_exported() -> None:
    from workers.run.metrics import WatchMetrics

    metrics = Metrics()
    WatchMetrics(registry=metrics.registry, source="file:///photos")
    families = list(text_string_to_metric_families(generate_latest(metrics.registry).decode()))
    exported = {sample.name for family in families for sample in family.samples} | {family.name for family in families}
    exported |= {f"polyglance_ingest_{name}_total" for name in ("stage_seconds", "rejected_images")}  # empty as yet
    board = json.loads(DASHBOARD.read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]

    assert len(expressions) >= 15
    for expression in expressions:
        named = set(re.findall(r"\b(?:polyglance|process)_\w+", expression))
        assert named, expression
        assert named <= exported, expression
