"""What a run writes down: its listing cut into shards, what became of each, its rejects and where it stands.

    run.json              which run this is, of which place, with which settings
    listing/000012.gz     the refs of a shard, until it is done
    listing.json          the listing is complete: how much there is
    done/000012.json      the report of a shard whose every image has its outcome: the marker that ends it
    rejects/000012.jsonl  its rejects; rejects/listing.jsonl those of the listing itself
    mounts.json           the disks below the place, so that one that is away is known
    status.json           where the run stands (``connector.run_status``)

The rule: a shard is written down before anybody works on it, and its marker after everything else of it.
"""

import gzip
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from filelock import FileLock, Timeout

from connector.errors import RunFilesUnreadable, RunIncomplete
from connector.files import private_folder
from connector.run_status import REJECTS, STATUS, RunStatus, digest, parse_lines, runs_of
from connector.settings import Settings
from connector.sums import with_sum, without_sum
from workers.pipeline.counters import RunReport, ShardReport
from workers.records import REF_VALUES, Counts, Ref, Reject, Verify
from workers.run.files import LocalFiles, RunFiles, open_files
from workers.sources.mounts import Disk

T = TypeVar("T")

VERIFY = "ingest.verify"
MOUNTS = "mounts.json"

EARLY_CUT = 256
"""A shard is cut this small when a worker has nothing to do."""

AHEAD = 1_000
"""Shards that may lie written down before anybody works on them: the listing of an endless source waits."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Which run a folder holds. ``settings`` are those that reading the place depends on, by dotted name."""

    run: str
    place: str
    source: str
    started_at: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verify(self) -> Verify:
        """What shows in this run that an image is still as it is stored."""
        told: Verify = self.settings.get(VERIFY, "version")
        return told


@dataclass(frozen=True, slots=True)
class Listed:
    """What a complete listing came to: ``count`` items, of which ``rejected`` are no refs, in ``shards`` shards."""

    count: int
    rejected: int
    shards: int
    busy: float


class RunFolder:
    """The folder of one source's runs into one collection: the last run's files. Raises RunIncomplete throughout."""

    def __init__(self, files: RunFiles) -> None:
        self.files = files

    @classmethod
    def of(cls, source: str, *, settings: Settings, apart: str | None = None) -> "RunFolder":
        """Where this source's runs into the settings' collection are kept; ``apart`` names a folder beside them."""
        below = digest(source) if apart is None else f"{digest(source)}/{apart}"
        return cls(open_files(f"{_top(settings)}/{below}", settings=settings.s3))

    def begin(self, manifest: Manifest) -> None:
        """Forget the last run and name this one."""
        self.files.remove([name for below in ("listing", "done", REJECTS) for name in self.files.names(below)])
        self.files.remove(["run.json", "listing.json", STATUS])
        self.files.write("run.json", with_sum(asdict(manifest)))

    def manifest(self) -> Manifest | None:
        """The run that this folder holds; None where there is none."""
        data = self.files.read("run.json")
        with suppress(RunFilesUnreadable):
            return None if data is None else _parsed(lambda: Manifest(**without_sum(data)), "run.json")
        return None

    def write_shard(self, number: int, refs: Iterable[Ref]) -> None:
        """Write a shard's refs down."""
        rows = [REF_VALUES(ref) for ref in refs]
        self.files.write(_listing(number), gzip.compress(json.dumps(rows).encode(), compresslevel=1, mtime=0))

    def read_shard(self, number: int) -> tuple[Ref, ...]:
        """The refs of a shard that is not done. Raises RunFilesUnreadable."""
        data = self.files.read(_listing(number)) or b""
        return _parsed(lambda: tuple(Ref(*row) for row in json.loads(gzip.decompress(data))), _listing(number))

    def end_listing(self, listed: Listed, *, rejects: Iterable[Reject]) -> None:
        """Write down that the listing is complete, and what it rejected."""
        self._write_rejects("listing", rejects)
        self.files.write("listing.json", with_sum(asdict(listed)))

    def listed(self) -> Listed | None:
        """What the listing came to; None while it is not complete."""
        data = self.files.read("listing.json")
        with suppress(RunFilesUnreadable):
            return None if data is None else _parsed(lambda: Listed(**without_sum(data)), "listing.json")
        return None

    def end_shard(self, number: int, done: ShardReport) -> None:
        """Write down what became of a shard, its marker last; its refs have then served."""
        self.note_rejects(number, done.rejects)
        report = {**asdict(done.report), "threads": {}}
        self.files.write(f"done/{number:06d}.json", with_sum(report))
        self.files.remove([_listing(number)])

    def note_rejects(self, number: int, rejects: Iterable[Reject]) -> None:
        """Write down the rejects of a shard, in place of those that were known so far."""
        self._write_rejects(f"{number:06d}", rejects)

    def note_listing_rejects(self, rejects: Iterable[Reject]) -> None:
        """Write down the rejects of a listing that did not come to its end."""
        self._write_rejects("listing", rejects)

    def done(self) -> dict[int, RunReport]:
        """The report of every shard that is done."""
        reports = {}
        for name in self.files.names("done"):
            data = self.files.read(name) or b""
            with suppress(RunFilesUnreadable):
                reports[int(name[5:-5])] = _parsed(partial(_report, data), name)
        return reports

    def remove(self) -> None:
        """Forget everything."""
        self.files.remove(self.files.names(""))

    def finish(self) -> None:
        """Forget what only an unfinished run needs; the rejects stay."""
        self.files.remove([*self.files.names("listing"), *self.files.names("done"), "listing.json"])

    def write_mounts(self, mounts: Mapping[bytes, Disk]) -> None:
        """Keep which disks lie below the place."""
        if mounts or self.files.read(MOUNTS) is not None:
            self.files.write(MOUNTS, with_sum({os.fsdecode(folder): disk for folder, disk in mounts.items()}))

    def mounts(self) -> dict[bytes, Disk]:
        """What ``write_mounts`` wrote last; nothing where that cannot be read."""
        data = self.files.read(MOUNTS)
        with suppress(RunFilesUnreadable):
            return {} if data is None else _parsed(partial(_mounts, data), MOUNTS)
        return {}

    def write_status(self, status: RunStatus) -> None:
        """Say where the run stands."""
        self.files.write(STATUS, with_sum(asdict(status)))

    def read_status(self) -> bytes | None:
        """What ``write_status`` wrote last."""
        return self.files.read(STATUS)

    def rejects(self) -> Iterator[Reject]:
        """The rejects of the last run."""
        for name in self.files.names(REJECTS):
            data = self.files.read(name)
            yield from map(_reject, parse_lines(data or b""))

    def replace_rejects(self, rejects: Iterable[Reject]) -> None:
        """Keep these rejects and no others."""
        old = [name for name in self.files.names(REJECTS) if name != f"{REJECTS}/listing.jsonl"]
        self._write_rejects("listing", rejects)
        self.files.remove(old)

    def _write_rejects(self, which: str, rejects: Iterable[Reject]) -> None:
        name = f"{REJECTS}/{which}.jsonl"
        lines = [with_sum(asdict(reject)) + b"\n" for reject in rejects]
        if lines:
            self.files.write(name, b"".join(lines))
        else:
            self.files.remove([name])


def run_folders(settings: Settings) -> list[RunFolder]:
    """The folder of every source that was ever ingested into the settings' collection."""
    top = open_files(_top(settings), settings=settings.s3)
    sources = [name.removesuffix("/run.json") for name in top.names("") if name.count("/") == 1 and "/run.json" in name]
    return [RunFolder(open_files(f"{_top(settings)}/{source}", settings=settings.s3)) for source in sources]


def local_folder(source: str, *, settings: Settings) -> RunFolder:
    """The folder on this machine, whose ``status.json`` the service reads also where the run files are on S3."""
    return RunFolder(LocalFiles(runs_of(settings.qdrant, collection=settings.collection) / digest(source)))


@contextmanager
def exclusive(source: str, *, settings: Settings) -> Iterator[None]:
    """Keep other runs of this source into this collection out, as far as this machine goes. Raises RunIncomplete."""
    top = runs_of(settings.qdrant, collection=settings.collection)
    try:
        private_folder(top)
        lock = FileLock(top / f"{digest(source)}.lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise RunIncomplete(
            f"another run of {source} into {settings.collection!r} is under way. Wait for it: `polyglance status` "
            "shows how far it is."
        ) from error
    except OSError as error:
        raise RunIncomplete(f"the run's files cannot be kept in {top}: {error}.") from error
    try:
        yield
    finally:
        lock.release()


def _top(settings: Settings) -> str:
    local = runs_of(settings.qdrant, collection=settings.collection)
    return str(local) if settings.ingest.runs is None else f"{settings.ingest.runs.rstrip('/')}/{local.name}"


def _listing(number: int) -> str:
    return f"listing/{number:06d}.gz"


def _parsed(parse: Callable[[], T], name: str) -> T:
    """What a file says. Raises RunFilesUnreadable where a power cut, or somebody, left nothing sensible in it."""
    try:
        return parse()
    except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
        raise RunFilesUnreadable(f"{name} cannot be read: {error}. Give the same command again.") from error


def _mounts(data: bytes) -> dict[bytes, Disk]:
    return {os.fsencode(folder): (int(device), int(system)) for folder, (device, system) in without_sum(data).items()}


def _report(data: bytes) -> RunReport:
    value = without_sum(data)
    return RunReport(**{**value, "counts": Counts(**value["counts"])})


def _reject(value: Mapping[str, Any]) -> Reject:
    return Reject(**{**value, "ref": None if value["ref"] is None else Ref(**value["ref"])})


class Listing:
    """Lists in a thread of its own and writes shards down; ``on_shard`` is told the number of each, ``on_end`` the end.

    Leaving the ``with`` ends the thread. ``count`` is what was listed so far, ``complete`` tells that it is all,
    ``busy`` the seconds that listing took. ``taken`` makes room for one more shard ahead of the workers; while
    ``starved`` is set, shards are cut small.
    """

    def __init__(
        self,
        items: Callable[[], Iterator[Ref | Reject]],
        *,
        folder: RunFolder,
        shard_size: int,
        on_shard: Callable[[int], None],
        on_end: Callable[[BaseException | None], None],
    ) -> None:
        self._items = items
        self._folder = folder
        self._shard_size = shard_size
        self._on_shard = on_shard
        self._on_end = on_end
        self._room = threading.Semaphore(AHEAD)
        self._lock = threading.Lock()
        self._stopped = False
        self._rejects: list[Reject] = []
        self._shards = 0
        self.starved = threading.Event()
        self.count = 0
        self.complete = False
        self.busy = 0.0
        self._thread = threading.Thread(target=self._work, name="list", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._thread.start()
        except BaseException:  # an interrupt while it starts
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def taken(self) -> None:
        """Say that a shard has been handed to a worker."""
        self._room.release()

    @property
    def rejects(self) -> tuple[Reject, ...]:
        """What the listing itself had to reject."""
        with self._lock:
            return tuple(self._rejects)

    def _end(self) -> None:
        self._stopped = True
        self._room.release()
        if self._thread.ident is not None:
            self._thread.join()

    def _work(self) -> None:
        try:
            self._list()
        except BaseException as failure:  # noqa: BLE001  (outermost frame of the thread; raised again by the run)
            self._on_end(failure)

    def _list(self) -> None:
        refs: list[Ref] = []
        for item in self._timed():
            if self._stopped:
                return
            self.count += 1
            if isinstance(item, Reject):
                with self._lock:
                    self._rejects.append(item)
                continue
            refs.append(item)
            if len(refs) >= self._shard_size or (len(refs) >= EARLY_CUT and self.starved.is_set()):
                self._write_down(refs)
                refs = []
        if refs:
            self._write_down(refs)
        if self._stopped:
            return
        self._folder.end_listing(
            Listed(self.count, rejected=len(self.rejects), shards=self._shards, busy=self.busy), rejects=self.rejects
        )
        self.complete = True
        self._on_end(None)

    def _timed(self) -> Iterator[Ref | Reject]:
        """What the source lists, while ``busy`` counts how long that takes."""
        started = time.perf_counter()
        for item in self._items():
            self.busy += time.perf_counter() - started
            yield item
            started = time.perf_counter()

    def _write_down(self, refs: list[Ref]) -> None:
        self._room.acquire()
        if self._stopped:
            return
        self._folder.write_shard(self._shards, refs)
        self.starved.clear()
        self._shards += 1
        self._on_shard(self._shards - 1)
