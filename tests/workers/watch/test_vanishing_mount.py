"""A disk that is really taken away: nothing of it is taken for deleted, by watching, watching anew and pruning."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

KEPT = ["2024/c.png", "2024/disk/d.png", "2024/disk/sub/e.png"]


def can_mount() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    tried = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False
    )
    return tried.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="needs the right to mount, in a namespace of its own")
def test_the_points_of_a_disk_that_is_away_or_another_one_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = ["unshare", "-rm", sys.executable, "-m", "tests.vanishing_mount", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "mounted": [*KEPT, "a.png", "b.png"],
        "taken away while watched": [*KEPT, "b.png"],
        "watched anew": KEPT,
        "pruned": {"removed": 0, "kept": 2},
        "another disk there": KEPT,
    }
