"""Boxes and circles on the globe as an indexed Qdrant finds what lies in them, at the poles and the meridian too.

The rule: a box that touches a limit of the globe finds nothing, or too little, in an index, and no point on its border.
So a border at a limit is drawn a hair inside it, and what lies on the limit itself is asked for beside the box. The
north pole is found by no shape but one around everything: it is where all that lies elsewhere is not.
"""

import math

from qdrant_client import models

HAIR = 1e-7
"""Degrees that a border stays off a limit: a centimetre."""
EARTH_M = 6_371_008.8
"""The globe's mean radius, as Qdrant measures circles."""
NEAR = 2e-6
"""Degrees within which a border lies at a limit."""


def sound(where: models.Filter | None) -> models.Filter | None:
    """The filter with every box as an index understands it; itself where it has none that touches a limit."""
    if where is None:
        return None
    clauses = {name: _several(getattr(where, name)) for name in ("must", "should", "must_not")}
    least = where.min_should
    if least is not None:
        least = least.model_copy(update={"conditions": [_sound(each) for each in least.conditions]})
    made = {name: None if clause is None else [_sound(each) for each in clause] for name, clause in clauses.items()}
    return models.Filter(**made, min_should=least)


def _several(clause: models.Condition | list[models.Condition] | None) -> list[models.Condition] | None:
    return clause if clause is None or isinstance(clause, list) else [clause]


def _sound(condition: models.Condition) -> models.Condition:
    if isinstance(condition, models.Filter):
        return sound(condition) or condition
    if isinstance(condition, models.NestedCondition):
        inner = sound(condition.nested.filter) or condition.nested.filter
        return models.NestedCondition(nested=condition.nested.model_copy(update={"filter": inner}))
    if isinstance(condition, models.FieldCondition) and condition.geo_bounding_box is not None:
        return _box(condition.key, condition.geo_bounding_box) or condition
    if isinstance(condition, models.FieldCondition) and condition.geo_radius is not None:
        return _circle(condition.key, condition.geo_radius) or condition
    return condition


def _circle(key: str, circle: models.GeoRadius) -> models.Condition | None:
    """What finds all that lies in a circle around the north pole or up to it; None for any other."""
    to_the_pole = math.radians(90 - circle.center.lat) * EARTH_M
    if abs(circle.center.lat) > 90 or not to_the_pole <= circle.radius < math.pi * EARTH_M:
        return None  # one around everything finds the pole as it is
    return models.Filter(should=[models.FieldCondition(key=key, geo_radius=circle), _north_pole(key)])


def _north_pole(key: str) -> models.Filter:
    """What has a place, and lies nowhere else."""
    elsewhere = _found(key, north=90 - 2 * HAIR, west=-180, south=-90, east=180)
    return models.Filter(must=[_somewhere(key)], must_not=elsewhere)


def _somewhere(key: str) -> models.FieldCondition:
    """What has a place; what holds anything else there has none."""
    everything = models.GeoRadius(center=models.GeoPoint(lat=0, lon=0), radius=2 * math.pi * EARTH_M)
    return models.FieldCondition(key=key, geo_radius=everything)


def _box(key: str, box: models.GeoBoundingBox) -> models.Condition | None:
    """What finds all that lies in a box that touches a limit; None for one that does not."""
    north, west, south, east = box.top_left.lat, box.top_left.lon, box.bottom_right.lat, box.bottom_right.lon
    northern, southern = north >= 90 - NEAR, south <= -90 + NEAR
    western, eastern = west <= -180 + NEAR, east >= 180 - NEAR
    if not (northern or southern or western or eastern) or max(abs(north), abs(south)) > 90:
        return None  # one beyond the limits is for the engine to refuse
    if northern and southern and western and eastern:
        return _somewhere(key)
    found = _found(key, north=north, west=west, south=south, east=east)
    return models.Filter(should=[*found, _north_pole(key)] if northern else found)


def _found(key: str, *, north: float, west: float, south: float, east: float) -> list[models.Condition]:
    """What finds what lies in a box that touches a limit, but for the north pole."""
    inside = (
        min(north + HAIR, 90 - HAIR),
        max(west - HAIR, -180 + HAIR),
        max(south - HAIR, -90 + HAIR),
        min(east + HAIR, 180 - HAIR),
    )
    found: list[models.Condition] = [_between(key, *inside)]
    if west <= -180 + NEAR or east >= 180 - NEAR:  # a thin box across the meridian
        found.append(_between(key, inside[0], 180 - 2 * HAIR, inside[2], -180 + 2 * HAIR))
    if south <= -90 + NEAR:
        circle = models.GeoRadius(center=models.GeoPoint(lat=-90 + HAIR, lon=0), radius=0.1)
        found.append(models.FieldCondition(key=key, geo_radius=circle))
    return found


def _between(key: str, north: float, west: float, south: float, east: float) -> models.FieldCondition:
    top_left, bottom_right = models.GeoPoint(lat=north, lon=west), models.GeoPoint(lat=south, lon=east)
    return models.FieldCondition(
        key=key, geo_bounding_box=models.GeoBoundingBox(top_left=top_left, bottom_right=bottom_right)
    )
