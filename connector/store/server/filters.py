"""Filters on their way to a Qdrant server, where a box that touches a pole or the 180th meridian matches nothing."""

from qdrant_client import models

from connector.store.points import inside_the_limits


def as_sent(where: models.Filter | None) -> models.Filter | None:
    """The filter with every corner of a box moved inside the globe's limits; nothing else of it changes."""
    if where is None:
        return None
    groups = {name: _group(getattr(where, name)) for name in ("must", "should", "must_not")}
    at_least = where.min_should
    if at_least is not None:
        at_least = at_least.model_copy(update={"conditions": [_condition(each) for each in at_least.conditions]})
    return where.model_copy(update={**groups, "min_should": at_least})


def _group(
    group: list[models.Condition] | models.Condition | None,
) -> list[models.Condition] | models.Condition | None:
    if isinstance(group, list):
        return [_condition(each) for each in group]
    return None if group is None else _condition(group)


def _condition(condition: models.Condition) -> models.Condition:
    match condition:
        case models.Filter():
            return as_sent(condition) or condition
        case models.NestedCondition(nested=nested):
            inner = nested.model_copy(update={"filter": as_sent(nested.filter)})
            return condition.model_copy(update={"nested": inner})
        case models.FieldCondition(geo_bounding_box=models.GeoBoundingBox() as box):
            corners = {"top_left": _corner(box.top_left), "bottom_right": _corner(box.bottom_right)}
            return condition.model_copy(update={"geo_bounding_box": models.GeoBoundingBox(**corners)})
        case _:
            return condition


def _corner(point: models.GeoPoint) -> models.GeoPoint:
    longitude, latitude = inside_the_limits(longitude=point.lon, latitude=point.lat)
    return models.GeoPoint(lon=longitude, lat=latitude)
