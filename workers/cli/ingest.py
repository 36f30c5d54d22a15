"""The commands that bring images in: a thin reading of ``workers.run.ingestion``."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from connector.cli import options
from connector.cli.output import say, say_json
from connector.cli.recent import DEMO, remember
from connector.printable import printable

if TYPE_CHECKING:
    from connector.settings import Settings
    from workers.pipeline.counters import RunReport
    from workers.run.ingestion import Ingested, Prune, Show
    from workers.run.prune import Pruned

app = typer.Typer(add_completion=False)

MetricsPort = Annotated[
    int | None, typer.Option("--metrics-port", help="Serve Prometheus metrics on this port while it works.")
]

Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="GLOB", help="Leave these out, as in .gitignore: 'drafts/'. May be repeated."),
]

Runs = Annotated[str | None, typer.Option("--runs", help="Folder or s3://bucket/prefix where the run keeps its files.")]

MaxPrune = Annotated[
    float | None,
    typer.Option("--max-prune", help="Share of a source's points that may go at once (0.2); above it none are."),
]


Ocr = Annotated[
    str | None,
    typer.Option(
        "--ocr",
        metavar="[all|documents]",
        help="Read the text in new images too: in all, or only in screenshots and documents. Needs the extra ocr.",
    ),
]


class OcrMayStandAlone(typer.core.TyperCommand):
    """A command whose ``--ocr`` means all images where no kind of them follows."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click."""
        kinds = ("off", "all", "documents")
        plain: list[str] = []
        for each in args:
            if plain[-1:] == ["--ocr"]:
                plain[-1:] = [f"--ocr={each}"] if each in kinds else ["--ocr=all", each]
            else:
                plain.append(each)
        return super().parse_args(ctx, [*plain[:-1], "--ocr=all"] if plain[-1:] == ["--ocr"] else plain)


@app.command(cls=OcrMayStandAlone)
def ingest(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="A folder, a file, s3://bucket/prefix, a web address, urls.txt, a table (csv, jsonl, parquet), "
            "or tars: 'shards-{000..099}.tar'.",
        ),
    ],
    hidden: Annotated[bool, typer.Option("--hidden", help="Take files and folders that begin with a dot too.")] = False,
    exclude: Exclude = None,
    verify: Annotated[
        str | None,
        typer.Option("--verify", help="What shows that an image is unchanged: version (default), content or nothing."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Embed everything again: --verify nothing.")] = False,
    recreate: Annotated[bool, typer.Option("--recreate", help="Delete the collection first.")] = False,
    bulk: Annotated[
        bool, typer.Option("--bulk", help="Put off the server's indexing until the end, for large first loads.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove points whose image is gone; a terminal only shows them first.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Let --prune remove them on a terminal too.")] = False,
    max_prune: MaxPrune = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Worker processes; by default three for each GPU, one without.")
    ] = None,
    executor: Annotated[
        str | None, typer.Option("--executor", help="Where they run: local (default), or ray for a Ray cluster.")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", help="The cluster's head, such as ray://head:10001.")
    ] = None,
    ocr: Ocr = None,
    metrics_port: MetricsPort = None,
    runs: Runs = None,
    endpoint_url: Annotated[
        str | None, typer.Option("--endpoint-url", help="Address of an S3 store other than AWS.")
    ] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="Named profile of the AWS configuration.")] = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="Ask S3 without keys, for public buckets.")] = False,
    requester_pays: Annotated[
        bool, typer.Option("--requester-pays", help="Agree to pay for requests to the bucket.")
    ] = False,
    path_column: Annotated[
        str | None, typer.Option("--path-column", help="Column of a table with the image's address.")
    ] = None,
    id_column: Annotated[str | None, typer.Option("--id-column", help="Column that identifies a table's row.")] = None,
    metadata_column: Annotated[
        list[str] | None, typer.Option("--metadata-column", help="Column to keep as metadata; all others by default.")
    ] = None,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Read images, embed them and store them; what is stored already and unchanged is skipped.

    It ends with 1 where every single image was rejected.

    polyglance ingest ~/Pictures
    """
    from connector.errors import ConfigError
    from connector.settings import Settings
    from workers.pipeline.counters import RunReport
    from workers.progress import delivery_lines, passed_over_line, summary

    if force and verify not in (None, "nothing"):
        raise ConfigError(f"--force embeds everything again; --verify {verify} would keep what is unchanged.")
    given = options.overrides(space=space, collection=collection, settings=settings, as_json=as_json, ingesting=True)
    flags: dict[str, Any] = {
        "ocr.images": ocr,
        "ingest.executor": executor,
        "ingest.ray_address": ray_address,
        "ingest.runs": runs,
        "ingest.hidden": hidden,
        "ingest.exclude": exclude,
        "ingest.bulk": bulk,
        "ingest.verify": "nothing" if force else verify,
        "s3.endpoint_url": endpoint_url,
        "s3.profile": profile,
        "s3.anonymous": anonymous,
        "s3.requester_pays": requester_pays,
        "table.path_column": path_column,
        "table.id_column": id_column,
        "table.metadata_columns": metadata_column,
    }
    numbers = {"ingest.workers": workers, "ingest.max_prune": max_prune, "ingest.metrics_port": metrics_port}
    flags |= {name: str(value) for name, value in numbers.items() if value is not None}  # 0 is something too
    loaded = Settings.load({**given, **{name: value for name, value in flags.items() if value}})
    mode: Prune = "no" if not prune else "remove" if yes or not at_terminal() else "look"
    done = _ingest(sources, settings=loaded, recreate=recreate, prune=mode)
    report, resumed = done.report, done.resumed
    if not report.counts.listed:
        say(f"no images found in {', '.join(map(printable, sources))}; nothing was done.", err=True)
        if report.passed_over and not as_json:
            say(passed_over_line(report.passed_over), err=True)
    if loaded.ocr.images != "off" and report.counts.unchanged and not as_json:
        say("the text in unchanged images was not looked at: `polyglance ocr` reads it.", err=True)
    if as_json:
        earlier = {} if resumed is None else {"resumed": counts_of(resumed, collection=loaded.collection)}
        pruned = {"pruned": [asdict(each) for each in done.pruned]} if prune else {}
        alerts = {} if done.alerts is None else {"alerts": done.alerts.as_json()}
        say_json({**counts_of(report, collection=loaded.collection), **earlier, **pruned, **alerts})
    else:
        if resumed is not None:
            say(f"finished the run that was interrupted: {summary(resumed)}\n\nand what came since:")
        if report.counts.listed:
            say(summary(report))
        for each in done.pruned:
            say(missing_line(each))
        for line in [] if done.alerts is None else delivery_lines(done.alerts):
            say(line)
    check_complete(report + (resumed or RunReport()), refusals=[each.refusal for each in done.pruned])


@app.command()
def demo(
    page: Annotated[Path, typer.Option("--page", help="Where the page of answers is written.")] = Path(
        "polyglance-demo.html"
    ),
    settings: options.SetAny = None,
) -> None:
    """Ingest the bundled images, ask about them in a dozen languages, and write a page of the answers.

    polyglance demo
    """
    from importlib.resources import as_file

    from connector.cli.output import show_table
    from connector.settings import Settings
    from workers.demo import tour
    from workers.progress import summary

    given = options.explicit(space="mini", collection=None, settings=settings)
    loaded = Settings.load({"qdrant.meta_fields": tour.META_FIELDS, "qdrant.collection": DEMO, **given})
    say("1. The bundled images are read, embedded and stored.")
    tour.check_page(page)
    with as_file(tour.IMAGES) as folder:
        report = _ingest([str(folder)], settings=loaded, recreate=False, prune="no").report
    say(summary(report))
    say("\n2. Questions in many languages; no name or keyword is searched, only the images.")
    answers = tour.ask(tour.QUESTIONS, settings=loaded)
    show_table(tour.table(answers))
    tour.write_page(answers, to=page)
    say(f"\n3. The same as a page for the browser: {printable(page)}")
    say("\n".join(["\nWhat to try next:", *(f"  {command}" for command in tour.NEXT_COMMANDS)]))


def _ingest(sources: list[str], *, settings: "Settings", recreate: bool, prune: "Prune") -> "Ingested":
    from connector.errors import RunIncomplete
    from workers import progress

    with terminated_like_interrupted(), measured(settings, also=progress.shown) as seen:
        from workers.run.ingestion import ingest  # takes seconds, in which one may be told to stop

        try:
            done = ingest(sources, settings=settings, recreate=recreate, show=seen, wait=progress.waiting, prune=prune)
        except RunIncomplete:
            remember(settings)
            raise
        remember(settings)
        return done


@contextmanager
def measured(settings: "Settings", *, also: "Show") -> Iterator["Show"]:
    """Serve metrics while the block runs, where the settings name a port; gives what shows a run there too."""
    if settings.ingest.metrics_port is None:
        yield also
        return
    from workers.run.metrics import Metrics
    from workers.run.status_server import serving

    metrics = Metrics(settings.qdrant.path)
    with serving(settings.ingest, registry=metrics.registry, health=lambda: {"healthy": True}) as url:
        say(f"metrics on {url}/metrics", err=True)
        yield metrics.also(also)


def at_runs(runs: str | None) -> dict[str, str]:
    """``--runs`` as a setting."""
    return {} if runs is None else {"ingest.runs": runs}


def check_complete(report: "RunReport", *, refusals: Sequence[str | None] = ()) -> None:
    """Raise RunIncomplete where something was left undone: shards that are missing, nothing stored, a refusal."""
    from connector.errors import RunIncomplete

    counts = report.counts
    missing = report.reasons.get("missing_archive", 0)
    undone = [refusal for refusal in refusals if refusal is not None]
    if missing:
        undone.append(
            f"{missing:,} {'tar is' if missing == 1 else 'tars are'} missing: `polyglance rejected --reason "
            "missing_archive` names them. Bring them there, or name those that are; then give the same command again."
        )
    elif counts.rejected and counts.rejected == counts.listed:
        undone.append(
            f"nothing was stored: all {counts.listed:,} images were rejected. `polyglance rejected` lists them; "
            "`polyglance retry` tries them again once the reason is mended."
        )
    if undone:
        raise RunIncomplete(" ".join(undone))


def at_terminal() -> bool:
    """Whether somebody reads this and can answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def missing_line(pruned: "Pruned") -> str:
    """What pruning a source came to, in a few lines."""
    source = printable(pruned.source)
    away = (
        f"kept {pruned.kept:,} points whose images are not there: {', '.join(map(printable, pruned.away))} "
        "is empty, or its disk is away. If they were deleted, `polyglance prune --vanished` says so."
    )
    if not pruned.gone and pruned.kept:
        return away
    if not pruned.gone:
        return f"nothing is gone from {source}: all of its {pruned.points:,} points have their image there"
    left = "" if pruned.removed or pruned.refusal else "; none were removed: --yes, or `polyglance prune`, does that"
    more = pruned.gone - len(pruned.examples)
    return "\n".join(
        [
            f"gone from {source}: {pruned.gone:,} of its {pruned.points:,} points; {pruned.removed:,} removed"
            if pruned.removed
            else f"gone from {source}: {pruned.gone:,} of its {pruned.points:,} points{left}",
            *(f"  {printable(uri)}" for uri in pruned.examples),
            *([f"  and {more:,} more; `polyglance prune --dry-run --json` names them all"] if more > 0 else []),
            *([away] if pruned.kept else []),
            *([f"{pruned.left:,} of them are in another source too and stay there"] if pruned.left else []),
        ]
    )


def counts_of(report: "RunReport", *, collection: str) -> dict[str, Any]:
    """A run's closing report for scripts."""
    return {
        **asdict(report.counts),
        "collection": collection,
        "seconds": round(report.seconds, 3),
        "images_per_second": round(report.rate, 2),
        "busy": {stage: round(share, 3) for stage, share in report.shares.items()},
        "bottleneck": report.bottleneck,
        "copied": report.copied,
        "joined": report.joined,
        "throttled": report.throttled,
        "reasons": dict(report.reasons),
        "ocr": dict(report.ocr),
        "passed_over": dict(report.passed_over),
    }


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM stop a run as cleanly as Ctrl-C does, also where Ctrl-C is ignored. Raises RunIncomplete for both."""
    from connector.errors import RunIncomplete

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise RunIncomplete("stopped. Give the same command again to go on with the rest.") from interrupt
    finally:
        signal.signal(signal.SIGTERM, before)
