"""What this machine does with the user's own images: each stage measured alone, then what they give together.

The rule: every part is the real one. Images are read from where they lie, decoded by ingestion's own decoder,
embedded by its own tower, and written to a collection of the engine that is set, which is dropped afterwards.

Prediction (docs/planning.md): where this process is given C cores, stages that take c_i processor seconds for an image
and reach r_i images a second alone reach min(C / sum of c_i, r_i) together, since they overlap.
"""

import hashlib
import itertools
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
import torch

from connector.errors import SourceError, UnreadableImage
from connector.images.decode import decode
from connector.models.declaration import Space
from connector.models.image_tower import ImageTower
from connector.process import usable_cores
from connector.records import Payload, Pixels, Point, Vectors
from connector.settings import Settings
from connector.store.engine import Engine
from connector.store.open import capabilities_of, open_scratch
from connector.store.schema import schema_for
from connector.version import Version
from workers.pipeline.deduplication import ContentDeduplicator
from workers.pipeline.metadata import Hashed, content_of, describe, hash_of
from workers.pipeline.pipeline import UPSERT_POINTS
from workers.records import Blob, Ref, Stage
from workers.sources.open import open_source
from workers.sources.source import Source

T = TypeVar("T")

MOST_READERS = 64
"""Reading threads that are tried at most."""
WORTH = 1.25
"""How much quicker twice the readers must be to go on doubling them."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One stage alone: images a second of all its ``threads``, and processor seconds that one image takes."""

    stage: Stage
    threads: int
    rate: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Measurements:
    """What was measured; ``graph_s`` is the time to build the search graph over ``graph_points``, embedded only.

    ``given`` is how many of the cores this process really gets: fewer beside neighbours, or under a container's quota.
    """

    images: int
    rejected: int
    bytes_each: float
    cores: int
    given: float
    gpus: int
    device: str
    precision: str
    batch_size: int
    embedded: bool
    stages: tuple[Measured, ...]
    start_s: float
    graph_s: float
    graph_points: int

    def stage(self, name: Stage) -> Measured:
        """The stage of this name."""
        return next(stage for stage in self.stages if stage.stage == name)


def measure(place: str, *, settings: Settings, seconds: float, sample: int) -> Measurements:
    """Measure every stage for about so many seconds each, with the first ``sample`` images of a place.

    Raises SourceError where there is no image that can be read and decoded, and what the tower and engine raise.
    """
    cores = usable_cores()
    with closing(open_source(place, settings=settings)) as source, _torch_on_one_thread():
        blobs = _blobs(source, place=place, sample=sample, most=settings.ingest.buffer_bytes)
        given = _cores_given(cores, seconds=seconds / 2)
        reading = _reading(source, [blob.ref for blob in blobs], settings=settings, seconds=seconds)
        started = time.perf_counter()
        tower = ImageTower.load(settings.model)
        batch_size = tower.prepare(settings.model.batch_size)
        start_s = time.perf_counter() - started
        images = _images(blobs, settings=settings, space=tower.space)
        if not images:
            raise SourceError(f"none of the first {len(blobs)} images of {place} can be decoded.")
        decoding = _decoding(blobs, settings=settings, space=tower.space, cores=cores, seconds=seconds)
        pixels = np.stack([each for each, _ in images])
        embedding, vectors = _encoder(tower, pixels, batch_size=batch_size, cores=cores, seconds=seconds)
        with _scratch(settings, tower=tower) as engine:
            points = engine.capabilities.seal_points or 2 * UPSERT_POINTS
            storing = _storing(engine, vectors, [payload for _, payload in images], points=points)
            graph_s = _graph_seconds(engine)
    return Measurements(
        images=len(images),
        rejected=len(blobs) - len(images),
        bytes_each=sum(len(blob.data) for blob in blobs) / len(blobs),
        cores=cores,
        given=given,
        gpus=torch.cuda.device_count() if tower.device.startswith("cuda") else 0,
        device=tower.device,
        precision=tower.precision,
        batch_size=batch_size,
        embedded=capabilities_of(settings.qdrant).in_process,
        stages=(reading, decoding, embedding, storing),
        start_s=start_s,
        graph_s=graph_s,
        graph_points=points,
    )


# ---------------------------------------------------------------------------------------------------------- the stages


def _blobs(source: Source, *, place: str, sample: int, most: int) -> list[Blob]:
    """The first images, as many as fit into ``most`` bytes."""
    refs = [item for item in itertools.islice(source.list(), sample) if isinstance(item, Ref)]
    blobs: list[Blob] = []
    weight = 0
    for outcome in source.read(refs):
        if isinstance(outcome, Blob):
            blobs.append(outcome)
            weight += len(outcome.data)
        if weight > most:
            break
    if not blobs:
        raise SourceError(f"no image that can be read was found in {place}; tune needs a sample of your own.")
    return blobs


def _reading(source: Source, refs: Sequence[Ref], *, settings: Settings, seconds: float) -> Measured:
    """Reading with as many threads as pay: doubled from the setting for as long as that is quicker."""
    chunks = _chunks(refs, settings.ingest.chunk // 4 or 1)
    best = None
    threads = settings.ingest.readers
    while threads <= MOST_READERS:
        found = _stage_alone(
            "read",
            lambda chunk: sum(isinstance(outcome, Blob) for outcome in source.read(chunk)),
            chunks,
            threads=threads,
            seconds=seconds / 2,
        )
        if best is not None and found.rate < WORTH * best.rate:
            break
        best, threads = found, 2 * threads
    assert best is not None, "one number of readers is always tried"
    return best


def _decoding(blobs: Sequence[Blob], *, settings: Settings, space: Space, cores: int, seconds: float) -> Measured:
    chunks = _chunks(blobs, settings.ingest.chunk // 4 or 1)

    def work(chunk: Sequence[Blob]) -> int:
        for blob in chunk:
            _image(blob, settings=settings, space=space)
        return len(chunk)

    return _stage_alone("decode", work, chunks, threads=settings.ingest.decoders or cores, seconds=seconds)


def _images(blobs: Sequence[Blob], *, settings: Settings, space: Space) -> list[tuple[Pixels, Payload]]:
    found = (_image(blob, settings=settings, space=space) for blob in blobs)
    return [each for each in found if each is not None]


def _image(blob: Blob, *, settings: Settings, space: Space) -> tuple[Pixels, Payload] | None:
    """What a decoder makes of an image: pixels and payload, or None where it is rejected."""
    content_hash = hash_of(blob.data)
    try:
        decoded = decode(
            blob.data,
            size=space.image_size,
            max_pixels=settings.limits.max_pixels,
            resizing=space.image.resizing,
        )
    except UnreadableImage:
        return None
    content = content_of(blob.data, decoded, content_hash=content_hash)
    return decoded.pixels, describe(blob, content, now=datetime.now(UTC))


def _encoder(
    tower: ImageTower, pixels: Pixels, *, batch_size: int, cores: int, seconds: float
) -> tuple[Measured, Vectors]:
    """Full batches of the sample, over and over; and the sample's vectors."""
    many = np.resize(pixels, (max(len(pixels), batch_size), *pixels.shape[1:]))
    batches = [many[start : start + batch_size] for start in range(0, len(many) - batch_size + 1, batch_size)]
    local = threading.local()

    def work(batch: Pixels) -> int:
        if not hasattr(local, "slot"):
            local.slot = tower.slot(batch_size)
        local.slot[:] = batch
        return len(tower.embed(local.slot))

    measured = _stage_alone("embed", work, batches, threads=tower.callers(cores=cores), seconds=seconds)
    parts = [tower.embed(pixels[start : start + batch_size]) for start in range(0, len(pixels), batch_size)]
    return measured, np.concatenate(parts)


def _storing(engine: Engine, vectors: Vectors, payloads: Sequence[Payload], *, points: int) -> Measured:
    """Looking up and writing points that are like the sample's, each another."""
    same = ContentDeduplicator(engine)
    started, busy = time.perf_counter(), _processor_seconds()
    for start in range(0, points, UPSERT_POINTS):
        batch = list(_points(vectors, payloads, start=start, count=min(UPSERT_POINTS, points - start)))
        for chunk in _chunks(batch, 32):
            engine.retrieve([point.id for point in chunk], fields=["version"])
            same.claim([_hashed(point) for point in chunk])
        engine.upsert(batch)
    wall, cpu = time.perf_counter() - started, _processor_seconds() - busy
    return Measured("upsert", threads=1, rate=points / wall, cpu_s=cpu / points)


def _points(vectors: Vectors, payloads: Sequence[Payload], *, start: int, count: int) -> Iterator[Point]:
    """Points whose vectors lie near the sample's, so that the store sees what it will see."""
    random = np.random.default_rng(start)
    for number in range(start, start + count):
        near = vectors[number % len(vectors)] + 0.02 * random.standard_normal(vectors.shape[1], dtype=np.float32)
        payload = {**payloads[number % len(payloads)], "content_hash": f"{number:032x}", "uri": f"tune:///{number}"}
        yield Point(str(uuid.UUID(int=number)), near / np.linalg.norm(near), payload)


def _hashed(point: Point) -> Hashed:
    uri = str(point.payload["uri"])
    ref = Ref(uri, source="tune:", object_key=uri, folder="", filename=uri, version=None)
    return Hashed(Blob(ref, b"", Version(), {}), str(point.payload["content_hash"]))


def _graph_seconds(engine: Engine) -> float:
    """The time to build the search graph, where that is this machine's work; a server builds it while points arrive."""
    if not engine.capabilities.in_process:
        return 0.0
    started = time.perf_counter()
    engine.optimize()
    return time.perf_counter() - started


@contextmanager
def _scratch(settings: Settings, *, tower: ImageTower) -> Iterator[Engine]:
    """A collection like the one that is set, on the same engine, which is gone afterwards."""
    name = f"polyglance-tune-{uuid.uuid4().hex[:8]}"
    with open_scratch(settings.qdrant, collection=name) as engine:
        engine.create(schema_for(tower.fingerprint, settings))
        yield engine


# --------------------------------------------------------------------------------------------------------------- timing


def _stage_alone(
    stage: Stage, work: Callable[[T], int], items: Sequence[T], *, threads: int, seconds: float
) -> Measured:
    """Work through the items, over and over, for about so many seconds; ``work`` returns how many images it did."""
    work(items[0])
    endless, lock = itertools.cycle(items), threading.Lock()
    over = threading.Event()

    def keep_working() -> int:
        done = 0
        while not over.is_set():
            with lock:
                item = next(endless)
            done += work(item)
        return done

    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        started, busy = time.perf_counter(), _processor_seconds()
        counts = [pool.submit(keep_working) for _ in range(threads)]
        over.wait(seconds)
        over.set()
        done = max(1, sum(count.result() for count in counts))
        wall, cpu = time.perf_counter() - started, _processor_seconds() - busy
    return Measured(stage, threads=threads, rate=done / wall, cpu_s=cpu / done)


def _cores_given(cores: int, *, seconds: float) -> float:
    """Processor seconds a second that one thread a core gets; hashing keeps nothing from the others."""
    block = bytes(1 << 20)
    hashed = _stage_alone(
        "read", lambda data: len(hashlib.blake2b(data).digest()) // 64, [block], threads=cores, seconds=seconds
    )
    return min(float(cores), hashed.rate * hashed.cpu_s)


def _processor_seconds() -> float:
    """Of all threads of this process, and of the children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@contextmanager
def _torch_on_one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
