"""What a Qdrant server refuses and the client's in-memory mode lets through: filters, facets, orders without an index.

Also what strict mode limits, and the refusal itself, as both transports carry it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qdrant_client import models

Indexes = Mapping[str, models.PayloadIndexInfo]

ANY_TYPE = frozenset(kind.value for kind in models.PayloadSchemaType)
COUNTABLE = frozenset({"keyword", "integer", "uuid", "bool"})
SORTABLE = frozenset({"integer", "float", "datetime"})


@dataclass
class Refusal(Exception):
    """A request that is answered with an error: an HTTP status, what is wrong, and perhaps when to come back.

    ``by_grpc`` is what is said over gRPC where that is something else; ``trailing`` is metadata sent after it.
    """

    status: int
    message: str
    retry_after: int | None = None
    by_grpc: str | None = None
    trailing: tuple[tuple[str, str], ...] = ()


def bad_request(message: str) -> Refusal:
    """What strict mode and an impossible request are answered with."""
    return Refusal(400, f"Bad request: {message}")


def check_limit(limit: int | None, *, asked_of: str, strict: models.StrictModeConfig | None) -> None:
    """Raise Refusal for a limit below one, or above what strict mode allows; ``asked_of`` is the server's own word."""
    if limit is not None and limit < 1:
        wrong = f"limit: value {limit} invalid, must be 1 or larger"
        raise Refusal(
            422, f"Validation error in JSON body: [{asked_of}.{wrong}]", by_grpc=f"Validation error in body: [{wrong}]"
        )
    check_most(10 if limit is None else limit, strict.max_query_limit if strict else None, name="limit", strict=strict)


def check_most(asked: int | None, most: int | None, *, name: str, strict: models.StrictModeConfig | None) -> None:
    """Raise Refusal for more than strict mode allows of one thing, by the server's name for it."""
    if strict and strict.enabled and most is not None and asked is not None and asked > most:
        raise bad_request(
            f'Limit exceeded {asked} > {most} for "{name}". Help: Reduce the "{name}" parameter to or below {most}.'
        )


def check_order(key: str, *, indexes: Indexes) -> None:
    """Raise Refusal where no index sorts by this key; strict mode or not."""
    index = indexes.get(key)
    if index is None or index.data_type.value not in SORTABLE:
        raise Refusal(
            400,
            f"Wrong input: No range index for `order_by` key: `{key}`. Please create one to use `order_by`. Check "
            "https://qdrant.tech/documentation/concepts/indexing/#payload-index to see which payload schemas support "
            "Range conditions",
        )


def check_filter(where: models.Filter | None, *, indexes: Indexes, strict: models.StrictModeConfig | None) -> None:
    """Raise Refusal for the first key of a filter without an index that serves it."""
    for condition, _, _ in _conditions(where, prefix=""):
        match = getattr(condition, "match", None)
        if isinstance(match, models.MatchSubstring):
            raise Refusal(400, "Format error in JSON body: unknown field `substring`")
    if not (strict and strict.enabled and strict.unindexed_filtering_retrieve is False):
        return
    for _, key, kinds in _conditions(where, prefix=""):
        index = indexes.get(key)
        if kinds and (index is None or index.data_type.value not in kinds):
            raise bad_request(
                f'Index required but not found for "{key}" of one of the following types: '
                f"[{', '.join(sorted(kinds))}]. Help: Create an index for this key or use a different filter."
            )


def check_facet(key: str, *, indexes: Indexes) -> None:
    """Raise Refusal where no index counts the values of this key; strict mode or not."""
    index = indexes.get(key)
    if index is None or index.data_type.value not in COUNTABLE:
        raise Refusal(
            400,
            f"Wrong input: No appropriate index for faceting: `{key}`. Please create one to facet on this field. "
            "Check https://qdrant.tech/documentation/concepts/indexing/#payload-index to see which index conditions "
            "support Match conditions",
        )


def _conditions(where: models.Filter | None, *, prefix: str) -> Iterator[tuple[Any, str, frozenset[str]]]:
    """Every condition, with its key and the index types that serve it; no types where none is needed."""
    if where is None:
        return
    min_should = where.min_should.conditions if where.min_should else []
    for group in (where.must, where.should, where.must_not, min_should):
        for condition in group if isinstance(group, list) else [group] if group is not None else []:
            yield from _one(condition, prefix=prefix)


def _one(condition: Any, *, prefix: str) -> Iterator[tuple[Any, str, frozenset[str]]]:
    match condition:
        case models.Filter():
            yield from _conditions(condition, prefix=prefix)
        case models.NestedCondition():
            yield from _conditions(condition.nested.filter, prefix=f"{prefix}{condition.nested.key}[].")
        case models.FieldCondition():
            yield condition, prefix + condition.key, _types_for(condition)
        case models.IsEmptyCondition():
            yield condition, prefix + condition.is_empty.key, ANY_TYPE
        case models.IsNullCondition():
            yield condition, prefix + condition.is_null.key, ANY_TYPE
        case _:
            yield condition, "", frozenset()


def _types_for(condition: models.FieldCondition) -> frozenset[str]:
    if condition.match is not None:
        return _types_for_match(condition.match)
    if isinstance(condition.range, models.DatetimeRange):
        return frozenset({"datetime"})
    if condition.range is not None:
        return frozenset({"integer", "float"})
    if condition.geo_bounding_box or condition.geo_radius or condition.geo_polygon:
        return frozenset({"geo"})
    return ANY_TYPE


def _types_for_match(match: Any) -> frozenset[str]:
    if isinstance(match, models.MatchText | models.MatchTextAny | models.MatchPhrase):
        return frozenset({"text"})
    if isinstance(match, models.MatchPrefix):
        return frozenset({"keyword"})
    if isinstance(match, models.MatchValue):
        values: list[Any] = [match.value]
    else:
        values = list(match.any if isinstance(match, models.MatchAny) else match.except_)
    if any(isinstance(value, bool) for value in values):
        return frozenset({"bool"})
    if any(isinstance(value, int) for value in values):
        return frozenset({"integer"})
    return frozenset({"keyword", "uuid"})


Tokens = Callable[[str], Mapping[models.ExtendedPointId, list[str]] | None]
"""By a key whose index takes tokens between spaces, those of every point; None for any other key."""


def as_served(where: models.Filter | None, *, tokens: Tokens) -> models.Filter | None:
    """The filter as a server means it: a box that touches ±180 or ±90 degrees matches nothing.

    Recorded: nothing, or, between ±180 alone, only what lies at the meridian itself. The in-memory client knows one
    tokenizer, so what is asked of an index by ``tokens`` is answered here.
    """
    return (
        None
        if where is None
        else models.Filter.model_validate(_as_served(where.model_dump(exclude_none=True, by_alias=True), tokens))
    )


def _as_served(node: Any, tokens: Tokens) -> Any:
    if isinstance(node, list):
        return [_as_served(each, tokens) for each in node]
    if not isinstance(node, dict):
        return node
    match = node.get("match") or {}
    there = tokens(node["key"]) if {"text", "phrase"} & match.keys() else None
    if there is not None:
        wanted = (match.get("text") or match["phrase"]).split()
        holds = _holds_row if "phrase" in match else _holds_all
        return {"has_id": [point_id for point_id, held in there.items() if holds(held, wanted)]}
    box = node.get("geo_bounding_box")
    corners = [] if box is None else [box["top_left"], box["bottom_right"]]
    if any(abs(corner["lon"]) == 180 or abs(corner["lat"]) == 90 for corner in corners):
        return {"has_id": []}
    return {name: _as_served(part, tokens) for name, part in node.items()}


def _holds_all(held: list[str], wanted: list[str]) -> bool:
    return set(wanted) <= set(held)


def _holds_row(held: list[str], wanted: list[str]) -> bool:
    return any(held[at : at + len(wanted)] == wanted for at in range(len(held) - len(wanted) + 1))
