"""What measurements mean: how fast the stages are together, what holds them up, which settings suit, what N cost.

The formula is that of ``workers.sizing.tune`` and docs/planning.md; bench_tune holds it against real runs.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from connector.extras import missing
from connector.settings import Settings
from workers.records import Stage
from workers.sizing.tune import Measurements

ROOM = 1.2
"""How much faster than the rest reading should be, so that it never holds up the others."""


@dataclass(frozen=True, slots=True)
class PooledEstimate:
    """The stages together. ``shares`` is each stage's part of the processor; ``workers`` is the processes it takes."""

    rate: float
    limit: str
    workers: int
    shares: dict[Stage, float]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What so many images take: seconds to start, to bring them in, to build the graph; ``cost`` is of all three."""

    images: int
    start_s: float
    ingest_s: float
    graph_s: float
    cost: float | None

    @property
    def seconds(self) -> float:
        """All in all."""
        return self.start_s + self.ingest_s + self.graph_s


def pooled(found: Measurements) -> PooledEstimate:
    """How many images a second all stages reach at once, and what limits them."""
    processor = sum(stage.cpu_s for stage in found.stages)
    limits = {"the processor": found.given / processor}
    one_process = min(stage.rate for stage in found.stages if stage.stage != "embed")
    if found.gpus:
        limits["the GPU"] = found.stage("embed").rate * found.gpus
    workers = 1 if found.embedded else max(found.gpus, math.ceil(min(limits.values()) / one_process))
    slowest = min(found.stages, key=lambda stage: stage.rate if stage.stage != "embed" else math.inf)
    limits[f"{slowest.stage} in one process" if workers == 1 else slowest.stage] = workers * one_process
    limit = min(limits, key=lambda name: limits[name])
    shares = {stage.stage: stage.cpu_s / processor for stage in found.stages}
    return PooledEstimate(rate=limits[limit], limit=limit, workers=workers, shares=shares)


def predict(found: Measurements, *, images: int, price_per_hour: float | None) -> Prediction:
    """What ``images`` images like these take on this machine.

    The graph grows as n log n, from the stretch that was measured.
    """
    ingest_s = images / pooled(found).rate
    graph_s = found.graph_s * _n_log_n(images) / _n_log_n(found.graph_points) if found.graph_s else 0.0
    cost = None if price_per_hour is None else (found.start_s + ingest_s + graph_s) / 3600 * price_per_hour
    return Prediction(images=images, start_s=found.start_s, ingest_s=ingest_s, graph_s=graph_s, cost=cost)


def proposals(found: Measurements, *, settings: Settings) -> dict[str, Any]:
    """Settings by dotted name that differ from what holds and would suit this machine better."""
    wanted: dict[str, Any] = {"ingest.readers": max(settings.ingest.readers, _readers(found))}
    if found.device != "cpu":
        wanted["model.batch_size"] = found.batch_size  # found once: the next run need not try again
    if not found.embedded:
        wanted["ingest.workers"] = pooled(found).workers
    return {name: value for name, value in wanted.items() if _of(settings, name) != value}


def advice(found: Measurements, *, place: str) -> Iterator[str]:
    """What no setting does by itself."""
    if missing("speed"):
        yield "JPEGs decode about 1.4 times as fast with simplejpeg: pip install 'polyglance[speed]'."
    if place.startswith("s3://") and missing("obstore"):
        yield "S3 objects are read with a tenth of the processor time by obstore: pip install 'polyglance[obstore]'."
    if found.device == "cpu" and pooled(found).shares["embed"] > 0.5:
        yield "Embedding takes most of the time; a GPU takes that from the processor."
    if found.device != "cpu" and pooled(found).limit != "the GPU":
        yield "The GPU waits for the rest: a machine with more processor cores for each GPU would feed it better."
    if found.embedded and found.cores > 4:
        yield "The embedded engine writes in one process; with a Qdrant server (qdrant.url) others do that work."
    if found.given < 0.8 * found.cores:
        yield f"This process gets {found.given:.1f} of {found.cores} cores: others run here, or a quota holds it back."
    if found.rejected:
        yield f"{found.rejected} of {found.images + found.rejected} images cannot be decoded; ingest says why."


def _readers(found: Measurements) -> int:
    """The fewest reading threads that stay ahead of the rest, taking their rate to grow with their number."""
    reading = found.stage("read")
    needed = ROOM * pooled(found).rate / pooled(found).workers
    return max(1, min(reading.threads, math.ceil(reading.threads * needed / reading.rate)))


def _of(settings: Settings, name: str) -> Any:
    section, _, key = name.partition(".")
    return getattr(getattr(settings, section), key)


def _n_log_n(n: int) -> float:
    return n * math.log(max(n, 2))
