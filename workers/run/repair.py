"""Repair: what a check found, as far as that goes without guessing.

    a damaged file of a run     goes; the next run of its source begins anew
    a point that is wrong       is embedded again from the image that its source lists under its id
    a point that is missing     likewise, where the source lists an image without one
    what no source lists        stays, or goes where the caller says so
    a damaged file of a shard   the whole collection is made again from its sources (``workers.run.renew``)

The rule: nothing is written that an ingestion would not write.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from connector.settings import Settings
from connector.store.audit_point import fault_of
from connector.store.engine import Engine
from connector.store.open import open_engine
from workers.records import Ref, Reject
from workers.run.check import CheckReport
from workers.run.check_files import file_faults
from workers.run.ingestion import Ingestion, Show, Wait, manifest_of, remembered
from workers.run.renew import renew
from workers.run.shards import VERIFY, Manifest, RunFolder, run_folders
from workers.sources.open import open_source

BATCH = 256
"""Ids looked up, and points removed, at a time."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did. ``left`` points are wrong still: no source lists an image of their id that can be read.

    ``apart`` is the folder where a damaged collection lies, which was made again from its sources.
    """

    files: int = 0
    embedded: int = 0
    removed: int = 0
    left: int = 0
    apart: str | None = None


def repair(settings: Settings, found: CheckReport, *, remove: bool, show: Show, wait: Wait) -> Repaired:
    """Mend what ``found`` names. ``remove`` takes away the points that stay wrong. Raises what an ingestion raises.

    A collection with damaged files is made again from its sources; without a run that tells of any, it stays as it is.
    """
    if found.counts.get("file"):
        renewed = renew(settings, show=show, wait=wait)
        return Repaired() if renewed is None else Repaired(embedded=renewed.stored, apart=str(renewed.apart))
    wrong = {each.where for each in found.findings if each.repair == "embed"}
    places = [folder.manifest() for folder in run_folders(settings)]
    files = _take_away_damaged_files(settings)
    embedded = 0
    if wrong or found.counts.get("count"):
        for manifest in places:
            if manifest is not None:
                embedded += _embed_again(manifest, wrong=wrong, settings=settings, show=show, wait=wait)
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        still = _still_wrong(engine, sorted(wrong))
        for some in _batches(still if remove else []):
            engine.delete(some)
    return Repaired(files, embedded, removed=len(still) if remove else 0, left=0 if remove else len(still))


def _take_away_damaged_files(settings: Settings) -> int:
    """Remove damaged files of runs; all of a run of which nobody can say any more whose it is."""
    count = 0
    for folder in run_folders(settings):
        names = [name for name, _ in file_faults(folder.files)]
        count += len(names)
        if "run.json" in names:
            folder.remove()
        else:
            folder.files.remove(names)
    return count


def _embed_again(manifest: Manifest, *, wrong: set[str], settings: Settings, show: Show, wait: Wait) -> int:
    """Bring in what a place lists of the wrong ids, and what of it has no point."""
    reading = remembered(settings, manifest=manifest)
    with (
        closing(open_source(manifest.place, settings=reading)) as source,
        closing(open_engine(settings.qdrant, collection=settings.collection)) as engine,
        wait(f"listing {manifest.source}"),
    ):
        refs = [*_chosen(source.list, engine=engine, wrong=wrong)]
    if not refs:
        return 0
    again = manifest_of(manifest.source, place=manifest.place, settings=reading)
    again = replace(again, settings={**again.settings, VERIFY: "nothing"})
    folder = RunFolder.of(manifest.source, settings=reading, apart="repair")
    with Ingestion.open(reading, recreate=False, show=show, wait=wait) as ingestion:
        report = ingestion.ingest_some(lambda: iter(refs), manifest=again, folder=folder)
    folder.remove()
    return report.counts.stored


def _chosen(items: Callable[[], Iterator[Ref | Reject]], *, engine: Engine, wrong: set[str]) -> Iterator[Ref]:
    refs = (each for each in items() if isinstance(each, Ref))
    while some := [*itertools.islice(refs, BATCH)]:
        there = {point.id for point in engine.retrieve([ref.point_id for ref in some], fields=[])}
        yield from (ref for ref in some if ref.point_id in wrong or ref.point_id not in there)


def _still_wrong(engine: Engine, ids: Sequence[str]) -> list[str]:
    schema = engine.info().schema
    points = (point for some in _batches(ids) for point in engine.retrieve(some, vectors=True))
    return [point.id for point in points if fault_of(point, schema=schema) is not None]


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    yield from (ids[at : at + BATCH] for at in range(0, len(ids), BATCH))
