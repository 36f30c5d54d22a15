"""Points that are not as an ingestion writes them: another program, or a person in Qdrant's dashboard, changed them.

The rule: only indexes are asked, so that a collection of millions is looked through in moments; an index holds the
values of its own type and no others. ``connector.store.audit_point`` looks at one point with all that it holds.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from qdrant_client import models

from connector.errors import CollectionMissing, StoreRefused
from connector.records import EXPECTED, NO_VECTOR
from connector.settings import FieldType
from connector.store.audit_point import ALWAYS
from connector.store.engine import Engine
from connector.store.schema import PAYLOAD_FIELDS, CollectionSchema

log = logging.getLogger(__name__)

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
