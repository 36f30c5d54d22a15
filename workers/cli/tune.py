"""``polyglance tune``: measure this machine with images of one's own."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli import options
from connector.cli.output import say, say_json
from connector.errors import ConfigError

if TYPE_CHECKING:
    from connector.settings import Settings
    from workers.sizing.advice import PooledEstimate, Prediction
    from workers.sizing.tune import Measurements

app = typer.Typer(add_completion=False)


@app.command()
def tune(
    place: Annotated[str, typer.Argument(metavar="SAMPLE", help="Some of your images: any source that ingest takes.")],
    images: Annotated[
        float, typer.Option("--images", min=1, help="How many images to predict for, such as 1e6.")
    ] = 1e6,
    price_per_hour: Annotated[
        float | None, typer.Option("--price-per-hour", min=0, help="What this machine costs an hour, in any currency.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="How long each stage is measured.")] = 4.0,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Images of the sample to use at most.")] = 256,
    space: options.Space = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Measure reading, decoding, embedding and storing on this machine; propose settings; predict time and cost.

    polyglance tune ~/Pictures --images 1e6 --price-per-hour 2.5
    """
    from connector.settings import Settings
    from workers import progress
    from workers.sizing.advice import advice, pooled, predict, proposals
    from workers.sizing.tune import measure

    if not images.is_integer():
        raise ConfigError(f"--images {images} is no whole number of images.")
    loaded = Settings.load(options.explicit(space=space, collection=None, settings=settings))
    with progress.waiting("measuring each stage alone"):
        found = measure(place, settings=loaded, seconds=seconds, sample=sample)
    predicted = predict(found, images=int(images), price_per_hour=price_per_hour)
    wanted, hints = proposals(found, settings=loaded), list(advice(found, place=place))
    if as_json:
        answer: dict[str, Any] = {
            "measured": asdict(found),
            "together": asdict(pooled(found)),
            "settings": wanted,
            "advice": hints,
            "prediction": {**asdict(predicted), "seconds": predicted.seconds},
        }
        say_json(answer)
        return
    for line in _lines(found, pooled(found), predicted, wanted=wanted, hints=hints, settings=loaded):
        say(line)


def _lines(
    found: "Measurements",
    whole: "PooledEstimate",
    predicted: "Prediction",
    *,
    wanted: dict[str, Any],
    hints: list[str],
    settings: "Settings",
) -> Iterator[str]:
    from connector.store.open import describe

    where = describe(settings.qdrant)
    yield f"{found.images} images of {found.bytes_each / 1000:,.0f} kB on average; {found.cores} cores; {where}."
    yield f"{settings.model.space} in {found.precision} on {found.device}, {found.batch_size} images at a time.\n"
    yield "stage    alone, a second   processor time each   threads"
    for stage in found.stages:
        yield f"{stage.stage:8} {stage.rate:15,.0f} {stage.cpu_s * 1000:18.2f} ms {stage.threads:9}"
    yield f"\ntogether {whole.rate:15,.0f}: {whole.limit} is the limit, {_largest(whole)}."
    yield from (f"- {hint}" for hint in hints)
    if wanted:
        yield "\nSettings that suit (polyglance.toml, or --set NAME=VALUE):\n"
        yield from _toml(wanted)
    else:
        yield "\nThe settings suit as they are."
    graph = f", of it {duration(predicted.graph_s)} for the search graph" if predicted.graph_s else ""
    cost = "" if predicted.cost is None else f", at a cost of {predicted.cost:,.2f}"
    yield f"\n{predicted.images:,} images like these: about {duration(predicted.seconds)}{graph}{cost}."


def _largest(whole: "PooledEstimate") -> str:
    stage = max(whole.shares, key=lambda name: whole.shares[name])
    return f"{stage} takes {whole.shares[stage]:.0%} of the processor time"


def _toml(wanted: dict[str, Any]) -> Iterator[str]:
    section = ""
    for name, value in sorted(wanted.items()):
        if name.partition(".")[0] != section:
            section = name.partition(".")[0]
            yield f"[{section}]"
        yield f"{name.partition('.')[2]} = {json.dumps(value)}"


def duration(seconds: float) -> str:
    """Seconds as one would say them: 45 s, 12 min, 3 h 20 min, 12 days 4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24:,} days {hours % 24} h"
