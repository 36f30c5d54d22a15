"""Renew: a collection whose files are damaged is made again from its sources, which its runs know.

The rule: nothing is thrown away. The damaged collection is moved aside, whole, before the first image is read; every
source must be there to be listed before that.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.settings import Settings
from connector.store.open import capabilities_of, set_apart
from workers.run.shards import VERIFY, Manifest, RunFolder, run_folders

if TYPE_CHECKING:
    from workers.run.ingestion import Show, Wait


@dataclass(frozen=True, slots=True)
class Renewed:
    """What became of it: images that were stored anew, and the folder where the damaged collection lies."""

    stored: int
    apart: Path


def commands_to_renew(settings: Settings) -> tuple[str, ...]:
    """The commands that bring everything back from its sources: one for all that were read with the same settings."""
    together: dict[str, list[str]] = {}
    for _, manifest in _runs(settings):
        together.setdefault(_options(manifest.settings), []).append(shlex.quote(manifest.place))
    where = f"--space {shlex.quote(settings.model.space)} --collection {shlex.quote(settings.collection)}"
    return tuple(
        f"polyglance ingest {' '.join(places)} {where}{options}{'' if number else ' --recreate'}"
        for number, (options, places) in enumerate(together.items())
    )


def renew(settings: Settings, *, show: "Show", wait: "Wait") -> Renewed | None:
    """Make an embedded collection again from every source of its runs; None where no run tells of any.

    Raises SourceError for a source that cannot be listed now, and StoreUnavailable while somebody has the collection
    open: then nothing was changed. Raises what an ingestion raises.
    """
    from workers.run.ingestion import Ingestion, optimize, remembered
    from workers.sources.open import open_source

    runs = _runs(settings)
    if not runs or not capabilities_of(settings.qdrant).in_process:
        return None
    stored = 0
    with ExitStack() as stack:
        sources = []
        for _, manifest in runs:
            reading = remembered(settings, manifest=manifest)
            sources.append(stack.enter_context(closing(open_source(manifest.place, settings=reading))))
        for source in sources:
            next(iter(source.list()), None)
        apart = set_apart(settings.qdrant, collection=settings.collection)
        for (folder, manifest), source in zip(runs, sources, strict=True):
            folder.remove()  # what it has as done is gone with the collection
            reading = remembered(settings, manifest=manifest)
            with Ingestion.open(reading, recreate=False, show=show, wait=wait) as ingestion:
                stored += ingestion.ingest(source, place=manifest.place).report.counts.stored
    optimize(settings, wait=wait)
    return Renewed(stored, apart)


def _runs(settings: Settings) -> Sequence[tuple[RunFolder, Manifest]]:
    """The last run of each source, as far as its files can be read, the oldest first."""
    there = [(folder, manifest) for folder in run_folders(settings) if (manifest := folder.manifest()) is not None]
    return sorted(there, key=lambda each: each[1].started_at)


def _options(reading: Mapping[str, Any]) -> str:
    """What a place was read with, as options of the command line."""
    told = {name: value for name, value in reading.items() if name != VERIFY}
    pairs = (f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in told.items())
    return "".join(f" --set {shlex.quote(pair)}" for pair in pairs)
