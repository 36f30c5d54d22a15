"""The memory of an ingestion, as ``polyglance settings`` tells it: a function of the settings, held against a run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from connector.images.decode import BYTES_PER_PIXEL
from connector.models.catalog import find_space
from connector.models.image_families import load_image_model
from connector.models.lookup import find_model
from connector.process import usable_cores
from connector.settings import Settings
from connector.store.edge.optimize import SEAL_MOST
from tests.conftest import CommandLine
from tests.family_twins import write_family
from tests.images import write_images
from workers.ocr.texts import MOST_PROCESSES
from workers.pipeline.deduplication import REMEMBERED
from workers.pipeline.pipeline import UPSERT_POINTS
from workers.sizing import footprint as told
from workers.sizing.footprint import footprint
from workers.sizing.image_work import image_work

ROOT = Path(__file__).parents[3]


def test_the_constants_are_those_of_the_modules_they_are_taken_from() -> None:
    assert (told.UNSEALED, told.KNOWN, told.WORST) == (SEAL_MOST, REMEMBERED, BYTES_PER_PIXEL)
    assert told.POINTS_UNDER_WAY == 3 * UPSERT_POINTS
    assert told.READERS == MOST_PROCESSES


@pytest.mark.parametrize(
    "more",
    [
        "ingest.buffer_bytes=1000000000",
        "ingest.decoders=64",
        "model.batch_size=4096",
        "limits.max_pixels=900000000",
        "ocr.images=all",
    ],
)
def test_memory_grows_with_the_settings_that_take_it(more: str) -> None:
    name, _, value = more.partition("=")
    plain, larger = footprint(Settings.load(), cores=2), footprint(Settings.load({name: value}), cores=2)

    assert larger.most > plain.most
    assert larger.ordinary <= larger.most


def test_settings_tell_the_memory(cli: CommandLine) -> None:
    told = cli("settings").out

    assert "An ingestion takes about 1." in told
    assert "Each million points of the embedded collection add 0.6 GiB." in told
    assert "embedded collection" not in cli("settings", "--set", "qdrant.url=http://localhost:6333").out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from Linux's accounts")
def test_a_run_takes_the_memory_that_was_told(cli: CommandLine, tmp_path: Path, data_folder: Path) -> None:
    write_images(tmp_path / "images", [f"{number}.png" for number in range(300)])
    peak = [sys.executable, "-m", "benchmarks.peak"]
    environment = {"PYTHONPATH": str(ROOT)}

    ran = cli.run(
        "ingest", tmp_path / "images", "--space", "mini", "--json", under=["env", *_pairs(environment), *peak]
    )

    expected = footprint(Settings.load({"model.space": "mini"}), cores=usable_cores()).ordinary
    taken = json.loads(ran.out)["peak_mib"] * 1024 * 1024
    more = max(0, _libraries() - told.LIBRARIES)  # another build of torch, such as that for CUDA, is larger
    assert data_folder.exists()
    assert 0.5 * expected < taken < expected + more


def _libraries() -> int:
    """Bytes that the libraries of an ingestion take in a process of this machine before it does anything."""
    code = (
        "import pathlib, qdrant_client, sentence_transformers, torch, transformers.models.clip, workers.run.ingestion\n"
        "lines = pathlib.Path('/proc/self/status').read_text().splitlines()\n"
        "print(next(int(line.split()[1]) * 1024 for line in lines if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return int(done.stdout)


def _pairs(environment: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environment.items()]


PUBLISHED = {
    "clip-vit-b-32": (577, 8.7),
    "siglip2-b32": (361, 11),
    "siglip2-b16": (354, 35),
    "siglip2-b16-256": (355, 46),
    "siglip2-so400m": (1632, 219),
    "siglip2-so400m-384": (1633, 666),
    "xlm-roberta-b32": (335, 8.7),
    "xlm-roberta-h14": (2411, 334),
    "clip-vit-l-14": (1400, 162),
}
"""MiB of float32 and GFLOP an image: weights as published, work as torch counts it."""


@pytest.mark.parametrize("space", PUBLISHED)
def test_what_a_tower_takes_follows_from_its_shape(space: str) -> None:
    work = image_work(find_space(space).image)
    mebibytes, gflop = PUBLISHED[space]

    assert work.weights / told.MIB == pytest.approx(mebibytes, rel=0.01)
    assert work.gflop == pytest.approx(gflop, rel=0.05)


@pytest.mark.parametrize("family", ["clip", "siglip", "open-clip", "mexma"])
def test_a_family_is_known_by_its_declaration_or_its_folder(family: str, tmp_path: Path) -> None:
    twin = write_family(family, tmp_path)
    image = find_space(str(twin.space)).image
    weights = load_image_model(twin.folder, image)

    held = sum(each.numel() * each.element_size() for each in weights.parameters())
    assert image_work(image).weights == pytest.approx(held, rel=0.06)


def test_the_work_of_convolutions_follows_from_their_configuration() -> None:
    """And is what torch counts."""
    space = find_space("mini-photos")
    model = load_image_model(find_model(space.image), space.image)
    with FlopCounterMode(display=False) as counted:
        model(torch.zeros(1, space.image_size, space.image_size, 3, dtype=torch.uint8))
    work = image_work(space.image)

    assert work.weights == sum(4 * each.numel() for each in model.parameters())
    assert work.gflop == pytest.approx(counted.get_total_flops() / 1e9, rel=1e-3)


def test_a_larger_tower_takes_more_memory_and_more_gpu_hours(cli: CommandLine) -> None:
    small, large = (footprint(Settings.load({"model.space": name}), cores=2) for name in ("mini", "siglip2-so400m"))
    hours = [cli("plan", "--images", "1e6", "--space", name, "--json").json["gpu_hours"] for name in PUBLISHED]

    assert large.ordinary > max(small.ordinary, told.LIBRARIES + 1.9 * 1600 * told.MIB)
    assert hours[list(PUBLISHED).index("siglip2-so400m")] == pytest.approx(25 * hours[0], rel=0.02)
