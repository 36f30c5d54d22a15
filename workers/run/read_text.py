"""Reading the text in images that are stored already: their originals are read again, and only payloads are written.

The rule: what is done is written at once, so that a run that broke off goes on where it stood; and a content is read
once, however many points have it.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from connector.errors import OriginalError, Overloaded, StoreRefused
from connector.extras import require
from connector.filters.parse import as_filter
from connector.records import OCR_FIELDS, Payload, StoredPoint
from connector.settings import Settings
from connector.store.engine import Engine, pages
from workers.ocr.process import ReaderProcess
from workers.ocr.texts import OUTCOMES, TextStage
from workers.pipeline.metadata import hash_of

if TYPE_CHECKING:
    from qdrant_client.models import Filter

    from connector.service.originals import Originals

POINTS = 64
"""Points looked at together: those of equal content are read once, and what is known of it elsewhere is found once."""
COPIES = 1_024
"""Points read to find contents whose text is known."""
NAMED = 100
"""Images that were not read that a report names."""
FIELDS = ("uri", "version", "bytes", "content_hash", *OCR_FIELDS)

OnProgress = Callable[[int, int], None]
"""Is called with how many points are done, and of how many."""


@dataclass(frozen=True, slots=True)
class TextReport:
    """What became of the text in stored images: ``images`` were looked at, ``counts`` has them by outcome.

    Outcomes are those of ``workers.ocr.texts``, and ``missing`` where the original is not there, or is another one by
    now. ``unread`` says of the first that were not read why. ``stopped``: it was interrupted.
    """

    images: int
    counts: Mapping[str, int]
    unread: Mapping[str, str]
    seconds: float
    stopped: bool

    @property
    def left(self) -> int:
        """Images whose text is not known after this."""
        return sum(count for name, count in self.counts.items() if name not in OUTCOMES)


def read_text(
    engine: Engine,
    *,
    settings: Settings,
    where: "str | Filter | None" = None,
    only_documents: bool = False,
    again: bool = False,
    on_progress: OnProgress = lambda _, __: None,
) -> TextReport:
    """Read the text in all stored images that match, but those that this reader has read; no vector is touched.

    ``again`` reads those too, such as with other settings.

    An interrupt (Ctrl-C) ends it after the images under way; the report says so. Raises ConfigError and ModelError
    where nothing here can read, InvalidQuery for a filter that is none, and StoreError.
    """
    require("serve", what="ocr")
    from connector.service.originals import Originals

    began = time.monotonic()
    texts = TextStage(settings.ocr, max_pixels=settings.limits.max_pixels, only_documents=only_documents)
    condition = None if where is None else as_filter(where, indexes=engine.info().schema.indexes)
    total = engine.count(where=condition)
    tally = _Tally()
    with closing(Originals(settings)) as originals, _Threads(texts) as threads:
        work = _Work(engine, texts=texts, originals=originals, threads=threads, tally=tally, again=again)
        try:
            for points in pages(engine, limit=POINTS, where=condition, fields=FIELDS):
                work.on(points, told=lambda: on_progress(tally.images, total))
        except KeyboardInterrupt:
            threads.stop()
            tally.stopped = True
    counts = dict(tally.counts.most_common())
    return TextReport(tally.images, counts, tally.unread, time.monotonic() - began, tally.stopped)


@dataclass(slots=True)
class _Tally:
    """What is counted, by several threads."""

    counts: Counter[str] = field(default_factory=Counter)
    unread: dict[str, str] = field(default_factory=dict)
    stopped: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def images(self) -> int:
        return self.counts.total()

    def note(self, outcome: str, points: Sequence[StoredPoint]) -> None:
        with self.lock:
            self.counts[outcome] += len(points)
            if outcome not in OUTCOMES:
                self.unread |= {each.uri or each.id: outcome for each in points[: NAMED - len(self.unread)]}


class _Threads:
    """Threads that read, each with a process of its own, for as long as the ``with`` lasts."""

    def __init__(self, texts: TextStage) -> None:
        self._texts = texts
        self._own = threading.local()
        self._processes = ExitStack()
        self._lock = threading.Lock()
        self.pool = ThreadPoolExecutor(texts.threads, thread_name_prefix="ocr")

    def process(self) -> ReaderProcess:
        """The one of the thread that asks."""
        if not hasattr(self._own, "process"):
            with self._lock:
                self._own.process = self._processes.enter_context(self._texts.reading())
        process: ReaderProcess = self._own.process
        return process

    def stop(self) -> None:
        """Begin nothing more, and wait for what is under way."""
        self.pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._processes.close()


class _Work:
    """One page of points after the other."""

    def __init__(
        self, engine: Engine, *, texts: TextStage, originals: "Originals", threads: _Threads, tally: _Tally, again: bool
    ) -> None:
        self._engine = engine
        self._texts = texts
        self._originals = originals
        self._threads = threads
        self._tally = tally
        self._again = again

    def on(self, points: Sequence[StoredPoint], *, told: Callable[[], None]) -> None:
        """Bring these points to their text; ``told`` is called as it goes on."""
        contents: dict[str, list[StoredPoint]] = {}
        for point in points:
            if self._known(point.payload) is not None:
                self._tally.note("known", [point])
            else:
                contents.setdefault(str(point.payload.get("content_hash") or point.id), []).append(point)
        known = self._known_elsewhere([*contents])
        futures = [
            self._threads.pool.submit(self._read, same, known.get(content)) for content, same in contents.items()
        ]
        told()
        for future in as_completed(futures):
            future.result()
            told()

    def _known(self, payload: Payload) -> Payload | None:
        """What a payload knows of the text, where that counts."""
        return None if self._again else self._texts.known(payload)

    def _known_elsewhere(self, contents: Sequence[str]) -> dict[str, Payload]:
        """What other points of the same contents know of their text."""
        if not contents:
            return {}
        from qdrant_client import models

        where = models.Filter(must=[models.FieldCondition(key="content_hash", match=models.MatchAny(any=[*contents]))])
        page = self._engine.scroll(limit=COPIES, where=where, fields=["content_hash", *OCR_FIELDS])
        found = ((str(each.payload["content_hash"]), self._known(each.payload)) for each in page.points)
        return {content: fields for content, fields in found if fields is not None}

    def _read(self, points: Sequence[StoredPoint], known: Payload | None) -> None:
        outcome, fields = ("known", known) if known is not None else self._read_original(points[0].payload)
        if fields:
            outcome = self._write(points, fields) or outcome
        self._tally.note(outcome, points)

    def _read_original(self, payload: Payload) -> tuple[str, Payload]:
        try:
            data = self._originals.find(payload).whole()
        except (OriginalError, Overloaded, ValueError):
            return "missing", {}
        if payload.get("content_hash") not in (None, hash_of(data)):
            return "missing", {}
        return self._texts.of(data, known={}, process=self._threads.process())

    def _write(self, points: Sequence[StoredPoint], fields: Payload) -> str | None:
        """Write the fields; what another reader read goes. Gives ``missing`` where the points are gone meanwhile."""
        values: dict[str, Any] = dict(fields)
        if "ocr_text" not in values and any(each.payload.get("ocr_text") for each in points):
            values["ocr_text"] = ""
        try:
            self._engine.set_payload([each.id for each in points], values)
        except StoreRefused:
            there = {each.id for each in self._engine.retrieve([each.id for each in points], fields=["uri"])}
            if len(there) == len(points):
                raise
            if there:
                self._engine.set_payload(sorted(there), values)
            return "missing"
        return None
