"""A migration that is killed at any moment loses nothing, leaves no question unanswered and mixes no two spaces."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kill_migrations import settings_of
from tests.scratch import scratch_folder
from tests.second_space import NAME, write_turned
from workers.api import ingest

ROOT = Path(__file__).parents[3]
IMAGES = ROOT / "workers/demo/images/objects"


@pytest.mark.slow
def test_kills_cost_no_answer_and_no_vector() -> None:
    with scratch_folder() as folder:
        (folder / "images").mkdir()
        for each in sorted(IMAGES.glob("*.png")):
            shutil.copy2(each, folder / "images")
        ingest(folder / "images", settings=settings_of(folder / "data"))
        to = write_turned(folder)
        command = [sys.executable, "-m", "tests.kill_migrations", str(folder / "data"), str(to), "6"]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        told = json.loads(ran.stdout.splitlines()[-1])

    assert (told["failed"], told["mixed"], told["errors"]) == (0, 0, [])
    assert told["asked"] > 0
    assert told["killed"] == 6
    assert told["ended"] == 0
    assert told["vectors"] == sorted(told["vectors"])
    assert told["without"] == 0
    assert (told["answers"], told["beside"]) == (NAME, None)
    assert told["spaces"][0] == "mini"
    assert told["spaces"][-1] == NAME
