"""A migration that is killed again and again, under questions whose every answer is known.

    python -m tests.kill_migrations FOLDER SPACE_FILE KILLS      prints, as JSON, what was asked and what became of it

FOLDER holds a collection ``filled`` of space ``mini`` (``--set qdrant.path=FOLDER``). The next space gives the same
answers within itself, so that an answer by a mixture of two is seen at once. Processes are forked from one that has
imported all and opened nothing.
"""

import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from connector.search.client import ImageSearch
from connector.settings import Settings
from connector.store.engine import FOLLOW_S
from connector.store.open import open_engine
from workers.migrate import fill, steps
from workers.migrate.fill import Filled
from workers.migrate.migration import migrate

QUESTIONS = ("a dog", "ein Zug", "苹果", "красная машина", "a kite", "une maison", "una guitarra", "鍵")
LIMIT = 5
ALIKE = 4
"""Hits of five that an answer has in common with the known one at least: near ties may change places in 16 bits."""
PAUSE_S = 0.02
"""Between two questions."""
REOPENED = 40
"""Questions after which the search is opened anew, so that others come to host the collection."""


@dataclass(slots=True)
class Told:
    """What the process that asks has seen; ``seconds`` are when each answer came, and how long it took."""

    asked: int = 0
    failed: int = 0
    mixed: int = 0
    spaces: list[str] = field(default_factory=list)
    seconds: list[tuple[float, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def settings_of(folder: Path) -> Settings:
    """Settings of the collection, in this process alone."""
    return Settings.load(
        {
            "model.space": "mini",
            "qdrant.path": str(folder),
            "qdrant.collection": "filled",
            "serve.thumbnail_folder": str(folder.parent / "thumbnails"),
            "ingest.workers": 0,
        }
    )


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its exit status as the system tells it, the most memory it had, what it said till then."""

    code: int
    peak_bytes: int
    said: bytes


class Forked:
    """A process that does one thing, and says lines."""

    def __init__(self, work: Callable[[BinaryIO], None]) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            try:
                with os.fdopen(writing, "wb", buffering=0) as said:
                    work(said)
                os._exit(0)
            except BaseException as error:  # noqa: BLE001  (the outermost frame of a process)
                os.write(2, f"{error!r}\n".encode())
                os._exit(1)
        os.close(writing)
        self.said = os.fdopen(reading, "rb")

    def waits_for_word(self, seconds: float) -> bool:
        """Whether it says something within so many seconds."""
        return bool(select.select([self.said], [], [], seconds)[0])

    def kill(self) -> Ended:
        """Kill it; harmless where it has ended."""
        os.kill(self.pid, signal.SIGKILL)
        return self.ended()

    def ended(self) -> Ended:
        """Wait for its end."""
        with self.said:
            said = self.said.read()
        _, code, used = os.wait4(self.pid, 0)
        return Ended(code, used.ru_maxrss * 1024, said)  # Linux counts in KiB


class Knowing:
    """Says the answers before anything is done."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, said: BinaryIO) -> None:
        with ImageSearch.open(settings=settings_of(self._folder)) as search:
            known = {each: [hit.id for hit in search.text(each, limit=LIMIT, mode="visual")] for each in QUESTIONS}
        said.write(json.dumps(known).encode())


class Asking:
    """Asks until it is told to stop, and says what it saw."""

    def __init__(self, folder: Path, *, known: dict[str, list[str]], stop: Path) -> None:
        self._folder, self._known, self._stop = folder, known, stop

    def __call__(self, said: BinaryIO) -> None:
        told, settings = Told(), settings_of(self._folder)
        said.write(b"begun\n")
        while not self._stop.exists():
            with ImageSearch.open(settings=settings) as search:
                for number in range(REOPENED):
                    self._ask(search, QUESTIONS[number % len(QUESTIONS)], told)
                    time.sleep(PAUSE_S)
        said.write(json.dumps({name: getattr(told, name) for name in Told.__slots__}).encode() + b"\n")

    def _ask(self, search: ImageSearch, question: str, told: Told) -> None:
        began = time.time()
        told.asked += 1
        try:
            hits = search.text(question, limit=LIMIT, mode="visual")
        except Exception as error:  # noqa: BLE001  (whatever it is, the question is unanswered)
            told.failed += 1
            told.errors.append(repr(error))
            return
        now = time.time()
        told.seconds.append((now, now - began))
        told.mixed += len({hit.id for hit in hits} & {*self._known[question]}) < ALIKE
        if hits.space and hits.space not in told.spaces[-1:]:
            told.spaces.append(hits.space)


class Migrating:
    """Migrates, and says how far it is after every chunk."""

    def __init__(self, folder: Path, *, to: Path) -> None:
        self._folder, self._to = folder, to

    def __call__(self, said: BinaryIO) -> None:
        def tell(done: Filled) -> None:
            said.write(f"{done.written}\n".encode())

        migrate(settings_of(self._folder), to=str(self._to), on_progress=tell)


def kill_migrations(
    folder: Path, *, to: Path, kills: int, quiet_s: float = 0.0, within_s: float = 120.0
) -> dict[str, Any]:
    """Kill a migration so many times at any moment, finish it, switch, roll back, switch and drop, asked throughout."""
    known, stop = json.loads(Forked(Knowing(folder)).ended().said), folder.parent / "stop"
    stop.unlink(missing_ok=True)
    asking = Forked(Asking(folder, known=known, stop=stop))
    chance, killed, vectors = random.Random(5), 0, [0]
    asking.waits_for_word(within_s)
    time.sleep(quiet_s)
    marks = {"begun": time.time()}
    for number in range(kills):
        migrating = Forked(Migrating(folder, to=to))
        if number % 2:  # half of them before they have done anything
            migrating.waits_for_word(within_s)
        time.sleep(chance.random() * 0.3)
        migrating.kill()
        killed += 1
        vectors.append(_vectors(folder))
    code = Forked(Migrating(folder, to=to)).ended().code
    marks["filled"] = time.time()
    for step in (steps.switch, steps.roll_back, steps.switch, steps.drop):
        with closing(open_engine(settings_of(folder).qdrant, collection="filled")) as engine:
            step(engine)
        time.sleep(2 * FOLLOW_S)  # every reader has noticed by then
    marks["dropped"] = time.time()
    time.sleep(quiet_s)
    stop.touch()
    told = json.loads(asking.ended().said.splitlines()[-1])
    with closing(open_engine(settings_of(folder).qdrant, collection="filled")) as engine:
        info = engine.info()
        left = engine.count(where=steps.without(info.schema.fingerprint.space))
    return {
        **told,
        "marks": marks,
        "killed": killed,
        "ended": code,
        "vectors": vectors,
        "points": info.points,
        "without": left,
        "answers": info.schema.fingerprint.space,
        "beside": None if info.schema.second is None else info.schema.second.space,
    }


def _vectors(folder: Path) -> int:
    """How many images have a vector of the next space."""
    with closing(open_engine(settings_of(folder).qdrant, collection="filled")) as engine:
        return steps.status(engine).vectors


def main(arguments: Sequence[str]) -> None:
    """Print what became of it."""
    folder, to, kills = arguments
    fill.CHUNK = 8  # so that kills come between chunks of small collections too
    print(json.dumps(kill_migrations(Path(folder), to=Path(to), kills=int(kills))))  # noqa: T201  (this is its output)


if __name__ == "__main__":
    main(sys.argv[1:])
