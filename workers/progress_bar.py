"""Progress on a terminal, drawn by rich."""

from collections.abc import Callable, Iterator
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

from workers.run.loop import Progress


@contextmanager
def shown_on(progress: Callable[[], Progress], *, console: Console | None) -> Iterator[None]:
    """A bar on ``console``, or on standard error; nothing where that is no terminal."""
    console = console or Console(stderr=True)
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
def waiting_on(what: str, *, console: Console | None) -> Iterator[None]:
    """A spinner there, and how long it has turned."""
    console = console or Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bar(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        bar.add_task(escape(what), total=None)
        yield


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
