"""Vectors of two spaces in one collection, alike in every engine: added, filled, asked, exchanged, taken away."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from connector.errors import CollectionMismatch, SpaceChanged
from connector.records import Point, SpaceVector, Vector
from connector.store.edge.shared import SharedEngine
from connector.store.engine import Engine, NearestQuery, NewVector
from connector.store.push import PAGE, push
from connector.store.schema import CollectionSchema, Fingerprint, SecondSpace
from connector.store.server.engine import ServerEngine
from tests.points import DIMS, points
from tests.qdrant_standin.standin import Standin
from tests.scratch import scratch_folder

OLD, NEW = Fingerprint("old", dims=DIMS, image_size=64), Fingerprint("new", dims=DIMS, image_size=64)
SCHEMA = CollectionSchema(OLD)
FILLING = replace(SCHEMA, second=SecondSpace(NEW, role="next", declared="new"), spaces={"old": "old"})
SWITCHED = replace(
    FILLING,
    fingerprint=NEW,
    second=SecondSpace(OLD, role="previous", declared="old", complete=True),
    spaces={"old": "old", "new": "new"},
)
COUNT = 8


@pytest.fixture(params=["embedded", "grpc", "rest"])
def engine(request: pytest.FixtureRequest, standin: Standin, collection: str) -> Iterator[Engine]:
    """A collection of some points in one space."""
    with scratch_folder() as folder:
        made: Engine = (
            SharedEngine.open(folder, collection=collection)
            if request.param == "embedded"
            else ServerEngine.connect(standin.settings(request.param), collection=collection)
        )
        with closing(made):
            made.create(SCHEMA)
            made.upsert(hashed(COUNT))
            yield made


def hashed(count: int, *, content: str = "a") -> list[Point]:
    return [replace(each, payload={**each.payload, "content_hash": content}) for each in points(count)]


def turned(vector: Vector) -> Vector:
    """The vector of the same image in the new space."""
    return np.roll(vector, 5)


def in_new_space(some: list[Point], *, content: str = "a") -> list[NewVector]:
    return [NewVector(each.id, turned(each.vector), content) for each in some]


def both(point: Point) -> Point:
    return replace(point, space="old", others=[SpaceVector("new", turned(point.vector))])


def vectors(engine: Engine, space: str | None = None, *, limit: int = 100) -> dict[str, list[float] | None]:
    page = engine.scroll(limit=limit, vectors=True, space=space)
    return {each.id: None if each.vector is None else [*map(float, each.vector)] for each in page.points}


def test_a_space_is_added_to_a_living_collection_and_filled_without_touching_anything_else(engine: Engine) -> None:
    before, payloads = vectors(engine), {each.id: each.payload for each in engine.scroll(limit=100).points}
    engine.set_spaces(FILLING, was=engine.info().schema)

    assert vectors(engine, "new") == dict.fromkeys(before)
    engine.write_vectors(in_new_space(hashed(COUNT)), space="new")

    now = vectors(engine)
    assert all(now[each] == pytest.approx(before[each], abs=1e-6) for each in before)
    assert {each.id: each.payload for each in engine.scroll(limit=100).points} == payloads
    for each in points(COUNT):
        assert vectors(engine, "new")[each.id] == pytest.approx(turned(each.vector), abs=2e-3)


def test_a_question_is_compared_with_the_vectors_of_its_own_space(engine: Engine) -> None:
    some = hashed(COUNT)
    engine.set_spaces(FILLING, was=engine.info().schema)
    engine.write_vectors(in_new_space(some), space="new")
    asked = [NearestQuery(some[3].vector, limit=1), NearestQuery(turned(some[3].vector), limit=1, space="new")]

    for hits in engine.query([replace(asked[0], space="old"), *asked]):
        assert (hits[0].id, round(hits[0].score, 2)) == (some[3].id, 1.0)
    engine.set_spaces(SWITCHED, was=engine.info().schema)
    for hits in engine.query([replace(asked[0], space="old"), asked[1], replace(asked[1], space=None)]):
        assert (hits[0].id, round(hits[0].score, 2)) == (some[3].id, 1.0)


def test_a_vector_is_not_written_for_an_image_that_was_changed_or_deleted_meanwhile(engine: Engine) -> None:
    some = hashed(COUNT)
    engine.set_spaces(FILLING, was=engine.info().schema)
    engine.set_payload([some[0].id], {"content_hash": "b"})
    engine.delete([some[1].id])

    engine.write_vectors(in_new_space(some), space="new")

    there = vectors(engine, "new")
    assert there[some[0].id] is None
    assert some[1].id not in there
    assert all(there[each.id] is not None for each in some[2:])


def test_a_point_without_a_word_of_a_space_is_refused(engine: Engine) -> None:
    engine.set_spaces(FILLING, was=engine.info().schema)
    new = hashed(COUNT + 1)[-1]

    with pytest.raises(SpaceChanged, match=r"vectors of old; the collection has those of old, new"):
        engine.upsert([new])
    engine.upsert([both(new), replace(hashed(1)[0], space="old", others=[SpaceVector("new", None)])])

    there = vectors(engine, "new")
    assert there[new.id] is not None
    assert there[hashed(1)[0].id] is None


def test_of_two_that_change_the_spaces_the_later_is_told(engine: Engine) -> None:
    was = engine.info().schema
    engine.set_spaces(FILLING, was=was)
    engine.set_spaces(FILLING, was=was)  # the same once more is harmless

    other = replace(
        FILLING, second=SecondSpace(Fingerprint("third", dims=4, image_size=64), role="next", declared="third")
    )
    with pytest.raises(CollectionMismatch, match="changed meanwhile"):
        engine.set_spaces(other, was=was)
    assert engine.info().schema == FILLING


def test_a_space_that_is_dropped_is_gone_and_its_questions_are_told(engine: Engine) -> None:
    some = hashed(COUNT)
    engine.set_spaces(FILLING, was=engine.info().schema)
    engine.write_vectors(in_new_space(some), space="new")
    engine.set_spaces(SWITCHED, was=engine.info().schema)
    engine.set_spaces(replace(SWITCHED, second=None), was=engine.info().schema)

    with pytest.raises(SpaceChanged, match="no vectors of space old"):
        engine.query([NearestQuery(some[0].vector, space="old")])
    assert engine.query([NearestQuery(turned(some[0].vector), limit=1)])[0][0].id == some[0].id
    engine.upsert([replace(some[0], vector=turned(some[0].vector))])
    assert engine.count() == COUNT


@pytest.mark.parametrize("schema", [FILLING, SCHEMA], ids=["added", "dropped"])
def test_a_shard_that_a_crash_left_behind_its_schema_is_brought_to_it(tmp_path: Path, schema: CollectionSchema) -> None:
    with closing(SharedEngine.open(tmp_path, collection="images")) as engine:
        engine.create(FILLING if schema is SCHEMA else SCHEMA)
        engine.upsert([both(each) if schema is SCHEMA else each for each in hashed(COUNT)])
    described = tmp_path / "images/collection.json"

    described.write_text(json.dumps(schema.to_json()), encoding="utf-8")
    with closing(SharedEngine.open(tmp_path, collection="images")) as engine:
        assert engine.info().schema.dims == schema.dims
        assert len(vectors(engine)) == COUNT
        assert engine.query([NearestQuery(points(1)[0].vector, limit=1)])[0][0].id == points(1)[0].id


def test_a_push_copies_the_space_that_answered_when_it_began(engine: Engine) -> None:
    some = [both(each) for each in hashed(PAGE + COUNT)]
    engine.set_spaces(FILLING, was=SCHEMA)
    engine.upsert(some)
    switched: list[int] = []

    def switch(done: int) -> None:
        if not switched:
            engine.set_spaces(SWITCHED, was=FILLING)
        switched.append(done)

    with scratch_folder() as folder, closing(SharedEngine.open(folder, collection="copy")) as target:
        pushed = push(engine, target, on_progress=switch)
        there = vectors(target, limit=2 * PAGE)
        assert target.info().schema.dims == {"old": DIMS}

    assert (pushed.sent, len(switched)) == (PAGE + COUNT, 2)
    assert all(there[each.id] == pytest.approx(each.vector, abs=2e-3) for each in some)
