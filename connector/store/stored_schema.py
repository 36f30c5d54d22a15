"""The schema that a collection carries, read back: whatever was made of it meanwhile, no other value comes in.

The rule: a field that is unknown, or a value of another type, is an error here and not where it is used.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from connector.errors import ConfigError
from connector.store.schema import ALERT, CollectionSchema, Fingerprint, SecondSpace, Words

T = TypeVar("T")
MOST_DIMS = 65_536
"""Qdrant's own bound."""


def schema_from_json(value: object) -> CollectionSchema:
    """What ``CollectionSchema.to_json`` wrote. Raises ValueError for anything else, which says what is wrong."""
    try:
        return _read(_typed(dict[str, Any], value))
    except KeyError as error:
        raise ValueError(f"it has no {error}") from error
    except (TypeError, ConfigError) as error:
        raise ValueError(str(error)) from error


def _read(value: Mapping[str, Any]) -> CollectionSchema:
    words, second = value.get("words"), value.get("second")  # a collection of before has neither, nor linked fields
    made = CollectionSchema(
        fingerprint=Fingerprint(**value["fingerprint"]),
        meta_fields=value["meta_fields"],
        linked_fields=_typed(tuple[str, ...], value.get("linked_fields", ())),
        words=Words(**words) if words else None,
        second=SecondSpace(**{**second, "fingerprint": Fingerprint(**second["fingerprint"])}) if second else None,
        spaces=value.get("spaces") or {},
        alerts={key.removeprefix(ALERT): told for key, told in value.items() if key.startswith(ALERT) and told},
    )
    schema = _typed(CollectionSchema, asdict(made))
    if not all(1 <= dims <= MOST_DIMS for dims in schema.dims.values()):
        raise ValueError(f"dims are {[*schema.dims.values()]}; each is from 1 to {MOST_DIMS:,}")
    return schema


def _typed(kind: type[T], value: object) -> T:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where or 'it'} is {first['input']!r:.100}: {first['msg']}") from error
