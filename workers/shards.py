"""What a run writes down: its listing cut into shards, its rejects and its closing report.

The listing goes to disk while it is made, so that reading begins at once and memory does not grow with the library.
"""

import hashlib
import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from connector.settings import QdrantSettings
from workers.errors import RunIncomplete
from workers.meter import Report
from workers.records import Ref, Reject
from workers.sources.source import Source

EARLY_CUT = 256
"""A shard is cut this small when the pipeline has nothing to do."""


class RunFolder:
    """The folder of one source's runs into one collection. A new run replaces what the last one wrote.

    Every call raises RunIncomplete when the disk does not take or give what is asked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, source: str, *, qdrant: QdrantSettings, collection: str) -> "RunFolder":
        """Where the runs of this source into this collection are kept: beside the embedded data, under ``.runs``."""
        return cls(runs_of(qdrant, collection=collection) / _digest(source))

    def begin(self, source: str) -> None:
        """Forget the last run and name the source of this one."""
        with self._kept():
            self.path.mkdir(parents=True, exist_ok=True)
            for stale in (*self.path.glob("shard-*.jsonl"), self._rejects, self.path / "report.json"):
                stale.unlink(missing_ok=True)
            (self.path / "source.json").write_text(json.dumps({"source": source}), encoding="utf-8")

    def write_shard(self, number: int, refs: Iterable[Ref]) -> Path:
        """Write one shard down."""
        path = self.path / f"shard-{number:06d}.jsonl"
        with self._kept(), path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(ref)) + "\n" for ref in refs)
        return path

    def take_shard(self, path: Path) -> list[Ref]:
        """Read back what ``write_shard`` wrote; the file has then served."""
        with self._kept():
            with path.open(encoding="utf-8") as file:
                refs = [Ref(**json.loads(line)) for line in file]
            path.unlink()
            return refs

    def add_rejects(self, rejects: Iterable[Reject]) -> None:
        """Append to the rejects of this run."""
        with self._kept(), self._rejects.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(reject)) + "\n" for reject in rejects)

    def finish(self, report: Report) -> None:
        """Write the closing report."""
        books = {"tally": asdict(report.tally), "seconds": report.seconds, "busy": dict(report.busy)}
        with self._kept():
            (self.path / "report.json").write_text(json.dumps(books), encoding="utf-8")

    def rejects(self) -> Iterator[Reject]:
        """The rejects of the last run; a line that a crash left half written is none."""
        with self._kept():
            if not self._rejects.exists():
                return
            with self._rejects.open(encoding="utf-8") as file:
                yield from (Reject(**json.loads(line)) for line in file if line.endswith("\n"))

    @property
    def _rejects(self) -> Path:
        return self.path / "rejects.jsonl"

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunIncomplete(
                f"the run's books cannot be kept in {self.path}: {error}. What is stored stays stored. Make room "
                "there, or give this user the rights to write; then the same command goes on with the rest."
            ) from error


def runs_of(qdrant: QdrantSettings, *, collection: str) -> Path:
    """The folder of all runs into one collection of one store."""
    return qdrant.path / ".runs" / (collection if qdrant.url is None else f"{collection}@{_digest(qdrant.url)}")


def run_folders(qdrant: QdrantSettings, *, collection: str) -> list[RunFolder]:
    """The folder of every source that was ever ingested into this collection."""
    return [RunFolder(path.parent) for path in sorted(runs_of(qdrant, collection=collection).glob("*/source.json"))]


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


class Listing:
    """Lists a source in a thread of its own and hands out shards as they are written.

    Iterating waits for the next shard and raises what broke the listing. Leaving the ``with`` ends the thread.
    ``count`` is what was listed so far, ``complete`` tells that it is all, ``busy`` the seconds that listing took.
    """

    def __init__(self, source: Source, *, folder: RunFolder, shard_size: int) -> None:
        self._source = source
        self._folder = folder
        self._shard_size = shard_size
        self._changed = threading.Condition()
        self._shards: list[Path] = []
        self._waiting = False
        self._stopped = False
        self._failure: BaseException | None = None
        self._rejects: list[Reject] = []
        self.count = 0
        self.complete = False
        self.busy = 0.0
        self._thread = threading.Thread(target=self._work, name="list")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        self._thread.join()

    def __iter__(self) -> Iterator[list[Ref]]:
        while (path := self._next()) is not None:
            yield self._folder.take_shard(path)

    @property
    def rejects(self) -> tuple[Reject, ...]:
        """What the listing itself had to reject."""
        with self._changed:
            return tuple(self._rejects)

    def _next(self) -> Path | None:
        with self._changed:
            self._waiting = True
            self._changed.wait_for(lambda: self._shards or self.complete or self._failure)
            self._waiting = False
            if self._failure is not None:
                raise self._failure
            return self._shards.pop(0) if self._shards else None

    def _work(self) -> None:
        try:
            self._list()
        except BaseException as failure:  # noqa: BLE001  (outermost frame of the thread; raised again by _next)
            with self._changed:
                self._failure = failure
                self._changed.notify_all()

    def _list(self) -> None:
        refs: list[Ref] = []
        number = 0
        for item in self._timed():
            if self._stopped:
                return
            self.count += 1
            if isinstance(item, Reject):
                with self._changed:
                    self._rejects.append(item)
                continue
            refs.append(item)
            if len(refs) >= self._shard_size or (self._waiting and len(refs) >= EARLY_CUT):
                self._hand_out(number, refs)
                number, refs = number + 1, []
        if refs:
            self._hand_out(number, refs)
        with self._changed:
            self.complete = True
            self._changed.notify_all()

    def _timed(self) -> Iterator[Ref | Reject]:
        """What the source lists, while ``busy`` counts how long that takes."""
        started = time.perf_counter()
        for item in self._source.list():
            self.busy += time.perf_counter() - started
            yield item
            started = time.perf_counter()

    def _hand_out(self, number: int, refs: list[Ref]) -> None:
        path = self._folder.write_shard(number, refs)
        with self._changed:
            self._shards.append(path)
            self._changed.notify_all()
