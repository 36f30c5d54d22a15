"""Dates in a question: the words for them, and the condition they make. Only what is surely a date is one.

The rule: a month, a weekday, a season or a number alone is none. A year or a preposition beside it makes it one, and
words such as "yesterday" or "last summer" are ones by themselves.
"""

from calendar import month_name
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from connector.understand import calendar
from connector.understand.calendar import WEEKDAYS, Days, every
from connector.understand.impossible import is_rest, names_impossible
from connector.understand.lexicon import Item, items, known_words
from connector.understand.numeric import FoundDate, numeric_dates
from connector.understand.parts import EARLIEST, MARKS_BEFORE, Part, plain, reduced
from connector.understand.tokens import Token

PLAIN_YEARS = 2003
"""A number alone beside other words is a year from here on: most digital images are younger, most names older."""
# fmt: off
_DATES = frozenset({
    "month", "month_in", "season", "last", "this", "unit", "rel", "ago", "weekday", "weekday_in", "weekend_in",
    "year_in", "decade", "last_season", "ymark", "mmark", "dmark", "era", "first", "today", "evening", "to", "and",
})
_ASKING = frozenset({"in", "glue", "photo"})
_JOINTS = frozenset({"to", "and"})
_SIGNS = frozenset({"in", "glue", "since", "before", "after", "until", "between"})
_BEFORE_NUMBERS = frozenset({
    "no", "nr", "n", "№", "room", "zimmer", "route", "iso", "model", "windows", "office", "area", "highway", "pin",
    "code", "bus", "line", "gate", "flight", "size", "house", "number", "nummer", "img", "dsc", "dscn", "pxl",
    "image", "bmw", "boeing", "version", "v", "blade", "runner", "cyberpunk", "nokia", "sony", "canon", "nikon",
    "lumia", "galaxy", "expo", "peugeot", "mazda", "fiat", "porsche", "audi", "volvo", "honda", "art",
})
_STYLES = frozenset({
    "style", "styled", "music", "fashion", "hair", "hairstyle", "party", "look", "retro", "kid", "kids", "dress",
    "disco", "mode", "musik", "stil", "frisur", "outfit", "movie", "film", "car", "cars", "exposure", "timer",
    "computer", "rock", "pop",
})
# fmt: on
_CAPITALS = frozenset({"may", "march", "august", "mai", "mars", "sunday", "fall"})
"""Names that are other words too where they have no capital."""
_POSSESSIVE = frozenset({"his", "her", "their", "my", "your", "our", "seinen", "ihren", "meinen"})
_AFTER_AGES = frozenset({"years", "year", "old", "jahre", "jahren", "ans", "años", "anni"})


def find_dates(text: str, tokens: Sequence[Token], *, today: date, language: str | None) -> list[FoundDate]:
    """Every date of a text, in its order."""
    found = [*numeric_dates(text, today=today, language=language)]
    taken = [(each.start, each.end) for each in found]
    known = _Reader(text, tokens, items(tokens, words=known_words()), today, (language or "").split("-")[0])
    at = 0
    while at < len(known.items):
        span = known.span(at)
        if any(span[0] < end and start < span[1] for start, end in taken):
            at += 1
            continue
        end, meaning = known.date_at(at)
        if meaning is None:
            at += 1
            continue
        found.append(meaning)
        at = end
    if names_impossible(text, found, items=known.items, tokens=tokens):
        return []
    return sorted((known.with_signs(each) for each in found), key=lambda each: each.start)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a run of parts means: days, or a condition that comes again and again; ``sure`` by itself."""

    days: Days | None
    shown: str = ""
    where: str = ""
    sure: bool = True
    extra: str = ""


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the dates of one text."""

    text: str
    tokens: Sequence[Token]
    items: Sequence[Item]
    today: date
    language: str

    def span(self, at: int) -> tuple[int, int]:
        """Where an item stands in the text."""
        return self.tokens[self.items[at].first].start, self.tokens[self.items[at].last - 1].end

    def date_at(self, at: int) -> tuple[int, FoundDate | None]:
        """The longest date that begins with an item, and where the text goes on."""
        if not self._may_begin(self.items[at]) or is_rest(self.items[at], self.tokens):
            return at, None
        end = at
        while end < len(self.items) and self._may_belong(self.items[end]):
            end += 1
        for last in range(min(end, at + 12), at, -1):
            if self._may_end(self.items[last - 1]):
                meaning = self._meaning(at, last)
                if meaning is not None:
                    start, stop = self.span(at)[0], self.span(last - 1)[1]
                    return last, FoundDate(start, stop, meaning.shown, meaning.where)
        return at, None

    def with_signs(self, found: FoundDate) -> FoundDate:
        """With the prepositions and articles before it, which mean nothing without it."""
        start = found.start
        before = [each for each in self.items if self.tokens[each.last - 1].end <= start]
        for each in reversed(before[-4:]):
            gap = self.text[self.tokens[each.last - 1].end : start]
            if not each.is_any(_SIGNS) or gap.strip() or self._is_unspaced(each):
                break
            start = self.tokens[each.first].start
        after = next((each for each in self.items if self.tokens[each.first].start == found.end), None)
        is_joint = after is not None and after.of("glue") and self._is_unspaced(after)
        end = self.tokens[after.last - 1].end if after is not None and is_joint else found.end
        return replace(found, start=start, end=end)

    def _is_unspaced(self, item: Item) -> bool:
        return self.tokens[item.first].is_unspaced

    def _may_begin(self, item: Item) -> bool:
        is_known = item.is_any(_DATES - {"to", "and", "ymark", "first", "evening"}) or item.key in MARKS_BEFORE
        return item.number is not None or is_known

    def _may_belong(self, item: Item) -> bool:
        is_counted = item.number is None and item.of("num") is not None
        return item.number is not None or is_counted or item.is_any(_DATES) or self._is_glue(item)

    def _may_end(self, item: Item) -> bool:
        return item.number is not None or item.is_any(_DATES - {"to", "and"}) or item.key == "."

    def _is_glue(self, item: Item) -> bool:
        return bool(item.of("glue") or item.of("ordinal")) or item.key in (",", "،", ".", "/", "-", "'")

    def _meaning(self, first: int, last: int) -> Meaning | None:
        parts = self._parts(first, last)
        if not parts:
            return None
        evening = any(each.kind == "evening" for each in parts)
        if evening:
            parts = [each for each in parts if each.kind != "evening"]
            if [each.kind for each in parts] == ["last"]:
                parts = [Part("relative", -1, name="day")]
        meaning = self._of_parts(parts, first, last)
        if meaning is None:
            return None
        if evening:
            if meaning.days is None or meaning.days.first != meaning.days.last:
                return None
            meaning = replace(meaning, extra=" and taken_hour >= 17")
        if not (meaning.sure or self._has_sign(first, last, parts)):
            return None
        return self._bounded(meaning, first)

    def _bounded(self, meaning: Meaning, first: int) -> Meaning | None:
        """With the "since", "before" or "after" that stands before it, and its condition as text."""
        days = meaning.days
        if days is None:
            return meaning
        if days.first > self.today:
            return None
        before = self.items[first - 1] if first else None
        if before is not None and before.of("glue") and first > 1 and self.items[first - 2].of("since"):
            before = self.items[first - 2]
        if before is not None and not meaning.extra:
            shown = days.shown
            if before.of("before"):
                return replace(meaning, shown=f"before {shown}", where=f"taken_on < {days.first}")
            if before.of("after"):
                return replace(meaning, shown=f"after {shown}", where=f"taken_on > {days.last}")
            if before.of("until"):
                return replace(meaning, shown=f"until {shown}", where=f"taken_on <= {days.last}")
            if before.of("since") and not before.of("in"):
                return replace(meaning, shown=f"since {shown}", where=f"taken_on >= {days.first}")
        ending = ", evening" if meaning.extra else ""
        return replace(meaning, shown=days.shown + ending, where=days.where + meaning.extra)

    def _of_parts(self, parts: Sequence[Part], first: int, last: int) -> Meaning | None:
        joints = [number for number, each in enumerate(parts) if each.kind == "to"]
        if len(joints) > 1:
            return None
        if joints:
            return self._stretch(parts[: joints[0]], parts[joints[0] + 1 :], joint=parts[joints[0]], first=first)
        return self._single(reduced(parts, today=self.today), first, last)

    def _stretch(self, before: Sequence[Part], after: Sequence[Part], *, joint: Part, first: int) -> Meaning | None:
        """From one date to another: "June to August 2023", "2019-2021"."""
        is_between = first > 0 and bool(self.items[first - 1].of("between"))
        if not before or not after or (joint.name == "and" and not is_between):
            return None
        later = reduced(after, today=self.today)
        sooner = reduced(before, today=self.today)
        if not _has_year(sooner):
            one, other = self._around(sooner, later, years=[0, -1])
        elif [each.kind for each in later] == ["month"]:
            other, one = self._around(later, sooner, years=[0, 1])
        else:
            one, other = plain(sooner, today=self.today), plain(later, today=self.today)
            if one and other and one.first > other.first and joint.item and joint.item.key != "-":
                one, other = other, one  # "from 2023 to 2019"
        if one is None or other is None or one.first > other.first or other.first > self.today:
            return None
        return Meaning(one.joined(other))

    def _around(
        self, bare: Sequence[Part], dated: Sequence[Part], *, years: Sequence[int]
    ) -> tuple[Days | None, Days | None]:
        """The days of an end without a year, of the other end's year or the one beside it; and those of that end.

        June to August 2023, and December 2022 to February 2023.
        """
        fixed = plain(dated, today=self.today)
        own = [each for each in dated if each.kind == "year"]
        for by in years:
            days = plain([*bare, *(replace(each, number=each.number + by) for each in own)], today=self.today)
            if days is None or fixed is None:
                break
            if days.first <= fixed.first if years[-1] < 0 else fixed.first <= days.first:
                return days, fixed
        return None, fixed

    def _single(self, parts: Sequence[Part], first: int, last: int) -> Meaning | None:
        kinds = sorted(each.kind for each in parts)
        named = {each.kind: each for each in parts}
        if days := plain(parts, today=self.today):
            match kinds:
                case ["year"]:
                    return Meaning(days, sure=named["year"].sure or self._is_plain_year(first, last))
                case ["decade"]:
                    return Meaning(days, sure=self._is_decade(first, last))
                case ["today"]:
                    return Meaning(days, sure=self._is_today(first, last))
                case ["relative"] if self.items[first].key == "hier" and self.language != "fr":  # German for "here"
                    return Meaning(days, sure=self._is_today(first, last))
            return Meaning(days)
        match kinds:
            case ["month"]:
                number, is_sure = named["month"].number, named["month"].sure and self._is_name(first, last)
                return Meaning(None, f"{month_name[number]}, any year", f"taken_month == {number}", sure=is_sure)
            case ["day", "month"] if self._is_name(first, last) and not self._is_short(first, last):
                day, number = named["day"].number, named["month"].number
                where = every(day, number, today=self.today)
                return Meaning(None, f"{day} {month_name[number]}, any year", where) if where else None
            case ["weekday"]:
                name = WEEKDAYS[named["weekday"].number]
                where = f'taken_weekday == "{name}"'
                return Meaning(None, f"{name.capitalize()}s", where, sure=named["weekday"].sure)
            case ["weekend"]:
                where = 'taken_weekday in ("saturday", "sunday")'
                return Meaning(None, "weekends", where, sure=named["weekend"].sure)
        return None

    def _has_sign(self, first: int, last: int, parts: Sequence[Part]) -> bool:
        """Whether a preposition before a year makes it one."""
        if [each.kind for each in parts] not in (["year"], ["number"]) or not first:
            return False
        before = self.items[first - 1]
        signs = ("in", "since", "before", "after", "until")
        return any(before.of(each) for each in signs) and not self._is_counted(last)

    def _is_plain_year(self, first: int, last: int) -> bool:
        """Whether a number alone is a year: it is the text, its end, or its beginning, and counts or names nothing."""
        number = self.items[first].number
        others = [each for each in self.tokens if each.is_word]
        if (
            number is None
            or not PLAIN_YEARS <= number <= self.today.year
            or self.items[first].last != self.items[first].first + 1
        ):
            return False
        if not others or self._is_counted(last):
            return not others and len(self.tokens) == 1
        before = self.items[first - 1] if first else None
        if before is None:
            return bool(last < len(self.items) and self.tokens[self.items[last].first].is_word)
        is_name = before.key in _BEFORE_NUMBERS or (
            not self.tokens[before.last - 1].is_word and before.key not in (",", "(")
        )
        touches = self.tokens[before.last - 1].end == self.span(first)[0] and not self._is_unspaced(before)
        return not is_name and not touches and not before.is_any(frozenset({"before", "after", "until", "between"}))

    def _is_counted(self, last: int) -> bool:
        """Whether what follows says that the number is none of a year: a unit, a part of a longer number."""
        if last >= len(self.items):
            return False
        after = self.items[last]
        touches = self.span(last)[0] == self.span(last - 1)[1]
        token = self.tokens[after.first]
        if touches and not token.is_unspaced:
            return token.key not in (",", ")", "?", "!", ";", "'", ".") or (
                token.key == "." and last + 1 < len(self.items)
            )
        return token.key in ("€", "$", "£", "¥", "%", "km", "m", "px", "mm", "kg", "ft", "°", ":", "+", "×", "x")

    def _is_decade(self, first: int, last: int) -> bool:
        following = self.tokens[self.items[last].first].key if last < len(self.items) else ""
        before = self.items[first - 1].key if first else ""
        return (
            following not in _STYLES and following != "-" and following not in _AFTER_AGES and before not in _POSSESSIVE
        )

    def _is_today(self, first: int, last: int) -> bool:
        before = self.items[first - 1] if first else None
        is_last = last >= len(self.items) or not self.tokens[self.items[last].first].is_word
        is_asked_for = before is None or before.is_any(_ASKING)
        return (is_last and is_asked_for) or self.tokens[self.items[first].first].is_unspaced

    def _is_name(self, first: int, last: int) -> bool:
        """Whether a word that may be another one has the capital of a month's name."""
        some = self.tokens[self.items[first].first : self.items[last - 1].last]
        return all(each.is_capital for each in some if each.key in _CAPITALS)

    def _is_short(self, first: int, last: int) -> bool:
        """Whether the month is an abbreviation, which needs a year: "3 mar", "10 dec"."""
        some = self.tokens[self.items[first].first : self.items[last - 1].last]
        return any(
            each.is_word and len(each.key) <= 3 and known_words().get(each.key, {}).get("month") for each in some
        ) and not any(each.is_unspaced for each in some)

    def _parts(self, first: int, last: int) -> list[Part]:
        parts: list[Part] = []
        some = self.items[first:last]
        for number, item in enumerate(some):
            leads = some[number + 1] if 0 < number < len(some) - 1 else None
            part = self._part(item, leads=leads, follows=parts[-1] if parts else None)
            if part is None:
                return []
            if part.kind != "glue":
                parts.append(part)
        return parts

    def _part(self, item: Item, *, leads: Item | None, follows: Part | None) -> Part | None:
        """What an item is behind the part that it follows, and before the item to which it leads; None at the ends."""
        number = item.number
        if number is not None:
            return self._numbered(item, number)
        if leads is not None and item.is_any(_JOINTS) and (item.key != "-" or _is_dash_between(follows, leads)):
            return Part("to", name="to" if item.of("to") and not item.of("and") else "and", item=item)
        if item.of("first") and follows is not None and follows.kind == "era":
            return Part("number", 1, digits=1)
        if rel := item.of("rel"):
            return Part("relative", rel[1], name=rel[0])
        if name := item.of("last_season"):
            return Part("days", days=calendar.last_season(name, self.today))
        for kind in ("month_in", "month"):
            if item.of(kind):
                return Part("month", self._of_language(item, kind), sure=kind == "month_in")
        for kind in ("weekday_in", "weekday"):
            if item.of(kind) is not None:
                return Part("weekday", item.of(kind), sure=kind == "weekday_in")
        if item.of("weekend_in"):
            return Part("weekend", sure=True)
        for kind in ("last", "this", "ymark", "mmark", "dmark", "era"):
            if item.of(kind):
                return Part(kind, item=item)
        if item.of("season") or item.of("unit"):
            return Part("word", item=item)
        for kind in ("today", "evening"):
            if item.of(kind):
                return Part(kind)
        if item.of("num") and follows is not None and follows.kind in ("last", "number") and not item.of("glue"):
            return Part("number", item.of("num"), digits=1)
        return Part("glue") if self._is_glue(item) or item.of("to") else None

    def _numbered(self, item: Item, number: int) -> Part | None:
        if item.last == item.first + 1:
            return Part("number", number, digits=self.tokens[item.first].end - self.tokens[item.first].start)
        if item.of("year_in"):
            return Part("year", number, sure=True) if EARLIEST <= number <= self.today.year else None
        if item.of("ago"):
            return Part("relative", -number, name=item.of("ago"))
        return Part("decade", number) if item.of("decade") else None

    def _of_language(self, item: Item, kind: str) -> int:
        others = item.of(f"{kind}@") or {}
        return int(others.get(self.language, item.of(kind)))


def _is_dash_between(follows: Part | None, leads: Item) -> bool:
    """Whether a dash says "to": behind a number, as in 2019-2021, or between two months, as in Mai–Juli and 2月–4月."""
    match follows:
        case Part(kind="number"):
            return True
        case Part(kind="month"):
            return bool(leads.of("month"))
        case Part(kind="ymark" | "mmark" | "dmark"):
            return leads.number is not None
    return False


def _has_year(parts: Sequence[Part]) -> bool:
    return any(each.kind in ("year", "relative") for each in parts)
