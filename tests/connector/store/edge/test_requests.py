"""Filters of the embedded engine that many points match: the answers are those of an exact search, whatever matches."""

from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.structured import structured_vectors
from connector.filters.parse import parse_filter
from connector.records import Hit, Point, Vector
from connector.store.edge.engine import EmbeddedEngine
from connector.store.engine import NearestQuery
from connector.store.schema import CollectionSchema, Fingerprint
from tests.scratch import scratch_folder

COUNT, DIMS = 5_500, 64
SCHEMA = CollectionSchema(Fingerprint("mini", dims=DIMS, image_size=64))
VECTORS = structured_vectors(COUNT, dims=DIMS, seed=0)
QUESTIONS = structured_vectors(8, dims=DIMS, seed=1)


@pytest.fixture(scope="module")
def engine() -> Iterator[EmbeddedEngine]:
    """Points whose width is drawn at random, 0 to 999; height is the larger the nearer they are to question 0."""
    drawn = np.random.default_rng(3).integers(0, 1000, COUNT)
    nearness = np.argsort(np.argsort(VECTORS @ QUESTIONS[0])) * 1000 // COUNT
    with scratch_folder() as folder:
        engine = EmbeddedEngine.open(folder, collection="images")
        engine.create(SCHEMA)
        ids = [f"00000000-0000-0000-0000-{at:012}" for at in range(COUNT)]
        engine.upsert(
            [
                Point(ids[at], VECTORS[at], {"width": int(drawn[at]), "height": int(nearness[at]), "tags": ["a"]})
                for at in range(COUNT)
            ]
        )
        yield engine
        engine.close()


def both(engine: EmbeddedEngine, vector: Vector, where: str, **options: object) -> tuple[list[Hit], list[Hit]]:
    """The hits of a question, and those of the same looked for exactly."""
    condition = parse_filter(where, indexes=SCHEMA.indexes)
    queries = [NearestQuery(vector, where=condition, exact=exact, **options) for exact in (False, True)]  # type: ignore[arg-type]
    found, right = engine.query(queries)
    return found, right


def same(found: list[Hit], right: list[Hit]) -> float:
    """The share of the right hits that were found; each with its payload and its score."""
    by_id = {hit.id: hit for hit in right}
    kept = [hit for hit in found if hit.id in by_id]
    assert len(found) == len(right)
    assert [hit.payload for hit in kept] == [by_id[hit.id].payload for hit in kept]
    assert np.allclose([hit.score for hit in kept], [by_id[hit.id].score for hit in kept], atol=1e-6)
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    return len(kept) / len(right)


@pytest.mark.parametrize(
    "where",
    [
        "width < 800 and height < 900",
        "width < 750 and height >= 0 and width >= 20",
        'height >= 0 and width >= 0 and "a" in tags',
        "width < 400 and height < 900",
        '"a" in tags and width < 400 and height >= 300',
        "width < 400 and not (height < 500)",
        "width < 400 or height < 900",
        "not (width < 300)",
        "width < 900 and not (height < 150)",
    ],
)
def test_what_many_points_match_is_found(engine: EmbeddedEngine, where: str) -> None:
    kept = [same(*both(engine, vector, where)) for vector in QUESTIONS]

    assert np.mean(kept) >= 0.98
    assert all(hit.payload["tags"] == ["a"] for hit in both(engine, QUESTIONS[0], where)[0])


def test_it_is_found_where_none_of_the_nearest_match(engine: EmbeddedEngine) -> None:
    found, right = both(engine, QUESTIONS[0], "height < 800 and width >= 0")

    assert np.allclose([hit.score for hit in found], [hit.score for hit in right], atol=0.003)  # all lie close together
    assert len(found) == len(right)
    assert all(hit.payload["height"] < 800 for hit in found)


def test_pages_follow_one_another(engine: EmbeddedEngine) -> None:
    where = "width < 800 and height < 900"
    pages = [both(engine, QUESTIONS[1], where, limit=5, offset=offset)[0] for offset in (0, 5, 10)]

    whole, _ = both(engine, QUESTIONS[1], where, limit=15)
    assert [hit.id for page in pages for hit in page] == [hit.id for hit in whole]


def test_a_least_score_cuts_the_answer(engine: EmbeddedEngine) -> None:
    where = "width < 800 and height < 900"
    whole, _ = both(engine, QUESTIONS[1], where, limit=10)
    least = (whole[3].score + whole[4].score) / 2

    found, right = both(engine, QUESTIONS[1], where, limit=10, min_score=least)
    assert [hit.id for hit in found] == [hit.id for hit in whole[:4]]
    assert same(found, right) == 1


def test_fewer_matches_than_are_wanted_are_all_found(engine: EmbeddedEngine) -> None:
    found, right = both(engine, QUESTIONS[2], "width < 2 and height >= 0 and width >= 0", limit=100)
    assert 0 < len(right) < 100
    assert same(found, right) == 1
