"""Words in the store: a sparse vector beside the one of the space, computed of each payload as it is written.

    upsert, set_payload ─► payload ─► Wording ─► the vector ``words`` (BM25F weights; the store multiplies by IDF)
                                             └─► texts for filters (``connector.store.texts``)

The one rule: every engine writes the words of a point with its payload, so that no writer can forget them, and nobody
outside the store knows how they are kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from connector.errors import StoreRefused
from connector.records import Payload
from connector.settings import FieldType
from connector.store.points import TEXTS, as_read, as_stored
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


class SparseWeights(Protocol):
    """A sparse vector as a store gives it back."""

    @property
    def indices(self) -> Sequence[int]:
        """The numbers of its terms."""

    @property
    def values(self) -> Sequence[float]:
        """What each weighs."""


Id = TypeVar("Id")
StoredWords: TypeAlias = tuple[Id, Mapping[str, Any], SparseWeights | None]
"""A stored point's id, the part of its payload that words come from with the derived texts, and its words."""


@dataclass(slots=True)
class WordChanges(Generic[Id]):
    """What has to be written, by the points' ids: other words, words that are gone, and other texts for filters."""

    vectors: dict[Id, WordVector] = field(default_factory=dict)
    emptied: list[Id] = field(default_factory=list)
    texts: dict[Id, Mapping[str, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len({*self.vectors, *self.emptied, *self.texts})


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

    def written(self, payload: Payload) -> tuple[dict[str, Any], WordVector | None]:
        """A payload as a store keeps it, with the texts that are derived from it, and its words."""
        derived, stored = self.of(payload), as_stored(payload)
        return (stored | {TEXTS: derived.texts} if derived.texts else stored), derived.vector

    def changes(self, stored: Iterable[StoredWords[Id]]) -> WordChanges[Id]:
        """What has to be written so that the words of stored points are those of their payloads."""
        changes = WordChanges[Id]()
        for point_id, payload, there in stored:
            derived = self.of(as_read(payload))
            weights = {} if there is None else dict(zip(there.indices, there.values, strict=True))
            if derived.vector is None:
                changes.emptied += [point_id] if weights else []
            elif not derived.vector.equals(weights):
                changes.vectors[point_id] = derived.vector
            if derived.texts != payload.get(TEXTS, {}):
                changes.texts[point_id] = derived.texts
        return changes

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
    """Every payload index of the store: those that filters name, of prose those of the texts that are derived from it.

    Prose itself has one only while some points may lack their derived text.
    """
    words = schema.words
    indexes: dict[str, FieldType | Literal["derived"]] = {
        key: kind for key, kind in schema.indexes.items() if kind != "text" or words is None or not words.complete
    }
    if words is not None:
        indexes |= {derived_key(key): "derived" for key, kind in schema.indexes.items() if kind == "text"}
    return indexes


def wording_of(schema: CollectionSchema) -> Wording | None:
    """How the collection's words are computed; None where it has none."""
    return None if schema.words is None else Wording(schema)


@lru_cache(maxsize=KEPT_QUESTIONS)
def asked_words(text: str) -> WordVector:
    """A question as a sparse vector, the numbers of its terms ascending; empty where it holds no word."""
    return asked_vector(text)


def held_terms(stored: SparseWeights, asked: frozenset[int]) -> list[tuple[int, float]]:
    """Those of the terms that stand among a point's words, each with its weight."""
    terms = stored.indices
    held = asked.intersection(terms)
    if not held:
        return []
    weights = stored.values
    return [(term, weights[place]) for place, term in enumerate(terms) if term in held]


def no_words(collection: str) -> StoreRefused:
    """The error for a question by words to a collection that has none."""
    return StoreRefused(
        f"collection {collection!r} has no words: it was made before they were indexed. `polyglance collection words` "
        "adds them, from its payloads alone; until then it is searched by what is seen."
    )
