"""What every engine promises, whichever store is behind it. A further engine is one more entry of ``ENGINES``."""

import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from connector.errors import (
    CollectionMismatch,
    CollectionMissing,
    ConfigError,
    InvalidQuery,
    StoreRefused,
)
from connector.filters.parse import parse_filter
from connector.records import FacetCount, Point, Vector
from connector.settings import FieldType
from connector.store.edge.shared import SharedEngine
from connector.store.engine import Engine, NearestQuery
from connector.store.schema import CollectionSchema, Fingerprint
from tests.hosts import HostProcess
from tests.qdrant_standin.contract import server_by_grpc, server_by_rest, standin_by_grpc, standin_by_rest
from tests.scratch import scratch_folder

EngineFactory = Callable[[], Engine]
"""Opens an engine on the test's one collection, which does not exist at first."""

DIMS = 32
META: Mapping[str, FieldType] = {
    "price": "float",
    "sold": "bool",
    "caption": "text",
    "Price (USD)": "float",
    "a.b": "integer",
}
SCHEMA = CollectionSchema(Fingerprint("mini", dims=DIMS, image_size=64, weights="abc"), META)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder for an embedded collection."""
    with scratch_folder() as folder:
        yield folder


def embedded(request: pytest.FixtureRequest) -> EngineFactory:
    """Engines in a folder of this machine."""
    folder: Path = request.getfixturevalue("scratch")
    return lambda: SharedEngine.open(folder / "data", collection="images")


def guest(request: pytest.FixtureRequest) -> EngineFactory:
    """Engines on a collection that another process has open."""
    hosts: HostProcess = request.getfixturevalue("hosts")
    folder: Path = request.getfixturevalue("scratch")
    hosts.host(folder / "data", collection="images")
    request.addfinalizer(lambda: hosts.close(folder / "data", collection="images"))
    return lambda: SharedEngine.open(folder / "data", collection="images")


ENGINES: dict[str, Callable[[pytest.FixtureRequest], EngineFactory]] = {
    "embedded": embedded,
    "guest": guest,
    "standin-grpc": standin_by_grpc,
    "standin-rest": standin_by_rest,
    "server-grpc": server_by_grpc,
    "server-rest": server_by_rest,
}


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.server] * name.startswith("server")) for name in ENGINES])
def open_engine(request: pytest.FixtureRequest) -> Iterator[EngineFactory]:
    """Opens engines of one kind; those that a test leaves open are closed after it."""
    make = ENGINES[request.param](request)
    opened: list[Engine] = []

    def open_another() -> Engine:
        opened.append(make())
        return opened[-1]

    yield open_another
    for engine in opened:
        engine.close()


@pytest.fixture
def missing(open_engine: EngineFactory) -> Engine:
    """An engine whose collection was not created."""
    return open_engine()


@pytest.fixture
def engine(missing: Engine) -> Engine:
    """An engine on an empty collection."""
    missing.create(SCHEMA)
    return missing


def point_id(number: int) -> str:
    return str(uuid.UUID(int=number))


def vectors(count: int, *, seed: int = 0) -> list[Vector]:
    """Unit vectors with a few strong directions, as embeddings have."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(count, 4)) @ random.normal(size=(4, DIMS)) + 0.3 * random.normal(size=(count, DIMS))
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return list(rows.astype(np.float32))


def points(count: int, *, payload: Callable[[int], dict[str, Any]] = lambda number: {"width": number}) -> list[Point]:
    return [Point(point_id(n), vector=vector, payload=payload(n)) for n, vector in enumerate(vectors(count))]


def numbers(ids: Sequence[str]) -> list[int]:
    return [uuid.UUID(each).int for each in ids]


# creating


def test_a_new_collection_is_empty_and_knows_its_schema(engine: Engine) -> None:
    info = engine.info()

    assert (info.points, info.indexed, info.schema) == (0, 0, SCHEMA)


def test_creating_again_alike_changes_nothing(engine: Engine) -> None:
    engine.upsert(points(3))

    engine.create(SCHEMA)

    assert engine.info().points == 3


def test_a_collection_outlives_its_engine(engine: Engine, open_engine: EngineFactory) -> None:
    engine.upsert(points(3))
    engine.close()

    again = open_engine()

    assert again.info().schema == SCHEMA
    assert again.count() == 3


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (CollectionSchema(Fingerprint("other", dims=DIMS, image_size=64), META), "space: other here, mini there"),
        (CollectionSchema(Fingerprint("mini", dims=16, image_size=64), META), "dims: 16 here, 32 there"),
        (
            CollectionSchema(Fingerprint("mini", dims=DIMS, image_size=64, weights="xyz"), META),
            "weights: xyz here, abc there",
        ),
        (
            CollectionSchema(SCHEMA.fingerprint, {"price": "integer"}),
            "meta.price: integer here, float there",
        ),
    ],
)
def test_a_collection_built_otherwise_is_refused_with_the_difference(
    engine: Engine, other: CollectionSchema, difference: str
) -> None:
    with pytest.raises(CollectionMismatch, match=difference):
        engine.create(other)


def test_a_further_meta_field_is_indexed_and_the_old_ones_stay(engine: Engine) -> None:
    engine.upsert(points(4, payload=lambda n: {"meta": {"shop": f"shop-{n % 2}"}}))

    engine.create(CollectionSchema(SCHEMA.fingerprint, {"shop": "keyword"}))

    assert engine.info().schema.meta_fields == {**META, "shop": "keyword"}
    assert engine.facet("meta.shop") == [FacetCount("shop-0", 2), FacetCount("shop-1", 2)]
    assert engine.count(where=parse_filter('meta.shop == "shop-1"', indexes=engine.info().schema.indexes)) == 2


@pytest.mark.parametrize(
    "ask",
    [
        lambda engine: engine.info(),
        lambda engine: engine.upsert(points(1)),
        lambda engine: engine.set_payload([point_id(0)], {"width": 1}),
        lambda engine: engine.delete([point_id(0)]),
        lambda engine: engine.retrieve([point_id(0)]),
        lambda engine: engine.query([NearestQuery(vectors(1)[0])]),
        lambda engine: engine.scroll(limit=1),
        lambda engine: engine.count(),
        lambda engine: engine.facet("format"),
        lambda engine: engine.sample(1),
        lambda engine: engine.ordered("width", descending=True, limit=1),
        lambda engine: engine.optimize(),
    ],
    ids=[
        "info",
        "upsert",
        "set_payload",
        "delete",
        "retrieve",
        "query",
        "scroll",
        "count",
        "facet",
        "sample",
        "ordered",
        "optimize",
    ],
)
def test_a_collection_that_does_not_exist_is_missing(missing: Engine, ask: Callable[[Engine], object]) -> None:
    with pytest.raises(CollectionMissing, match="polyglance ingest"):
        ask(missing)


# writing


def test_what_was_written_can_be_read_at_once(engine: Engine) -> None:
    written = points(5)

    engine.upsert(written)

    found = {each.id: each for each in engine.retrieve([each.id for each in written], vectors=True)}
    assert {each.id: each.payload for each in written} == {name: each.payload for name, each in found.items()}
    for each in written:
        vector = found[each.id].vector
        assert vector is not None
        assert vector.dtype == np.float32
        assert float(vector @ each.vector / np.linalg.norm(vector)) >= 0.9999


def test_a_point_written_again_is_replaced_whole(engine: Engine) -> None:
    old, new = vectors(2)
    engine.upsert([Point(point_id(1), old, {"width": 1, "height": 1})])

    engine.upsert([Point(point_id(1), new, {"width": 2})])

    (found,) = engine.retrieve([point_id(1)], vectors=True)
    assert found.payload == {"width": 2}
    assert found.vector is not None
    np.testing.assert_allclose(found.vector, new, atol=1e-3)
    assert engine.count() == 1


def test_writing_nothing_is_harmless(engine: Engine) -> None:
    engine.upsert([])
    engine.delete([])

    assert engine.count() == 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda vector: vector * np.float32("nan"), "NaN or infinity"),
        (lambda vector: np.where(np.arange(DIMS) == 3, np.float32("inf"), vector), "NaN or infinity"),
        (np.zeros_like, "is zero"),
        (lambda vector: vector[:-1], r"has shape \(31,\); the collection holds \(32,\)"),
        (lambda vector: vector[np.newaxis], r"has shape \(1, 32\)"),
    ],
    ids=["nan", "infinity", "zero", "short", "batch"],
)
def test_a_vector_that_means_nothing_is_refused_and_its_batch_with_it(
    engine: Engine, spoil: Callable[[Vector], Vector], message: str
) -> None:
    batch = points(3)
    batch[1] = Point(batch[1].id, spoil(batch[1].vector), {})

    with pytest.raises(ValueError, match=message):
        engine.upsert(batch)
    assert engine.count() == 0


def test_a_payload_that_is_no_plain_json_is_refused_and_its_batch_with_it(engine: Engine) -> None:
    batch = points(2, payload=lambda n: {"width": n if n == 0 else np.int64(n)})

    with pytest.raises(ValueError, match=r"width is np.int64\(1\) \(numpy.int64\)"):
        engine.upsert(batch)
    assert engine.count() == 0


def test_an_id_that_is_no_uuid_is_refused(engine: Engine) -> None:
    with pytest.raises(ValueError, match="'dog' is no UUID"):
        engine.upsert([Point("dog", vectors(1)[0], {})])
    for ask in (engine.retrieve, engine.delete):
        with pytest.raises(InvalidQuery, match="'dog' is no UUID"):
            ask(["dog"])


def test_setting_a_payload_merges_it_and_keeps_the_vector(engine: Engine) -> None:
    (point,) = points(1, payload=lambda _: {"width": 3, "tags": ["old"]})
    engine.upsert([point])

    engine.set_payload([point.id], {"tags": ["new"], "camera": "iPhone 4"})

    (found,) = engine.retrieve([point.id], vectors=True)
    assert found.payload == {"width": 3, "tags": ["new"], "camera": "iPhone 4"}
    assert found.vector is not None
    np.testing.assert_allclose(found.vector, point.vector, atol=1e-3)


def test_setting_the_payload_of_no_point_is_refused(engine: Engine) -> None:
    with pytest.raises(StoreRefused):
        engine.set_payload([point_id(9)], {"tags": ["new"]})


def test_deleting_removes_points_and_ignores_unknown_ids(engine: Engine) -> None:
    engine.upsert(points(4))

    engine.delete([point_id(1), point_id(77)])

    assert numbers([each.id for each in engine.scroll(limit=10).points]) == [0, 2, 3]


# reading


def test_retrieve_gives_the_fields_asked_for_and_skips_unknown_ids(engine: Engine) -> None:
    engine.upsert(points(2, payload=lambda n: {"width": n, "camera": "x", "meta": {"price": 1.5, "sold": True}}))

    found = engine.retrieve([point_id(1), point_id(77)], fields=["width", "meta.price"])

    assert [(each.id, each.payload, each.vector) for each in found] == [
        (point_id(1), {"width": 1, "meta": {"price": 1.5}}, None)
    ]
    assert engine.retrieve([point_id(1)], fields=[])[0].payload == {}
    assert engine.retrieve([]) == []


def test_what_is_no_name_of_a_field_is_refused_wherever_fields_are_named(engine: Engine) -> None:
    engine.upsert(points(1))

    wrong: list[Any] = ["", " ", "a b", "a.", ".a", "a..b", "a[", "a]", '"', '"a', "$", "a\\b", "\x00", 7]
    for name in wrong:
        with pytest.raises(InvalidQuery, match="no field of a payload"):
            engine.retrieve([point_id(0)], fields=["width", name])
        with pytest.raises(InvalidQuery, match="no field of a payload"):
            engine.scroll(limit=1, fields=[name])
    assert engine.retrieve([point_id(0)], fields=['meta."Price (USD)"', "meta.größe", "meta.a-b[0].b", '"tags"[]'])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (["wdth"], "no field 'wdth'. The nearest one is 'width'"),
        (["width", "Taken_At"], "The nearest one is 'taken_at'"),
        (["metas.price"], "Your own metadata is below meta"),
        (["zzz"], "There are: alerts, alerts_due, altitude"),
        (["words"], "no field 'words'"),
        (["width.x"], "'width' has no fields of its own"),
        (["tags[0].x"], "'tags' has no fields of its own"),
        ("width", "a list of names is wanted"),
        (5, "a list of names is wanted"),
    ],
)
def test_a_field_that_no_payload_has_is_told_with_the_nearest_one(engine: Engine, fields: Any, says: str) -> None:
    """Or a slip of the pen would answer as a collection does whose images lack the field."""
    with pytest.raises(InvalidQuery, match=re.escape(says)):
        engine.scroll(limit=1, fields=fields)
    with pytest.raises(InvalidQuery, match=re.escape(says)):
        engine.retrieve([point_id(0)], fields=fields)


def test_a_field_that_cannot_be_counted_or_ordered_is_told_with_the_nearest_one(engine: Engine) -> None:
    with pytest.raises(InvalidQuery, match="The nearest one is 'width'"):
        engine.facet("wdth", limit=3)
    with pytest.raises(InvalidQuery, match="The nearest one is 'height'"):
        engine.ordered("hight", descending=True, limit=1)
    with pytest.raises(InvalidQuery, match="cannot be put in the order of 'camera': it is indexed as keyword"):
        engine.ordered("camera", descending=True, limit=1)


def test_scrolling_visits_every_point_once_in_id_order(engine: Engine) -> None:
    engine.upsert(list(reversed(points(10))))

    pages, start = [], None
    for _ in range(4):
        page = engine.scroll(limit=3, start=start, fields=["width"])
        pages.append([each.payload["width"] for each in page.points])
        start = page.next
    assert pages == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert start is None


def test_scrolling_follows_a_filter(engine: Engine) -> None:
    engine.upsert(points(10))
    where = parse_filter("width >= 4", indexes=SCHEMA.indexes)

    page = engine.scroll(limit=2, start=point_id(5), where=where, vectors=True)

    assert numbers([each.id for each in page.points]) == [5, 6]
    assert page.next == point_id(7)
    assert all(each.vector is not None and each.vector.shape == (DIMS,) for each in page.points)


def test_hits_come_best_first_with_cosines_and_payload(engine: Engine) -> None:
    stored = points(60)
    engine.upsert(stored)
    query = vectors(1, seed=9)[0]
    cosines = np.stack([each.vector for each in stored]) @ query

    (hits,) = engine.query([NearestQuery(query, limit=5, exact=True)])

    best = np.argsort(-cosines)[:5]
    assert numbers([hit.id for hit in hits]) == best.tolist()
    np.testing.assert_allclose([hit.score for hit in hits], cosines[best], atol=2e-3)
    assert [hit.payload for hit in hits] == [{"width": int(number)} for number in best]


def test_every_query_of_a_batch_has_its_own_terms(engine: Engine) -> None:
    stored = points(60)
    engine.upsert(stored)
    query = vectors(1, seed=9)[0]
    order = np.argsort(-(np.stack([each.vector for each in stored]) @ query))
    where = parse_filter("width < 30", indexes=SCHEMA.indexes)
    score = float(np.sort(np.stack([each.vector for each in stored]) @ query)[-8])

    plain, later, filtered, good, none = engine.query(
        [
            NearestQuery(query, limit=4),
            NearestQuery(query, limit=4, offset=4),
            NearestQuery(query, limit=4, where=where, exact=True),
            NearestQuery(query, limit=60, min_score=score - 2e-3, exact=True),
            NearestQuery(query, limit=4, min_score=1.5),
        ]
    )

    assert numbers([hit.id for hit in [*plain, *later]]) == order[:8].tolist()
    assert numbers([hit.id for hit in filtered]) == [each for each in order.tolist() if each < 30][:4]
    assert numbers([hit.id for hit in good])[:8] == order[:8].tolist()
    assert all(hit.score >= score - 2e-3 for hit in good)
    assert none == []


def test_no_queries_have_no_answers(engine: Engine) -> None:
    assert engine.query([]) == []


@pytest.mark.parametrize("spoilt", [np.zeros(DIMS), np.full(DIMS, np.nan), np.ones(DIMS - 1)])
def test_a_query_vector_that_means_nothing_is_refused(engine: Engine, spoilt: Vector) -> None:
    with pytest.raises(InvalidQuery, match="query 0"):
        engine.query([NearestQuery(spoilt.astype(np.float32))])


def test_facets_count_values_largest_first(engine: Engine) -> None:
    engine.upsert(
        points(
            9,
            payload=lambda n: {
                "format": ["jpeg", "png", "webp"][min(n // 2, 2)],
                "tags": ["all", f"odd-{n % 2}"],
                "width": n % 2,
                "meta": {"sold": n < 3},
            },
        )
    )

    assert engine.facet("format") == [FacetCount("webp", 5), FacetCount("jpeg", 2), FacetCount("png", 2)]
    assert engine.facet("tags", limit=1) == [FacetCount("all", 9)]
    assert engine.facet("width") == [FacetCount(0, 5), FacetCount(1, 4)]
    assert engine.facet("meta.sold") == [FacetCount(False, 6), FacetCount(True, 3)]
    where = parse_filter("meta.sold == true", indexes=SCHEMA.indexes)
    assert engine.facet("format", where=where) == [FacetCount("jpeg", 2), FacetCount("png", 1)]
    assert engine.facet("camera") == []


@pytest.mark.parametrize("key", ["meta.price", "exposure", "taken_at", "nothing"])
def test_values_without_a_counting_index_are_not_counted(engine: Engine, key: str) -> None:
    with pytest.raises(InvalidQuery, match=f"the values of '{key}' cannot be counted"):
        engine.facet(key)


# filters

PLACES = {0: (48.2, 16.37), 1: (10.0, 179.5), 2: (10.0, -179.5), 3: (-33.9, 151.2)}


def test_a_sample_holds_points_that_match_and_each_once(engine: Engine) -> None:
    engine.upsert(points(50))
    where = parse_filter("width < 30", indexes=SCHEMA.indexes)

    picked = [each.id for each in engine.sample(10, where=where)]

    assert len(set(picked)) == 10
    assert all(number < 30 for number in numbers(picked))
    assert len(engine.sample(100)) == 50
    assert len({tuple(each.id for each in engine.sample(10)) for _ in range(5)}) > 1


def test_points_come_in_the_order_of_a_number_page_by_page(engine: Engine) -> None:
    engine.upsert(points(20, payload=lambda n: {"width": n * 7 % 20} if n else {}))

    widths = [each.payload["width"] for each in engine.ordered("width", descending=True, limit=50)]
    assert widths == list(range(19, 0, -1))  # point 0 has none
    second = engine.ordered("width", descending=False, limit=5, offset=5)
    assert [each.payload["width"] for each in second] == [6, 7, 8, 9, 10]
    where = parse_filter("width > 15", indexes=SCHEMA.indexes)
    assert len(engine.ordered("width", descending=False, limit=9, where=where)) == 4


@pytest.mark.parametrize("key", ["format", "exposure", "nonsense"])
def test_points_have_no_order_without_an_index_that_keeps_one(engine: Engine, key: str) -> None:
    with pytest.raises(InvalidQuery, match="cannot be put in the order"):
        engine.ordered(key, descending=True, limit=1)


def payload_for_filters(number: int) -> dict[str, Any]:
    latitude, longitude = PLACES[number]
    return {
        "folder": f"2024/{number}",
        "width": number,
        "tags": ["all", f"tag-{number}"],
        "taken_at": f"2024-05-0{number + 1}T12:00:00Z",
        "location": {"lat": latitude, "lon": longitude},
        "meta": {
            "sold": number % 2 == 0,
            "price": number / 4,
            "caption": f"a red boat number {number}",
            **{"Price (USD)": number + 0.5, "a.b": number, "a": {"b": -number}},
        },
        **({"camera": "x"} if number == 3 else {}),
    }


def field(key: str, **terms: Any) -> models.FieldCondition:
    return models.FieldCondition(key=key, **terms)


def box(top: float, left: float, bottom: float, right: float) -> models.GeoBoundingBox:
    return models.GeoBoundingBox(
        top_left=models.GeoPoint(lat=top, lon=left), bottom_right=models.GeoPoint(lat=bottom, lon=right)
    )


FILTERS: dict[str, tuple[models.Filter | models.Condition, list[int]]] = {
    "a boolean": (field("meta.sold", match=models.MatchValue(value=True)), [0, 2]),
    "the other boolean": (field("meta.sold", match=models.MatchValue(value=False)), [1, 3]),
    "an integer": (field("width", match=models.MatchValue(value=1)), [1]),
    "a word": (field("tags", match=models.MatchValue(value="tag-2")), [2]),
    "any of": (field("tags", match=models.MatchAny(any=["tag-2", "tag-3"])), [2, 3]),
    "any integer of": (field("width", match=models.MatchAny(any=[0, 3])), [0, 3]),
    "all except": (field("width", match=models.MatchExcept(**{"except": [0]})), [1, 2, 3]),
    "a prefix": (field("folder", match=models.MatchPrefix(prefix="2024/2")), [2]),
    "words": (field("meta.caption", match=models.MatchText(text="boat 2")), [2]),
    "a range": (field("meta.price", range=models.Range(gt=0.25, lte=0.75)), [2, 3]),
    "a name with spaces": (field('meta."Price (USD)"', range=models.Range(lt=2)), [0, 1]),
    "a name with a dot": (field('meta."a.b"', match=models.MatchValue(value=2)), [2]),
    "a name within a name": (field("meta.a.b", match=models.MatchValue(value=-2)), [2]),
    "a range of times": (field("taken_at", range=models.DatetimeRange(gte="2024-05-03T12:00:00Z")), [2, 3]),
    "a range of days": (field("taken_at", range=models.DatetimeRange(lt="2024-05-02")), [0]),
    "a circle": (
        field("location", geo_radius=models.GeoRadius(center=models.GeoPoint(lat=48, lon=16), radius=50_000)),
        [0],
    ),
    "a box": (field("location", geo_bounding_box=box(50, 10, 40, 20)), [0]),
    "a box over the 180th meridian": (field("location", geo_bounding_box=box(20, 170, 0, -170)), [1, 2]),
    "the whole world": (field("location", geo_bounding_box=box(90, -180, -90, 180)), [0, 1, 2, 3]),
    "ids": (models.HasIdCondition(has_id=[point_id(1), point_id(3), point_id(8)]), [1, 3]),
    "an empty field": (models.IsEmptyCondition(is_empty=models.PayloadField(key="camera")), [0, 1, 2]),
    "how many values": (field("tags", values_count=models.ValuesCount(gte=2)), [0, 1, 2, 3]),
    "both": (
        models.Filter(must=[field("width", range=models.Range(gt=0)), field("width", range=models.Range(lt=3))]),
        [1, 2],
    ),
    "one of both": (
        models.Filter(should=[field("width", match=models.MatchValue(value=n)) for n in (0, 3)]),
        [0, 3],
    ),
    "none of both": (
        models.Filter(must_not=[field("width", match=models.MatchValue(value=n)) for n in (0, 3)]),
        [1, 2],
    ),
    "one condition, no list": (models.Filter(must=field("width", match=models.MatchValue(value=0))), [0]),
    "two of three": (
        models.Filter(
            min_should=models.MinShould(
                conditions=[
                    field("width", range=models.Range(gt=0)),
                    field("width", range=models.Range(gt=1)),
                    field("width", range=models.Range(gt=2)),
                ],
                min_count=2,
            )
        ),
        [2, 3],
    ),
    "nested": (
        models.Filter(
            must=[models.Filter(must_not=[models.Filter(should=[field("camera", match=models.MatchValue(value="x"))])])]
        ),
        [0, 1, 2],
    ),
}


def test_every_kind_of_filter_selects_its_points(engine: Engine) -> None:
    engine.upsert(points(4, payload=payload_for_filters))
    wholes = {
        name: where if isinstance(where, models.Filter) else models.Filter(must=[where])
        for name, (where, _) in FILTERS.items()
    }
    expected = {name: numbers_there for name, (_, numbers_there) in FILTERS.items()}

    scrolled = {name: engine.scroll(limit=10, where=where).points for name, where in wholes.items()}
    hits = engine.query([NearestQuery(vectors(1)[0], limit=10, where=where) for where in wholes.values()])

    assert {name: numbers([each.id for each in found]) for name, found in scrolled.items()} == expected
    assert {name: engine.count(where=where) for name, where in wholes.items()} == {
        name: len(there) for name, there in expected.items()
    }
    assert {
        name: sorted(numbers([hit.id for hit in found])) for name, found in zip(wholes, hits, strict=True)
    } == expected


# the whole


def test_optimizing_changes_no_answer(engine: Engine) -> None:
    engine.upsert(points(300))
    query = NearestQuery(vectors(1, seed=9)[0], limit=10, exact=True)
    before = engine.query([query])

    engine.optimize()
    engine.upsert([Point(point_id(0), vectors(1, seed=5)[0], {"width": 1000})])

    assert engine.info().points == engine.count() == 300
    assert engine.query([query])[0][0].id == before[0][0].id
    assert engine.retrieve([point_id(0)])[0].payload == {"width": 1000}


def test_many_threads_write_and_read_at_once(engine: Engine) -> None:
    stored = points(400)
    start = threading.Barrier(8)

    def write(part: int) -> None:
        start.wait()
        for first in range(part * 100, part * 100 + 100, 20):
            engine.upsert(stored[first : first + 20])

    def read(_: int) -> None:
        start.wait()
        for _ in range(20):
            (hits,) = engine.query([NearestQuery(stored[0].vector, limit=3)])
            assert len(hits) <= 3
            engine.count()

    with ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(write, part) for part in range(4)] + [pool.submit(read, part) for part in range(4)]
        for task in tasks:
            task.result()
    assert engine.count() == 400


def test_a_dropped_collection_is_gone_and_can_be_made_anew(engine: Engine) -> None:
    engine.upsert(points(3))

    engine.drop()
    engine.drop()

    with pytest.raises(CollectionMissing):
        engine.count()
    engine.create(CollectionSchema(Fingerprint("other", dims=8, image_size=32)))
    assert engine.count() == 0


def test_a_second_engine_sees_what_the_first_wrote(engine: Engine, open_engine: EngineFactory) -> None:
    engine.upsert(points(3))
    second = open_engine()

    assert second.count() == 3
    second.upsert(points(5))
    assert engine.count() == 5


def test_what_one_engine_drops_is_gone_for_the_other(engine: Engine, open_engine: EngineFactory) -> None:
    engine.upsert(points(3))
    second = open_engine()
    assert second.count() == 3

    second.drop()

    for each in (engine, second):
        with pytest.raises(CollectionMissing):
            each.count()
    engine.create(SCHEMA)
    assert second.count() == 0


def test_an_alias_means_the_collection_where_there_are_aliases(engine: Engine) -> None:
    name = f"{engine.collection}-too"
    if engine.capabilities.aliases:
        engine.point_alias(name)
    else:
        with pytest.raises(ConfigError, match=f"no aliases, so '{name}' cannot be one"):
            engine.point_alias(name)


def test_what_a_bulk_load_wrote_is_there_afterwards(engine: Engine) -> None:
    with engine.bulk_load():
        engine.upsert(points(5))
    assert engine.count() == 5
    engine.optimize()
    assert engine.count() == 5


def test_closing_twice_is_harmless(engine: Engine) -> None:
    engine.close()
    engine.close()
