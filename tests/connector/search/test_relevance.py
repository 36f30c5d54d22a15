"""Relevance over the bundled images in space mini, and its parts on vectors made for them."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector import ImageSearch, InvalidQuery, Settings
from connector.records import Point, Vectors
from connector.search.query import text
from connector.search.relevance import (
    LEAST_SAMPLE,
    REFRESH_S,
    RELEVANT,
    Calibration,
    KeptCalibration,
    background_sample,
    calibrate_text,
)
from connector.search.relevance_cohort import ENGLISH, EVERY_LANGUAGE
from connector.store.edge.shared import SharedEngine
from connector.store.engine import NearestQuery
from connector.store.open import open_engine
from connector.store.schema import CollectionSchema, Fingerprint
from connector.store.server.engine import ServerEngine
from tests.qdrant_standin.standin import running
from tests.scratch import scratch_folder
from workers.demo import tour

SAILBOAT = Path(str(tour.IMAGES)) / "travel-places/sailboat.png"
PINEAPPLE = [
    "Ananas",
    "ананас",
    "أناناس",
    "अनानास",
    "菠萝",
    "파인애플",
    "パイナップル",
    "אננס",
    "ανανάς",
    "piña",
    "dứa",
    "ანანასი",
]
ANIMALS = 'meta.category == "Animals & Nature"'
DIMS = 64
SCHEMA = CollectionSchema(Fingerprint("mini", dims=DIMS, image_size=64))


@pytest.fixture(scope="module")
def search(noto: Settings) -> Iterator[ImageSearch]:
    with ImageSearch(settings=noto, engine=open_engine(noto.qdrant, collection=noto.collection)) as opened:
        yield opened


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch_folder() as made:
        yield made


# asked of the bundled images


def test_what_fits_comes_and_where_nothing_fits_nothing_does_in_scripts_of_all_kinds(search: ImageSearch) -> None:
    """Nearly: docs/relevance.md has the shares for every language."""
    there = search.texts(PINEAPPLE, limit=20, relevant=True)
    gone = search.texts(PINEAPPLE, limit=20, where=ANIMALS, relevant=True)

    assert sum(1 for hits in there if hits) >= 9
    assert all(hits[0].payload["meta"]["name"] == "pineapple" for hits in there if hits)
    assert sum(1 for hits in gone if hits) <= 1
    assert all(search.texts(PINEAPPLE, limit=20, where=ANIMALS))


def test_relevant_hits_are_those_from_a_half_on(search: ImageSearch) -> None:
    assert search.text("a dog", limit=20, relevant=True) == [
        hit for hit in search.text("a dog", limit=20) if (hit.relevance or 0) >= RELEVANT
    ]


def test_questions_that_no_image_answers_get_nothing(search: ImageSearch) -> None:
    asked = ["the price of justice", "Umsatzsteuer", "en moyenne", "наверное", "曖昧な返事"]

    assert search.texts(asked, relevant=True) == [[]] * len(asked)


def test_relevance_lies_between_0_and_1_and_falls_with_the_score(search: ImageSearch) -> None:
    found = [hit.relevance or 0 for hit in search.text("a dog", limit=200, mode="visual")]

    assert found == sorted(found, reverse=True)
    assert RELEVANT < found[0] <= 1
    assert 0 <= found[-1] < 0.1


def test_a_hits_relevance_is_its_own_whatever_else_is_asked_for(search: ImageSearch) -> None:
    plain = {hit.id: hit.relevance for hit in search.text("fruit", limit=1_000)}
    for hits in (
        search.text("fruit", limit=5, offset=10),
        search.text("fruit", where=ANIMALS),
        search.text("fruit", diversity=0.3),
        search.query(text("fruit")),
        search.nearest(search.embed_texts(["fruit"]), modality="text")[0],
    ):
        assert hits
        assert {hit.id: hit.relevance for hit in hits}.items() <= plain.items()


def test_an_image_is_relevant_to_itself_and_its_like_to_it(search: ImageSearch) -> None:
    first, *others = search.image(SAILBOAT, relevant=True)

    assert first.uri.endswith("sailboat.png")
    assert RELEVANT <= max((each.relevance or 0 for each in others), default=RELEVANT) <= (first.relevance or 0)
    assert len(search.like(first.id, limit=50, relevant=True)) < 50


def test_groups_and_counts_can_be_kept_to_what_fits(search: ImageSearch) -> None:
    counted = sum(each.count for each in search.facets("folder", of="a dog", relevant=True))
    grouped = [hit for each in search.groups("a dog", by="folder", relevant=True) for hit in each.hits]

    assert 0 < counted < 100
    assert grouped
    assert all((hit.relevance or 0) >= RELEVANT for hit in grouped)


def test_a_bare_vector_has_no_relevance_and_cannot_be_asked_for_it(search: ImageSearch) -> None:
    vectors = search.embed_texts(["a dog"])

    assert {hit.relevance for hit in search.nearest(vectors)[0]} == {None}
    with pytest.raises(InvalidQuery, match="depends on what made the vectors"):
        search.nearest(vectors, relevant=True)


# small collections


def test_in_a_small_collection_relevance_is_none_until_it_has_grown(noto: Settings, folder: Path) -> None:
    dims = 128
    schema = CollectionSchema(Fingerprint("mini", dims=dims, image_size=64))
    with closing(SharedEngine.open(folder, collection="few")) as engine:
        engine.create(schema)
        search = ImageSearch(settings=noto, engine=engine)
        assert search.text("a dog", relevant=True) == []

        engine.upsert(points_of(structured(LEAST_SAMPLE - 1, dims=dims)))
        assert {hit.relevance for hit in search.text("a dog")} == {None}
        with pytest.raises(InvalidQuery, match=r"from 32 images on, not all alike; collection 'few' holds 31"):
            search.text("a dog", relevant=True)

        engine.upsert(points_of(structured(LEAST_SAMPLE + 8, dims=dims)))
        assert None not in {hit.relevance for hit in search.text("a dog")}


def test_images_that_are_all_alike_have_no_background(folder: Path) -> None:
    same = np.tile(structured(1), (LEAST_SAMPLE, 1))

    with filled(folder, points_of(same)) as engine:
        assert calibrate_text(engine, structured(8, seed=2)) is None


# the parts


def structured(count: int, *, seed: int = 0, dims: int = DIMS, modality: int = 0) -> Vectors:
    """Unit vectors of low rank with noise, each modality round a direction of its own, as CLIP's are: (count, dims)."""
    basis = np.random.default_rng(7).normal(size=(18, dims))
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(count, 16)) @ basis[2:] + 0.3 * generator.normal(size=(count, dims))
    return unit(vectors + 4 * basis[modality])


def unit(vectors: Any) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)


def points_of(vectors: Vectors) -> list[Point]:
    ids = (str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))) for number in range(len(vectors)))
    return [
        Point(point_id, vector, {"uri": f"file:///{point_id}"}) for point_id, vector in zip(ids, vectors, strict=True)
    ]


def filled(folder: Path, points: Sequence[Point]) -> "closing[SharedEngine]":
    engine = SharedEngine.open(folder, collection="made")
    engine.create(SCHEMA)
    engine.upsert(points)
    return closing(engine)


def test_a_hub_that_answers_every_question_loses_by_it(folder: Path) -> None:
    cohort, questions = structured(64, seed=2, modality=1), structured(50, seed=3, modality=1)
    hub = unit(structured(300, seed=4, modality=1).mean(axis=0))  # near to every question, and about nothing
    points = points_of(np.concatenate([structured(600), hub[None]]))
    with filled(folder, points) as engine:
        calibration = calibrate_text(engine, cohort)
        best = engine.query([NearestQuery(question, limit=1) for question in questions])
    assert calibration is not None
    unaware = replace(calibration, hubs={})

    def relevance(by: Calibration) -> list[float]:
        return [
            by.with_relevance(question, hits)[0].relevance or 0 for question, hits in zip(questions, best, strict=True)
        ]

    assert {hit.id for hits in best for hit in hits} == {points[-1].id} == set(calibration.hubs)
    assert np.median(relevance(unaware)) > 0.9
    assert max(relevance(calibration)) < RELEVANT


def test_every_reader_of_either_engine_draws_the_same_sample(folder: Path) -> None:
    vectors, cohort = structured(700), structured(64, seed=2)
    with (
        filled(folder, points_of(vectors)) as engine,
        running() as standin,
        closing(ServerEngine.connect(standin.settings("grpc"), collection="made")) as server,
    ):
        server.create(SCHEMA)
        server.upsert(points_of(vectors)[::-1])
        ours, theirs = background_sample(engine), background_sample(server)
        here, there = calibrate_text(engine, cohort), calibrate_text(server, cohort)

    assert ours.shape == (512, DIMS)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert here is not None
    assert there is not None
    assert here.mode == pytest.approx(there.mode, abs=0.05)


def test_a_calibration_is_made_anew_when_the_collection_has_grown_a_lot() -> None:
    now, points, made = [0.0], [100], []

    def make() -> Calibration | None:
        made.append(points[0])
        return Calibration.__new__(Calibration)

    kept = KeptCalibration(make, count=lambda: points[0], clock=lambda: now[0])
    first = kept.now()
    points[0] = 1_000
    assert kept.now() is first, "the size is not looked at with every question"
    now[0] += REFRESH_S + 1
    assert kept.now() is not first
    points[0] = 1_100
    now[0] += REFRESH_S + 1
    kept.now()

    assert made == [100, 1_000]


def test_the_cohort_holds_every_question_once() -> None:
    for cohort in (ENGLISH, EVERY_LANGUAGE):
        assert len(set(cohort)) == len(cohort) >= 48
