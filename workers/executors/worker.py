"""Worker: what one process keeps between shards (tower, engine, pipeline and open sources), and how it works.

The one rule: only frozen settings, shards and reports cross the border of a process.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Self

import torch

from connector.errors import CollectionMismatch, CollectionMissing, SpaceChanged
from connector.models.answering import check_space, model_in
from connector.models.catalog import find_space, fingerprint_of
from connector.models.image_tower import ImageTower
from connector.process import share_heaps
from connector.service.signatures import thumbnail_address
from connector.settings import ModelSettings, Settings
from connector.store.engine import Engine
from connector.store.open import open_engine
from connector.store.schema import CollectionSchema, schema_for
from workers.pipeline.counters import HEARTBEAT_S, Counters, Heartbeat, ShardReport
from workers.pipeline.pipeline import Pipeline
from workers.records import Prepared, Ref, Shard, Verify
from workers.sources.open import open_source
from workers.sources.source import Source

if TYPE_CHECKING:
    from workers.alerts.judge import AlertJudge
    from workers.ocr.texts import TextStage

log = logging.getLogger(__name__)


class Worker:
    """Brings shards into one collection, one after the other."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        settings: Settings,
        open_place: Callable[[str], Source],
        beat_s: float = HEARTBEAT_S,
        number: int = 0,
        mismatch: CollectionMismatch | None = None,
    ) -> None:
        self.pipeline = pipeline
        self._mismatch = mismatch
        self._judge: AlertJudge | None = None
        self._number = number
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
            mismatch = None
            try:
                towers = _towers(settings, schema=_schema_of(engine), number=number, loaded=())
            except CollectionMismatch as error:  # for ``prepare`` to raise, unless the collection is to be made anew
                mismatch, towers = error, _towers(settings, schema=None, number=number, loaded=())
        except BaseException:
            engine.close()
            raise
        return cls(
            _pipeline(settings, engine=engine, towers=towers),
            settings=settings,
            open_place=lambda place: open_source(place, settings=settings),
            number=number,
            mismatch=mismatch,
        )

    def prepare(self, *, recreate: bool) -> Prepared:
        """See to it that the collection is there, and empty where it is to be made anew."""
        if recreate:
            (tower,) = _towers(self._settings, schema=None, number=self._number, loaded=self.pipeline.towers)
            before = _schema_of(self._engine)
            made = schema_for(tower.fingerprint, self._settings)
            self._engine.recreate(made if before is None else replace(made, alerts=before.alerts))
        elif self._mismatch is not None:
            raise self._mismatch
        else:
            self._engine.create(schema_for(self.pipeline.tower.fingerprint, self._settings))
        self.follow()
        return Prepared(threads=dict(self.pipeline.threads), gpus=_gpus(self.pipeline.tower.device))

    def follow(self) -> None:
        """Have the pipeline make the vectors of every space that the collection has now, and mark what alerts ask for.

        Raises CollectionMismatch, ConfigError and ModelError where that cannot be.
        """
        schema = _schema_of(self._engine)
        if schema is not None and (*schema.dims,) != self.pipeline.spaces:
            towers = _towers(self._settings, schema=schema, number=self._number, loaded=self.pipeline.towers)
            self.pipeline = _pipeline(self._settings, engine=self._engine, towers=towers)
            log.info("spaces_followed collection=%s spaces=%s", self._engine.collection, ", ".join(schema.dims))
        self.pipeline.judge = self._judge_for(schema)

    def _judge_for(self, schema: CollectionSchema | None) -> "AlertJudge | None":
        """What holds new images against the alerts of the collection, as they are now; None where there are none."""
        if schema is None or not schema.alerts:
            self._judge = None
        elif self._judge is None or not self._judge.is_of(schema):
            from workers.alerts.judge import judge_of

            self._judge = judge_of(self._engine, schema=schema, settings=self._settings)
        return self._judge

    def work(self, shard: Shard, *, on_heartbeat: Callable[[Heartbeat], None]) -> ShardReport:
        """Bring a shard to its end. Raises what ``Pipeline.run`` raises, and SourceError where its place is gone."""
        beating = partial(_beating, on_heartbeat=on_heartbeat, every_s=self._beat_s)
        counters = self.bring_in(shard.refs, source=self._source(shard.place), verify=shard.verify, beside=beating)
        return ShardReport(counters.report(), counters.rejects)

    def bring_in(
        self,
        refs: Sequence[Ref],
        *,
        source: Source,
        verify: Verify = "version",
        beside: Callable[[Counters], AbstractContextManager[None]] = lambda _: nullcontext(),
    ) -> Counters:
        """Ingest refs of a source; a context ``beside`` it is handed what is counted.

        Where the collection's spaces change meanwhile, all is looked at anew: what is stored is unchanged then.
        """
        for left in (1, 0):
            self.follow()
            counters = Counters(threads=self.pipeline.threads)
            try:
                with beside(counters):
                    self.pipeline.run(refs, source=source, counters=counters, verify=verify)
                break
            except SpaceChanged:
                if not left:
                    raise
        return counters

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


def _schema_of(engine: Engine) -> CollectionSchema | None:
    """The schema of a collection that is there; a store that is locked or away says so before a model is loaded."""
    with suppress(CollectionMissing):
        return engine.info().schema
    return None


def _towers(
    settings: Settings, *, schema: CollectionSchema | None, number: int, loaded: Sequence[ImageTower]
) -> list[ImageTower]:
    """The towers of a collection's spaces, the one that answers first; of a new one, that of the settings' space."""
    there = {each.space.name: each for each in loaded}
    if schema is None:
        models = {find_space(settings.model.space).name: settings.model}
    else:
        wanted = fingerprint_of(find_space(settings.model.space))
        check_space(wanted, schema=schema, collection=settings.collection)
        models = {each: model_in(settings.model, space=each, schema=schema) for each in schema.dims}
    return [
        there[space] if space in there else ImageTower.load(_on_gpu(model, number=number))
        for space, model in models.items()
    ]


def _pipeline(settings: Settings, *, engine: Engine, towers: Sequence[ImageTower]) -> Pipeline:
    return Pipeline(
        tower=towers[0],
        second=towers[1] if len(towers) > 1 else None,
        engine=engine,
        settings=settings.ingest.model_copy(update={"read_timeout_s": _longest_read_s(settings)}),
        limits=settings.limits,
        batch_size=settings.model.batch_size,
        thumbnail_address=thumbnail_address(settings.serve),
        texts=_text_stage(settings),
    )


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
