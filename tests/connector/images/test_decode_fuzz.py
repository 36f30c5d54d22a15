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


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_a_mutated_file_is_read_or_refused_and_nothing_else(seed: int) -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.fuzz", str(seed), str(FILES)]
    child = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=280)
    assert child.returncode == 0, f"the child ended with {child.returncode}: {child.stderr[-2000:]}"
    report = json.loads(child.stdout)
    assert sum(report["outcomes"].values()) == FILES
    assert set(report["outcomes"]) <= {*IMAGE_FAULTS, *FORMATS}
    assert set(FORMATS) <= set(report["outcomes"]), "of every format some mutants are still read"
    assert report["grown"] <= BYTES_PER_PIXEL * fuzz.MAX_PIXELS + 50_000_000
