"""Turn ``qdrant_client.models.Filter`` into Edge's own filters, with Edge's traps closed.

The traps: ``MatchValue(True)`` becomes the integer 1 and matches nothing (numpy's booleans do not); ``has_id`` wants a
set; boxes at the limits of the globe are drawn by ``connector.store.geo``.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, TypeVar

import numpy as np
import qdrant_edge as edge
from qdrant_client import models

from connector.errors import InvalidQuery
from connector.store.geo import sound

T = TypeVar("T")


def edge_filter(where: models.Filter) -> edge.Filter:
    """The same filter for Edge. Raises InvalidQuery for what Edge does not know, or cannot read."""
    try:
        return _filter(sound(where) or where)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidQuery(f"the embedded engine cannot read this filter: {error}") from error


def _filter(where: models.Filter) -> edge.Filter:
    return edge.Filter(
        must=_clause(where.must),
        should=_clause(where.should),
        must_not=_clause(where.must_not),
        min_should=_optional(where.min_should, _min_should),
    )


def _clause(conditions: models.Condition | Sequence[models.Condition] | None) -> "list[edge.ConditionType] | None":
    if conditions is None:
        return None
    return [_condition(each) for each in (conditions if isinstance(conditions, Sequence) else [conditions])]


def _min_should(wanted: models.MinShould) -> edge.MinShould:
    return edge.MinShould([_condition(each) for each in wanted.conditions], wanted.min_count)


def _condition(condition: models.Condition) -> "edge.ConditionType":
    match condition:
        case models.FieldCondition():
            return _field_condition(condition)
        case models.IsEmptyCondition():
            return edge.IsEmptyCondition(condition.is_empty.key)
        case models.IsNullCondition():
            return edge.IsNullCondition(condition.is_null.key)
        case models.HasIdCondition():
            return edge.HasIdCondition({each if isinstance(each, int) else str(each) for each in condition.has_id})
        case models.HasVectorCondition():
            return edge.HasVectorCondition(condition.has_vector)
        case models.NestedCondition():
            return edge.NestedCondition(condition.nested.key, _filter(condition.nested.filter))
        case models.Filter():
            return _filter(condition)
        case _:
            raise InvalidQuery(f"the embedded engine knows no {type(condition).__name__}; a Qdrant server may.")


def _field_condition(condition: models.FieldCondition) -> edge.FieldCondition:
    return edge.FieldCondition(
        condition.key,
        match=_optional(condition.match, _match),
        range=_optional(condition.range, _range),
        geo_bounding_box=_optional(condition.geo_bounding_box, _box),
        geo_radius=_optional(condition.geo_radius, _radius),
        geo_polygon=_optional(condition.geo_polygon, _polygon),
        values_count=_optional(condition.values_count, _values_count),
        is_empty=condition.is_empty,
        is_null=condition.is_null,
    )


def _optional(value: Any, convert: Callable[[Any], T]) -> T | None:
    return None if value is None else convert(value)


def _match(match: models.Match) -> "edge.MatchType":
    match match:
        case models.MatchValue():
            value: Any = np.bool_(match.value) if isinstance(match.value, bool) else match.value
            return edge.MatchValue(value)
        case models.MatchAny():
            return edge.MatchAny(match.any)
        case models.MatchExcept():
            return edge.MatchExcept(match.except_)
        case models.MatchPrefix():
            return edge.MatchPrefix(match.prefix)
        case models.MatchSubstring():
            return edge.MatchSubstring(match.substring)
        case models.MatchText():
            return edge.MatchText(match.text)
        case models.MatchTextAny():
            return edge.MatchTextAny(match.text_any)
        case models.MatchPhrase():
            return edge.MatchPhrase(match.phrase)


def _range(wanted: models.Range | models.DatetimeRange) -> edge.RangeFloat | edge.RangeDateTime:
    if isinstance(wanted, models.Range):
        return edge.RangeFloat(gte=wanted.gte, gt=wanted.gt, lte=wanted.lte, lt=wanted.lt)
    return edge.RangeDateTime(
        gte=_optional(wanted.gte, _instant),
        gt=_optional(wanted.gt, _instant),
        lte=_optional(wanted.lte, _instant),
        lt=_optional(wanted.lt, _instant),
    )


def _instant(moment: datetime | date) -> str:
    """RFC 3339; a date is its first instant, and a time without a zone is UTC, as Qdrant has it."""
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time.min)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def _geo_point(point: models.GeoPoint) -> edge.GeoPoint:
    return edge.GeoPoint(lon=point.lon, lat=point.lat)


def _box(box: models.GeoBoundingBox) -> edge.GeoBoundingBox:
    return edge.GeoBoundingBox(top_left=_geo_point(box.top_left), bottom_right=_geo_point(box.bottom_right))


def _radius(circle: models.GeoRadius) -> edge.GeoRadius:
    return edge.GeoRadius(center=_geo_point(circle.center), radius=circle.radius)


def _polygon(polygon: models.GeoPolygon) -> edge.GeoPolygon:
    interiors = [[_geo_point(point) for point in ring.points] for ring in polygon.interiors or []]
    return edge.GeoPolygon(
        exterior=[_geo_point(point) for point in polygon.exterior.points], interiors=interiors or None
    )


def _values_count(wanted: models.ValuesCount) -> edge.ValuesCount:
    return edge.ValuesCount(lt=wanted.lt, gt=wanted.gt, lte=wanted.lte, gte=wanted.gte)
