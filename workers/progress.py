"""What a person sees of a run: a bar while it works, the counts at its end."""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from connector.printable import printable
from workers.pipeline.counters import RunReport
from workers.run.loop import Progress

if TYPE_CHECKING:
    from rich.console import Console

    from workers.alerts.outbox import Delivery


def shown(progress: Callable[[], Progress], *, console: "Console | None" = None) -> AbstractContextManager[None]:
    """Show a bar on standard error for as long as the block runs; nothing where that is no terminal."""
    if console is None and not sys.stderr.isatty():
        return nullcontext()
    from workers.progress_bar import shown_on  # here: rich takes a tenth of a second to import

    return shown_on(progress, console=console)


def waiting(what: str, *, console: "Console | None" = None) -> AbstractContextManager[None]:
    """Show that something long is under way whose length nobody knows."""
    if console is None and not sys.stderr.isatty():
        return nullcontext()
    from workers.progress_bar import waiting_on

    return waiting_on(printable(what), console=console)


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
    if report.ocr:
        lines.append(ocr_line(report.ocr))
    if report.reasons:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in report.reasons.items())
        lines.append(f"rejected: {reasons}. `polyglance rejected` lists them.")
    if report.passed_over:
        lines.append(passed_over_line(report.passed_over))
    return "\n".join(lines)


def delivery_lines(done: "Delivery") -> list[str]:
    """What was told, and what is still to be told and why."""
    lines = []
    if done.told or done.waiting:
        waiting = f"; {done.waiting:,} images are still due" if done.waiting else ""
        lines.append(f"alerts: told of {done.told:,} images{waiting}")
    lines += [f"  {printable(name)}: {printable(why)}" for name, why in done.down.items()]
    lines += [
        f"  alert {name} told of {done.sent[name]:,}, as many as one run may (alerts.most), and {count:,} more wait: a "
        "higher --relevant makes it tell less; `polyglance alert deliver` tells the next ones"
        for name, count in done.held.items()
    ]
    return lines


def throttled_line(count: int) -> str:
    """That a store asked for fewer requests, such as ``throttled 212 times``."""
    return f"throttled {count:,} {'time' if count == 1 else 'times'}: the store asked for fewer requests and got them"


OCR_WORDS = {
    "text": "in {:,} images",
    "no_text": "none in {:,}",
    "no_document": "{:,} no documents",
    "known": "{:,} known before",
}


def ocr_line(counts: Mapping[str, int]) -> str:
    """What became of the text in images, such as ``text read: in 80 images, none in 12; not read: timeout 1``."""
    said = [words.format(counts[name]) for name, words in OCR_WORDS.items() if counts.get(name)]
    unread = [f"{reason} {count:,}" for reason, count in counts.items() if reason not in OCR_WORDS and count]
    left = f"; not read: {', '.join(unread)}. `polyglance ocr` tries those again" if unread else ""
    return f"text read: {', '.join(said) or 'nowhere'}{left}"


def passed_over_line(counts: Mapping[str, int]) -> str:
    """What a listing left out, such as ``passed over: 14 (.dng 9, .mp4 5)``."""
    kinds = ", ".join(f"{suffix} {count:,}" for suffix, count in counts.items())
    return f"passed over: {sum(counts.values()):,} ({kinds})"
