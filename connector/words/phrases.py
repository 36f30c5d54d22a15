"""Texts as filters find words in them: one token after another, parted by spaces, for any engine's simplest tokenizer.

    Zwei Hunde am Strand    zwei hund am strand
    東京駅                   東 京 駅                 so that 京駅 is a phrase of it
    RE16 TGK                re16 tgk | re 16 tgk | r e 1 6 t g k
    O'Neill, Straße 0012    o neill strass 0012 | oneill | 12

The one rule: both sides come from here, what is stored and what is asked: an engine compares equal tokens, no more.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from connector.words.index import MOST_VALUES
from connector.words.normal import MOST_CHARACTERS, is_unspaced, pieces_of, spelt_out, words_of
from connector.words.stems import stem_of
from connector.words.terms import (
    LONGEST_CODE,
    SHORTEST_PART,
    asked_joined,
    further_words,
    groups_of,
    is_code,
    joined_codes,
    number_parts,
)

BREAK = "|"
"""A token that no text holds: no phrase reaches over it."""


@dataclass(frozen=True, slots=True)
class AskedText:
    """What a field has to hold: of each of ``words`` one of its phrases, tokens in a row."""

    words: tuple[tuple[str, ...], ...]


def searchable(texts: Iterable[str]) -> str:
    """The texts of a field as they are stored for filters; empty where they hold no word."""
    return f" {BREAK} ".join(filter(None, map(_searchable, islice(texts, MOST_VALUES))))


@lru_cache(maxsize=1 << 10)
def _searchable(text: str) -> str:
    text = text[:MOST_CHARACTERS]
    words = words_of(text)
    tokens = [*_tokens(words)]
    further = {" ".join(_tokens([word])): None for word in further_words(text)}
    for word in words:
        if word.isdigit():
            further |= {part: None for part, _ in number_parts(word) if part != word}
    for code in dict.fromkeys([*filter(is_code, words), *joined_codes(text, words=words)]):
        groups = {stem_of(group): None for group, _ in groups_of(code)}
        further |= groups | ({" ".join(code): None} if len(code) <= LONGEST_CODE else {})
    for phrase in further:
        tokens += [BREAK, phrase]
    return " ".join(tokens)


def asked_text(text: str) -> AskedText:
    """What is asked for: all of its words in any order, and runs without spaces and codes as parts of something.

    A word is also found by another spelling of it, and by the compound or the code that it is a part of.
    """
    text = text[:MOST_CHARACTERS]
    joined = asked_joined(text)
    found: dict[tuple[str, ...], None] = {}
    for token in dict.fromkeys(text.split()):
        words, spelt = words_of(token), spelt_out(token)
        for word in words:
            whole = [each for each in joined if word in each]
            for piece in pieces_of(word):
                ways = [piece, *(spelt if len(words) == 1 else ()), *whole]
                found[tuple(dict.fromkeys(phrase for way in ways for phrase in _asked_phrases(way)))] = None
    return AskedText(tuple(found))


def _asked_phrases(word: str) -> Iterator[str]:
    """What a text holds where it holds the word, or has it as a part."""
    if is_code(word) and len(word) <= LONGEST_CODE:
        yield " ".join(word)
    elif word.isdigit():
        yield word
        yield word.lstrip("0") or "0"
        yield from [" ".join(word)] if SHORTEST_PART <= len(word) <= LONGEST_CODE else []
    else:
        yield " ".join(_word_tokens(word))


def asked_phrase(text: str) -> str:
    """A text whose words have to follow one another; empty where it holds none."""
    return " ".join(_tokens(words_of(text)))


def _tokens(words: list[str]) -> Iterator[str]:
    for word in words:
        yield from _word_tokens(word)


@lru_cache(maxsize=1 << 15)
def _word_tokens(word: str) -> tuple[str, ...]:
    found: list[str] = []
    for piece in pieces_of(word):
        found.extend(piece if is_unspaced(piece) else [stem_of(piece)])
    return tuple(found)
