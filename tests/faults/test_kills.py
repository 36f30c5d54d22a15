"""kill -9 at random moments, of everybody who takes part: nothing is lost, nothing is embedded twice."""

import os
import random
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.faults.battlefield import Album, Battle, Server, Toll, Victim, lost
from tests.scratch import scratch_folder

EMBEDDED: tuple[Victim, ...] = ("worker", "parent")  # the store is in the worker's process
SERVER: tuple[Victim, ...] = ("worker", "parent", "store")
KILLS = int(os.environ.get("POLYGLANCE_TEST_KILLS", "50"))
A_BATTLE = 8
"""Kills in one battle at most; the next one begins with an empty collection."""


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch_folder() as scratch:
        yield scratch


def war(folder: Path, *, images: int, kills: int, on_server: bool) -> Toll:
    """Battle after battle until so many were killed, each compared with an undisturbed run."""
    album = Album(folder / "album", count=images)
    peace, toll = Toll(), Toll()

    def battle(name: str, *, left: int, into: Toll) -> tuple[dict[str, Any], set[tuple[str, str]]]:
        with closing(Server(folder / f"journal-{name}")) if on_server else nullcontext() as server:
            fought = Battle(album, folder / name, server=server)
            victims = SERVER if on_server else EMBEDDED
            fought.fight(victims, kills=min(left, A_BATTLE), chance=random.Random(f"{on_server} {name}"), toll=into)
            return fought.points(), fought.rejected()

    reference, rejects = battle("undisturbed", left=0, into=peace)
    assert (peace.embedded, len(rejects)) == (len(reference), images // 50)
    number = 0
    while left := kills - sum(toll.kills.values()):
        points, rejected = battle(f"battle-{number}", left=left, into=toll)
        toll.lost += lost(points, reference)
        assert rejected == rejects
        number += 1
    return toll


@pytest.mark.parametrize(
    "on_server",
    [
        pytest.param(False, id="embedded", marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
        pytest.param(True, id="standin", marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
    ],
)
def test_whoever_is_killed_nothing_is_lost_and_nothing_is_done_twice(
    folder: Path, *, on_server: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    toll = war(folder, images=160, kills=KILLS, on_server=on_server)

    with capsys.disabled():
        print(f"\n{'stand-in' if on_server else 'embedded'}: {toll}")  # noqa: T201  (the report that was asked for)
    assert sum(toll.kills.values()) == KILLS
    assert (toll.lost, toll.doubled) == (0, 0)
