"""Word matches: which words of a question an image holds, in which of its fields, and how much of the question that is.

    strength = information of the words found / information of all words,  less where the word is in every other image

A word's information is its inverse document frequency; words such as *the* count a fifth of it. The rule: what stands
in the payload is read here only to say why; what is found, and in which order, the store has said.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeAlias

from stopwordsiso import langs, stopwords

from connector.records import Payload, Reason
from connector.search.query import QueryWords
from connector.store.schema import CollectionSchema
from connector.words.index import META, NAMES, texts_in
from connector.words.normal import MOST_CHARACTERS, gram_of, is_unspaced, pieces_of, spelt_out, words_of
from connector.words.stems import stem_of
from connector.words.terms import asked_joined, asked_terms, is_code, name_terms, number_of, stored_terms

FUNCTION_WORD = 0.2
"""What a word of grammar (*the*, *im*) counts of its information."""
CODE = 6.0
"""What a code such as a number plate, or a part of it, counts: who types one means it, and no eye can tell it."""
COMMON = math.log(5)
"""The information from which a word tells images apart: it is in a fifth of them or fewer."""
LEAST_LANGUAGES = 3
"""In so many a word is one of grammar before it is taken for one alone: *Oma* is one in Finnish."""
LEAST_SHARE = 0.1
"""Of the question's information, which a word needs to be named as a reason."""
MOST_WORDS = 16
"""Words named for one field of one image."""
LABELS = {"ocr_text": "ocr", "meta.caption": "caption"}
"""What reasons call a field that is called otherwise in the payload."""

_SURFACE = re.compile(r"[^\W_]+|[\u2600-\u27bf\U0001f000-\U0001faff]")
"""Words and emoji."""
_JOINING = re.compile(r"[\d_]|[^\w\s.,;:!?]|[.,;:!?](?=\S)")
"""What may join words to one term that none of them holds: digits, hyphens, dots within a name."""

Information: TypeAlias = Mapping[str, float]
"""What words say, by their text: their inverse document frequency in the collection."""


@dataclass(frozen=True, slots=True)
class AskedWord:
    """A word of a question and the terms it is found by: any of them, or ``together``, characters in a row."""

    text: str
    terms: frozenset[int]
    together: bool
    counts: float = 1.0

    def weight(self, information: Information) -> float:
        """How much it tells images apart."""
        return information.get(self.text, 0.0) * self.counts

    def share(self, found: frozenset[int]) -> float:
        """How much of it an image holds, from 0 to 1."""
        held = len(self.terms & found)
        return held / len(self.terms) if self.together else float(held > 0)


@dataclass(frozen=True, slots=True)
class AskedWords:
    """The words of a question, and what some of them make together: codes such as ``re16tgk``, compounds."""

    words: tuple[AskedWord, ...]
    codes: Mapping[int, str]

    @classmethod
    def of(cls, words: QueryWords) -> "AskedWords":
        """The words of a query; none where it has none."""
        text = words.text
        made = [*_asked_words(text)]
        little = _function_words([each.text for each in made], language=words.language)

        def counts(word: str) -> float:
            return FUNCTION_WORD if word in little else CODE if is_code(word) else 1.0

        judged = tuple(replace(each, counts=counts(each.text)) for each in made)
        joined = asked_joined(text)
        return cls(judged, {number_of(form): code for code in joined for form in (stem_of(code), code)})

    @property
    def terms(self) -> frozenset[int]:
        """Every term that may be found."""
        return frozenset(self.codes).union(*(each.terms for each in self.words))

    def strength(self, found: frozenset[int], information: Information) -> float:
        """How much of the question an image with these terms answers, from 0 to 1."""
        codes = [code for number, code in self.codes.items() if number in found]
        covered = total = best = 0.0
        for each in self.words:
            weight = each.weight(information)
            share = 1.0 if any(each.text in code for code in codes) else each.share(found)
            total, covered = total + weight, covered + share * weight
            best = max(best, information.get(each.text, 0.0) * (share > 0))
        return covered / max(total, 1e-9) * min(1.0, best / COMMON)

    def telling(self, information: Information) -> frozenset[int]:
        """The terms of the words that say enough of the question to be named as reasons."""
        least = LEAST_SHARE * sum(each.weight(information) for each in self.words)
        words = (each.terms for each in self.words if each.weight(information) >= least)
        return frozenset(self.codes).union(*words)


def certainty(strength: float) -> float:
    """How sure it is that an image fits which holds so much of the words: 1/2 for a half, and steep there."""
    return strength**2 / (strength**2 + (1 - strength) ** 2)


@lru_cache(maxsize=1)
def grammar_terms() -> frozenset[int]:
    """The terms of words that are ones of grammar in several languages, and so say little in all of them."""
    often = Counter(word for each in _lists().values() for word in each)
    return frozenset(number_of(word) for word, languages in often.items() if languages >= LEAST_LANGUAGES)


def _asked_words(text: str) -> Iterator[AskedWord]:
    for token in dict.fromkeys(text.split()):
        words, spelt = words_of(token), {number_of(each) for each in spelt_out(token)}
        for word in words:
            for piece in pieces_of(word):
                terms = asked_terms(piece).keys() | (spelt if len(words) == 1 else ())
                yield AskedWord(piece, frozenset(terms), together=is_unspaced(piece))


@lru_cache(maxsize=1)
def _lists() -> Mapping[str, frozenset[str]]:
    """Words of grammar by language, in the normal form of words."""
    return {name: frozenset(word for each in stopwords(name) for word in words_of(each)) for name in langs()}


def _function_words(words: Sequence[str], *, language: str | None) -> frozenset[str]:
    """Those of the words that are words of grammar, in the language given or in half of the likeliest ones.

    *dog* is one in Danish, which is as likely as English for *a dog*; and twenty languages have an *a*.
    """
    lists = _lists()
    known = lists.get((language or "").partition("-")[0].lower())
    if known is not None:
        return known.intersection(words)
    counts = {name: len(each.intersection(words)) for name, each in lists.items()}
    likely = [lists[name] for name, count in counts.items() if count == max(counts.values())]
    shares = Counter(word for each in likely for word in each.intersection(words))
    if max(counts.values()) == 1 and len(likely) < LEAST_LANGUAGES:
        return frozenset()
    return frozenset(word for word, count in shares.items() if 2 * count >= len(likely))


@dataclass(frozen=True, slots=True)
class WordField:
    """A field of a payload that words come from, such as ``tags`` or ``meta.caption``."""

    name: str
    path: tuple[str, ...]
    terms_of: Callable[[str], Mapping[int, float]]

    def texts(self, payload: Payload) -> Iterable[str]:
        """What an image says there."""
        value: Any = payload
        for part in self.path:
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is None:
            return ()
        return (value,) if isinstance(value, str) else texts_in(value)


def word_fields(schema: CollectionSchema) -> list[WordField]:
    """The fields that the words of this collection come from."""
    weights = {} if schema.words is None else schema.words.weights
    named = [name for name, weight in weights.items() if name != META and weight > 0]
    declared = [f"{META}.{name}" for name, kind in schema.meta_fields.items() if kind == "text"]
    names = dict.fromkeys([*named, *(declared if weights.get(META, 0) > 0 else ())])
    return [
        WordField(LABELS.get(name, name), tuple(name.split(".", 1)), name_terms if name in NAMES else stored_terms)
        for name in names
    ]


def reasons_of(payload: Payload, fields: Sequence[WordField], *, asked: frozenset[int]) -> list[Reason]:
    """The fields that hold terms of a question, each with the words as they are written there."""
    words: dict[str, dict[str, None]] = {}
    for field in fields:
        for text in field.texts(payload):
            found = _written(text[:MOST_CHARACTERS], asked, field.terms_of)
            if found is not None:
                words.setdefault(field.name, {}).update(dict.fromkeys(found))
    return [Reason(name, tuple([*each][:MOST_WORDS])) for name, each in words.items()]


def _written(text: str, asked: frozenset[int], terms_of: Callable[[str], Mapping[int, float]]) -> Sequence[str] | None:
    """The words of a text that hold terms of the question, as they are written there; None where none does."""
    may_join = _JOINING.search(text) is not None
    if may_join and asked.isdisjoint(terms_of(text)):
        return None
    spans = [match.span() for match in _SURFACE.finditer(text)]
    alone = [*_alone(text, spans, asked, terms_of)]
    if alone or not may_join:  # other texts hold nothing but their words
        return alone or None
    for size in (2, 3, 4):  # a code whose groups stand apart
        for first, last in zip(spans, spans[size - 1 :], strict=False):
            part = text[first[0] : last[1]]
            if not asked.isdisjoint(terms_of(part)):
                return [part]
    return []


def _alone(
    text: str, spans: Sequence[tuple[int, int]], asked: frozenset[int], terms_of: Callable[[str], Mapping[int, float]]
) -> Iterator[str]:
    for start, end in spans:
        word = text[start:end]
        if asked.isdisjoint(terms_of(word)):
            continue
        if not is_unspaced(word):
            yield word
            continue
        yield from _runs(word, asked)


def _runs(word: str, asked: frozenset[int]) -> Iterator[str]:
    """The stretches of a run without spaces that are asked for."""
    size = min(gram_of(word), len(word))
    marked = [False] * len(word)
    for at in range(len(word) - size + 1):
        if asked.intersection(asked_terms(word[at : at + size])):
            marked[at : at + size] = [True] * size
    for match in re.finditer("1+", "".join("1" if each else "0" for each in marked)):
        yield word[match.start() : match.end()]
    if not any(marked):
        yield word
