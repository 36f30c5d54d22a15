"""``polyglance watch``: a service that keeps a collection in step with a place until it is told to stop."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli import options
from connector.cli.output import say
from connector.cli.recent import remember
from connector.errors import ConfigError
from connector.printable import printable
from workers.cli.ingest import (
    Exclude,
    MaxPrune,
    MetricsPort,
    Ocr,
    OcrMayStandAlone,
    Runs,
    at_runs,
    terminated_like_interrupted,
)

if TYPE_CHECKING:
    from connector.settings import Settings
    from workers.sources.source import Source
    from workers.watch.watch import Feed

app = typer.Typer(add_completion=False)


@app.command(cls=OcrMayStandAlone)
def watch(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A folder, s3://bucket/prefix, or any other source.")],
    every: Annotated[
        float | None, typer.Option("--every", help="Seconds between two full passes (3600), which also prune.")
    ] = None,
    settle: Annotated[
        float | None, typer.Option("--settle", help="Seconds without a change before changes are looked at (0.2).")
    ] = None,
    sqs_url: Annotated[
        str | None, typer.Option("--sqs-url", help="The SQS queue that the bucket tells its changes to.")
    ] = None,
    ocr: Ocr = None,
    metrics_port: MetricsPort = None,
    max_prune: MaxPrune = None,
    exclude: Exclude = None,
    runs: Runs = None,
    hidden: Annotated[bool, typer.Option("--hidden", help="Take files and folders that begin with a dot too.")] = False,
    endpoint_url: Annotated[
        str | None, typer.Option("--endpoint-url", help="Address of an S3 store other than AWS.")
    ] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="Named profile of the AWS configuration.")] = None,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
) -> None:
    """Bring a place in, then keep the collection in step with it until SIGTERM or Ctrl-C.

    polyglance watch ~/Pictures --metrics-port 9100
    """
    from connector.settings import Settings

    numbers = {
        "watch.every_s": every,
        "watch.settle_s": settle,
        "ingest.metrics_port": metrics_port,
        "ingest.max_prune": max_prune,
    }
    texts: dict[str, Any] = {
        "watch.sqs_url": sqs_url,
        "ocr.images": ocr,
        "ingest.hidden": hidden,
        "ingest.exclude": exclude,
        "s3.endpoint_url": endpoint_url,
        "s3.profile": profile,
    }
    flags = {name: str(value) for name, value in numbers.items() if value is not None}
    flags |= {name: value for name, value in texts.items() if value}
    given = options.overrides(space=space, collection=collection, settings=settings, ingesting=True)
    loaded = Settings.load({**given, **flags, **at_runs(runs)})
    with terminated_like_interrupted():
        try:
            _watch(source, settings=loaded)
        except KeyboardInterrupt:
            say("stopped; what was stored stays stored, and the next start looks at everything", err=True)


def _watch(place: str, *, settings: "Settings") -> None:
    from workers import progress
    from workers.run.ingestion import Ingestion
    from workers.run.status_server import serving
    from workers.sources.open import open_source
    from workers.watch.probe import Probe
    from workers.watch.watch import Watcher

    with closing(open_source(place, settings=settings)) as source:
        remember(settings)
        feed = _feed(source, settings=settings)
        watcher = Watcher(
            source,
            place=place,
            settings=settings,
            feed=feed,
            workers=lambda show: Ingestion.open(settings, recreate=False, show=show, wait=progress.waiting),
            wait=progress.waiting,
        )
        told = "by its events" if feed else "which tells no changes"
        say(f"watching {printable(source.root)}, {told}; a full pass every {settings.watch.every_s:g} s", err=True)
        registry = watcher.metrics.registry
        probe = Probe(settings, registry=registry)
        with serving(settings.ingest, registry=registry, health=watcher.health, ready=probe.ready) as url:
            say(f"health on {url}/healthz, metrics on {url}/metrics", err=True)
            with probe.looking():
                watcher.run()


def _feed(source: "Source", *, settings: "Settings") -> "Feed | None":
    """What tells the changes of this place; None where nothing does."""
    from connector.records import path_of
    from workers.sources.disk import DiskSource

    queue = settings.watch.sqs_url
    if source.root.startswith("s3://"):
        from workers.sources.s3 import S3Source

        if isinstance(source, S3Source) and queue is not None:
            from workers.watch.queue import QueueFeed

            return QueueFeed(source, url=queue, settings=settings.s3)
    if queue is not None:
        raise ConfigError(f"watch.sqs_url tells the changes of a bucket; {source.root} is none.")
    if isinstance(source, DiskSource) and path_of(source.root).is_dir():
        from workers.watch.folder import FolderFeed

        return FolderFeed(source)
    return None
