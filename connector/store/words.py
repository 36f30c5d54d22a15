"""Words in the store: a sparse vector beside the one of the space, computed of each payload as it is written.

    upsert, set_payload ─► payload ─► Wording ─► the vector ``words`` (BM25F weights; the store multiplies by IDF)
                                             └─► texts for filters (``connector.store.texts``)

The one rule: every engine writes the words of a point with its payload, so that no writer can forget them, and nobody
outside the store knows how they are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from connector.errors import StoreRefused
from connector.settings import FieldType
from connector.store.points import TEXTS
from connector.store.schema import CollectionSchema, names_of, payload_key
from connector.words.index import WordIndex, WordVector, asked_vector, texts_in
from connector.words.phrases import searchable

WORDS = "words"
"""The sparse vector's name. No space has it."""
KEPT_QUESTIONS = 1024
"""Questions whose vectors are remembered."""


@dataclass(frozen=True, slots=True)
class Derived:
    """What is derived from a payload: ``vector`` is None where it holds no word, ``texts`` are what filters look at."""

    vector: WordVector | None
    texts: Mapping[str, str]


class Wording:
    """How the words of one collection's images are computed, by its schema."""

    def __init__(self, schema: CollectionSchema) -> None:
        words = schema.words
        assert words is not None
        declared = [name for name, kind in schema.meta_fields.items() if kind == "text"]
        self._index = WordIndex(words.weights, meta_texts=declared)
        self._texts = {".".join(names_of(key)): names_of(key) for key, kind in schema.indexes.items() if kind == "text"}

    @property
    def fields(self) -> list[str]:
        """The top-level fields of a payload that words come from."""
        return [*dict.fromkeys([*self._index.top_fields, *(path[0] for path in self._texts.values())])]

    def reads(self, payload: Mapping[str, Any]) -> bool:
        """Whether a change of these fields may change the words."""
        return any(name in payload for name in self.fields)

    def of(self, payload: Mapping[str, Any]) -> Derived:
        """What is derived from a payload."""
        found = self._index.vector_of(payload)
        values = {name: _value_at(payload, path) for name, path in self._texts.items()}
        texts = {name: searchable(texts_in(value)) for name, value in values.items() if value}
        return Derived(found if found.indices else None, texts)


def _value_at(payload: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = payload
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def derived_key(key: str) -> str:
    """Qdrant's path of a text field's derived text: of ``meta.caption``, ``words."meta.caption"``."""
    return payload_key(TEXTS, ".".join(names_of(key)))


def stored_indexes(schema: CollectionSchema) -> dict[str, FieldType | Literal["derived"]]:
    """Every payload index of the store: those that filters name, and those of the texts that are derived from prose."""
    indexes: dict[str, FieldType | Literal["derived"]] = {**schema.indexes}
    if schema.words is not None:
        indexes |= {derived_key(key): "derived" for key, kind in schema.indexes.items() if kind == "text"}
    return indexes


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
