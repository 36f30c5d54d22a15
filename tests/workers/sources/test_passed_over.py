"""What a listing leaves out for its name is counted by suffix, and said at the end of an ingestion."""

import io
import tarfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from connector.settings import Settings
from tests.conftest import CommandLine
from tests.images import write_images
from workers.progress import passed_over_line
from workers.sources.open import open_source
from workers.sources.passed_over import MOST_SUFFIXES, NO_SUFFIX, OTHER, PassedOver
from workers.sources.source import passed_over

NAMES = [*(f"{n}.dng" for n in range(9)), *(f"{n}.XCF" for n in range(3)), "a/1.mp4", "a/2.mp4"]
COUNTS = {".dng": 9, ".xcf": 3, ".mp4": 2}


def listed(where: object, **settings: object) -> Mapping[str, int]:
    with closing(open_source(str(where), settings=Settings.load(settings))) as source:
        for _ in range(2):  # a second listing begins to count anew
            assert sum(1 for _ in source.list()) == 1
        return passed_over(source)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    for name in [*NAMES, "x.jpg", "x.json", "x.txt", "x.xmp", ".hidden.dng", ".cache/y.dng"]:
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(b"x")
    return photos


def test_a_folder_counts_what_it_passes_over_but_no_companions_of_images(folder: Path) -> None:
    assert listed(folder) == COUNTS
    assert listed(folder / "x.jpg") == {}


def test_a_tar_counts_what_it_passes_over(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in [*NAMES, "x.jpg", "x.json", "x.txt", "x.cls"]:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert listed(tmp_path / "x.tar") == COUNTS


def test_suffixes_are_told_apart_up_to_a_bound() -> None:
    counting = PassedOver()
    for name in ["no suffix", "b.~weird name~", "c.much-too-long-a-suffix", *(f"x.a{n}" for n in range(1000))]:
        counting.note(name)
    assert len(counting.counts) == MOST_SUFFIXES
    assert sum(counting.counts.values()) == 1003
    assert counting.counts[OTHER] > 900
    assert counting.counts[NO_SUFFIX] == 1


def test_the_line_says_how_many_of_what_the_most_frequent_first() -> None:
    assert passed_over_line(COUNTS) == "passed over: 14 (.dng 9, .xcf 3, .mp4 2)"


@pytest.mark.usefixtures("data_folder")
def test_an_ingestion_says_at_its_end_what_it_passed_over(cli: CommandLine, folder: Path) -> None:
    (folder / "x.jpg").unlink()
    write_images(folder, ["1.png"])

    assert cli("ingest", folder, "--space", "mini", "--json").json["passed_over"] == COUNTS
    line = passed_over_line(COUNTS)
    assert line in cli("ingest", folder, "--space", "mini").out
    assert line in cli("status", "--space", "mini").out


@pytest.mark.usefixtures("data_folder")
def test_a_folder_without_images_says_what_is_there_instead(cli: CommandLine, folder: Path) -> None:
    (folder / "x.jpg").unlink()

    assert passed_over_line(COUNTS) in cli("ingest", folder, "--space", "mini").err
