"""Numbers that are no dates: "1.5 years ago", and days that the calendar does not have, "31 February 2023".

The rule: what is left of such a day is no month and no year that somebody asked for, so the question has no dates.
"""

from collections.abc import Sequence

from connector.understand.lexicon import Item
from connector.understand.numeric import FoundDate, has_impossible
from connector.understand.tokens import Token

_MONTHS = frozenset({"month", "month_in"})
_MARKS = frozenset({"mmark", "dmark"})
_BETWEEN = frozenset({"glue", "ordinal"})
_SIGNS = (",", "،", ".", "/", "-", "'")
_MEANT = range(40)
"""Numbers that are meant as a day, be there one or not; greater ones count something."""


def names_impossible(text: str, found: Sequence[FoundDate], *, items: Sequence[Item], tokens: Sequence[Token]) -> bool:
    """Whether a text names a day that there is not, beside the dates that were ``found`` in it or in numbers alone."""
    return has_impossible(text) or any(_is_part(each, items=items, tokens=tokens) for each in found)


def is_rest(item: Item, tokens: Sequence[Token]) -> bool:
    """Whether the number of a phrase such as "5 years ago" is the end of another one: "1.5", "1/2", "1e5"."""
    if item.number is None or item.last == item.first + 1 or item.first < 2:
        return False
    before, sign, number = tokens[item.first - 2 : item.first + 1]
    touches = before.end == sign.start and sign.end == number.start
    return touches and before.number is not None and number.number is not None and not sign.is_unspaced


def _is_part(found: FoundDate, *, items: Sequence[Item], tokens: Sequence[Token]) -> bool:
    """Whether a number beside a date, which did not become a part of it, was meant to be one."""
    inside = [
        number
        for number, each in enumerate(items)
        if found.start <= tokens[each.first].start and tokens[each.last - 1].end <= found.end
    ]
    if not inside:
        return False
    before = _number_beside(inside[0] - 1, -1, items=items)
    if before is not None and any(items[each].is_any(_MONTHS) for each in inside[:2]):
        return _digits(items[before], tokens) <= 2 and items[before].number in _MEANT
    after = _number_beside(inside[-1] + 1, 1, items=items)
    if after is None:
        return False
    following = items[after + 1] if after + 1 < len(items) else None
    if following is not None and following.is_any(_MARKS):
        return True
    is_counted = following is not None and tokens[following.first].is_word
    lacks_year = found.where.startswith(("taken_month", "taken_on in ("))
    is_part = _digits(items[after], tokens) >= 3 or items[after].number in _MEANT
    return lacks_year and is_part and not is_counted


def _number_beside(at: int, step: int, *, items: Sequence[Item]) -> int | None:
    """Where the number alone stands that is next to a date, articles and signs between them left out."""
    while 0 <= at < len(items) and items[at].number is None and (items[at].is_any(_BETWEEN) or items[at].key in _SIGNS):
        at += step
    is_alone = 0 <= at < len(items) and items[at].last == items[at].first + 1 and items[at].number is not None
    return at if is_alone else None


def _digits(item: Item, tokens: Sequence[Token]) -> int:
    return tokens[item.first].end - tokens[item.first].start
