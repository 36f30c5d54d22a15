"""Mutated files, thousands of them, each in a child process that may neither crash, hang, swell nor raise untyped."""

import json
import subprocess
import sys

import pytest

from connector.errors import IMAGE_FAULTS
from connector.images.decode import BYTES_PER_PIXEL
from connector.images.formats import FORMATS
from tests import fuzz

FILES = 2500


def outcomes_of(seed: int, files: int) -> set[str]:
    """Decode so many mutated files in a child; what became of them, each at least once."""
    command = [sys.executable, "-W", "error", "-m", "tests.fuzz", str(seed), str(files)]
    child = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=280)
    assert child.returncode == 0, f"the child ended with {child.returncode}: {child.stderr[-2000:]}"
    report = json.loads(child.stdout)
    assert sum(report["outcomes"].values()) == files
    assert set(report["outcomes"]) <= {*IMAGE_FAULTS, *FORMATS}
    assert report["grown"] <= BYTES_PER_PIXEL * fuzz.MAX_PIXELS + 50_000_000
    return set(report["outcomes"])


def test_a_mutated_file_is_read_or_refused_and_nothing_else() -> None:
    assert {"truncated", "corrupt", "jpeg"} <= outcomes_of(14, 400)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_of_many_mutants_some_are_still_read_of_every_format(seed: int) -> None:
    assert set(FORMATS) - {"jpegxl"} <= outcomes_of(seed, FILES)
