"""Points that are not as an ingestion writes them: another program, or a person in Qdrant's dashboard, changed them.

The rule: ``find_damage`` asks only indexes, so that a collection of millions is looked through in moments; an index
holds the values of its own type and no others. ``fault_of`` looks at one point with all that it holds.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any
from unicodedata import normalize
from urllib.parse import unquote

import numpy as np
from qdrant_client import models

from connector.errors import CollectionMissing, StoreRefused
from connector.records import EXPECTED, NO_VECTOR, Payload, StoredPoint, Vector, id_of
from connector.settings import FieldType
from connector.store.engine import Engine
from connector.store.points import fits
from connector.store.schema import PAYLOAD_FIELDS, CollectionSchema

log = logging.getLogger(__name__)

ALWAYS = ("uri", "source", "version", "width", "height", "bytes", "content_hash", "ingested_at")
"""Fields that every ingestion writes."""
NUMBERS = 20
"""Ids looked at together for numbers: a sound collection has none."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Damaged points: how many there are at least, and what is wrong with some of them, by id."""

    count: int
    examples: Mapping[str, str]


def say_damage(engine: Engine) -> None:
    """Name the damaged points of a collection in the log; nothing where it has none, or is not there."""
    try:
        damage = find_damage(engine)
    except CollectionMissing:
        return
    except StoreRefused as error:  # a collection of before, which lacks an index until the ingestion makes it
        log.info("damage_not_looked_for collection=%s: %s", engine.collection, error)
        return
    for point_id, fault in damage.examples.items():
        log.warning("point_damaged id=%s: %s", point_id, fault)
    if damage.count:
        log.warning(
            "points_damaged collection=%s count=%d: an ingestion of their images writes a cleared payload anew; delete "
            "the others in Qdrant's dashboard, then ingest their images again",
            engine.collection,
            damage.count,
        )


def find_damage(engine: Engine, *, examples: int = 20) -> Damage:
    """Look for points that no ingestion wrote like this."""
    schema = engine.info().schema
    where = _damaged(schema)
    found: dict[str, str] = {}
    numbers = _numbers(engine, most=examples)
    some = engine.scroll(limit=examples, where=where, fields=[*EXPECTED], vectors=True).points
    for point in [*engine.retrieve(numbers, fields=[*EXPECTED], vectors=True), *some]:
        fault = point.fault or (NO_VECTOR if point.vector is None else None)
        if fault is not None and len(found) < examples:
            found[point.id] = fault
    return Damage(count=max(engine.count(where=where), len(found)) if found else 0, examples=found)


def _numbers(engine: Engine, *, most: int) -> list[str]:
    """The ids that are numbers, which come before UUIDs in the order of the ids."""
    found: list[str] = []
    start: str | None = None
    while len(found) < most:
        page = engine.scroll(limit=NUMBERS, start=start, fields=[])
        found += [point.id for point in page.points if point.id.isdigit()]
        if (start := page.next) is None or not start.isdigit():
            break
    return found[:most]


def _damaged(schema: CollectionSchema) -> models.Filter:
    """Points without a vector, without a value that every point has, or with a value of the wrong type."""
    lost = models.Filter(must_not=[models.HasVectorCondition(has_vector=schema.vector_name)])
    kinds = {field.name: field.index for field in PAYLOAD_FIELDS if field.index not in (None, "text")}
    return models.Filter(should=[lost, *(_unfit(name, kind) for name, kind in kinds.items() if kind is not None)])


def _unfit(name: str, kind: FieldType) -> models.Filter:
    empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=name))
    fits = _fits(name, kind)
    return models.Filter(must_not=[fits] if name in ALWAYS else [empty, fits])


def _fits(name: str, kind: FieldType) -> models.Condition:
    """What every value of the field's own type meets, and none of another type."""
    match kind:
        case "integer" | "float":
            return models.FieldCondition(key=name, range=models.Range(gte=-1e300))
        case "datetime":
            return models.FieldCondition(key=name, range=models.DatetimeRange(gte="0001-01-01T00:00:00Z"))
        case "geo":
            everywhere = models.GeoRadius(center=models.GeoPoint(lon=0, lat=0), radius=3e7)
            return models.FieldCondition(key=name, geo_radius=everywhere)
        case _:
            return models.FieldCondition(key=name, match=models.MatchPrefix(prefix=""))


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
