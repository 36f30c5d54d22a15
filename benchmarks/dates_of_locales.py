"""Dates as Unicode CLDR writes them, by Babel, with the days they mean: phrases that no rule was made by.

The rule: nothing of ``connector.understand`` and no list of ours makes them. ``written`` are dates in full, short and
relative forms behind a word; ``other_forms``, which came later, have the date first, weekdays, numbers alone and
stretches of months.
"""

import calendar
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, TypeAlias

from babel import Locale
from babel.dates import format_date, format_interval, format_skeleton, format_timedelta

from tests.phrases import TODAY

LANGUAGES = (
    *("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "nb", "fi", "pl", "cs", "sk", "ru", "uk", "bg", "ro", "hu"),
    *("el", "tr", "ar", "he", "hi", "id", "ja", "zh", "ko", "vi", "th", "ca", "hr", "sr", "sl", "lt", "lv", "et", "fa"),
    *("bn", "ms", "af", "is", "mk", "gl", "ta", "ur", "fil", "sw"),
)
YEARS = (2006, 2011, 2014, 2018, 2021, 2024, 2025)
Unit: TypeAlias = Literal["day", "week", "month", "year"]
COUNTS: dict[Unit, Sequence[int]] = {"day": (2, 4, 6, 10), "week": (2, 3), "month": (2, 4), "year": (2, 3, 5)}
DAYS: dict[Unit, int] = {"day": 1, "week": 7, "month": 30, "year": 365}
_MARKS = re.compile("[\u200e\u200f]")


@dataclass(frozen=True, slots=True)
class Written:
    """A question of one ``kind``. Right is every answer from ``earliest`` to ``latest`` day that holds the ``day``."""

    text: str
    language: str
    kind: str
    day: date
    earliest: date
    latest: date

    def fits(self, days: Sequence[tuple[date, date] | None]) -> bool:
        """Whether this is what was understood; of a day and a month that may be exchanged either may be meant."""
        found = [each for each in days if each is not None]
        if len(found) != 1 or len(days) != 1:
            return False
        first, last = found[0]
        return self.earliest <= first <= self.day <= last <= self.latest


def written(*, seed: int = 7) -> Iterator[Written]:
    """Months and days in full and short, and "3 weeks ago"."""
    for language, locale, day in _days(seed):
        for skeleton in ("yMMMM", "yMMM"):
            yield _month(f"Foto {format_skeleton(skeleton, day, locale=locale)}", language, skeleton, day)
        for form in ("long", "medium", "full"):
            yield _day(f"Foto {format_date(day, form, locale=locale)}", language, form, day)
    for language in LANGUAGES:
        for unit, counts in COUNTS.items():
            for count in counts:
                yield _ago(language, unit, count)


def other_forms(*, seed: int = 8) -> Iterator[Written]:
    """Forms that came after the rules were mended by those above."""
    for language, locale, day in _days(seed):
        for skeleton in ("yMMMEd", "yMd"):
            yield _day(f"{format_skeleton(skeleton, day, locale=locale)} selfie", language, skeleton, day)
        if day.month <= 10:
            end = date(day.year, day.month + 2, 1)
            text = format_interval(date(day.year, day.month, 1), end, "yMMM", locale=locale)
            last = date(end.year, end.month, calendar.monthrange(end.year, end.month)[1])
            middle, first = date(day.year, day.month + 1, 15), date(day.year, day.month, 1)
            yield Written(_MARKS.sub("", f"{text} selfie"), language, "stretch", middle, first, last)


def _days(seed: int) -> Iterator[tuple[str, Locale, date]]:
    chance = random.Random(seed)
    for language in LANGUAGES:
        locale = Locale.parse(language)
        for month in range(1, 13):
            yield language, locale, date(chance.choice(YEARS), month, chance.randint(1, 28))


def _day(text: str, language: str, kind: str, day: date) -> Written:
    return Written(_MARKS.sub("", text), language, kind, day, day, day)


def _month(text: str, language: str, kind: str, day: date) -> Written:
    last = calendar.monthrange(day.year, day.month)[1]
    return Written(_MARKS.sub("", text), language, kind, day, day.replace(day=1), day.replace(day=last))


def _ago(language: str, unit: Unit, count: int) -> Written:
    """So many units ago: that day, or any stretch of one unit around it."""
    span = timedelta(days=-count * DAYS[unit])
    said = format_timedelta(span, granularity=unit, threshold=1_000, add_direction=True, locale=Locale.parse(language))
    months = TODAY.year * 12 + TODAY.month - 1 - count * {"month": 1, "year": 12}.get(unit, 0)
    day = TODAY + span if unit in ("day", "week") else date(months // 12, months % 12 + 1, TODAY.day)
    around = timedelta(days=DAYS[unit] if unit != "day" else 0)
    return Written(f"Foto {_MARKS.sub('', said)}", language, f"{unit}s ago", day, day - around, day + around)
