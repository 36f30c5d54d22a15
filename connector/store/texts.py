"""Filters over prose: what is asked of a text field -> conditions on its derived text, which is stored for them alone.

    "看板" in meta.caption  ─►  words."meta.caption" holds the phrase 看 板

The one rule: outside the store a filter names the field itself, and nobody sees what is derived from it. An engine's
own tokenizers know few scripts, and not the same ones on a server as inside the process.
"""

from collections.abc import Callable, Collection
from typing import Any

from qdrant_client import models

from connector.store.schema import CollectionSchema
from connector.store.words import derived_key
from connector.words.phrases import AskedText, asked_phrase, asked_text


def as_derived(where: models.Filter | None, *, schema: CollectionSchema) -> models.Filter | None:
    """The filter with every condition on prose as one on its derived text; itself where the collection has none.

    While the words of a collection of before are added, what has none yet is asked in the old way too.
    """
    if where is None or schema.words is None:
        return where
    texts = {key for key, kind in schema.indexes.items() if kind == "text"}

    def derived(condition: models.Condition) -> models.Condition:
        if isinstance(condition, models.IsEmptyCondition):
            return _emptiness(condition, texts=texts, schema=schema)
        if not isinstance(condition, models.FieldCondition) or condition.key not in texts:
            return condition
        made = _on_derived(condition.match, key=derived_key(condition.key))
        if made is None or schema.words is None or schema.words.complete:
            return made or condition
        return models.Filter(should=[made, condition])

    return _each(where, derived)


def _emptiness(
    condition: models.IsEmptyCondition, *, texts: Collection[str], schema: CollectionSchema
) -> models.IsEmptyCondition:
    """Whether a field of prose is there is asked of its derived text, which has the index."""
    key = condition.is_empty.key
    if key not in texts or schema.words is None or not schema.words.complete:
        return condition
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=derived_key(key)))


def _each(where: models.Filter, change: Callable[[models.Condition], models.Condition]) -> models.Filter:
    """The filter with every condition in it changed, but for those inside a nested object, which no text field is."""
    made: dict[str, Any] = {}
    for name in ("must", "should", "must_not"):
        clause = getattr(where, name)
        several = clause if clause is None or isinstance(clause, list) else [clause]
        made[name] = None if several is None else [_changed(each, change) for each in several]
    least = where.min_should
    if least is not None:
        least = least.model_copy(update={"conditions": [_changed(each, change) for each in least.conditions]})
    return models.Filter(**made, min_should=least)


def _changed(condition: models.Condition, change: Callable[[models.Condition], models.Condition]) -> models.Condition:
    return _each(condition, change) if isinstance(condition, models.Filter) else change(condition)


def _on_derived(match: models.Match | None, *, key: str) -> models.Condition | None:
    """What a match of prose asks of the derived text; None for what is no match of prose."""
    match match:
        case models.MatchText(text=text):
            return models.Filter(must=_parts(asked_text(text), key=key))
        case models.MatchTextAny(text_any=text):
            return models.Filter(should=_parts(asked_text(text), key=key))
        case models.MatchPhrase(phrase=text):
            return _phrase(asked_phrase(text), key=key)
        case _:
            return None


def _parts(asked: AskedText, *, key: str) -> list[models.Condition]:
    if not asked.words:
        return [models.HasIdCondition(has_id=[])]  # a question without a word finds nothing
    return [_any([_phrase(each, key=key) for each in phrases]) for phrases in asked.words]


def _any(conditions: list[models.Condition]) -> models.Condition:
    return conditions[0] if len(conditions) == 1 else models.Filter(should=conditions)


def _phrase(phrase: str, *, key: str) -> models.Condition:
    if not phrase:
        return models.HasIdCondition(has_id=[])
    match = models.MatchPhrase(phrase=phrase) if " " in phrase else models.MatchText(text=phrase)
    return models.FieldCondition(key=key, match=match)
