"""An ingestion under fire: it is killed, by kill -9, at random moments, and the same command is given again.

lost      points that an undisturbed run has and this one lacks or has otherwise
doubled   images embedded again although their shard was done when somebody was killed
"""

import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from connector.images.decode import decode
from connector.run_status import digest
from connector.store.edge.shared import SharedEngine
from connector.store.engine import Engine
from connector.store.server.engine import ServerEngine
from tests.faults.ingestion import DIGEST_BYTES, FORWARD_S, digest_of
from tests.images import image
from tests.qdrant_standin.standin import Standin, running
from workers.sources.disk import uri_of

ROOT = Path(__file__).parents[2]
Victim = Literal["worker", "parent", "store"]
COLLECTION = "images-mini"
SHARD = 8
LONGEST_S = 120.0
AT_START = 0.1
"""Share of the moments that are picked while the command starts, or at any other time."""


@dataclass(slots=True)
class Toll:
    """What a battle came to."""

    kills: dict[str, int] = field(default_factory=dict)
    again: int = 0
    lost: int = 0
    doubled: int = 0
    embedded: int = 0
    images: int = 0

    def __str__(self) -> str:
        kills = ", ".join(f"{who} {count}" for who, count in sorted(self.kills.items()))
        return (
            f"kills {sum(self.kills.values())} ({kills}), commands given again {self.again}, images {self.images}, "
            f"embedded {self.embedded}, lost {self.lost}, doubled {self.doubled}"
        )


class Album:
    """A folder of images, all different, a few of them broken; what each looks like in the tower's log."""

    def __init__(self, folder: Path, *, count: int) -> None:
        self.folder = folder
        self.names = [f"{number:04d}.png" for number in range(count)]
        self.digests: list[bytes | None] = []
        folder.mkdir()
        for number, name in enumerate(self.names):
            data = b"no image" if number % 50 == 49 else image(number, size=24)
            (folder / name).write_bytes(data)
            whole = number % 50 != 49
            self.digests.append(digest_of(decode(data, size=64, max_pixels=10**6).pixels) if whole else None)

    def of_shard(self, number: int) -> set[bytes]:
        """The digests of a shard's images: a folder is listed by name."""
        found = self.digests[number * SHARD : (number + 1) * SHARD]
        return {each for each in found if each is not None}


class Server:
    """The stand-in in a process of its own, which keeps its points in a journal and can be killed and started again."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._ports: tuple[str, ...] = ()
        self._running = ExitStack()
        self.standin = self._start()

    def settings(self) -> dict[str, object]:
        """The settings that lead here."""
        ports = {"qdrant.url": self.standin.url, "qdrant.grpc_port": self.standin.grpc_port}
        return {**ports, "qdrant.retry_s": 10.0, "qdrant.retry_first_s": 0.05}

    def engine(self) -> Engine:
        """An engine on the collection."""
        return ServerEngine.connect(self.standin.settings("grpc"), collection=COLLECTION)

    def kill(self) -> None:
        """kill -9, and start again where it was."""
        self._running.close()
        self.standin = self._start()

    def close(self) -> None:
        """Kill it for good."""
        self._running.close()

    def _start(self) -> Standin:
        standin = self._running.enter_context(running("--journal", str(self._journal), *self._ports))
        self._ports = ("--rest-port", str(standin.rest_port), "--grpc-port", str(standin.grpc_port))
        return standin


class Battle:
    """One album on its way into one collection: that of ``server``, or of the embedded engine without one."""

    def __init__(self, album: Album, folder: Path, *, server: Server | None) -> None:
        self._album = album
        self._folder = folder
        self._server = server
        self._log = folder / "embedded.log"
        self._settled: dict[bytes, int] = {}  # where the log was when an image's shard was first seen to be done
        folder.mkdir()
        self._log.touch()

    def fight(self, victims: Sequence[Victim], *, kills: int, chance: random.Random, toll: Toll) -> None:
        """Kill until the album is in or ``kills`` are used up; then let it come to its end."""
        command = self._start()
        while kills and self._reach_a_moment(command, chance):
            victim = chance.choice(victims)
            self._note_settled()
            if not self._kill(victim, command):
                continue
            kills -= 1
            toll.kills[victim] = toll.kills.get(victim, 0) + 1
            if victim == "parent":
                command.communicate()
                command = self._start()
        while command.wait(LONGEST_S) != 0:  # it ends where its store or its workers were away for too long
            said = command.communicate()[1]
            toll.again += 1
            assert toll.again < 50, said
            command = self._start()
        command.communicate()
        entries = self._entries()
        toll.embedded += len(entries)
        toll.images += len(set(self._album.digests) - {None})
        toll.doubled += sum(place >= self._settled.get(each, len(entries)) for place, each in enumerate(entries))

    def points(self) -> dict[str, Any]:
        """Everything that the collection holds, by id, but when it was written."""
        engine = self._server.engine() if self._server else SharedEngine.open(self._data, collection=COLLECTION)
        found: dict[str, Any] = {}
        start: str | None = None
        while True:
            page = engine.scroll(limit=1000, start=start, vectors=True)
            for point in page.points:
                assert point.vector is not None
                payload = {name: value for name, value in point.payload.items() if name != "ingested_at"}
                found[point.id] = (payload, point.vector.tobytes())
            if (start := page.next) is None:
                engine.close()
                return found

    def rejected(self) -> set[tuple[str, str]]:
        """The rejects of the last run: address and reason."""
        found = (self._run_folder / "rejects").glob("*.jsonl")
        rejects = [json.loads(line) for path in found for line in path.read_text().splitlines()]
        return {(reject["uri"], reject["reason"]) for reject in rejects}

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _run_folder(self) -> Path:
        (top,) = (self._data / ".runs").glob(f"{COLLECTION}*")
        return top / digest(uri_of(self._album.folder))

    def _start(self) -> "subprocess.Popen[str]":
        """Give the command."""
        settings: dict[str, object] = {"ingest.shard_size": SHARD, "ingest.attempts": 10}
        settings |= self._server.settings() if self._server else {}
        flags = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        module = [sys.executable, "-m", "tests.faults.ingestion", str(self._album.folder)]
        return subprocess.Popen(
            [*module, "--data", str(self._data), "--log", str(self._log), *flags],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _reach_a_moment(self, command: "subprocess.Popen[str]", chance: random.Random) -> bool:
        """Wait for a moment picked at random, mostly while images are embedded; False where the command has ended."""
        if chance.random() < AT_START:
            time.sleep(chance.uniform(0, 1.5))
            return command.poll() is None
        goal = len(self._entries()) + chance.randint(1, 8)
        while command.poll() is None and len(self._entries()) < goal:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 2 * FORWARD_S))
        return command.poll() is None

    def _kill(self, victim: Victim, command: "subprocess.Popen[str]") -> bool:
        """kill -9; False where there was nobody to kill."""
        workers = _workers_of(command.pid)
        match victim:
            case "worker":
                if not workers:
                    return False
                workers[0].kill()
            case "parent":
                command.kill()
                psutil.wait_procs(workers, timeout=LONGEST_S)  # they leave by themselves, and let go of the store
            case "store":
                assert self._server is not None
                self._server.kill()
        return True

    def _note_settled(self) -> None:
        """Remember which shards are done by now, and how far the log is."""
        with suppress(ValueError, FileNotFoundError):  # no run has begun yet
            for marker in (self._run_folder / "done").glob("[0-9]*.json"):
                for each in self._album.of_shard(int(marker.stem)):
                    self._settled.setdefault(each, len(self._entries()))

    def _entries(self) -> list[bytes]:
        data = self._log.read_bytes()
        return [data[place : place + DIGEST_BYTES] for place in range(0, len(data), DIGEST_BYTES)]


def lost(found: dict[str, Any], reference: dict[str, Any]) -> int:
    """How many points are not what an undisturbed run made, missing and surplus ones counted."""
    return sum(found.get(each) != reference.get(each) for each in {*found, *reference})


def _workers_of(parent: int) -> list[psutil.Process]:
    """The worker processes of a command: its children but multiprocessing's own."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(parent).children()
        return [child for child in children if "spawn_main" in " ".join(_command_of(child))]
    return []


def _command_of(process: psutil.Process) -> list[str]:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return process.cmdline()
    return []
