"""AlertWords: which alerts an image fits by its words: a caption, tags, text that was read in it.

The rule: an image is as relevant by its words as the same question would find it in a search. Only questions that share
a word with the image which is none of grammar are looked at.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

from connector.alerts.alert import Alert
from connector.records import Payload
from connector.search.query import QueryWords
from connector.search.word_match import AskedWords, certainty, grammar_terms
from connector.search.word_statistics import WordStatistics
from connector.store.engine import Engine
from connector.store.schema import CollectionSchema
from connector.words.index import WordIndex
from connector.words.terms import asked_terms


class AlertWords:
    """The words of a collection's alerts. Used by one thread at a time."""

    def __init__(self, engine: Engine, *, alerts: Sequence[Alert], schema: CollectionSchema) -> None:
        assert schema.words is not None
        self._alerts = alerts
        self._statistics = WordStatistics(engine)
        texts = [name for name, kind in schema.meta_fields.items() if kind == "text"]
        self._index = WordIndex(schema.words.weights, meta_texts=texts)
        self._asked: dict[int, AskedWords] = {}

    def fitting(self, payload: Payload) -> set[str]:
        """The ids of the alerts that an image fits by its words."""
        terms = frozenset(self._index.vector_of(payload).indices)
        near = {number for term in terms & self._by_term.keys() for number in self._by_term[term]}
        return {self._alerts[each].id for each in near if self._fits(each, terms)}

    def _fits(self, number: int, terms: frozenset[int]) -> bool:
        alert = self._alerts[number]
        asked = self._asked.get(number)
        if asked is None:
            asked = self._asked[number] = AskedWords.of(QueryWords(alert.question, language=alert.language))
        if not asked.terms & terms:
            return False
        strength = asked.strength(terms, self._statistics.information(asked))
        return strength > 0 and round(certainty(strength), 4) >= alert.relevance

    @cached_property
    def _by_term(self) -> Mapping[int, list[int]]:
        """The numbers of the alerts that ask for a term."""
        found: dict[int, list[int]] = {}
        little = grammar_terms()
        for number, alert in enumerate(self._alerts):
            asked = asked_terms(alert.question).keys()
            for term in asked - little or asked:
                found.setdefault(term, []).append(number)
        return found
