"""What a person sees of a run."""

import io

from rich.console import Console

from workers.pipeline.counters import RunReport
from workers.progress import shown, summary, waiting
from workers.records import Counts
from workers.run.loop import Progress

REPORT = RunReport(
    counts=Counts(listed=1234, stored=1200, unchanged=4, rejected=30),
    reasons={"truncated": 20, "empty": 10},
    seconds=10.0,
    busy={"read": 1.0, "embed": 19.0},
    threads={"read": 1, "embed": 2},
)


def screen(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120, height=20, color_system=None)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_bar_shows_what_is_done_and_what_was_rejected() -> None:
    console = screen(terminal=True)
    with shown(lambda: Progress(REPORT, total=2000, listed_all=False), console=console):
        pass

    assert "ingesting, still listing" in text(console)
    assert "1234/2000" in text(console)
    assert "30 rejected" in text(console)


def test_before_anything_is_listed_the_bar_has_no_end() -> None:
    console = screen(terminal=True)
    with shown(lambda: Progress(RunReport(), total=0, listed_all=False), console=console):
        pass

    assert "0/?" in text(console)


def test_where_there_is_no_terminal_there_is_no_bar() -> None:
    console = screen(terminal=False)
    with shown(lambda: Progress(REPORT, total=2000, listed_all=True), console=console), waiting("x", console=console):
        pass

    assert text(console).strip() == ""


def test_waiting_says_for_what() -> None:
    console = screen(terminal=True)
    with waiting("building the search graph", console=console):
        pass

    assert "building the search graph" in text(console)


def test_the_summary_has_the_books_the_speed_the_bottleneck_and_the_reasons() -> None:
    assert summary(REPORT).splitlines() == [
        "listed 1,234 = stored 1,200 + unchanged 4 + rejected 30",
        "10.0 s, 123.4 images/s; busy: read 10%, embed 95%; the bottleneck is embed",
        "rejected: truncated 20, empty 10. `polyglance rejected` lists them.",
    ]


def test_a_run_without_rejects_says_nothing_of_them() -> None:
    assert "`polyglance rejected`" not in summary(
        RunReport(counts=Counts(1, 1), seconds=1.0, busy={"read": 1.0}, threads={"read": 1})
    )
