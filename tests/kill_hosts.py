"""Three processes write into one embedded collection, and whichever hosts it is killed, again and again.

    python -m tests.kill_hosts FOLDER KILLS     prints, as JSON, how far the acknowledged points of each writer go

Writers are forked from a process that has imported all and opened nothing, so that a hundred are begun in seconds.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO

from connector.errors import StoreUnavailable
from connector.store.edge.shared import SharedEngine
from connector.store.schema import CollectionSchema, Fingerprint
from tests.points import DIMS, points

SCHEMA = CollectionSchema(Fingerprint("mini", dims=DIMS, image_size=64))
WRITERS = 3
APART = 10_000_000
"""Numbers between the points of two writers."""


class Writer:
    """A process that writes five points after another, and says each time how far it is."""

    def __init__(self, folder: Path, *, first: int) -> None:
        self.acknowledged = first
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _write(folder, first=first, said=writing)
            finally:
                os._exit(1)
        os.close(writing)
        self._said: BinaryIO = os.fdopen(reading, "rb")

    def hear(self) -> None:
        """Wait for the next word."""
        line = self._said.readline()
        if line.endswith(b"\n"):
            self.acknowledged = int(line)

    def kill(self) -> None:
        """Kill it, and hear what it could still say."""
        os.kill(self.pid, signal.SIGKILL)
        for line in self._said:
            self.acknowledged = int(line) if line.endswith(b"\n") else self.acknowledged
        os.waitpid(self.pid, 0)
        self._said.close()


def _write(folder: Path, *, first: int, said: int) -> None:
    engine = SharedEngine.open(folder, collection="images")
    while True:
        try:
            engine.create(SCHEMA)
            engine.upsert(points(5, first=first))
        except StoreUnavailable:
            continue
        first += 5
        os.write(said, b"%d\n" % first)


def main(folder: Path, kills: int) -> list[int]:
    """Kill so many hosts; how far each writer's acknowledged points go."""
    writers = [Writer(folder, first=number * APART) for number in range(WRITERS)]
    killed = 0
    while killed < kills:
        for writer in writers:
            writer.hear()
        host = int((folder / "images" / "lock.pid").read_text() or 0)
        for number, writer in enumerate(writers):
            if writer.pid == host:
                writer.kill()
                writers[number] = Writer(folder, first=writer.acknowledged)
                killed += 1
    for writer in writers:
        writer.kill()
    return [writer.acknowledged for writer in writers]


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))  # noqa: T201  (this is its output)
