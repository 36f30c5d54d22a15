"""Workers that fail by a script, in whatever process they work: what ran how often stands in a file.

A script says, by file name, what happens the first time that somebody works on it, the second time, and so on; after
the last entry all goes well. The store is a folder with an empty file for each image. No model and no torch: these
workers are there in a moment.
"""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from connector.errors import ModelError, StoreUnavailable
from connector.version import Version
from workers.executors.executor import OnHeartbeat
from workers.pipeline.counters import Heartbeat, RunReport, ShardReport
from workers.records import Counts, Prepared, Ref, Shard

Act = Literal["kill", "exit", "hang", "slow", "busy", "broken"]


@dataclass(frozen=True, slots=True)
class Script:
    """A folder where the script, its log and the store lie."""

    folder: Path

    def write(self, acts: Mapping[str, Sequence[Act]]) -> None:
        """From now on, this happens; nobody has worked on anything yet."""
        (self.folder / "script.json").write_text(json.dumps({name: list(each) for name, each in acts.items()}))
        (self.folder / "worked.log").write_text("")

    def stored(self) -> set[str]:
        """The images in the store."""
        return {path.name for path in (self.folder / "store").iterdir()}

    def worked(self) -> Counter[str]:
        """How often somebody worked on each image."""
        return Counter(line.split()[1] for line in self._lines())

    def processes(self) -> set[int]:
        """Who did."""
        return {int(line.split()[0]) for line in self._lines()}

    def next(self, name: str) -> Act | None:
        """Note that somebody works on an image, and say what is to happen."""
        before = self.worked()[name]
        with (self.folder / "worked.log").open("a") as log:
            log.write(f"{os.getpid()} {name}\n")
        acts: list[Act] = json.loads((self.folder / "script.json").read_text()).get(name, [])
        return acts[before] if before < len(acts) else None

    def _lines(self) -> list[str]:
        return (self.folder / "worked.log").read_text().splitlines()


class ScriptedWorker:
    """Puts names into a folder, and fails by the script."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._store = script.folder / "store"

    @classmethod
    def start(cls, script: Script) -> "ScriptedWorker":
        """A worker; where a file says so, it dies before it can begin."""
        if (script.folder / "dies at start").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return cls(script)

    def prepare(self, *, recreate: bool) -> Prepared:
        self._store.mkdir(exist_ok=True)
        if recreate:
            for path in self._store.iterdir():
                path.unlink()
        return Prepared(threads={"read": 1}, gpus=0)

    def work(self, shard: Shard, *, on_heartbeat: OnHeartbeat) -> ShardReport:
        stored = unchanged = 0
        on_heartbeat(Heartbeat(RunReport()))
        for ref in shard.refs:
            if (self._store / ref.filename).exists():
                unchanged += 1
                continue
            self._act(self._script.next(ref.filename), on_heartbeat)
            (self._store / ref.filename).touch()
            stored += 1
        return ShardReport(RunReport(counts=Counts(len(shard.refs), stored=stored, unchanged=unchanged)), ())

    def close(self) -> None:
        """Nothing is held open."""

    def _act(self, act: Act | None, on_heartbeat: OnHeartbeat) -> None:
        match act:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(3)
            case "hang":
                while True:
                    time.sleep(0.05)
                    on_heartbeat(Heartbeat(RunReport()))
            case "slow":
                time.sleep(0.3)
            case "busy":
                raise StoreUnavailable("the store of this test is busy")
            case "broken":
                raise ModelError("the model of this test is broken")
            case None:
                return


def refs(count: int) -> list[Ref]:
    """Images by number: 00.png, 01.png, ..."""
    names = [f"{number:02d}.png" for number in range(count)]
    return [Ref(f"file:///{name}", "file:///", name, folder="", filename=name, version=Version("1")) for name in names]
