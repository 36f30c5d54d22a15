"""Make the data of ``connector/understand``: the words of dates in many languages, from CLDR and ``demo.date_words``.

    pip install babel==2.19.0 dateparser==1.5.0
    python -m demo.dates

Months and weekdays are CLDR's, by Babel; whole phrases such as "last year" CLDR's, by the data of dateparser.
"""

import importlib
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from babel import Locale  # type: ignore[import-not-found,unused-ignore]  # of the making only
from babel.dates import format_timedelta  # type: ignore[import-not-found,unused-ignore]

from connector.understand.tokens import folded, key_of
from demo.date_words import BOUNDS, LANGUAGES, PHOTOS, WHERE, Table

FOLDER = Path(__file__).parents[1] / "connector" / "understand"
SEASONS = ("spring", "summer", "autumn", "winter")
UNITS = ("year", "month", "week", "weekend", "day")
PLURALS = {"days": "day", "weeks": "week", "months": "month", "years": "year"}
FIXED = {
    "last_year": ("year", -1), "this_year": ("year", 0), "year_before": ("year", -2), "last_month": ("month", -1),
    "this_month": ("month", 0), "last_week": ("week", -1), "this_week": ("week", 0), "last_weekend": ("weekend", -1),
    "this_weekend": ("weekend", 0), "yesterday": ("day", -1), "before": ("day", -2),
}  # fmt: skip
RELATIVE = {
    "1 year ago": ("year", -1), "0 year ago": ("year", 0), "1 month ago": ("month", -1), "0 month ago": ("month", 0),
    "1 week ago": ("week", -1), "0 week ago": ("week", 0),
}  # fmt: skip
MARKS = {
    "ymark": "年 년 năm ปี พ.ศ. ค.ศ.", "mmark": "月 월 tháng thg", "dmark": "日 号 號 일 ngày",
    "era": "令和 平成 昭和 大正 明治 民國 民国", "first": "元",
}  # fmt: skip
DECISIVE = frozenset({
    "month", "month_in", "season", "unit", "rel", "ago", "weekday", "weekday_in", "weekend_in", "today", "last_season",
})  # fmt: skip
"""Kinds of which a date has one at least, a number or a character of an unspaced script aside."""
NO_ABBREVIATION = ("set", "out", "may", "mart", "maa", "dis")
"""Words of other languages, and of every day."""
UNSURE = {"month_in": "month", "weekday_in": "weekday"}
"""What a single word says, and what it says without its accents: *martā* is in March, Marta a name."""
LONGEST_NAME = 7
NAMES = ("mais", "martta")
"""Such words that are others, though they have no accents."""
DAYS: dict[Literal["day", "week", "month", "year"], int] = {"day": 1, "week": 7, "month": 30, "year": 365}
COUNTS = (1, 2, 3, 5, 10, 11, 20, 21)
"""One of each form that a language may have for a number."""
HAN = ("一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二")

Entries = dict[str, dict[str, Any]]


def main() -> None:
    """Write the file."""
    entries: Entries = {}
    for language, table in LANGUAGES.items():
        for phrase, kind, value in phrases(language, table):
            for key in {phrase, folded(phrase)}:
                if key == phrase or len(key) > 3 or kind not in ("season", "unit", "last", "this", "month"):
                    is_unsure = key in NAMES or (key != phrase and " " not in key and len(key) <= LONGEST_NAME)
                    add(entries, key, UNSURE.get(kind, kind) if is_unsure else kind, value, language=language)
    for kind, text in {**BOUNDS, "photo": PHOTOS}.items():
        for each in text.split():
            add(entries, key_of(each.replace("_", " ")), kind, True, language="")
    write("dates.json", entries)
    decisive = (key for key, kinds in entries.items() if not DECISIVE.isdisjoint(kinds))
    write("triggers.json", sorted({max(key.split(), key=len) for key in decisive}))
    write(
        "places.json",
        {kind: sorted({key_of(each.replace("_", " ")) for each in text.split()}) for kind, text in WHERE.items()},
    )


def write(name: str, value: Any) -> None:
    """Write a file of data on one line."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    (FOLDER / name).write_text(text + "\n", encoding="utf-8")


def add(entries: Entries, key: str, kind: str, value: Any, *, language: str) -> None:
    """One meaning of a phrase; where another language means something else, both are kept, by language."""
    if not key:
        return
    kinds = entries.setdefault(key, {})
    if kind in ("last", "this"):
        kinds[kind] = " ".join([*dict.fromkeys([*kinds.get(kind, "").split(), language])])
    elif kind in ("unit", "season"):
        known = kinds.setdefault(kind, {})
        known[value] = " ".join([*dict.fromkeys([*known.get(value, "").split(), language])])
    elif kind in ("month", "month_in") and kinds.get(kind, value) != value:
        kinds.setdefault(f"{kind}@", {})[language] = value
    else:
        kinds.setdefault(kind, value)


def phrases(language: str, table: Table) -> Iterator[tuple[str, str, Any]]:
    """Every phrase of a language: its key, what kind it is, its value."""
    words = {name: [key_of(each.replace("_", " ")) for each in text.split()] for name, text in table.items()}
    for kind in ("last", "this", "in", "glue", "ordinal", "evening", "today"):
        yield from ((each, kind, True) for each in words.get(kind, ()))
    yield from ((each, "unit", unit) for unit in UNITS for each in words.get(unit, ()))
    yield from ((each, "unit", unit) for plural, unit in PLURALS.items() for each in words.get(plural, ()))
    yield from ((each, "season", season) for season in SEASONS for each in words.get(season, ()))
    yield from ((each, "rel", value) for name, value in FIXED.items() for each in words.get(name, ()))
    yield from ((each, "num", number) for number, each in enumerate(words.get("numbers", ()), 1))
    yield from ((each, "num", 1 if language != "pl" and language != "ru" else 2) for each in words.get("one", ()))
    yield from ((each, "decade", True) for each in words.get("decade", ()))
    yield from ((each, "year_in", True) for each in words.get("year_in", ()))
    for name in ("ago", "last_season"):
        for each in table.get(name, "").split():
            phrase, _, value = each.rpartition(":")
            yield key_of(phrase.replace("_", " ")), name, value
    yield from _named(language, table)
    yield from _relative(language)
    yield from _ago(language)
    for kind, text in MARKS.items():
        yield from ((key_of(each), kind, each) for each in text.split())


def _named(language: str, table: Table) -> Iterator[tuple[str, str, Any]]:
    """Months and weekdays, as CLDR has them and as they stand after a preposition."""
    locale = Locale.parse(language)
    nominative = {m: locale.months["stand-alone"]["wide"][m] for m in range(1, 13)}
    genitive = {m: locale.months["format"]["wide"][m] for m in range(1, 13)}
    names: dict[str, dict[int, str]] = {"nom": nominative, "gen": genitive}
    for case in ("loc", "acc"):
        if forms := table.get(case, "").split():
            names[case] = dict(enumerate(forms, 1))
    others = table.get("extra_months", "").replace("_", "\u00a0").split(" ")
    extra = {number: each.replace("\u00a0", " ") for number, each in enumerate(others, 1) if each}
    if extra:
        names["extra"] = extra
    numbered = language in ("ja", "zh", "ko", "vi")
    for number in range(1, 13):
        cases = {case: each[number] for case, each in names.items()}
        for form in cases.values():
            if not re.search(r"\d", form):
                yield key_of(form), "month", number
        plain = [cases["nom"], cases["gen"], *([cases["extra"]] if extra else [])]
        for template in table.get("month_in", "").split():
            shortened = [] if template.startswith("{m}") else [_short(locale, "format", number)]
            for form in [*plain, *shortened] if "{m}" in template else [""]:
                filled = template.replace("_", " ").format(m=form.casefold(), **cases)
                if not re.search(r"\d", filled):
                    yield key_of(filled), "month_in", number
        if numbered:
            continue
        for width in ("format", "stand-alone"):
            short = _short(locale, width, number)
            key, least = key_of(short), 2 if short >= "\u0900" else 3
            if len(short) >= least and not re.search(r"\d", short) and key not in NO_ABBREVIATION:
                yield key, "month", number
    days = table.get("weekdays", "").split() or [locale.days["stand-alone"]["wide"][day] for day in range(7)]
    for day, name in enumerate(map(str.casefold, days)):
        yield key_of(name), "weekday", day
        for template in table.get("weekday_in", "").split():
            yield key_of(template.replace("_", " ").format(d=name)), "weekday_in", day
    yield from ((key_of(each.replace("_", " ")), "weekend_in", True) for each in table.get("weekend_in", "").split())
    if language == "zh":
        yield from ((f"{' '.join(han)} 月", "month", number) for number, han in enumerate(HAN, 1))


def _short(locale: Locale, width: str, month: int) -> str:
    return str(locale.months[width]["abbreviated"][month]).strip(".")


def _ago(language: str) -> Iterator[tuple[str, str, Any]]:
    """ "3 days ago" in every form that CLDR has of it, and those of two that say so without a number."""
    locale = Locale.parse(language)
    for unit, days in DAYS.items():
        for count in COUNTS:
            span = timedelta(days=-count * days)
            said = format_timedelta(span, granularity=unit, threshold=1_000, add_direction=True, locale=locale)
            said = re.sub(r"\(\d+\)", "", said)
            key = key_of(re.sub(r"\d+", "#", said))
            if "#" in key:
                yield key, "ago", unit
            elif count == 2:
                yield key, "rel", (unit, -2)


def _relative(language: str) -> Iterator[tuple[str, str, Any]]:
    """Whole phrases of CLDR, such as "last year"; of several words, or in scripts without spaces."""
    data = importlib.import_module(f"dateparser.data.date_translation_data.{language}").info
    for name, value in RELATIVE.items():
        for phrase in data.get("relative-type", {}).get(name, ()):
            key = key_of(phrase)
            if (
                len(key.split()) > 1
                and len(key) >= 7
                and all(len(word) != 2 or not word.isascii() for word in key.split())
            ):
                yield key, "rel", value


if __name__ == "__main__":
    main()
