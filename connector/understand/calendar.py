"""Stretches of days: months, seasons, weeks and years, and how they are shown and asked for.

The rule: seasons are the meteorological ones of the northern hemisphere, a winter is that of the year it begins in, and
weeks begin on Monday.
"""

import calendar
from dataclasses import dataclass
from datetime import date, timedelta

SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "winter": 12}
"""The month that each begins in; it has three."""
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
YEARS_BACK = 60
"""Years that a day without a year may lie in."""


@dataclass(frozen=True, slots=True)
class Days:
    """From the first day to the last one, both of them included."""

    first: date
    last: date

    def joined(self, other: "Days") -> "Days":
        """From the beginning of this one to the end of the other."""
        return Days(self.first, other.last)

    @property
    def where(self) -> str:
        """The filter expression."""
        if self.first == self.last:
            return f"taken_on == {self.first}"
        if self == year(self.first.year):
            return f'taken_on in "{self.first.year:04}"'
        if self == month(self.first.year, self.first.month):
            return f'taken_on in "{self.first:%Y-%m}"'
        return f"{self.first} <= taken_on <= {self.last}"

    @property
    def shown(self) -> str:
        """As people read it."""
        if self.first == self.last:
            return _day(self.first)
        if self == year(self.first.year):
            return str(self.first.year)
        if self == month(self.first.year, self.first.month):
            return f"{calendar.month_name[self.first.month]} {self.first.year}"
        if self == Days(year(self.first.year).first, year(self.last.year).last):
            return f"{self.first.year}–{self.last.year}"
        return f"{_day(self.first)} – {_day(self.last)}"


def _day(day: date) -> str:
    return f"{day.day} {calendar.month_name[day.month]} {day.year}"


def year(number: int) -> Days:
    """A calendar year."""
    return Days(date(number, 1, 1), date(number, 12, 31))


def month(in_year: int, number: int) -> Days:
    """A calendar month."""
    return Days(date(in_year, number, 1), date(in_year, number, calendar.monthrange(in_year, number)[1]))


def season(name: str, in_year: int) -> Days:
    """A season; the winter of 2022 begins in December 2022."""
    first = SEASONS[name]
    end = month(in_year + 1, 2) if name == "winter" else month(in_year, first + 2)
    return Days(date(in_year, first, 1), end.last)


def last_season(name: str, today: date) -> Days:
    """The latest that is over."""
    return next(found for back in range(3) if (found := season(name, today.year - back)).last < today)


def this_season(name: str, today: date) -> Days:
    """The latest that has begun."""
    return next(found for back in range(2) if (found := season(name, today.year - back)).first <= today)


def last_month(number: int, today: date) -> Days:
    """The latest month of this name that is over."""
    this = month(today.year, number)
    return this if this.last < today else month(today.year - 1, number)


def last_weekday(number: int, today: date) -> Days:
    """The latest day of this name before today."""
    day = today - timedelta(days=(today.weekday() - number - 1) % 7 + 1)
    return Days(day, day)


def weekday_of(number: int, today: date) -> Days:
    """The day of this name in this week."""
    day = today + timedelta(days=number - today.weekday())
    return Days(day, day)


def shifted(unit: str, by: int, today: date) -> Days | None:
    """The day, week, weekend, month or year that is so many after today's; None where the calendar ends."""
    try:
        if unit == "year":
            return year(today.year + by)
        if unit == "month":
            months = today.year * 12 + today.month - 1 + by
            return month(months // 12, months % 12 + 1)
        if unit == "day":
            day = today + timedelta(days=by)
            return Days(day, day)
        monday = today - timedelta(days=today.weekday()) + timedelta(weeks=by)
        return Days(monday + timedelta(days=5 if unit == "weekend" else 0), monday + timedelta(days=6))
    except (ValueError, OverflowError):
        return None


def past(unit: str, count: int, today: date) -> Days | None:
    """The last so many days, weeks, months or years, until today."""
    try:
        if unit in ("day", "week"):
            return Days(today - timedelta(days=count * (7 if unit == "week" else 1)), today)
        if unit in ("month", "year"):
            months = today.year * 12 + today.month - 1 - count * (12 if unit == "year" else 1)
            in_year, number = months // 12, months % 12 + 1
            return Days(date(in_year, number, min(today.day, calendar.monthrange(in_year, number)[1])), today)
    except (ValueError, OverflowError):
        return None
    return None


def every(day: int, in_month: int, *, today: date) -> str:
    """The filter expression of a day of every year; empty for what is none."""
    days = []
    for number in range(today.year - YEARS_BACK, today.year + 1):
        if 1 <= day <= calendar.monthrange(number, in_month)[1]:
            days.append(f'"{number:04}-{in_month:02}-{day:02}"')
    return f"taken_on in ({', '.join(days)})" if days else ""
