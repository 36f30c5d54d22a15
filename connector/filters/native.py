"""Filters that arrive ready made: ``qdrant_client.models.Filter``, held to the same rule as expressions.

Qdrant itself answers a condition on a field that no image has with an empty list; here it is an error.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qdrant_client import models

from connector.errors import InvalidQuery
from connector.filters.unknown import about_unknown
from connector.settings import FieldType

DEEPEST = 100
"""Levels of filters inside each other."""


def checked(where: models.Filter, *, indexes: Mapping[str, FieldType]) -> models.Filter:
    """The filter itself. Raises InvalidQuery for a field without an index, as expressions do."""
    if not isinstance(where, models.Filter):
        raise InvalidQuery(
            f"the filter is {type(where).__name__}; an expression or a qdrant_client.models.Filter is wanted."
        )
    for field in _fields(where, prefix="", depth=0):
        if field not in indexes:
            raise InvalidQuery(f"in the filter: {about_unknown(field, indexes=indexes)}")
    return where


def _fields(condition: Any, *, prefix: str, depth: int) -> Iterator[str]:
    """Every payload field that a condition looks at, with its whole name."""
    if depth > DEEPEST:
        raise InvalidQuery(f"the filter nests more than {DEEPEST} deep.")
    match condition:
        case models.Filter():
            least = condition.min_should.conditions if condition.min_should else None
            for clause in (condition.must, condition.should, condition.must_not, least):
                for each in _several(clause):
                    yield from _fields(each, prefix=prefix, depth=depth + 1)
        case models.NestedCondition():
            inner = f"{prefix}{condition.nested.key}."
            yield from _fields(condition.nested.filter, prefix=inner, depth=depth + 1)
        case models.FieldCondition():
            yield _plain(prefix + condition.key)
        case models.IsEmptyCondition():
            yield _plain(prefix + condition.is_empty.key)
        case models.IsNullCondition():
            yield _plain(prefix + condition.is_null.key)


def _several(clause: Any) -> Sequence[Any]:
    if clause is None:
        return []
    return clause if isinstance(clause, list) else [clause]


def _plain(key: str) -> str:
    """A path without the marks of lists: ``tags[]`` -> ``tags``."""
    return key.replace("[]", "")
