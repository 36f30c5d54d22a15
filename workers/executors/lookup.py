"""What becomes of a shard without a model: what the collection holds as it is, and what is no image now as before.

The rule: an image that needs a vector is the workers', and so is one that nobody has tried yet. Addresses whose version
only their server tells are asked for conditionally. What the last run rejected is read and decoded again in a process
of its own, since nobody knows what it does to its decoder.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from time import monotonic
from unicodedata import normalize

from connector.errors import WorkerDied
from connector.records import Payload
from connector.settings import Settings
from connector.store.engine import Engine
from connector.version import Version
from workers.executors.executor import AnyWorker, OnHeartbeat
from workers.pipeline.counters import HEARTBEAT_S, Counters, Heartbeat, ShardReport
from workers.records import Blob, Outcome, Places, Ref, Reject, Shard, Unchanged
from workers.sources.open import open_source
from workers.sources.source import Source, throttled

log = logging.getLogger(__name__)

LOOKED_UP = 1_000
"""Images looked up in one call."""
TRIED = 32
"""Rejected images that are tried again without a model; more of them take workers to try."""


class Lookup:
    """Settles shards that need no worker. ``opened`` gives the collection, which is there."""

    def __init__(self, settings: Settings, *, opened: Callable[[], Engine]) -> None:
        self._settings = settings
        self._opened = opened
        self._rejected: frozenset[str] = frozenset()
        self._place: str | None = None
        self._source: Source | None = None

    def expect(self, rejected: Iterable[Reject]) -> None:
        """Hear what could not be read or decoded when it was tried last; more than a few are left to the workers."""
        again = (each.uri for each in rejected if each.stage in ("read", "decode"))
        few = [*islice(again, TRIED + 1)]
        self._rejected = frozenset(few if len(few) <= TRIED else ())

    def settled(self, shard: Shard, *, on_heartbeat: OnHeartbeat) -> ShardReport | None:
        """What became of a shard; None where it has something for the workers. Raises SourceError and StoreError."""
        if shard.verify != "version":
            return None
        counters = Counters(threads={"read": 1})
        counters.listed(len(shard.refs))
        with counters.busy("read"):
            sorted_out = self._sorted_out(shard.refs, counters=counters)
            if sorted_out is None:
                return None
            asked, again = sorted_out
            if (asked or again) and self._settings.ingest.executor != "local":
                return None  # the places may be those of the cluster's machines
            for ref, outcome in self._answers(asked, place=shard.place, counters=counters, on_heartbeat=on_heartbeat):
                match outcome:
                    case Unchanged():
                        counters.unchanged(1)
                    case Reject():
                        counters.rejected(replace(outcome, ref=ref))
                    case Blob() if ref.uri in self._rejected:
                        again.append(ref)
                    case Blob():
                        return None
            for reject in (rejects := self._rejects(again, shard=shard, on_heartbeat=on_heartbeat)):
                counters.rejected(reject)
        return ShardReport(counters.report(), counters.rejects) if len(rejects) == len(again) else None

    def close(self) -> None:
        """Let go of the place."""
        source, self._source, self._place = self._source, None, None
        if source is not None:
            source.close()

    def _sorted_out(self, refs: Sequence[Ref], *, counters: Counters) -> tuple[list[Ref], list[Ref]] | None:
        """Those to ask for, and those that were rejected; None where there is anything else that is not stored."""
        asked: list[Ref] = []
        again: list[Ref] = []
        for at in range(0, len(refs), LOOKED_UP):
            piece = refs[at : at + LOOKED_UP]
            points = self._opened().retrieve([ref.point_id for ref in piece], fields=["version", *Places.FIELDS])
            stored = {point.id: point.payload for point in points}
            for ref in piece:
                there = stored.get(ref.point_id)
                version = None if there is None else Version.parse(there.get("version"))
                if there is not None and not _lies_as_stored(ref, there):
                    return None
                known = version is not None or ref.uri in self._rejected
                if version is not None and ref.version == version:
                    counters.unchanged(1)
                elif ref.version is None and known:
                    asked.append(replace(ref, stored_version=version))
                elif ref.uri in self._rejected:
                    again.append(replace(ref, stored_version=version))
                else:
                    return None
        return asked, again

    def _answers(
        self, refs: Sequence[Ref], *, place: str, counters: Counters, on_heartbeat: OnHeartbeat
    ) -> Iterator[tuple[Ref, Outcome]]:
        """What the servers of addresses say, many at a time; whoever has enough goes without the rest."""
        if not refs:
            return
        source = self._opened_source(place)
        counters.watch_throttling(partial(throttled, source))
        told = monotonic()
        with ThreadPoolExecutor(self._settings.ingest.readers, thread_name_prefix="ask") as threads:
            answers = [threads.submit(_read_one, source, ref) for ref in refs]
            try:
                for ref, answer in zip(refs, answers, strict=True):
                    yield ref, answer.result()
                    if monotonic() - told > HEARTBEAT_S:
                        told = monotonic()
                        on_heartbeat(Heartbeat(counters.report()))
            finally:
                threads.shutdown(wait=True, cancel_futures=True)

    def _rejects(self, refs: Sequence[Ref], *, shard: Shard, on_heartbeat: OnHeartbeat) -> Sequence[Reject]:
        """The rejects of images that were rejected before; fewer than they are where one has become fit."""
        if not refs or self._settings.ingest.workers == 0:  # then no process shall be started
            return ()
        from workers.executors.processes import Child

        start = partial(start_trial, self._settings)
        with closing(Child(start, name="trial", stall_s=self._settings.ingest.stall_s)) as trial:
            try:
                return trial.work(replace(shard, refs=tuple(refs)), on_heartbeat=on_heartbeat).rejects
            except WorkerDied as death:
                log.info("trial_died shard=%d images=%d: %s", shard.number, len(refs), death)
                return ()

    def _opened_source(self, place: str) -> Source:
        if self._source is None or self._place != place:
            self.close()
            self._source, self._place = open_source(place, settings=self._settings), place
        return self._source


def start_trial(settings: Settings) -> AnyWorker:
    """What tries images in a process of its own."""
    from workers.executors.trial import Trial

    return Trial(settings)


def _read_one(source: Source, ref: Ref) -> Outcome:
    return next(iter(source.read([ref])))


def _lies_as_stored(ref: Ref, payload: Payload) -> bool:
    return Places.of(payload).get(ref.source) == normalize("NFC", ref.folder)
