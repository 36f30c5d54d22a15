"""Terms: what an image is found by, as numbers: of a stored text every way that it may be asked for, of a question one.

    a word                 itself, and its stem where that is another word
    O'Neill, Wi-Fi          their words, and these joined; of NoFilter its parts too
    東京駅 and the like      every character, and every two in a row (three in Thai, Lao, Khmer, Myanmar)
    a code such as RE16 TGK  every part of three or more characters, with its groups joined
    a number               itself, without leading zeros, the year and month of a date, its beginnings and ends

The one rule: a term is the same number on every machine and for ever, for it lies in the index.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import TypeAlias

from connector.words.normal import (
    LONGEST_WORD,
    MOST_CHARACTERS,
    compounds_of,
    gram_of,
    is_unspaced,
    pieces_of,
    spelt_out,
    words_of,
)
from connector.words.stems import stem_of

Terms: TypeAlias = dict[int, float]
"""How often each term occurs, a term that only resembles the word counting less."""

STEM, PART, SINGLE, SPELT = 0.6, 0.5, 0.3, 0.9
"""What a stem, a part of a code, a single character of a longer run and another spelling count beside the word."""
LONGEST_CODE = 12
"""Characters of a code of which every part is a term; of a longer one it is the whole."""
SHORTEST_PART = 3
"""Characters of a part of a code that is a term."""
MOST_CODES = 2
"""Codes in a file's name up to which their parts are terms: what has more is a name that a program made up."""

_WORDS = re.compile(r"[^\W_]+")
_GROUPS = re.compile(r"\d+|[^\W\d_]+")
_DIGIT = re.compile(r"\d")
_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])")
_COUNTED = re.compile(r"[a-z]{1,5}\d{3,}")
"""How cameras name files: letters, then a counter."""
_CAPITALS = "A-Z\u0391-\u03a9\u0401-\u042f0-9"
_GROUPED = re.compile(f"(?<![^\\W_])[{_CAPITALS}]{{1,5}}(?:[ .·\u2010-\u2013\u2212-][{_CAPITALS}]{{1,6}})+(?![^\\W_])")
"""Groups of capitals and digits in a row, as plates, serial numbers and telephone numbers have them."""
MOST_GROUPS = 4
"""Groups of a number plate."""
MOST_PLATES = 64
"""Of one text: a receipt is full of numbers."""
_THOUSANDS = re.compile(r"(?<!\d)\d{1,3}(?:[.,'’\u00a0\u202f]\d{3})+(?!\d)")
_CAMEL = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_HUMPS = re.compile(r"[A-Z](?<=[^\W\d_][A-Z])")
_EXTENSION = re.compile(r"\.\w{1,5}$")
_LONGEST_CACHED = 64
"""Characters of texts that are likely to come again: labels, folders."""


@lru_cache(maxsize=1 << 16)
def number_of(term: str) -> int:
    """The number of a term, below 2^32: its BLAKE2b digest."""
    return int.from_bytes(blake2b(term.encode(errors="replace"), digest_size=4).digest(), "little")


def stored_terms(text: str) -> Mapping[int, float]:
    """The terms of a stored text: a caption, a label, what was read in an image."""
    return _cached_text(text) if len(text) <= _LONGEST_CACHED else _terms_of_text(text)


def name_terms(name: str) -> Mapping[int, float]:
    """The terms of a file's or a folder's name, which has words run together and a counter."""
    return _cached_name(name) if len(name) <= _LONGEST_CACHED else _terms_of_name(name)


def asked_terms(text: str) -> Terms:
    """The terms of a question with their weights; empty where it holds no word."""
    asked: Terms = {}
    for term, weight in _asked(text):
        number = number_of(term)
        asked[number] = max(weight, asked.get(number, 0.0))
    return asked


def _terms_of_text(text: str) -> Terms:
    text = text[:MOST_CHARACTERS]
    found: Terms = {}
    words = words_of(text)
    for word in words:
        _add(found, _word_terms(word))
    for word in further_words(text):
        _add(found, {term: SPELT * weight for term, weight in _word_terms(word).items()})
    for code in joined_codes(text, words=words):
        _add(found, _code_terms(code))
    return found


_cached_text = lru_cache(maxsize=1 << 14)(_terms_of_text)


def _terms_of_name(name: str) -> Terms:
    name = name[:MOST_CHARACTERS]
    bare = _EXTENSION.sub("", name)
    words = words_of(_CAMEL.sub(" ", bare))
    few = sum(is_code(word) for word in words) <= MOST_CODES
    found: Terms = {}
    for word in words:
        if not is_code(word):
            _add(found, _word_terms(word))
        elif few and len(word) <= LONGEST_CODE and not _COUNTED.fullmatch(word):
            _add(found, _code_terms(word))
        else:
            _add(found, {number_of(each): weight for each, weight in groups_of(word)})
    wholes = [*(words_of(bare) if _HUMPS.search(bare) else ()), *compounds_of(bare), *spelt_out(bare)]
    parts = [part for whole in wholes for part in _GROUPS.findall(whole) or [whole]]
    for whole in dict.fromkeys(parts):
        if whole not in words and not whole.isdigit():
            _add(found, {term: SPELT * weight for term, weight in _word_terms(whole).items()})
    if few:
        for code in joined_codes(name, words=()):
            _add(found, _code_terms(code))
    return found


_cached_name = lru_cache(maxsize=1 << 10)(_terms_of_name)


def _add(found: Terms, more: Mapping[int, float]) -> None:
    for number, weight in more.items():
        found[number] = found.get(number, 0.0) + weight


@lru_cache(maxsize=1 << 15)
def _word_terms(word: str) -> Terms:
    """The terms of a stored word in normal form."""
    found: Terms = {}
    for piece in pieces_of(word):
        if is_unspaced(piece):
            _add(found, {number_of(term): weight for term, weight in _grams(piece)})
        elif piece.isdigit():
            _add(found, {number_of(term): weight for term, weight in number_parts(piece)})
        elif is_code(piece):
            _add(found, _code_terms(piece))
        else:
            stem = stem_of(piece)
            _add(found, {number_of(piece): 1.0} if stem == piece else {number_of(piece): 1.0, number_of(stem): STEM})
    return found


def _grams(run: str) -> Iterator[tuple[str, float]]:
    """Every character of a run, and every two in a row; three too where characters alone say little."""
    most = gram_of(run)
    for size in range(1, most + 1):
        weight = 1.0 if size == most or size == len(run) else SINGLE
        yield from ((run[at : at + size], weight) for at in range(len(run) - size + 1))


def number_parts(number: str) -> Iterator[tuple[str, float]]:
    """A number without its leading zeros, the year and month of a date, and what others begin and end with."""
    parts = {number: 1.0}
    if _DATE.fullmatch(number):
        parts |= {number[:4]: 1.0, number[:6]: PART}
    elif 5 <= len(number) <= 2 * LONGEST_CODE:
        parts |= {part: PART for size in range(SHORTEST_PART, len(number)) for part in (number[:size], number[-size:])}
    if stripped := number.lstrip("0"):
        parts.setdefault(stripped, 1.0)
    return iter(parts.items())


def is_code(word: str) -> bool:
    """Whether a word mixes letters and digits, as number plates and serial numbers do."""
    if word.isalpha() or word.isdigit():  # nearly all are
        return False
    return any(map(str.isdigit, word)) and any(map(str.isalpha, word))


@lru_cache(maxsize=1 << 10)
def _code_terms(code: str) -> Terms:
    """The whole, its groups of letters and of digits, and every part of three characters or more."""
    found = {number_of(part): weight for part, weight in groups_of(code)}
    if len(code) <= LONGEST_CODE:
        parts = (code[at : at + size] for size in range(SHORTEST_PART, len(code)) for at in range(len(code) - size + 1))
        for part in parts:
            found.setdefault(number_of(part), PART)
    return found


def groups_of(code: str) -> Iterator[tuple[str, float]]:
    """A code and its groups of letters and of digits, with what each counts."""
    groups = {code: 1.0}
    for group in _GROUPS.findall(code):
        groups.setdefault(group, PART)
        groups.setdefault(group.lstrip("0") or "0", PART)
        if _DATE.fullmatch(group):
            groups |= {group[:4]: PART, group[:6]: PART}
    return iter(groups.items())


def further_words(text: str) -> list[str]:
    """What a stored text is found by beside its words: compounds joined, parts of NoFilter, umlauts spelt out."""
    return [*dict.fromkeys([*compounds_of(text), *_camel_parts(text), *spelt_out(text)])]


def _camel_parts(text: str) -> Iterator[str]:
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if _HUMPS.search(text):
        for token in text.split():
            if _HUMPS.search(token):
                yield from words_of(_CAMEL.sub(" ", token))


def joined_codes(text: str, *, words: Sequence[str]) -> list[str]:
    """Codes whose groups stand apart, joined: ``RE16 TGK`` gives ``re16tgk``, ``1.234`` gives ``1234``."""
    if _DIGIT.search(text) is None:
        return []
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    joined = ["".join(words_of(each)) for each in (*_plates(text), *_THOUSANDS.findall(text))]
    for one, other in pairwise(words):
        if (is_code(one) or is_code(other)) and _short(one) and _short(other):
            joined.append(one + other)
    return [*dict.fromkeys(joined)]


def _plates(text: str) -> Iterator[str]:
    """Groups with a digit among them that may be one code: all in a row, and of many any few."""
    found = 0
    for match in _GROUPED.finditer(text):
        groups = _WORDS.findall(match[0])
        several = [groups] if len(groups) <= MOST_GROUPS or len("".join(groups)) <= LONGEST_WORD else []
        if len(groups) > MOST_GROUPS:
            several += [groups[1:], *(groups[at : at + MOST_GROUPS] for at in range(len(groups) - MOST_GROUPS + 1))]
        for some in several:
            if found < MOST_PLATES and _DIGIT.search("".join(some)):
                found += 1
                yield "".join(some)


def _short(word: str) -> bool:
    return len(word) <= 7 and not is_unspaced(word)


def asked_joined(text: str) -> list[str]:
    """Compounds and codes of a question whose parts are asked for one by one, too."""
    return [*dict.fromkeys([*compounds_of(text), *joined_codes(text, words=words_of(text))])]


def _asked(text: str) -> Iterator[tuple[str, float]]:
    text = text[:MOST_CHARACTERS]
    for word in words_of(text):
        yield from _asked_word(word)
    for word in [*spelt_out(text), *compounds_of(text)]:
        yield from ((term, SPELT * weight) for term, weight in _asked_word(word))
    yield from ((code, 1.0) for code in joined_codes(text, words=words_of(text)))


def _asked_word(word: str) -> Iterator[tuple[str, float]]:
    for piece in pieces_of(word):
        if is_unspaced(piece):
            size = min(len(piece), gram_of(piece))
            yield from ((piece[at : at + size], 1.0) for at in range(len(piece) - size + 1))
            continue
        yield piece, 1.0
        if _COUNTED.fullmatch(piece):  # IMG1234, where the name has a stroke between
            yield from ((group, PART) for group in _GROUPS.findall(piece))
        elif piece.isdigit():
            if stripped := piece.lstrip("0"):
                yield stripped, 1.0
        elif (stem := stem_of(piece)) != piece:
            yield stem, STEM
