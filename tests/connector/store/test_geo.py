"""A box finds what lies in it and on its border, at the limits of the globe too, in both engines alike."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing

import numpy as np
import pytest
from qdrant_client import models

from connector.filters.parse import parse_filter
from connector.records import Payload, Point
from connector.store.edge.engine import EmbeddedEngine
from connector.store.engine import Engine
from connector.store.server.engine import ServerEngine
from tests.qdrant_standin.images import SCHEMA
from tests.qdrant_standin.standin import running
from tests.scratch import scratch_folder

PLACES: Mapping[str, tuple[float, float] | str | None] = {
    "origin": (0, 0),
    "vienna": (48.2, 16.4),
    "east of Fiji": (-17, -179.9),
    "west of Fiji": (-17, 179.9),
    "south pole": (-90, 40),
    "north pole": (90, 40),
    "on the meridian": (10, 180),
    "on the meridian, from the west": (12, -180),
    "nowhere": None,
    "no place": "here",
}
EVERYWHERE = set(PLACES) - {"nowhere", "no place"}
FIJI = {"east of Fiji", "west of Fiji"}
MERIDIAN = {"on the meridian", "on the meridian, from the west"}
POLES = {"south pole", "north pole"}
IDS = {name: str(uuid.uuid5(uuid.NAMESPACE_URL, name)) for name in PLACES}
BOXES = {
    "the whole world": ((90, -180, -90, 180), EVERYWHERE),
    "the western half": ((90, -180, -90, 0), {"origin", "east of Fiji", *POLES, *MERIDIAN}),
    "the eastern half": ((90, 0, -90, 180), {"origin", "vienna", "west of Fiji", *POLES, *MERIDIAN}),
    "the northern half": ((90, -180, 0, 180), {"origin", "vienna", "north pole", *MERIDIAN}),
    "a belt": ((60, -180, -60, 180), EVERYWHERE - POLES),
    "the south": ((-80, -180, -90, 180), {"south pole"}),
    "the north": ((90, -180, 80, 180), {"north pole"}),
    "the north, by one meridian": ((90, 10, 40, 20), {"vienna", "north pole"}),
    "over the meridian": ((20, 170, -20, -170), {*FIJI, *MERIDIAN}),
    "over the meridian, to the poles": (
        (90, 170, -90, -170),
        {*FIJI, *POLES, *MERIDIAN},
    ),
    "up to the meridian": ((13, 170, 9, 180), MERIDIAN),
    "from the meridian": ((13, -180, 9, -170), MERIDIAN),
    "around Vienna": ((50, 10, 40, 20), {"vienna"}),
}


@pytest.fixture(scope="module", params=["embedded", "grpc", "rest"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    vectors = np.random.default_rng(0).normal(size=(len(PLACES), SCHEMA.fingerprint.dims)).astype(np.float32)
    points = [
        Point(IDS[name], vector, _payload(place)) for (name, place), vector in zip(PLACES.items(), vectors, strict=True)
    ]
    if request.param == "embedded":
        with scratch_folder() as folder, closing(EmbeddedEngine.open(folder, collection="places")) as embedded:
            embedded.create(SCHEMA)
            embedded.upsert(points)
            yield embedded
        return
    with (
        running() as standin,
        closing(ServerEngine.connect(standin.settings(request.param), collection="places")) as server,
    ):
        server.create(SCHEMA)
        server.upsert(points)
        yield server


def _payload(place: tuple[float, float] | str | None) -> Payload:
    match place:
        case lat, lon:
            return {"location": {"lat": lat, "lon": lon}}
        case None:
            return {}
        case other:
            return {"location": other}


def found(engine: Engine, where: models.Filter) -> set[str]:
    page = engine.scroll(limit=100, where=where)
    assert engine.count(where=where) == len(page.points)
    names = {point_id: name for name, point_id in IDS.items()}
    return {names[point.id] for point in page.points}


@pytest.mark.parametrize("name", BOXES)
def test_a_box_of_a_ready_made_filter(engine: Engine, name: str) -> None:
    (top, left, bottom, right), expected = BOXES[name]
    box = models.GeoBoundingBox(
        top_left=models.GeoPoint(lat=top, lon=left), bottom_right=models.GeoPoint(lat=bottom, lon=right)
    )
    condition = models.FieldCondition(key="location", geo_bounding_box=box)
    assert found(engine, models.Filter(must=[condition])) == expected
    outside = models.Filter(must_not=[models.Filter(should=[models.Filter(must=condition)])])
    assert found(engine, outside) == set(PLACES) - expected


@pytest.mark.parametrize("name", BOXES)
def test_a_box_of_an_expression(engine: Engine, name: str) -> None:
    (top, left, bottom, right), expected = BOXES[name]
    text = f"within(location, top={top}, left={left}, bottom={bottom}, right={right})"
    assert found(engine, parse_filter(text, indexes=SCHEMA.indexes)) == expected


CIRCLES = {
    "around the north pole": ("90, 0, km=1", {"north pole"}),
    "over the north pole": ("89, -140, km=200", {"north pole"}),
    "short of the north pole": ("89, -140, km=100", set[str]()),
    "around the south pole": ("-90, 0, km=1", {"south pole"}),
    "over the south pole": ("-89, -140, km=200", {"south pole"}),
    "over the meridian": ("-17, -180, km=20", FIJI),
    "on the meridian": ("11, 180, km=200", MERIDIAN),
    "half the world": ("0, 0, km=10010", {"origin", "vienna", *POLES}),
    "the whole world": ("0, 0, km=20037", EVERYWHERE),
}


@pytest.mark.parametrize("name", CIRCLES)
def test_a_circle(engine: Engine, name: str) -> None:
    where, expected = CIRCLES[name]
    assert found(engine, parse_filter(f"near(location, {where})", indexes=SCHEMA.indexes)) == expected
    assert found(engine, parse_filter(f"not near(location, {where})", indexes=SCHEMA.indexes)) == set(PLACES) - expected
