"""WordStatistics: how much each word of a question tells the images of one collection apart.

The rule: only the store knows how many images hold a word. It is asked by the best hit of that word alone, whose BM25
score, by what the word weighs in this image, is the inverse document frequency.
"""

import math
import threading
import time

from connector.search.relevance import REFRESH_S
from connector.search.word_match import AskedWord, AskedWords, WordField, word_fields
from connector.store.engine import Engine, WordsQuery
from connector.store.schema import Words
from connector.words.index import WordIndex, asked_vector

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
        self._index = WordIndex({})
        self.fields: list[WordField] = []
        """The fields of a payload that words come from."""

    def information(self, asked: AskedWords) -> dict[str, float]:
        """The inverse document frequency of each word, by its text; that of a word nobody has is the greatest."""
        with self._lock:
            if time.monotonic() - self._read_at > REFRESH_S or len(self._known) > MOST_REMEMBERED:
                self._refresh()
            missing = {each.text: each for each in asked.words if each.text not in self._known}
        some = [*missing.values()][:MOST_ASKED]
        answers = self._engine.query([WordsQuery(each.text, limit=1) for each in some]) if some else []
        told = {
            each.text: self._told(each, hits[0].payload, hits[0].score) if hits else self._most
            for each, hits in zip(some, answers, strict=True)
        }
        with self._lock:
            self._known.update(told)
            return {each.text: self._known.get(each.text, self._most) for each in asked.words}

    def _told(self, word: AskedWord, payload: object, score: float) -> float:
        """What a word says, by its best hit and that one's score: the store's sum of weights, times the frequency."""
        assert isinstance(payload, dict)
        asked, held = asked_vector(word.text), self._index.vector_of(payload)
        weights = dict(zip(held.indices, held.values, strict=True))
        weight = sum(value * weights.get(term, 0.0) for term, value in zip(asked.indices, asked.values, strict=True))
        return min(score / weight, self._most) if weight > 0 else self._most

    def _refresh(self) -> None:
        info = self._engine.info()
        words = info.schema.words or Words({})
        texts = [name for name, kind in info.schema.meta_fields.items() if kind == "text"]
        self._index, self.fields = WordIndex(words.weights, meta_texts=texts), word_fields(info.schema)
        self._most = math.log1p((info.points + 0.5) / 0.5)
        self._known.clear()
        self._read_at = time.monotonic()
