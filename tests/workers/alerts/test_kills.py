"""Whoever is killed when: a file and a feed have each image once, a webhook hears each one, by one id."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.workers.alerts.conftest import Library
from tests.workers.alerts.hook import hooked

ROOT = Path(__file__).parents[3]
KILLS = int(os.environ.get("POLYGLANCE_TEST_KILLS", "20"))


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_no_kill_loses_an_alert_or_tells_a_file_twice(library: Library, tmp_path: Path) -> None:
    told, feed = library.top / "told.jsonl", library.top / "feed.xml"
    with hooked(tmp_path / "hook") as hook:
        library.ask("a guitar", notify=[f"webhook:{hook.url}", f"file:{told}", f"rss:{feed}"])
        command = [sys.executable, "-m", "tests.kill_alerts", str(library.top), str(KILLS)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        expected = json.loads(done.stdout.splitlines()[-1])["expected"]
        heard = [json.loads(each["body"])["data"] for each in hook.heard]

    lines = [json.loads(line)["data"] for line in told.read_text(encoding="utf-8").splitlines()]
    assert Counter(each["image"]["filename"] for each in lines) == Counter(expected)
    assert len({each["id"] for each in lines}) == len(expected)
    assert {each["image"]["filename"] for each in heard} == set(expected)
    assert {each["id"] for each in heard} == {each["id"] for each in lines}
    assert len(heard) <= len(expected) + KILLS  # one at most for each kill, between its answer and the note of it
    assert feed.read_text(encoding="utf-8").count("<guid") == min(len(expected), 100)
    assert all(each.get("alerts_due", []) == [] for each in library.payloads().values())
