"""Worker: what one process keeps between shards (tower, engine, pipeline and open sources), and how it works.

The one rule: only frozen settings, shards and reports cross the border of a process.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Self

import torch

from connector.errors import CollectionMissing
from connector.models.image_tower import ImageTower
from connector.process import share_heaps
from connector.service.signatures import thumbnail_address
from connector.settings import ModelSettings, Settings
from connector.store.open import open_engine
from connector.store.schema import schema_for
from workers.pipeline.counters import HEARTBEAT_S, Counters, Heartbeat, ShardReport
from workers.pipeline.pipeline import Pipeline
from workers.records import Prepared, Shard
from workers.sources.open import open_source
from workers.sources.source import Source

if TYPE_CHECKING:
    from workers.ocr.texts import TextStage


class Worker:
    """Brings shards into one collection, one after the other."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        settings: Settings,
        open_place: Callable[[str], Source],
        beat_s: float = HEARTBEAT_S,
    ) -> None:
        self.pipeline = pipeline
        self._tower = pipeline.tower
        self._engine = pipeline.engine
        self._settings = settings
        self._open_place = open_place
        self._beat_s = beat_s
        self._open = ExitStack()
        self._sources: dict[str, Source] = {}

    @classmethod
    def start(cls, settings: Settings, *, number: int = 0) -> Self:
        """Load the tower and open the engine. Raises ConfigError, ModelError and StoreError.

        ``number`` is the worker's among those of its machine: it chooses the GPU where there are several.
        """
        share_heaps()
        engine = open_engine(settings.qdrant, collection=settings.collection)
        try:
            with suppress(CollectionMissing):
                engine.info()  # a store that is locked or away says so before the model is loaded
            tower = ImageTower.load(_on_gpu(settings.model, number=number))
        except BaseException:
            engine.close()
            raise
        pipeline = Pipeline(
            tower=tower,
            engine=engine,
            settings=settings.ingest.model_copy(update={"read_timeout_s": _longest_read_s(settings)}),
            limits=settings.limits,
            batch_size=settings.model.batch_size,
            thumbnail_address=thumbnail_address(settings.serve),
            texts=_text_stage(settings),
        )
        return cls(
            pipeline,
            settings=settings,
            open_place=lambda place: open_source(place, settings=settings),
        )

    def prepare(self, *, recreate: bool) -> Prepared:
        """See to it that the collection is there, and empty where it is to be made anew."""
        schema = schema_for(self._tower.fingerprint, self._settings)
        if recreate:
            self._engine.recreate(schema)
        else:
            self._engine.create(schema)
        return Prepared(threads=dict(self.pipeline.threads), gpus=_gpus(self._tower.device))

    def work(self, shard: Shard, *, on_heartbeat: Callable[[Heartbeat], None]) -> ShardReport:
        """Bring a shard to its end. Raises what ``Pipeline.run`` raises, and SourceError where its place is gone."""
        counters = Counters(threads=self.pipeline.threads)
        with _beating(counters, on_heartbeat=on_heartbeat, every_s=self._beat_s):
            report = self.pipeline.run(
                shard.refs, source=self._source(shard.place), counters=counters, verify=shard.verify
            )
        return ShardReport(report, counters.rejects)

    def close(self) -> None:
        """Let go of sources and store."""
        try:
            self._open.close()
        finally:
            self._engine.close()

    def _source(self, place: str) -> Source:
        if place not in self._sources:
            self._sources[place] = self._open.enter_context(closing(self._open_place(place)))
        return self._sources[place]


def _text_stage(settings: Settings) -> "TextStage | None":
    """What reads the text in images; None where nobody asked for it. Raises ConfigError and ModelError."""
    if settings.ocr.images == "off":
        return None
    from workers.ocr.texts import TextStage

    only_documents = settings.ocr.images == "documents"
    return TextStage(settings.ocr, max_pixels=settings.limits.max_pixels, only_documents=only_documents)


def _longest_read_s(settings: Settings) -> float:
    """Seconds that a read may take: one that waits for S3 to come back hangs no longer than it may."""
    return max(settings.ingest.read_timeout_s, 2 * settings.s3.retry_s)


@contextmanager
def _beating(counters: Counters, *, on_heartbeat: Callable[[Heartbeat], None], every_s: float) -> Iterator[None]:
    """Give signs of life for as long as the block runs."""
    over = threading.Event()
    sent = 0

    def send_heartbeat() -> None:
        nonlocal sent
        rejects = counters.rejects
        on_heartbeat(
            Heartbeat(counters.report(), rejects[sent:], waiting=counters.waiting(), device_bytes=_device_bytes())
        )
        sent = len(rejects)

    def work() -> None:
        while not over.wait(every_s):
            send_heartbeat()

    thread = threading.Thread(target=work, name="beat", daemon=True)
    try:
        thread.start()
        yield
    except BaseException:
        _join(thread, over)
        send_heartbeat()
        raise
    finally:
        _join(thread, over)


def _join(thread: threading.Thread, over: threading.Event) -> None:
    """End a thread that an interrupt may have kept from starting."""
    over.set()
    if thread.ident is not None:
        thread.join()


def _on_gpu(model: ModelSettings, *, number: int) -> ModelSettings:
    """The settings with one GPU of several named, where they leave that open."""
    if model.device not in ("auto", "cuda") or torch.cuda.device_count() < 2:
        return model
    return model.model_copy(update={"device": f"cuda:{number % torch.cuda.device_count()}"})


def _gpus(device: str) -> int:
    return torch.cuda.device_count() if device.startswith("cuda") else 0


def _device_bytes() -> int | None:
    return int(torch.cuda.memory_reserved()) if torch.cuda.is_available() else None
