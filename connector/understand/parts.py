"""The parts of a date: numbers, months, years, "last" and "this", joined with what they go with, and their days."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from connector.understand import calendar
from connector.understand.calendar import Days
from connector.understand.lexicon import Item

EARLIEST = 1826
"""The year of the first photograph."""
_ERAS = {
    "令 和": 2018,
    "平 成": 1988,
    "昭 和": 1925,
    "大 正": 1911,
    "明 治": 1867,
    "民 國": 1911,
    "民 国": 1911,
}
"""The year before an era's first."""
_BUDDHIST = 543
"""Years that the calendar of Thailand is ahead."""
MARKS_BEFORE = frozenset({"năm", "tháng", "thg", "ngày", "ป ี", "พ . ศ .", "ค . ศ ."})
"""Words for year, month and day that stand before the number; the others stand after it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a date.

    ``kind`` is number, year, month, day, season, weekday, weekend, decade, relative (``number`` of ``name`` from now),
    days, last, this, to, …; ``sure`` where it cannot be anything else.
    """

    kind: str
    number: int = 0
    digits: int = 0
    name: str = ""
    item: Item | None = None
    days: Days | None = None
    sure: bool = False

    def of(self, kind: str) -> dict[str, str]:
        """The values of its word as one of this kind, each with its languages."""
        return (self.item.of(kind) if self.item else None) or {}

    def speaks(self, languages: str) -> bool:
        """Whether its word is of one of these languages."""
        own = self.item.of(self.kind) if self.item else ""
        return not {*str(own).split()}.isdisjoint(languages.split())


def days_of(year: int, month: int, day: int | None) -> Days | None:
    """A day or a month of the calendar, None for what is none."""
    try:
        if day is None:
            return calendar.month(year, month) if 1 <= month <= 12 else None
        found = date(year, month, day)
        return Days(found, found)
    except ValueError:
        return None


def reduced(parts: Sequence[Part], *, today: date) -> list[Part]:
    """The parts joined: numbers by the words beside them, "last" and "this" with what they go with."""
    left, found = [*parts], []
    while left:
        one = left.pop(0)
        joined = None
        if left and not (one.kind == "word" and _is_of_unit(left, today=today)):
            joined = _pair(one, left[0], today=today)
        if joined is None and one.kind == "last" and len(left) > 1 and left[0].kind == "number":
            joined = _counted_past(left[0].number, left[1], today=today)
            left = left[1:] if joined else left
        if joined is None:
            found.append(_alone(one, today=today))
        elif one.kind == "era":  # a year, which its word may follow
            left[0] = joined
        else:
            left.pop(0)
            found.append(joined)
    return found


def _is_of_unit(left: Sequence[Part], *, today: date) -> bool:
    """Whether a "last" goes with the unit after it, not with what stands before: "im Sommer letzten Jahres"."""
    return len(left) > 1 and left[1].kind == "word" and _pair(left[0], left[1], today=today) is not None


def _counted_past(count: int, unit: Part, *, today: date) -> Part | None:
    """ "The last three days"."""
    days = calendar.past(next(iter(unit.of("unit")), ""), count, today)
    return None if days is None else Part("days", days=days)


def _pair(one: Part, two: Part, *, today: date) -> Part | None:
    """What two neighbours are together, None for nothing."""
    if one.kind == "era" and two.kind == "number" and one.item is not None:
        is_year = two.digits <= 3 and two.number > 0
        return Part("year", _ERAS[one.item.key] + two.number, sure=True) if is_year else None
    if one.kind == "year" and two.kind == "ymark":
        return one
    if one.kind == "number" and (made := _marked(one, two, mark_follows=True, today=today)):
        return made
    if two.kind == "number" and (made := _marked(two, one, mark_follows=False, today=today)):
        return made
    if one.kind in ("last", "this"):
        return _qualified(one, two, today=today)
    return _qualified(two, one, today=today) if two.kind in ("last", "this") else None


def _marked(number: Part, mark: Part, *, mark_follows: bool, today: date) -> Part | None:
    """A number with the word for year, month or day beside it."""
    value = number.number
    if mark.kind == "ymark" and value > today.year + _BUDDHIST // 2:
        value -= _BUDDHIST
    if "year" in mark.of("unit") and not mark.of("season"):
        return Part("year", value, sure=True) if number.digits == 4 and EARLIEST <= value <= today.year else None
    if mark.item is None or mark_follows == (mark.item.key in MARKS_BEFORE):
        return None
    if mark.kind == "ymark":
        return Part("year", value, sure=True) if number.digits == 4 and EARLIEST <= value <= today.year else None
    if mark.kind == "mmark":
        return Part("month", value, sure=True) if 1 <= value <= 12 else None
    return Part("day", value) if mark.kind == "dmark" and 1 <= value <= 31 else None


def _qualified(word: Part, other: Part, *, today: date) -> Part | None:
    """ "Last" or "this" with a unit, a season, a month or a weekday."""
    is_last = word.kind == "last"
    if other.kind == "month":
        this = calendar.month(today.year, other.number)
        return Part("days", days=calendar.last_month(other.number, today) if is_last else this)
    if other.kind == "weekday":
        find_day = calendar.last_weekday if is_last else calendar.weekday_of
        return Part("days", days=find_day(other.number, today))
    if other.kind == "weekend":
        return Part("relative", -1 if is_last else 0, name="weekend")
    for season, languages in other.of("season").items():
        if word.speaks(languages):
            find = calendar.last_season if is_last else calendar.this_season
            return Part("days", days=find(season, today))
    for unit, languages in other.of("unit").items():
        if word.speaks(languages) and (is_last or unit != "day"):
            return Part("relative", -1 if is_last else 0, name=unit)
    return None


def _alone(part: Part, *, today: date) -> Part:
    """A part that no neighbour explains."""
    if part.kind == "number":
        if part.digits == 4:
            is_past = EARLIEST <= part.number <= today.year
            return Part("year", part.number) if is_past else Part("buddhist", part.number - _BUDDHIST)
        is_day = part.digits <= 2 and 1 <= part.number <= 31
        return Part("day", part.number, part.digits) if is_day else Part("rest", part.number, part.digits)
    if part.kind == "word":
        if season := next(iter(part.of("season")), None):
            return Part("season", name=season)
        return Part("weekend" if "weekend" in part.of("unit") else "unit")
    return part


def plain(parts: Sequence[Part], *, today: date) -> Days | None:
    """The days that parts of a date name together, None where they name none."""
    named = {each.kind: each for each in parts}
    kinds = sorted(each.kind for each in parts)
    if "weekday" in kinds and {"day", "month", "year"} <= {*kinds}:  # a whole date says more than its weekday
        kinds.remove("weekday")
    year = next((each.number for each in parts if each.kind in ("year", "buddhist")), None)
    if "relative" in named and len(kinds) > 1:
        if named["relative"].name != "year":
            return None
        year = today.year + named["relative"].number
        kinds[kinds.index("relative")] = "year"
        kinds.sort()
    match [("year" if each == "buddhist" and len(kinds) > 1 else each) for each in kinds]:
        case ["days"] | ["today"] | ["relative"] | ["decade"]:
            return _by_itself(parts[0], today=today)
        case ["year"] if year is not None:
            return calendar.year(year)
        case ["season", "year"] if year is not None:
            return calendar.season(named["season"].name, year)
        case ["day", "season", "year"] | ["season", "year", "year"]:
            return _winter(parts)
    kinds = sorted("year" if each == "buddhist" else each for each in kinds)
    if (
        year is None
        or year < EARLIEST
        or year > today.year
        or kinds not in (["month", "year"], ["day", "month", "year"])
    ):
        return None
    return days_of(year, named["month"].number, named["day"].number if "day" in kinds else None)


def _by_itself(part: Part, *, today: date) -> Days | None:
    match part.kind:
        case "days":
            return part.days
        case "today":
            return Days(today, today)
        case "relative":
            return calendar.shifted(part.name, part.number, today)
    return _decade(part.number, today=today)


def _winter(parts: Sequence[Part]) -> Days | None:
    """The winter of 2022/23: the second number is the year after the first."""
    season = next(each for each in parts if each.kind == "season")
    first, second = (each.number for each in parts if each.kind != "season")
    fits = season.name == "winter" and first >= EARLIEST and (first + 1 - second) % 100 == 0
    return calendar.season("winter", first) if fits else None


def _decade(number: int, *, today: date) -> Days | None:
    """Ten years: 1990 is the nineties, and so is 90; the twenties and tens of which century nobody knows."""
    if 50 <= number <= 99:
        number += 1900
    if number % 10 or not EARLIEST <= number <= today.year:
        return None
    return calendar.year(number).joined(calendar.year(number + 9))
