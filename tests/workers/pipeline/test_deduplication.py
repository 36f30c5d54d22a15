"""Equal content is embedded once: within a run, across runs, and when an image has only moved."""

from collections.abc import Iterator

import numpy as np
import pytest

from connector.records import Vector
from connector.store.edge.engine import EmbeddedEngine
from tests.images import image
from tests.ingest_doubles import ColourTower, MemorySource, new_collection, pipeline
from tests.scratch import scratch_folder
from workers.pipeline.counters import Counters, RunReport

COPIES = 40


@pytest.fixture
def engine() -> Iterator[EmbeddedEngine]:
    """An empty collection."""
    with scratch_folder() as folder:
        engine = EmbeddedEngine.open(folder, collection="images")
        new_collection(engine)
        yield engine
        engine.close()


def run(engine: EmbeddedEngine, source: MemorySource, tower: ColourTower) -> RunReport:
    line = pipeline(engine, tower=tower, batch_size=2, readers=4)
    return line.run(source.refs(), source=source, counters=Counters(threads=line.threads))


def by_name(engine: EmbeddedEngine) -> dict[str, tuple[Vector, dict[str, object]]]:
    points = engine.scroll(limit=1000, vectors=True).points
    return {p.payload["filename"]: (np.asarray(p.vector), dict(p.payload)) for p in points}


def test_an_image_in_many_places_is_embedded_once_and_stored_in_each(engine: EmbeddedEngine) -> None:
    files = {f"copy-{n}.png": image(1) for n in range(COPIES)} | {f"other-{n}.png": image(100 + n) for n in range(9)}
    tower = ColourTower()

    report = run(engine, MemorySource(files), tower)

    assert (report.counts.stored, report.copied, sum(tower.batches)) == (COPIES + 9, COPIES - 1, 10)
    found = by_name(engine)
    assert len(found) == COPIES + 9
    first, payload = found["copy-0.png"]
    for number in range(COPIES):
        vector, own = found[f"copy-{number}.png"]
        assert np.array_equal(vector, first)
        assert own["uri"] == f"memory://album/copy-{number}.png"
        assert {own[key] for key in ("width", "height", "bytes")} == {payload[k] for k in ("width", "height", "bytes")}


def test_a_moved_image_costs_no_embedding(engine: EmbeddedEngine) -> None:
    run(engine, MemorySource({"before.png": image(1)}), ColourTower())
    tower = ColourTower()

    report = run(engine, MemorySource({"after.png": image(1)}), tower)

    assert (report.counts.stored, report.copied, tower.batches) == (1, 1, [])
    found = by_name(engine)
    assert np.array_equal(found["after.png"][0], found["before.png"][0])
    assert found["after.png"][1]["format"] == "png"


def test_a_touched_image_gets_its_new_version_without_embedding(engine: EmbeddedEngine) -> None:
    source = MemorySource({"a.png": image(1)})
    run(engine, source, ColourTower())
    source.versions["a.png"] = "touched"
    tower = ColourTower()

    report = run(engine, source, tower)

    assert (report.counts.stored, tower.batches) == (1, [])
    assert by_name(engine)["a.png"][1]["version"] == "touched"


def test_copies_of_a_broken_image_are_each_rejected_for_the_same_reason(engine: EmbeddedEngine) -> None:
    broken = image(1)[:200]
    source = MemorySource({f"{n}.png": broken for n in range(COPIES)} | {"good.png": image(2)})

    report = run(engine, source, ColourTower())

    assert (report.counts.stored, report.counts.rejected) == (1, COPIES)
    assert len(report.reasons) == 1
    assert report.counts.balanced
