"""Texts as filters find words in them: one token after another, parted by spaces, for any engine's simplest tokenizer.

    Zwei Hunde am Strand    zwei hund am strand
    東京駅                   東 京 駅                 so that 京駅 is a phrase of it
    RE16 TGK                re16 tgk | re 16 tgk | r e 1 6 t g k

The one rule: both sides come from here, what is stored and what is asked: an engine compares equal tokens, no more.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from connector.words.index import MOST_VALUES
from connector.words.normal import MOST_CHARACTERS, is_unspaced, pieces_of, words_of
from connector.words.stems import stem_of
from connector.words.terms import LONGEST_CODE, groups_of, is_code, joined_codes

BREAK = "|"
"""A token that no text holds: no phrase reaches over it."""


@dataclass(frozen=True, slots=True)
class AskedText:
    """What a field has to hold: all of ``tokens`` anywhere, and each of ``phrases``, tokens in a row."""

    tokens: tuple[str, ...]
    phrases: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the question holds no word at all."""
        return not self.tokens and not self.phrases


def searchable(texts: Iterable[str]) -> str:
    """The texts of a field as they are stored for filters; empty where they hold no word."""
    return f" {BREAK} ".join(filter(None, map(_searchable, islice(texts, MOST_VALUES))))


@lru_cache(maxsize=1 << 10)
def _searchable(text: str) -> str:
    text = text[:MOST_CHARACTERS]
    words = words_of(text)
    tokens = [*_tokens(words)]
    for code in dict.fromkeys([*filter(is_code, words), *joined_codes(text, words=words)]):
        if len(code) <= LONGEST_CODE:
            tokens += [BREAK, *(group for group, _ in groups_of(code)), BREAK, *code]
    return " ".join(tokens)


def asked_text(text: str) -> AskedText:
    """What is asked for: all of its words in any order, and runs without spaces and codes as parts of something."""
    tokens: dict[str, None] = {}
    phrases: dict[str, None] = {}
    for word in words_of(text):
        for piece in pieces_of(word):
            if (is_unspaced(piece) and len(piece) > 1) or (is_code(piece) and len(piece) <= LONGEST_CODE):
                phrases[" ".join(piece)] = None
            else:
                tokens[stem_of(piece)] = None
    return AskedText(tuple(tokens), tuple(phrases))


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
