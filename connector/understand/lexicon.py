"""The words of dates in all languages, looked up: a question's tokens -> what each may mean, the longest phrase first.

The data beside this are made by ``demo.dates`` from CLDR and a table of our own.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from connector.understand.tokens import Token

LONGEST, LONGEST_UNSPACED = 7, 24
"""Tokens of a phrase; of one in a script without spaces, whose tokens are characters."""
_MEANS_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Item:
    """Tokens from ``first`` to before ``last``, and what they may mean, by kind; ``number`` is the one in them."""

    first: int
    last: int
    key: str
    kinds: Mapping[str, Any]
    number: int | None = None

    def of(self, kind: str) -> Any:
        """What it means as one of this kind, None where it cannot be one."""
        return self.kinds.get(kind)

    def is_any(self, kinds: frozenset[str]) -> bool:
        """Whether it can be one of these."""
        return not kinds.isdisjoint(self.kinds)


def items(tokens: Sequence[Token], *, words: Mapping[str, Mapping[str, Any]]) -> list[Item]:
    """The tokens as phrases we know, the longest first, and as what they are where we know none."""
    found, at = [], 0
    while at < len(tokens):
        item = _phrase(tokens, at, words) or Item(at, at + 1, tokens[at].key, _MEANS_NOTHING, tokens[at].number)
        found.append(item)
        at = item.last
    return found


def _phrase(tokens: Sequence[Token], at: int, words: Mapping[str, Mapping[str, Any]]) -> Item | None:
    if tokens[at].is_hangul and at and tokens[at - 1].is_hangul and tokens[at - 1].end == tokens[at].start:
        return None  # within a word
    is_unspaced = any(each.is_unspaced for each in tokens[at : at + 2])  # of "2 days ago" the first is a number
    longest = LONGEST_UNSPACED if is_unspaced else LONGEST
    for end in range(min(len(tokens), at + longest), at, -1):
        some = tokens[at:end]
        numbers = [each.number for each in some if each.number is not None]
        if len(numbers) > 1:
            continue
        key = " ".join("#" if each.number is not None else each.key for each in some)
        if key in words and key != "#":
            return Item(at, end, key, words[key], numbers[0] if numbers else None)
        if not numbers and (counted := _counted(some, words)):
            return Item(at, end, counted[0], words[counted[0]], counted[1])
    return None


def _counted(some: Sequence[Token], words: Mapping[str, Mapping[str, Any]]) -> tuple[str, int] | None:
    """The phrase with its number written as a word, such as "two years ago"."""
    for number, each in enumerate(some):
        value = words.get(each.key, _MEANS_NOTHING).get("num")
        if value and len(some) > 1:
            key = " ".join("#" if number == other else one.key for other, one in enumerate(some))
            if "ago" in words.get(key, _MEANS_NOTHING):
                return key, value
    return None


@cache
def known_words() -> Mapping[str, Mapping[str, Any]]:
    """The kinds and values of every phrase of a date; read once."""
    found: Mapping[str, Mapping[str, Any]] = _read("dates.json")
    return found


@cache
def date_words() -> frozenset[str]:
    """Words without which nothing is a date; a question that has none of them needs no more than these."""
    return frozenset(_read("triggers.json"))


@cache
def place_signs() -> Mapping[str, frozenset[str]]:
    """The words beside the name of a place that say that it is one, by kind; read once."""
    return {kind: frozenset(words) for kind, words in _read("places.json").items()}


def _read(name: str) -> Any:
    return json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
