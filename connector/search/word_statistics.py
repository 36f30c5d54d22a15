"""WordStatistics: how much each word of a question tells the images of one collection apart.

The rule: only the store knows how many images hold a word. It is asked by the best hit of that word alone, whose BM25
score, by what the word weighs in this image, is the inverse document frequency.
"""

import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence

from connector.records import Hit
from connector.search.relevance import REFRESH_S
from connector.search.word_match import AskedWord, AskedWords, WordField, word_fields
from connector.store.engine import Engine, WordsQuery
from connector.words.index import asked_vector

MOST_ASKED = 24
"""Words of a question whose information is asked for; a caption of more says enough by these."""
MOST_REMEMBERED = 20_000
"""Words whose information is remembered, for a minute."""


class WordStatistics:
    """What words say in one collection. Safe to use from many threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._known: dict[str, float] = {}
        self._read_at = -math.inf
        self._most = 0.0
        self.fields: list[WordField] = []
        """The fields of a payload that words come from."""

    def information(self, asked: AskedWords) -> dict[str, float]:
        """The inverse document frequency of each word, by its text; that of a word nobody has is the greatest."""
        missing = self.missing([asked])
        if missing:
            answers = self._engine.query(questions_about(missing))
            best = {each: hits[0] if hits else None for each, hits in zip(missing, answers, strict=True)}
            ids = [hit.id for hit in best.values() if hit is not None]
            stored = self._engine.retrieve(ids, fields=[], terms=[*terms_about(missing)]) if ids else []
            self.learn(best, weights={each.id: dict(each.terms) for each in stored})
        return self.known(asked)

    def missing(self, several: Iterable[AskedWords]) -> list[AskedWord]:
        """The words that the store has to be asked about before it is known what they say."""
        with self._lock:
            if time.monotonic() - self._read_at > REFRESH_S or len(self._known) > MOST_REMEMBERED:
                self._refresh()
            lacking = [{each.text: each for each in one.words if each.text not in self._known} for one in several]
        return [*{text: word for one in lacking for text, word in [*one.items()][:MOST_ASKED]}.values()]

    def learn(self, best: Mapping[AskedWord, Hit | None], *, weights: Mapping[str, Mapping[int, float]]) -> None:
        """Remember what words say: ``best`` is the answer to what ``questions_about`` asks, None where nobody has one.

        ``weights`` are what terms weigh among the words of these hits, by the hits' ids.
        """
        told = {word.text: self._told(word, hit, weights=weights) for word, hit in best.items()}
        with self._lock:
            self._known.update(told)

    def known(self, asked: AskedWords) -> dict[str, float]:
        """The same as ``information``, of what is remembered; what is not says most."""
        with self._lock:
            return {each.text: self._known.get(each.text, self._most) for each in asked.words}

    def _told(self, word: AskedWord, hit: Hit | None, *, weights: Mapping[str, Mapping[int, float]]) -> float:
        """What a word says, by its best hit and that one's score: the store's sum of weights, times the frequency."""
        if hit is None or hit.id not in weights:  # or deleted meanwhile
            return self._most
        held, asked = weights[hit.id], asked_vector(word.text)
        weight = sum(value * held.get(term, 0.0) for term, value in zip(asked.indices, asked.values, strict=True))
        return min(hit.score / weight, self._most) if weight > 0 else self._most

    def _refresh(self) -> None:
        info = self._engine.info()
        self.fields = word_fields(info.schema)
        self._most = math.log1p((info.points + 0.5) / 0.5)
        self._known.clear()
        self._read_at = time.monotonic()


def questions_about(words: Sequence[AskedWord]) -> list[WordsQuery]:
    """What the store is asked about words: the best hit of each one alone."""
    return [WordsQuery(each.text, limit=1, fields=[]) for each in words]


def terms_about(words: Sequence[AskedWord]) -> set[int]:
    """The terms whose weights in these hits have to be known."""
    return {term for each in words for term in asked_vector(each.text).indices}
