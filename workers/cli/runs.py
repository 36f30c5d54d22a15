"""The commands that look after runs: a thin reading of the run folders and ``workers.run.retry``."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options
from connector.cli.output import say, say_json, show_uris
from connector.printable import printable
from workers.cli.ingest import Runs, at_runs, check_complete, counts_of, terminated_like_interrupted

if TYPE_CHECKING:
    from connector.run_status import RunStatus

app = typer.Typer(add_completion=False)

Reason = Annotated[str | None, typer.Option("--reason", help="Only these, such as truncated.")]


@app.command()
def status(
    runs: Runs = None,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the last run of every source: how far it is, how fast, what it rejected and which stage it waits for.

    polyglance status
    """
    from connector.run_status import RunStatus
    from connector.settings import Settings
    from workers.run.shards import run_folders

    given = options.overrides(space=space, collection=collection, settings=settings, as_json=as_json)
    loaded = Settings.load({**given, **at_runs(runs)})
    now = datetime.now(UTC)
    said = (folder.read_status() for folder in run_folders(loaded))
    found = [status for data in said if data is not None and (status := RunStatus.read(data, now=now)) is not None]
    found.sort(key=lambda status: status.started_at, reverse=True)
    if as_json:
        say_json([asdict(status) for status in found])
        return
    if not found:
        say(f"nothing was ingested into collection {loaded.collection} from this machine yet.", err=True)
    say("\n\n".join(_shown(status) for status in found))


@app.command()
def rejected(
    reason: Reason = None,
    paths: options.Paths = False,
    null: options.Null = False,
    runs: Runs = None,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """List the images that the last run of each source could not ingest, and why.

    polyglance rejected --reason truncated

    polyglance rejected --reason not_an_image -0 | xargs -0 file
    """
    from connector.settings import Settings
    from workers.run.shards import run_folders

    options.check_paths(paths or null, as_json=as_json)
    given = options.overrides(space=space, collection=collection, settings=settings, as_json=as_json)
    loaded = Settings.load({**given, **at_runs(runs)})
    found = [r for folder in run_folders(loaded) for r in folder.rejects() if reason in (None, r.reason)]
    if paths or null:
        show_uris((reject.uri for reject in found), null=null)
        return
    if as_json:
        names = ("uri", "stage", "reason", "detail", "attempt")
        say_json([{name: getattr(reject, name) for name in names} for reject in found])
        return
    if not found:
        say(f"no rejected images in collection {loaded.collection}.", err=True)
    for reject in found:
        say("\t".join(map(printable, (reject.reason, reject.stage, reject.uri, reject.detail))))


@app.command()
def retry(
    reason: Reason = None,
    runs: Runs = None,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Try the rejected images again, and no others: after a repair, or when what stood in the way has passed.

    polyglance retry --reason timeout
    """
    import workers.run.retry
    from connector.settings import Settings
    from workers import progress

    given = options.overrides(space=space, collection=collection, settings=settings, as_json=as_json)
    loaded = Settings.load({**given, **at_runs(runs)})
    with terminated_like_interrupted():
        done = workers.run.retry.retry(
            loaded,
            reason=reason,
            show=progress.shown,
            wait=progress.waiting,
        )
    if as_json:
        say_json({**counts_of(done.report, collection=loaded.collection), "hopeless": done.hopeless})
    elif done.report.counts.listed:
        say(progress.summary(done.report))
    else:
        say(f"no rejected images to try again in collection {loaded.collection}.", err=True)
    if done.hopeless and not as_json:
        say(f"{done.hopeless:,} rejects name nothing that could be read: mend the list that they stand in.")
    check_complete(done.report)


def _shown(status: "RunStatus") -> str:
    """A run in a few lines."""
    share = f" of {status.listed:,}" if status.listed_all else f" of {status.listed:,} listed so far"
    lines = [
        f"{status.state:8} {printable(status.source)} -> {status.collection}",
        f"         {status.done:,}{share}: stored {status.stored:,}, unchanged {status.unchanged:,}, "
        f"rejected {status.rejected:,}",
        f"         {status.rate:,.1f} images/s" + (f", {_duration(status.eta_s)} to go" if _can_resume(status) else ""),
    ]
    if status.busy:
        shares = ", ".join(f"{stage} {share:.0%}" for stage, share in status.busy.items())
        lines.append(f"         busy: {shares}; the bottleneck is {status.bottleneck}")
    if status.throttled:
        from workers.progress import throttled_line

        lines.append("         " + throttled_line(status.throttled))
    if status.ocr:
        from workers.progress import ocr_line

        lines.append("         " + ocr_line(status.ocr))
    if status.passed_over:
        from workers.progress import passed_over_line

        lines.append("         " + passed_over_line(status.passed_over))
    if status.reasons:
        lines.append("         rejected: " + ", ".join(f"{reason} {n:,}" for reason, n in status.reasons.items()))
    lines.append(f"         started {status.started_at}, last heard of {status.updated_at} on {printable(status.host)}")
    if status.error is not None:
        lines.append(f"         {printable(status.error)}")
    if status.state in ("stopped", "failed", "broken"):
        lines.append("         the same `polyglance ingest` goes on with the rest")
    return "\n".join(lines)


def _can_resume(status: "RunStatus") -> bool:
    return status.state == "running" and status.eta_s is not None


def _duration(seconds: float | None) -> str:
    minutes, rest = divmod(int(seconds or 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
