"""What is wrong with one stored point, by all that it holds: what no ingestion writes like this."""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any
from unicodedata import normalize
from urllib.parse import unquote

import numpy as np

from connector.records import EXPECTED, NO_VECTOR, Payload, StoredPoint, Vector, id_of
from connector.store.points import fits
from connector.store.schema import PAYLOAD_FIELDS, CollectionSchema

ALWAYS = ("uri", "source", "version", "width", "height", "bytes", "content_hash", "ingested_at")
"""Fields that every ingestion writes."""
_KINDS = {field.name: field.index for field in PAYLOAD_FIELDS}
LISTS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".txt")
"""Ends of sources that may name an id of their own for each image."""
UNIT = 2e-3
"""How far a stored vector's length may be from 1: float16 turns it by less than 5e-4."""


def fault_of(point: StoredPoint, *, schema: CollectionSchema) -> str | None:
    """What is wrong with a point that was read with its vector and all of its payload; None where nothing is."""
    if point.fault is not None:
        return point.fault
    found = chain(_id_faults(point), _field_faults(point.payload), _address_faults(point.payload))
    return next(found, None) or _vector_fault(point.vector, dims=schema.fingerprint.dims)


def _id_faults(point: StoredPoint) -> Iterator[str]:
    uri, sources = point.uri, point.payload.get("source")
    if point.id.isdigit():
        yield "the id is a number: another program wrote the point"
        return
    if not uri:
        yield "the payload names no uri: it was cleared, or another program changed it"
        return
    if point.id == id_of(uri):
        return
    places = [each for each in (sources if isinstance(sources, list) else [sources]) if isinstance(each, str)]
    if not any(each == uri or each == "memory:" or each.lower().endswith(LISTS) for each in places):
        yield "the id is not that of its uri: another program changed one of them"


def _field_faults(payload: Payload) -> Iterator[str]:
    for name in ALWAYS:
        if payload.get(name) in (None, [], ""):
            yield f"{name} is missing: another program changed the payload"
    for name in payload.keys() - EXPECTED.keys():
        yield f"{name!r:.100} is no field that an ingestion writes"
    for name, kind in _KINDS.items():
        if (value := payload.get(name)) is None:
            continue
        if kind is not None and not fits(value, kind=kind):
            yield f"{name} is {value!r:.100}: no {kind}"
        elif name in POSSIBLE and not POSSIBLE[name](value):
            yield f"{name} is {value!r:.100}, which cannot be"


def _address_faults(payload: Payload) -> Iterator[str]:
    """What stands in other fields than the uri of a file or object, and is not what the uri says."""
    uri, key, name = str(payload["uri"]), str(payload.get("object_key", "")), str(payload.get("filename", ""))
    sources, folders = payload["source"], payload.get("folder", "")
    if isinstance(sources, list) and isinstance(folders, list) and len(sources) != len(folders):
        yield f"source and folder belong together, and are {len(sources)} and {len(folders)}"
    if not uri.startswith(("file:///", "s3://")) or "#" in uri or "\ufffd" in key + name:
        return
    if key and normalize("NFC", key) not in normalize("NFC", unquote(uri)):
        yield f"object_key is {key!r:.100}, which is not that of its uri"
    if name and normalize("NFC", unquote(uri)).rpartition("/")[2] != normalize("NFC", name):
        yield f"filename is {name!r:.100}, which is not that of its uri"


def _vector_fault(vector: Vector | None, *, dims: int) -> str | None:
    if vector is None:
        return NO_VECTOR
    if vector.shape != (dims,):
        return f"the vector has the shape {vector.shape}; ({dims},) is the collection's"
    length = float(np.linalg.norm(vector))
    if not abs(length - 1) <= UNIT:  # also where it is NaN
        return f"the vector's length is {length:.4f}, not 1"
    return None


def _within(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: least <= value <= most


POSSIBLE: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("width", "height", "bytes"), _within(1, 2**63)),
    "taken_month": _within(1, 12),
    "taken_hour": _within(0, 23),
    "rating": _within(-1, 5),
    "taken_weekday": {"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}.__contains__,
    "content_hash": lambda value: re.fullmatch("[0-9a-f]{32}", value) is not None,
}
"""By field: whether a value of the right type can be."""
