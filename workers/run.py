"""One run: list a source, hand its shards to the pipeline one after another, keep the books."""

from collections import Counter
from dataclasses import dataclass

from workers.errors import RunIncomplete
from workers.meter import Meter, Report
from workers.pipeline import Pipeline
from workers.records import Ref, Tally
from workers.shards import Listing, RunFolder
from workers.sources.source import Source


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
        self._before = Report(threads=pipeline.threads)
        self._meter: Meter | None = None

    def progress(self) -> Progress:
        """The run as it stands."""
        report = self._before + self._meter.report() if self._meter else self._before
        return Progress(report, total=self._listing.count, listed_all=self._listing.complete)

    def go(self) -> Report:
        """Do it; returns when every listed picture has its outcome.

        Raises RunIncomplete when interrupted; what is stored stays stored, and the next run skips it.
        """
        self._folder.begin(self._source.root)
        try:
            with self._listing:
                for shard in self._listing:
                    self._work_off(shard)
        except KeyboardInterrupt as interrupt:
            stored = self.progress().report.tally.stored
            message = f"stopped; {stored:,} pictures are stored. Give the same command again to go on with the rest."
            raise RunIncomplete(message) from interrupt
        rejects = self._listing.rejects
        self._folder.add_rejects(rejects)
        report = self._before + Report(
            tally=Tally(listed=len(rejects), rejected=len(rejects)),
            reasons=Counter(reject.reason for reject in rejects),
        )
        self._folder.finish(report)
        return report

    def _work_off(self, shard: list[Ref]) -> None:
        meter = self._meter = Meter(threads=self._pipeline.threads)
        try:
            done = self._pipeline.run(shard, source=self._source, meter=meter)
        finally:
            self._folder.add_rejects(meter.rejects)
        self._before, self._meter = self._before + done, None
