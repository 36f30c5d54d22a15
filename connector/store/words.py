"""Words in the store: a sparse vector beside the one of the space, computed of each payload as it is written.

    upsert, set_payload ─► payload ─► Wording ─► the vector ``words`` (BM25F weights; the store multiplies by IDF)

The one rule: every engine writes the words of a point with its payload, so that no writer can forget them, and nobody
outside the store knows how they are kept.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from connector.errors import StoreRefused
from connector.store.schema import CollectionSchema
from connector.words.index import WordIndex, WordVector, asked_vector

WORDS = "words"
"""The sparse vector's name. No space has it."""
KEPT_QUESTIONS = 1024
"""Questions whose vectors are remembered."""


class Wording:
    """How the words of one collection's images are computed, by its schema."""

    def __init__(self, schema: CollectionSchema) -> None:
        words = schema.words
        assert words is not None
        texts = [name for name, kind in schema.meta_fields.items() if kind == "text"]
        self._index = WordIndex(words.weights, meta_texts=texts)

    @property
    def fields(self) -> list[str]:
        """The top-level fields of a payload that words come from."""
        return self._index.top_fields

    def reads(self, payload: Mapping[str, Any]) -> bool:
        """Whether a change of these fields may change the words."""
        return any(name in payload for name in self.fields)

    def vector_of(self, payload: Mapping[str, Any]) -> WordVector | None:
        """The words of a payload; None where it holds none."""
        found = self._index.vector_of(payload)
        return found if found.indices else None


def wording_of(schema: CollectionSchema) -> Wording | None:
    """How the collection's words are computed; None where it has none."""
    return None if schema.words is None else Wording(schema)


@lru_cache(maxsize=KEPT_QUESTIONS)
def asked_words(text: str) -> WordVector:
    """A question as a sparse vector, the numbers of its terms ascending; empty where it holds no word."""
    return asked_vector(text)


def no_words(collection: str) -> StoreRefused:
    """The error for a question by words to a collection that has none."""
    return StoreRefused(
        f"collection {collection!r} has no words: it was made before they were indexed. `polyglance collection words` "
        "adds them, from its payloads alone; until then it is searched by what is seen."
    )
