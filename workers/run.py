"""One run: list a source, hand its shards to the pipeline one after another, keep the books."""

import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace

from workers.errors import ItemsLost
from workers.meter import Meter, Report
from workers.pipeline import Pipeline
from workers.records import Ref, Tally
from workers.shards import Listing, RunFolder
from workers.sources.source import Source

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands. ``total`` is what has been listed so far, final once ``listed_all``."""

    report: Report
    total: int
    listed_all: bool


class Run:
    """One source on its way into one collection. ``progress`` may be asked from any thread."""

    def __init__(self, source: Source, *, pipeline: Pipeline, folder: RunFolder, shard_size: int) -> None:
        self._source = source
        self._pipeline = pipeline
        self._folder = folder
        self._listing = Listing(source, folder=folder, shard_size=shard_size)
        self._switch = threading.Lock()  # a shard moves from the meter to what is done in one step
        self._done = Report(threads=pipeline.threads)
        self._meter: Meter | None = None
        self._started = time.perf_counter()

    def progress(self) -> Progress:
        """The run as it stands."""
        with self._switch:
            report = self._done + self._meter.report() if self._meter else self._done
        report = replace(report + self._listed(), seconds=time.perf_counter() - self._started)
        return Progress(report, total=self._listing.count, listed_all=self._listing.complete)

    def go(self) -> Report:
        """Do it; returns when every listed picture has its outcome, and raises ItemsLost when one has none.

        What breaks the run is raised as it is, KeyboardInterrupt too; what is stored stays stored, and the next run
        skips it.
        """
        self._folder.begin(self._source.root)
        self._started = time.perf_counter()
        try:
            with self._listing:
                for shard in self._listing:
                    self._work_off(shard)
        finally:
            self._folder.add_rejects(self._listing.rejects)
        report = self.progress().report
        if report.tally.listed != self._listing.count or not report.tally.balanced:
            raise ItemsLost(
                f"{self._source.root} listed {self._listing.count} pictures, but the books of the run are "
                f"{report.tally}. This is a defect: report it."
            )
        self._folder.finish(report)
        return report

    def _work_off(self, shard: list[Ref]) -> None:
        meter = Meter(threads=self._pipeline.threads)
        with self._switch:
            self._meter = meter
        try:
            report = self._pipeline.run(shard, source=self._source, meter=meter)
        finally:
            self._folder.add_rejects(meter.rejects)
        with self._switch:
            self._done, self._meter = self._done + report, None
        log.info("shard_done %s seconds=%.1f bottleneck=%s", _fields(report.tally), report.seconds, report.bottleneck)

    def _listed(self) -> Report:
        """The listing's own share: its rejects, and the time it took."""
        rejects = self._listing.rejects
        return Report(
            tally=Tally(listed=len(rejects), rejected=len(rejects)),
            reasons=Counter(reject.reason for reject in rejects),
            busy={"list": self._listing.busy},
            threads={"list": 1},
        )


def _fields(tally: Tally) -> str:
    return f"listed={tally.listed} stored={tally.stored} unchanged={tally.unchanged} rejected={tally.rejected}"
