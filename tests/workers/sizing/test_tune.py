"""Tune: what the measurements mean, with machines that are made of numbers; and the command on a real one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from connector.models.catalog import find_space
from connector.settings import Settings
from tests.conftest import CommandLine
from tests.family_twins import write_family
from tests.images import write_images
from workers.cli.tune import duration
from workers.records import Stage
from workers.sizing.advice import advice, pooled, predict, proposals
from workers.sizing.tune import Measured, Measurements


def machine(*, cpu_ms: Sequence[float], rates: Sequence[float], **changes: object) -> Measurements:
    """Measurements of read, decode, embed and upsert: processor milliseconds, and images a second alone."""
    names: tuple[Stage, ...] = ("read", "decode", "embed", "upsert")
    plain = Measurements(
        images=100,
        rejected=0,
        bytes_each=50_000.0,
        cores=4,
        given=4.0,
        gpus=0,
        device="cpu",
        precision="float32",
        batch_size=16,
        embedded=True,
        stages=tuple(
            Measured(n, threads=4, rate=r, cpu_s=c / 1000) for n, c, r in zip(names, cpu_ms, rates, strict=True)
        ),
        start_s=10.0,
        graph_s=0.0,
        graph_points=5000,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_stages_that_share_the_processor_add_up() -> None:
    found = pooled(machine(cpu_ms=(0.5, 1.0, 8.0, 0.5), rates=(8000, 4000, 500, 2000)))

    assert found.rate == pytest.approx(4 / 0.010)
    assert found.limit == "the processor"
    assert found.shares["embed"] == pytest.approx(0.8)


def test_only_the_cores_that_a_process_is_given_count() -> None:
    beside_others = machine(cpu_ms=(0.5, 1.0, 8.0, 0.5), rates=(8000, 4000, 500, 2000), given=2.0)

    assert pooled(beside_others).rate == pytest.approx(200)
    assert "gets 2.0 of 4 cores" in "\n".join(advice(beside_others, place="."))


def test_a_stage_that_waits_for_others_is_the_limit_whatever_the_processor_has_to_spare() -> None:
    found = pooled(machine(cpu_ms=(0.1, 0.1, 0.1, 0.1), rates=(90, 4000, 500, 2000)))

    assert (found.rate, found.limit) == (90, "read in one process")


def test_a_gpu_counts_by_itself_and_as_often_as_there_are() -> None:
    fast = machine(cpu_ms=(0.1, 0.5, 0.1, 0.1), rates=(8000, 8000, 2000, 9000), device="cuda", gpus=2)

    assert (pooled(fast).rate, pooled(fast).limit) == (4000, "the GPU")


def test_a_server_takes_as_many_processes_as_fill_the_machine() -> None:
    many = machine(
        cpu_ms=(0.1, 0.7, 0.1, 0.1),
        rates=(9000, 4000, 50_000, 9000),
        cores=16,
        given=16.0,
        device="cuda",
        gpus=1,
        embedded=False,
    )

    found = pooled(many)

    assert (found.workers, found.rate, found.limit) == (4, 16_000, "the processor")
    assert proposals(many, settings=Settings())["ingest.workers"] == 4


def test_time_and_cost_count_the_start_and_the_graph() -> None:
    found = machine(cpu_ms=(0.5, 1.0, 8.0, 0.5), rates=(8000, 4000, 500, 2000), graph_s=1.0)

    predicted = predict(found, images=5000 * 5000, price_per_hour=2.0)

    assert predicted.ingest_s == pytest.approx(25_000_000 / 400)
    assert predicted.graph_s == pytest.approx(10_000)
    assert predicted.cost == pytest.approx(predicted.seconds / 1800)
    assert predict(found, images=1, price_per_hour=None).cost is None


def test_readers_grow_until_reading_stays_ahead() -> None:
    slow = machine(cpu_ms=(0.1, 0.5, 1.0, 0.1), rates=(1000, 8000, 2000, 9000))
    waiting = replace(slow, stages=(Measured("read", threads=32, rate=3000, cpu_s=0.0001), *slow.stages[1:]))

    assert proposals(waiting, settings=Settings())["ingest.readers"] == 31
    assert "ingest.readers" not in proposals(slow, settings=Settings(ingest={"readers": 8}))


def test_advice_says_what_no_setting_does() -> None:
    hints = "\n".join(advice(machine(cpu_ms=(0.1, 0.5, 8.0, 0.1), rates=(9, 9, 9, 9), rejected=3), place="s3://x"))

    assert "a GPU takes that from the processor" in hints
    assert "3 of 103 images cannot be decoded" in hints


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(45, "45 s"), (720, "12 min"), (12_000, "3 h 20 min"), (1_051_200, "12 days 4 h"), (3_599.9, "1 h 0 min")],
)
def test_durations_read_as_one_says_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.slow
def test_the_command_measures_every_stage_and_leaves_nothing_behind(
    cli: CommandLine, tmp_path: Path, data_folder: Path
) -> None:
    write_images(tmp_path / "sample", [f"{number}.png" for number in range(20)])

    ran = cli(
        "tune", str(tmp_path / "sample"), "--space", "mini", "--seconds", "0.2", "--price-per-hour", "3", "--json"
    )

    assert ran.code == 0
    answer = ran.json
    assert [stage["stage"] for stage in answer["measured"]["stages"]] == ["read", "decode", "embed", "upsert"]
    assert all(stage["rate"] > 0 and stage["cpu_s"] >= 0 for stage in answer["measured"]["stages"])
    assert answer["together"]["rate"] > 0
    assert answer["prediction"]["images"] == 1_000_000
    assert answer["prediction"]["cost"] == pytest.approx(answer["prediction"]["seconds"] / 1200)
    assert [path for path in data_folder.rglob("*") if path.is_file()] == []


@pytest.mark.slow
@pytest.mark.parametrize("family", ["clip", "siglip", "open-clip", "mexma"])
def test_every_family_is_tuned_and_planned_by_its_own_dims(
    cli: CommandLine, tmp_path: Path, data_folder: Path, family: str
) -> None:
    twin = write_family(family, tmp_path)
    dims = find_space(str(twin.space)).dims
    write_images(tmp_path / "sample", [f"{number}.png" for number in range(8)])

    tuned = cli("tune", str(tmp_path / "sample"), "--space", str(twin.space), "--seconds", "0.1", "--json").json
    alone = cli("plan", "--images", "1000", "--space", str(twin.space), "--json").json
    both = cli("plan", "--images", "1000", "--space", str(twin.space), "--to", "siglip2-b32").out

    stages = {stage["stage"]: stage["rate"] for stage in tuned["measured"]["stages"]}
    assert (tuned["measured"]["images"], tuned["measured"]["rejected"]) == (8, 0)
    assert (set(stages), min(stages.values()) > 0) == ({"read", "decode", "embed", "upsert"}, True)
    assert alone["point"]["disk"]["vectors"] == 2 * dims  # halves
    assert "migration to siglip2-b32" in both
    assert [path for path in data_folder.rglob("*") if path.is_file()] == []


def test_a_sample_without_images_is_an_error_that_says_so(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "sample").mkdir()
    empty = cli("tune", str(tmp_path / "sample"), "--space", "mini")
    (tmp_path / "sample" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    broken = cli("tune", str(tmp_path / "sample"), "--space", "mini", "--seconds", "0.1")

    assert (empty.code, broken.code) == (1, 1)
    assert "no image that can be read" in empty.err
    assert "none of the first 1 images" in broken.err


def test_half_an_image_is_a_wrong_call(cli: CommandLine, tmp_path: Path) -> None:
    ran = cli("tune", str(tmp_path), "--images", "1.5")

    assert ran.code == 2
    assert "--images 1.5 is no whole number" in ran.err
