"""What is told to a watcher wakes it, whenever it is told."""

import threading
from collections.abc import Callable
from typing import TypeAlias

import pytest
from prometheus_client import CollectorRegistry

from workers.run.metrics import WatchMetrics
from workers.watch.changes import Change, Changes

Tell: TypeAlias = Callable[[], None]


@pytest.fixture
def changes() -> Changes:
    return Changes(WatchMetrics(registry=CollectorRegistry(), source="file:///photos"))


def test_what_is_told_before_the_wait_begins_is_not_slept_through(changes: Changes) -> None:
    tells: list[Tell] = [lambda: changes.add([Change("file:///photos/a.png")]), changes.lose]
    for tell in tells:
        since = changes.told
        tell()  # after the watcher worked out that nothing waits, and before it waits
        waiting = threading.Thread(target=changes.wait, args=[3600], kwargs={"since": since}, daemon=True)
        waiting.start()
        waiting.join(30)
        assert not waiting.is_alive()


def test_what_is_told_and_the_end_wake_who_waits(changes: Changes) -> None:
    tells: list[Tell] = [lambda: changes.add([Change("file:///photos/a.png")]), changes.end]
    for tell in tells:
        since = changes.told
        waiting = threading.Thread(target=changes.wait, args=[3600], kwargs={"since": since}, daemon=True)
        waiting.start()
        tell()
        waiting.join(30)
        assert not waiting.is_alive()
