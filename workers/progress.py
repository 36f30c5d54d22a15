"""What a person sees of a run: a bar while it works, the counts at its end."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text

from connector.printable import printable
from workers.pipeline.counters import RunReport
from workers.run.loop import Progress


@contextmanager
def shown(progress: Callable[[], Progress], *, console: Console) -> Iterator[None]:
    """Show a bar on ``console`` for as long as the block runs; nothing where the console is no terminal."""
    column = _ProgressColumn(progress)
    bar = Bar(
        column,
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rejected]} rejected"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    column.bar = bar
    with bar:
        bar.add_task("listing", total=None, rejected=0)
        yield


@contextmanager
def waiting(what: str, *, console: Console) -> Iterator[None]:
    """Show that something long is under way whose length nobody knows."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bar(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        bar.add_task(escape(printable(what)), total=None)
        yield


def summary(report: RunReport) -> str:
    """The closing lines of a run."""
    counts = report.counts
    lines = [
        f"listed {counts.listed:,} = stored {counts.stored:,} + unchanged {counts.unchanged:,} "
        f"+ rejected {counts.rejected:,}",
    ]
    shares = ", ".join(f"{stage} {share:.0%}" for stage, share in report.shares.items())
    if report.bottleneck is not None:
        lines.append(
            f"{report.seconds:.1f} s, {report.rate:,.1f} images/s; busy: {shares}; "
            f"the bottleneck is {report.bottleneck}"
        )
    if report.copied:
        lines.append(f"{report.copied:,} of the stored have the content of another and were not embedded again")
    if report.joined:
        lines.append(
            f"{report.joined:,} of the unchanged were stored from another place and belong to this one too now"
        )
    if report.throttled:
        lines.append(throttled_line(report.throttled))
    if report.reasons:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in report.reasons.items())
        lines.append(f"rejected: {reasons}. `polyglance rejected` lists them.")
    if report.passed_over:
        lines.append(passed_over_line(report.passed_over))
    return "\n".join(lines)


def throttled_line(count: int) -> str:
    """That a store asked for fewer requests, such as ``throttled 212 times``."""
    return f"throttled {count:,} {'time' if count == 1 else 'times'}: the store asked for fewer requests and got them"


def passed_over_line(counts: Mapping[str, int]) -> str:
    """What a listing left out, such as ``passed over: 14 (.dng 9, .mp4 5)``."""
    kinds = ", ".join(f"{suffix} {count:,}" for suffix, count in counts.items())
    return f"passed over: {sum(counts.values()):,} ({kinds})"


class _ProgressColumn(ProgressColumn):
    """Says what goes on, and fetches the numbers for the other columns whenever the bar is drawn."""

    bar: Bar

    def __init__(self, progress: Callable[[], Progress]) -> None:
        super().__init__()
        self._progress = progress

    def render(self, task: Task) -> Text:
        now = self._progress()
        counts = now.report.counts
        done = counts.stored + counts.unchanged + counts.rejected
        self.bar.update(task.id, completed=done, total=now.total or None, rejected=counts.rejected)
        return Text("ingesting" if now.listed_all else "ingesting, still listing")


class _Rate(ProgressColumn):
    """Images per second, over the last moments."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.1f} images/s" if task.speed else "")
