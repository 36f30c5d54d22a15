"""What one may ask for: texts, ids and the stretch of an answer, checked before any model or store is troubled."""

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from connector.diversity import CANDIDATES, LEAST
from connector.errors import InvalidQuery
from connector.records import Payload

MAX_TEXT = 10_000
"""Characters in one question; the text towers read far fewer."""
MAX_LIMIT = 10_000
"""Hits in one answer, and the deepest offset."""


GROUPED = 1_000
"""Nearest pictures that groups and the facets of a question are made of."""

Value: TypeAlias = str | int | bool


@dataclass(frozen=True, slots=True)
class Reach:
    """Which part of an answer is wanted. Raises InvalidQuery for numbers that do not fit."""

    limit: int
    offset: int = 0
    min_score: float | None = None
    diversity: float = 0.0

    def __post_init__(self) -> None:
        check_between("limit", self.limit, 1, MAX_LIMIT)
        check_between("offset", self.offset, 0, MAX_LIMIT)
        if self.min_score is not None and math.isnan(self.min_score):
            raise InvalidQuery("min_score is not a number; a cosine lies between -1 and 1.")
        if not 0 <= self.diversity <= 1:
            raise InvalidQuery(f"diversity is {self.diversity}; it must be between 0 and 1.")

    @property
    def candidates(self) -> int:
        """How many of the nearest are looked at to find diverse ones."""
        return min(MAX_LIMIT, max(LEAST, CANDIDATES * (self.offset + self.limit)))


def check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise InvalidQuery("texts is one string, not a list of them; for a single text there is text().")
    for number, text in enumerate(texts):
        which = "the text" if len(texts) == 1 else f"text {number + 1} of {len(texts)}"
        if not isinstance(text, str):
            raise InvalidQuery(f"{which} is {type(text).__name__}, not a string.")
        if not text.strip():
            raise InvalidQuery(f"{which} is empty; say what the picture shows.")
        if len(text) > MAX_TEXT:
            raise InvalidQuery(f"{which} has {len(text)} characters; {MAX_TEXT} are allowed.")


def as_point_id(text: str) -> str:
    """The id in the one form that the store knows it by."""
    try:
        return str(uuid.UUID(text))
    except (ValueError, AttributeError, TypeError):
        raise InvalidQuery(f"{text!r} is no point id; one looks like {uuid.UUID(int=0)}.") from None


def check_between(name: str, value: int, least: int, greatest: int) -> None:
    if not least <= value <= greatest:
        raise InvalidQuery(f"{name} is {value}; it must be between {least} and {greatest}.")


def values_of(payload: Payload, field: str) -> list[Value]:
    """What a payload holds under a field's name, ``meta.price`` too; of a list every value once."""
    found: Any = payload
    for name in field.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    several = found if isinstance(found, list) else [found]
    return [*dict.fromkeys(each for each in several if isinstance(each, str | int | bool))]
