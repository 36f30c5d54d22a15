"""Dates that are written in numbers alone: 2023-07-14, 14.07.2023, 07/2023; and what a date in a text is.

The rule: where day and month cannot be told apart, both are meant.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from connector.understand.parts import EARLIEST, days_of

_ISO = re.compile(r"(?<![\d.-])(\d{4})([-/]|\. ?)(\d{1,2})(?:\2(\d{1,2}))?(?![\d-])(?!\.\d)")
_DAY_FIRST = re.compile(r"(?<![\d.-])(\d{1,2})(\. ?|/|-)(\d{1,2})\2(\d{4})(?![\d-])(?!\.\d)")
_MONTH_YEAR = re.compile(r"(?<![\d./-])(\d{1,2})([/.])(\d{4})(?![\d./-])")

LATEST = 2100
"""The year from which numbers are none of dates."""


@dataclass(frozen=True, slots=True)
class FoundDate:
    """A date in the text, between two places in it: how it is shown, and its condition."""

    start: int
    end: int
    shown: str
    where: str


def numeric_dates(text: str, *, today: date, language: str | None) -> Iterator[FoundDate]:
    """Dates of numbers alone."""
    for match in _ISO.finditer(text):
        if match[4] or match[2] == "-":
            yield from _known(match, match[1], match[3], match[4], today=today)
    for match in _DAY_FIRST.finditer(text):
        day, month, is_us = match[1], match[3], language == "en-US" and match[2] != ". "
        if is_us or (int(month) > 12 >= int(day) and match[2] != ". "):
            day, month = month, day
        if match[2] == "/" and language is None and int(day) <= 12 and int(month) <= 12 and day != month:
            yield from _either(match, day, month, today=today)
        else:
            yield from _known(match, match[4], month, day, today=today)
    for match in _MONTH_YEAR.finditer(text):
        yield from _known(match, match[3], match[1], None, today=today)


def has_impossible(text: str) -> bool:
    """Whether a date of numbers alone is one that the calendar does not have, such as 31.02.2023."""
    for match in _DAY_FIRST.finditer(text):
        several = ((match[3], match[1]), (match[1], match[3]))
        if match[2] != "-" and not any(_is_date(match[4], month, day) for month, day in several):
            return True
    return any(match[4] and not _is_date(match[1], match[3], match[4]) for match in _ISO.finditer(text))


def _is_date(year: str, month: str, day: str) -> bool:
    """Whether there is such a day; of years in which nobody took a photograph it is not asked."""
    return not EARLIEST <= int(year) < LATEST or days_of(int(year), int(month), int(day)) is not None


def _known(match: re.Match[str], year: str, month: str, day: str | None, *, today: date) -> Iterator[FoundDate]:
    days = days_of(int(year), int(month), int(day) if day else None)
    if days is not None and days.first.year >= EARLIEST and days.first <= today:
        yield FoundDate(match.start(), match.end(), days.shown, days.where)


def _either(match: re.Match[str], day: str, month: str, *, today: date) -> Iterator[FoundDate]:
    """A date whose day may be its month: both."""
    pairs = ((month, day), (day, month))
    several = [each for a, b in pairs for each in _known(match, match[4], a, b, today=today)]
    if several:
        shown, where = " or ".join(each.shown for each in several), " or ".join(each.where for each in several)
        yield FoundDate(match.start(), match.end(), shown, f"({where})" if len(several) > 1 else where)
