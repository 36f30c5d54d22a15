"""Trial: reads and decodes images that were rejected before, in a process of its own; it loads no model."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

from connector.models.catalog import find_space
from connector.settings import Settings
from workers.executors.executor import OnHeartbeat
from workers.executors.processes import STALLED_EXIT
from workers.pipeline.counters import Counters, ShardReport
from workers.pipeline.metadata import Hashed, decoded_image, hash_of
from workers.records import Blob, Prepared, Ref, Reject, Shard, Unchanged
from workers.sources.open import open_source
from workers.sources.source import Source


class Trial:
    """Says which images of a shard are still rejected, up to the first few that are not."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._space = find_space(settings.model.space)

    def prepare(self, *, recreate: bool) -> Prepared:  # noqa: ARG002  (it writes nothing)
        """See ``AnyWorker``."""
        return Prepared(threads={}, gpus=0)

    def work(self, shard: Shard, *, on_heartbeat: OnHeartbeat) -> ShardReport:  # noqa: ARG002  (it has one limit)
        """The rejects of the shard; ends this process where that takes longer than a read may."""
        limit = threading.Timer(self._settings.ingest.read_timeout_s, os._exit, (STALLED_EXIT,))
        limit.daemon = True
        limit.start()
        counters = Counters(threads={"read": self._settings.ingest.readers})
        counters.listed(len(shard.refs))
        with (
            closing(open_source(shard.place, settings=self._settings)) as source,
            ThreadPoolExecutor(self._settings.ingest.readers) as threads,
        ):
            for reject in threads.map(lambda ref: self._tried(ref, source), shard.refs):
                if reject is None:
                    threads.shutdown(cancel_futures=True)
                    break
                counters.rejected(reject)
        limit.cancel()
        return ShardReport(counters.report(), counters.rejects)

    def close(self) -> None:
        """Nothing is kept."""

    def _tried(self, ref: Ref, source: Source) -> Reject | None:
        """The reject of an image; None where there is none any more."""
        match next(iter(source.read([ref]))):
            case Reject() as reject:
                return replace(reject, ref=ref)
            case Unchanged():
                return None
            case Blob() as blob:
                outcome = decoded_image(
                    Hashed(blob, hash_of(blob.data)),
                    spaces=[self._space],
                    max_pixels=self._settings.limits.max_pixels,
                    now=datetime.now(UTC),
                )
                return outcome if isinstance(outcome, Reject) else None
