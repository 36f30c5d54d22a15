"""Check: whether a collection, its files and what its runs wrote down are as they should be.

    files    an embedded collection's files against their check sums
    points   ids, and by the indexes payloads and vectors; of the share that is read, all that a point holds
    images   of the share that is read: their bytes against the stored hash, and embedded again against the vector
    runs     the files of each source's last run, and its counts against the collection

The rule: nothing is changed, and nothing that is found ends the check.
"""

import hashlib
import os
import pickle
import random
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from connector.errors import (
    CollectionMissing,
    InvalidQuery,
    ModelError,
    OriginalCutShort,
    OriginalMissing,
    OriginalUnavailable,
    Overloaded,
    StoreError,
    UnreadableImage,
)
from connector.extras import require
from connector.models.answering import model_in
from connector.records import CLIP_RESIZING, StoredPoint
from connector.run_status import RunStatus
from connector.settings import ModelSettings, Settings
from connector.store.audit_point import LISTS, fault_of
from connector.store.engine import Engine, pages
from connector.store.in_space import in_space
from connector.store.open import copied_apart, open_engine, verifying_files
from connector.store.schema import CollectionSchema
from workers.run.check_files import file_faults
from workers.run.prune import PAGE, of_source
from workers.run.renew import commands_to_renew
from workers.run.shards import RunFolder, run_folders

if TYPE_CHECKING:
    from connector.models.image_tower import ImageTower
    from connector.service.originals import Originals

Kind = Literal["file", "point", "image", "run", "count", "stale", "unknown"]
"""``stale``: the image was changed or removed since, and the next ingestion or prune sees to it. ``unknown``: what
cannot be told. Neither is damage."""
Repair = Literal["embed", "ingest", "forget run", "restore", "none"]
"""What mends it: embed the image again, ingest the source again, take the run's files away, restore a backup."""

NO_DAMAGE = ("stale", "unknown")
SAMPLE_PAGE = 256
ALIKE = 0.98
"""Least cosine between a stored vector and the image embedded again: another kernel turns it by less than 1e-3."""
MOST = 10_000
"""Findings of a kind that are kept one by one; more are counted."""
SMALL = 5_000
"""Points of the largest collection that is read wholly, whatever the share."""
WINDOWS, WINDOW = 10, 200
"""Points that are read of any other: so many in a row, so often."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is not as it should be: ``where`` is a file's path, a point's id or a source."""

    kind: Kind
    where: str
    what: str
    repair: Repair = "none"


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found, and how much it looked at.

    ``counts`` has the findings by kind, also those above the ``MOST`` that are kept. ``repairs`` says how many findings
    each way of repairing mends; ``repair_s`` how many seconds that takes by the rate of earlier runs, None where there
    was none. ``renew`` has the commands that bring everything back from its sources, where files are damaged and runs
    tell of sources.
    """

    collection: str
    points: int
    read: int
    embedded: int
    seconds: float
    findings: tuple[Finding, ...]
    counts: dict[str, int]
    repairs: dict[str, int]
    repair_s: float | None
    renew: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged."""
        return not any(count for kind, count in self.counts.items() if kind not in NO_DAMAGE)


@dataclass(slots=True)
class _Notes:
    """What is known so far."""

    points: int = 0
    read: int = 0
    embedded: int = 0
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)
    seen: set[tuple[str, str]] = field(default_factory=set)

    def add(self, kind: Kind, where: str, what: str, repair: Repair = "none") -> None:
        """Note a finding; the first of a place is kept."""
        if (kind, where) in self.seen:
            return
        self.seen.add((kind, where))
        self.counts[kind] += 1
        self.repairs[repair] += 1
        if self.counts[kind] <= MOST:
            self.findings.append(Finding(kind, where, what, repair))

    def told_of(self, copy: Path, *, as_of: Path) -> "_Notes":
        """The same, with files of a copy named by those that were copied."""
        self.findings = [replace(each, what=each.what.replace(str(copy), str(as_of))) for each in self.findings]
        return self

    def sound(self, points: Sequence[StoredPoint], *, schema: CollectionSchema) -> list[StoredPoint]:
        """Those of the points that hold what they should; what is wrong with the others is noted."""
        self.read += len(points)
        faults = [(point, fault_of(point, schema=schema)) for point in points]
        for point, fault in faults:
            if fault is not None:
                self.add("point", point.id, fault, "embed")
        return [point for point, fault in faults if fault is None]


def check(settings: Settings, *, read_data: float = 0.0) -> CheckReport:
    """Look through the settings' collection; ``read_data`` is the share of its points and files, 0 to 1, that is read.

    Raises CollectionMissing, InvalidQuery for what is no share, and StoreUnavailable where a server gives no answer.
    """
    if not 0 <= read_data <= 1:
        raise InvalidQuery(f"read_data is {read_data!r:.100}; a share from 0 to 1 is wanted, such as 0.01.")
    started = time.perf_counter()
    notes = _Notes()
    with verifying_files(settings.qdrant, collection=settings.collection, share=read_data) as verifying:
        import_module("connector.store.audit")  # meanwhile: it takes as long
        verified = verifying()
    for fault in () if verified is None else verified.faults:
        notes.add("file", fault.path, fault.fault, "restore")
    if verified is not None and verified.unknown and not verified.known:
        what = f"{verified.unknown:,} files have no check sums yet: whoever closes the collection next notes them"
        notes.add("unknown", settings.collection, what)
    if notes.counts["file"]:
        if verified is not None and not verified.gone:
            notes = _looked_at_apart(settings, notes=notes, share=read_data)
        rate = _look_at_runs(None, settings=settings, notes=notes)
    else:
        with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
            look_at_points(engine, settings=settings, share=read_data, notes=notes)
            rate = _look_at_runs(engine, settings=settings, notes=notes)
    lost = bool(notes.counts["file"])
    work = notes.points if lost else notes.repairs["embed"]
    return CheckReport(
        collection=settings.collection,
        points=notes.points,
        read=min(notes.read, notes.points),  # the sample is read once more
        embedded=notes.embedded,
        seconds=round(time.perf_counter() - started, 2),
        findings=tuple(notes.findings),
        counts=dict(notes.counts),
        repairs={kind: count for kind, count in notes.repairs.items() if kind != "none"},
        repair_s=round(work / rate, 1) if rate else None,
        renew=commands_to_renew(settings) if lost else (),
    )


def look_at_points(engine: Engine, *, settings: Settings, share: float, notes: _Notes) -> None:
    """Look at the points of a collection, and at a share of their images."""
    from connector.store.audit import find_damage  # here: importing it takes a second

    try:
        notes.points = engine.info().points
        for point_id, fault in find_damage(engine, examples=MOST).examples.items():
            notes.add("point", point_id, fault, "embed")
        schema = engine.info().schema
        engine = in_space(engine, schema.fingerprint.space)  # whichever answers before the last is read
        if share < 1:
            for page in _windows(engine, points=notes.points):
                notes.sound(page, schema=schema)
        if share > 0:
            _read_images(engine, schema=schema, settings=settings, share=share, notes=notes)
    except StoreError as error:
        if error.retryable or isinstance(error, CollectionMissing):
            raise
        notes.add("file", engine.collection, str(error), "restore")


def _windows(engine: Engine, *, points: int) -> Iterator[Sequence[StoredPoint]]:
    """Some points with all that they hold: all of a small collection, and of a large one what follows chance ids."""
    if points <= SMALL:
        yield from pages(engine, limit=PAGE, vectors=True)
        return
    for _ in range(WINDOWS):
        yield engine.scroll(limit=WINDOW, start=str(uuid.uuid4()), vectors=True).points


def _read_images(engine: Engine, *, schema: CollectionSchema, settings: Settings, share: float, notes: _Notes) -> None:
    require("serve", what="reading images again")
    from connector.service.originals import Originals

    with closing(Originals(settings)) as originals:
        model = model_in(settings.model, space=schema.fingerprint.space, schema=schema)
        images = _Images(settings, model=model, originals=originals, notes=notes)
        for page in _sampled(engine, share=share):
            images.look_at(notes.sound(page, schema=schema))


def _sampled(engine: Engine, *, share: float) -> Iterator[Sequence[StoredPoint]]:
    """A share of the points, with all that they hold."""
    if share >= 1:
        yield from pages(engine, limit=PAGE, vectors=True)
        return
    chosen: list[str] = []
    for page in pages(engine, limit=PAGE, fields=[]):
        chosen += [point.id for point in page if random.random() < share]
        while len(chosen) >= SAMPLE_PAGE:
            yield engine.retrieve(chosen[:SAMPLE_PAGE], vectors=True)
            del chosen[:SAMPLE_PAGE]
    if chosen:
        yield engine.retrieve(chosen, vectors=True)


class _Images:
    """Reads the images of points, and embeds them again."""

    def __init__(self, settings: Settings, *, model: ModelSettings, originals: "Originals", notes: _Notes) -> None:
        self._settings = settings
        self._model = model
        self._originals = originals
        self._notes = notes
        self._tower: ImageTower | None = None
        self._blind = False

    def look_at(self, points: Sequence[StoredPoint]) -> None:
        """Hold some points against their images."""
        from connector.images.decode import decode
        from connector.models.image_tower import ImageTower

        if points and self._tower is None and not self._blind:
            try:
                self._tower = ImageTower.load(self._model)
            except ModelError as error:
                self._blind = True
                self._notes.add("unknown", self._settings.collection, f"no vector was held against its image: {error}")
        pixels, whole = [], []
        size = self._tower.space.image_size if self._tower is not None else 64
        resizing = self._tower.space.image.resizing if self._tower is not None else CLIP_RESIZING
        for point in points:
            data = self._bytes_of(point)
            if data is None:
                continue
            try:
                most = self._settings.limits.max_pixels
                pixels.append(decode(data, size=size, max_pixels=most, resizing=resizing).pixels)
                whole.append(point)
            except UnreadableImage as error:
                self._notes.add("image", point.id, f"its image cannot be decoded any more: {error}")
        if whole and self._tower is not None:
            self._compare(whole, again=self._tower.embed(np.stack(pixels)))

    def _bytes_of(self, point: StoredPoint) -> bytes | None:
        """The bytes that a point was made of; None where they are not to be had any more, which is noted."""
        try:
            data = self._originals.find(point.payload).whole()
        except OriginalCutShort as error:
            self._notes.add("image", point.id, f"{point.uri}: {error}")
            return None
        except OriginalMissing as error:
            if not point.uri.startswith("memory:"):
                self._notes.add("stale", point.id, f"{point.uri}: {error}")
            return None
        except (OriginalUnavailable, Overloaded) as error:
            self._notes.add("unknown", point.id, f"{point.uri}: {error}")
            return None
        if hashlib.blake2b(data, digest_size=16).hexdigest() == point.payload.get("content_hash"):
            return data
        if len(data) != point.payload.get("bytes"):
            self._notes.add("stale", point.id, f"{point.uri}: the image was changed since it was ingested", "ingest")
        else:
            self._notes.add("image", point.id, f"{point.uri}: its bytes are not those that were ingested", "embed")
        return None

    def _compare(self, points: Sequence[StoredPoint], *, again: np.ndarray) -> None:
        self._notes.embedded += len(points)
        for point, vector in zip(points, again, strict=True):
            cosine = 0.0 if point.vector is None else float(np.dot(point.vector, vector))
            if cosine < ALIKE:
                self._notes.add(
                    "point", point.id, f"the vector is not its image's: their cosine is {cosine:.3f}", "embed"
                )


def _look_at_runs(engine: Engine | None, *, settings: Settings, notes: _Notes) -> float:
    """Look at what runs wrote down, and count what they stored; returns the images a second of the quickest run."""
    rates = [0.0]
    for folder in run_folders(settings):
        for name, fault in file_faults(folder.files):
            notes.add("run", f"{folder.files.where}/{name}", fault, "forget run")
        data = folder.read_status()
        status = None if data is None else RunStatus.read(data, now=datetime.now(UTC))
        if status is None:
            continue
        rates.append(status.rate)
        if status.state in ("failed", "stopped", "broken"):
            notes.add("stale", status.source, f"its last run is {status.state}; the same command goes on", "ingest")
        elif status.state == "done" and engine is not None and not notes.counts["file"]:
            _count(engine, status, folder=folder, notes=notes)
    return max(rates)


def _count(engine: Engine, status: RunStatus, *, folder: RunFolder, notes: _Notes) -> None:
    """Hold a run's counts against the collection, where each image of the source is a point of its own."""
    if status.done != status.listed:
        what = f"its last run listed {status.listed:,} images, and {status.done:,} came to their end"
        notes.add("count", status.source, what, "ingest")
    if status.source.lower().endswith((*LISTS, ".tar")) or folder.files.names("watch"):
        return
    stored, there = status.stored + status.unchanged, engine.count(where=of_source(status.source))
    if there < stored:
        what = f"its last run left {stored:,} points, and {there:,} are there: {stored - there:,} were removed or lost"
        notes.add("count", status.source, what, "ingest")


def _looked_at_apart(settings: Settings, *, notes: _Notes, share: float) -> _Notes:
    """Look at the points of a damaged collection in a copy, in a process of its own: damage may end it."""
    try:
        with copied_apart(settings.qdrant, collection=settings.collection) as copy:
            given = pickle.dumps((settings.model_copy(update={"qdrant": copy}), share, notes))
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            command = [sys.executable, "-P", "-m", __name__]
            done = subprocess.run(command, input=given, capture_output=True, env=environment, check=False)
        if done.returncode == 0:
            looked: _Notes = pickle.loads(done.stdout)
            return looked.told_of(copy.path, as_of=settings.qdrant.path)
        said = done.stderr.decode(errors="replace").strip().splitlines()
        why = said[-1] if said else f"it ended with {done.returncode}"
    except OSError as error:
        why = str(error)
    notes.add("file", settings.collection, f"the points cannot be read: {why}", "restore")
    return notes


def main() -> None:
    """Look at the points of the collection that standard input names, and say so on standard output."""
    settings, share, notes = pickle.load(sys.stdin.buffer)
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        look_at_points(engine, settings=settings, share=share, notes=notes)
    sys.stdout.buffer.write(pickle.dumps(notes))


if __name__ == "__main__":
    main()
