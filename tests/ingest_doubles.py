"""Small real parts for the pipeline: a source in memory, a tower without weights, a store that fills up."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from connector.errors import StoreFull
from connector.models.catalog import find_space
from connector.models.image_tower import ImageTower
from connector.records import Pixels, Point, Vectors
from connector.settings import IngestSettings, LimitsSettings
from connector.store.edge.engine import EmbeddedEngine
from connector.store.engine import Engine
from connector.store.schema import CollectionSchema
from connector.version import Version
from workers.pipeline.pipeline import Pipeline
from workers.records import Blob, Outcome, Ref, Reject

ROOT = "memory://album"


class MemorySource:
    """Images in memory, by name. ``outcomes`` are given in place of a name's bytes; ``asked`` counts readings."""

    def __init__(self, files: Mapping[str, bytes], *, rejects: Sequence[Reject] = ()) -> None:
        self.files = dict(files)
        self.rejects = rejects
        self.outcomes: dict[str, Callable[[Ref], Outcome]] = {}
        self.versions: dict[str, str | None] = {}
        self.asked: list[Ref] = []
        self.root = ROOT
        self.closed = False
        self._lock = threading.Lock()

    def refs(self) -> list[Ref]:
        """Every image's ref; the version is the number of bytes unless ``versions`` says otherwise."""
        return [self._ref(name) for name in self.files]

    def list(self) -> Iterator[Ref | Reject]:
        """The rejects, then the refs."""
        yield from self.rejects
        yield from self.refs()

    def read(self, refs: Sequence[Ref]) -> Iterator[Outcome]:
        """The bytes, or what the test put in their place."""
        for ref in refs:
            with self._lock:
                self.asked.append(ref)
            outcome = self.outcomes.get(ref.filename)
            yield outcome(ref) if outcome else self.blob(ref)

    def blob(self, ref: Ref) -> Blob:
        """The image as it was put in."""
        return Blob(ref, self.files[ref.filename], ref.version or Version("read"), {})

    def close(self) -> None:
        """Remember it."""
        self.closed = True

    def _ref(self, name: str) -> Ref:
        version = self.versions.get(name, str(len(self.files[name])))
        known = Version.parse(version)
        return Ref(f"{ROOT}/{name}", source=ROOT, object_key=name, folder="", filename=name, version=known)


class ColourTower(ImageTower):
    """Sees nothing but colours, on an 8x8 grid; space mini's shape. ``before`` is called with every batch."""

    def __init__(self, before: Callable[[Pixels], None] = lambda _: None) -> None:
        super().__init__(
            lambda pixels: pixels,
            space=find_space("mini"),
            device=torch.device("cpu"),
            precision="float32",
            weights="colours",
        )
        self.batches: list[int] = []
        self._before = before

    def embed(self, pixels: Pixels) -> Vectors:
        """Each image's vector depends on itself alone."""
        self._before(pixels)
        self.batches.append(len(pixels))
        cells = pixels.reshape(-1, 8, 8, 8, 8, 3).mean(axis=(2, 4)).reshape(len(pixels), -1)[:, :128]
        rows = cells.astype(np.float64) + np.linspace(1, 2, 128)
        vectors: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return vectors


class FullEngine(EmbeddedEngine):
    """The embedded engine on a disk that has room for ``room`` points."""

    room = 10**9

    def upsert(self, points: Sequence[Point]) -> None:
        """Write while there is room."""
        self.room -= len(points)
        if self.room < 0:
            raise StoreFull("the disk of this test has no room left. Make room; then repeat.")
        super().upsert(points)


def new_collection(engine: Engine) -> None:
    """Create the collection that ``ColourTower`` fills."""
    engine.create(CollectionSchema(ColourTower().fingerprint))


def pipeline(
    engine: Engine, *, tower: ImageTower | None = None, batch_size: int = 8, max_pixels: int = 10**6, **ingest: float
) -> Pipeline:
    """A pipeline of these parts; ``ingest`` are settings of that section."""
    return Pipeline(
        tower=tower or ColourTower(),
        engine=engine,
        settings=IngestSettings.model_validate(ingest),
        limits=LimitsSettings(max_pixels=max_pixels),
        batch_size=batch_size,
    )


def full_engine(path: Path, *, room: int) -> FullEngine:
    """A created collection with room for so many points."""
    engine = FullEngine.open(path, collection="images")
    engine.room = room
    new_collection(engine)
    return engine
