"""What a question says beside what the image shows: dates and places in it, as conditions that can be taken back.

The rule: only what is surely a date or a place is one; a doubtful word stays what the image shows. Nothing is asked of
the store or of a model here, and a question without such words costs a look at its words.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from typing import Literal, TypeAlias

from connector.understand.lexicon import date_words, known_words, place_signs

ChipKind: TypeAlias = Literal["date", "place"]
FIELDS: dict[ChipKind, str] = {"date": "taken_on", "place": "place"}
"""The field of the payload that each kind asks."""
LONGEST = 400
"""Characters of a question that is looked at; a longer one is prose."""
_SILENT = frozenset({"in", "glue", "photo"})
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)
"""Soft hyphens, marks of direction and the like; the joiners of Persian and Indic words stay."""
_WORD = re.compile(r"[^\W\d_][\w\u0300-\u036f\u0900-\u0d7f]*")
_SUFFIXED = re.compile(r"['’](?:[dt][ae]n?)\b|(?:ss[aä]|st[aä]|lt[aä]|b[ae]n|b[óő]l)\b")
_NOT_PLAIN = re.compile(r"\d|[\u0590-\u10ff\u1780-\u17ff\u3040-\ud7a3]")


@dataclass(frozen=True, slots=True)
class Chip:
    """A date or a place that was understood: from which ``words`` of the question, how it is shown, and its condition.

    ``start`` and ``end`` are where the words stand in the question, in characters.
    """

    kind: ChipKind
    words: str
    start: int
    end: int
    shown: str
    where: str


@dataclass(frozen=True, slots=True)
class Understood:
    """A question taken apart: the ``text`` that is left to be seen, empty where it is all chips, and the chips."""

    text: str
    chips: tuple[Chip, ...] = ()


def understand(
    text: str,
    *,
    today: date,
    language: str | None = None,
    kinds: Collection[ChipKind] = ("date", "place"),
    literal: str = "",
) -> Understood:
    """Take a question apart.

    ``kinds`` says what is looked for; chips whose words occur in ``literal`` are left in the text as they stand.
    """
    if _INVISIBLE.search(text):
        return _as_it_looks(text, today=today, language=language, kinds=kinds, literal=literal)
    if len(text) > LONGEST or not may_hold(text):
        return Understood(text)
    from connector.understand.tokens import tokens

    found = tokens(text)
    chips: list[Chip] = []
    if "date" in kinds:
        from connector.understand.dates import find_dates

        chips += [
            Chip("date", text[each.start : each.end], each.start, each.end, each.shown, each.where)
            for each in find_dates(text, found, today=today, language=language)
        ]
    if "place" in kinds:
        from connector.understand.places import find_places

        chips += [
            Chip("place", text[each.start : each.end], each.start, each.end, each.shown, each.where)
            for each in find_places(found, taken=[(each.start, each.end) for each in chips])
        ]
    as_it_stands = _INVISIBLE.sub("", literal).casefold()
    kept = [each for each in chips if each.words.casefold() not in as_it_stands]
    return Understood(_left(text, kept), tuple(kept)) if kept else Understood(text)


def _as_it_looks(
    text: str, *, today: date, language: str | None, kinds: Collection[ChipKind], literal: str
) -> Understood:
    """The same without what nobody sees; chips keep where they stand in the text as it was given."""
    places = [place for place, letter in enumerate(text) if not _INVISIBLE.match(letter)]
    visible = "".join(text[place] for place in places)
    chips = []
    for each in understand(visible, today=today, language=language, kinds=kinds, literal=literal).chips:
        start, end = places[each.start], places[each.end - 1] + 1
        chips.append(replace(each, words=text[start:end], start=start, end=end))
    return Understood(_left(text, chips), tuple(chips)) if chips else Understood(text)


def may_hold(text: str) -> bool:
    """Whether any word of the text may belong to a date or a place."""
    if _NOT_PLAIN.search(text) or not date_words().isdisjoint(_WORD.findall(text.casefold())):
        return True
    words = _WORD.findall(text)
    if _SUFFIXED.search(text):
        return True
    return any(
        word.casefold() in place_signs()["strong"]
        or (word.casefold() in _place_words() and any(each[0].isupper() for each in words[number + 1 : number + 3]))
        for number, word in enumerate(words)
    )


@cache
def _place_words() -> frozenset[str]:
    """The first word of each sign that a place is named."""
    return frozenset(each.split()[0] for each in place_signs()["before"])


def _left(text: str, chips: Sequence[Chip]) -> str:
    """What is left to be seen: empty where nothing says more than that photos are wanted."""
    pieces, at = [], 0
    for chip in sorted(chips, key=lambda each: each.start):
        pieces.append(text[at : chip.start])
        at = chip.end
    pieces.append(text[at:])
    left = re.sub(r"\s+", " ", " ".join(pieces)).strip(" ,;:-–—、。・.")
    return left if _says_something(left) else ""


def _says_something(text: str) -> bool:
    from connector.understand.lexicon import items
    from connector.understand.tokens import tokens

    found = tokens(text)
    left = [each for each in items(found, words=known_words()) if not each.is_any(_SILENT)]
    return any(token.is_word or token.number is not None for each in left for token in found[each.first : each.last])
