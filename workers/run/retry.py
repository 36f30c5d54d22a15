"""Drive rejected images again, and no others."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from connector.settings import Settings
from workers.pipeline.counters import RunReport
from workers.records import Ref, Reject
from workers.run.ingestion import Ingestion, Show, Wait, manifest_of, optimize, remembered
from workers.run.shards import Manifest, RunFolder, run_folders


@dataclass(frozen=True, slots=True)
class Retried:
    """What came of it: the counts of what was tried, and how many rejects name nothing that could be tried."""

    report: RunReport
    hopeless: int


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A run whose rejects are tried again."""

    folder: RunFolder
    manifest: Manifest
    again: tuple[Reject, ...]
    kept: tuple[Reject, ...]


def retry(settings: Settings, *, reason: str | None, show: Show, wait: Wait) -> Retried:
    """Try every rejected image of the settings' collection again, or those rejected for one reason.

    What succeeds is no reject any more; what fails again counts one attempt more. Places are read with the settings
    of the run that listed them. Raises what an ingestion raises.
    """
    chosen = list(_chosen(settings, reason=reason))
    hopeless = sum(each.ref is None for one in chosen for each in (*one.again, *one.kept) if _meant(each, reason))
    total = RunReport()
    by_settings = sorted((one for one in chosen if one.again), key=_reading)
    for _, alike in groupby(by_settings, key=_reading):
        runs = list(alike)
        reading = remembered(settings, manifest=runs[0].manifest)
        with Ingestion.open(reading, recreate=False, show=show, wait=wait) as ingestion:
            for one in runs:
                total += _try_again(one, ingestion=ingestion, settings=reading)
        if total.counts.stored:
            optimize(reading, wait=wait)
    return Retried(total, hopeless=hopeless)


def _chosen(settings: Settings, *, reason: str | None) -> Iterator[_Chosen]:
    for folder in run_folders(settings):
        manifest = folder.manifest()
        if manifest is not None:
            rejects = list(folder.rejects())
            again = tuple(each for each in rejects if each.ref is not None and _meant(each, reason))
            kept = tuple(each for each in rejects if each.ref is None or not _meant(each, reason))
            yield _Chosen(folder, manifest, again=again, kept=kept)


def _meant(reject: Reject, reason: str | None) -> bool:
    return reason in (None, reject.reason)


def _try_again(one: _Chosen, *, ingestion: Ingestion, settings: Settings) -> RunReport:
    attempts = {reject.uri: reject.attempt for reject in one.again}
    folder = RunFolder.of(one.manifest.source, settings=settings, apart="retry")
    manifest = manifest_of(one.manifest.source, place=one.manifest.place, settings=settings)

    def refs() -> Iterator[Ref | Reject]:
        yield from (reject.ref for reject in one.again if reject.ref is not None)

    report = ingestion.ingest_some(refs, manifest=manifest, folder=folder, rejected=one.again)
    failed = [replace(each, attempt=attempts.get(each.uri, 0) + 1) for each in folder.rejects()]
    one.folder.replace_rejects([*one.kept, *failed])
    folder.remove()
    return report


def _reading(one: _Chosen) -> str:
    return json.dumps(one.manifest.settings, sort_keys=True)
