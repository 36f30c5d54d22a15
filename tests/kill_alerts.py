"""Ingestions with alerts that are killed again and again, while images that fit keep coming in.

    python -m tests.kill_alerts LIBRARY KILLS [SEED]      prints, as JSON, what should have been told

LIBRARY holds an album that is stored, and alerts. Processes are forked from one that has imported all and opened
nothing; each is killed at a random moment, in its listing, its upserts, or while it tells.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from PIL import Image

from connector.settings import Settings
from tests.workers.alerts.conftest import Library
from workers.alerts import delivering, judge
from workers.demo import tour

LONGEST_S = 6.0
FITTING = 2
"""Images that fit, of those that come in before each kill."""

IMPORTED = (delivering, judge)
"""What an ingestion imports late: here before the first fork."""


def arrive(library: Library, *, round_number: int) -> list[str]:
    """Let images arrive that look alike and are other ones byte for byte; the names of those that fit."""
    names = []
    for number in range(FITTING + 1):
        fits = number < FITTING
        name = f"{'guitar' if fits else 'key'}-{round_number}-{number}.png"
        with Image.open(Path(str(tour.IMAGES)) / "objects" / ("guitar.png" if fits else "key.png")) as image:
            changed = image.convert("RGBA")
            changed.putpixel((0, 0), (round_number % 256, number, round_number // 256, 0))
            changed.save(library.album / name)
        names += [name] * fits
    return names


def killed(library: Library, *, within_s: float) -> bool:
    """Ingest in a process that is killed after some time, unless it has ended by then; whether it was killed."""
    pid = os.fork()
    if pid == 0:
        os.closerange(1, 3)
        try:
            library.ingest()
            os._exit(0)
        except BaseException:  # noqa: BLE001  (the outermost frame of a process)
            os._exit(1)
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        ended, _ = os.waitpid(pid, os.WNOHANG)
        if ended:
            return False
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True


def main(top: Path, kills: int, seed: int) -> None:
    """Kill, then let one ingestion come to its end."""
    dice = random.Random(seed)
    library = Library(top, {"alerts.wait_s": 60.0, "alerts.most": 100_000})
    Settings.load()
    expected: list[str] = []
    done = rounds = 0
    longest = LONGEST_S
    while done < kills:
        expected += arrive(library, round_number=rounds)
        rounds += 1
        began = time.monotonic()
        if killed(library, within_s=dice.uniform(0.0, longest)):
            done += 1
        else:
            longest = max(0.2, 1.1 * (time.monotonic() - began))  # a process that ends was never killed
    assert os.waitstatus_to_exitcode(os.waitpid(_whole(library), 0)[1]) == 0
    print(json.dumps({"kills": done, "rounds": rounds, "expected": expected}))  # noqa: T201  (its output)


def _whole(library: Library) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            library.ingest()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001  (the outermost frame of a process)
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
    return pid


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
