"""A collection from a program: added to by every kind of image, looked at, changed, emptied."""

import asyncio
import io
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from connector.errors import CollectionMissing, ConfigError, InvalidQuery, PolyglanceError, UnreadableImage
from connector.settings import Settings
from tests.corpus_files import scene
from tests.doubles import Answer, WebServer
from tests.images import image, write_images
from tests.scratch import scratch_folder
from workers.collection.async_client import AsyncCollection
from workers.collection.client import Collection
from workers.collection.given import GivenImage

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """Of a data folder that is shared by the module; each test has a collection of its own."""
    with scratch_folder() as folder:
        yield Settings.load(
            {
                "model.space": "mini",
                "qdrant.path": str(folder / "data"),
                "qdrant.meta_fields": {"stars": "integer"},
                "web.allow_networks": ["127.0.0.0/8"],
            }
        )


def named(settings: Settings, name: str) -> Settings:
    return settings.model_copy(update={"qdrant": settings.qdrant.model_copy(update={"collection": name})})


@pytest.fixture(scope="module")
def shared(settings: Settings) -> Iterator[Collection]:
    """One collection, open throughout: its tower is loaded once."""
    with Collection.open(settings=named(settings, "shared")) as collection:
        collection.add(image(0))
        yield collection


@pytest.fixture
def photos(shared: Collection) -> Collection:
    """The shared collection, without the images of other tests."""
    shared.add(image(0))
    shared.delete(where="width >= 0")
    assert shared.count() == 0
    return shared


def test_an_image_is_found_as_soon_as_it_was_added(photos: Collection, tmp_path: Path) -> None:
    (path,) = write_images(tmp_path, ["beach.png"])

    id = photos.add(path, meta={"album": "Norderney", "tags": ["sea"]})

    (hit,) = photos.search.image(path)
    assert hit.id == id
    assert hit.score == pytest.approx(1, abs=1e-3)
    assert (hit.uri, hit.payload["tags"], hit.payload["meta"]) == (path.as_uri(), ["sea"], {"album": "Norderney"})
    assert hit.payload["source"] == [path.as_uri()]


def test_every_kind_of_image_has_the_same_vector(photos: Collection, tmp_path: Path) -> None:
    (path,) = write_images(tmp_path, ["a.png"])
    pixels = scene(48, 48, seed=0).convert("RGB")
    kinds: list[GivenImage] = [path, str(path), path.as_uri(), path.read_bytes(), pixels, np.asarray(pixels)]

    ids = [photos.add(kind, id=f"kind {number}") for number, kind in enumerate(kinds)]

    found = photos.get_many(ids, vectors=True)
    assert [each.id for each in found] == ids
    for each in found:
        assert each.vector is not None
        assert found[0].vector is not None
        assert float(each.vector @ found[0].vector) > 0.999


def test_an_address_is_fetched(photos: Collection) -> None:
    with WebServer(lambda *_: Answer(200, image(1))) as server:
        address = f"{server.url}/a.png"
        point = photos.get(photos.add(address))

    assert point is not None
    assert point.payload["uri"] == address


def test_the_same_bytes_are_one_point_and_another_of_the_same_id_replaces_it(photos: Collection) -> None:
    assert photos.add(image(1)) == photos.add(image(1))
    first = photos.add(image(1), id="sku-1")
    assert photos.add(image(2), id="sku-1") == first
    own = str(uuid.uuid4())
    assert photos.add(image(3), id=own) == own
    assert photos.count() == 3


def test_of_many_the_bad_ones_are_rejects_and_the_others_are_stored(photos: Collection, tmp_path: Path) -> None:
    (path,) = write_images(tmp_path, ["a.png"])
    broken = io.BytesIO()
    scene(48, 48, seed=9).save(broken, "JPEG")
    given: list[Any] = [
        path,
        tmp_path / "nowhere.png",
        b"no image",
        b"",
        broken.getvalue()[:300],
        np.zeros((8, 8, 2), np.uint8),
        np.zeros((8, 8, 3)),
        np.zeros((0, 8, 3), np.uint8),
        Image.new("RGB", (0, 4)),
        "gopher://x/y.png",
        image(5),
    ]

    added = photos.add(given)

    assert [number for number, id in enumerate(added.ids) if id is not None] == [0, 10]
    assert len(added.rejects) == 9
    assert (added.counts.listed, added.counts.stored, added.counts.rejected) == (11, 2, 9)
    assert added.counts.balanced
    assert photos.count() == 2


def test_an_open_file_is_no_list_of_images(photos: Collection, tmp_path: Path) -> None:
    """Its lines would each be taken for an image."""
    (tmp_path / "a.png").write_bytes(b"\n".join([b"one"] * 3))
    with (tmp_path / "a.png").open("rb") as file:
        for given in (file, io.BytesIO(b"one\ntwo"), {"a.png": 1}):
            with pytest.raises(InvalidQuery, match=f"the image is {type(given).__name__}; a path, an address, bytes"):
                photos.add(given)


def test_one_bad_image_says_what_is_wrong_with_it(photos: Collection, tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="memory:"):
        photos.add(b"no image")
    with pytest.raises(InvalidQuery, match=r"nowhere\.png"):
        photos.add(tmp_path / "nowhere.png")
    with pytest.raises(InvalidQuery, match=r"nowhere\.png: No such file or directory$"):
        photos.add(tmp_path / "nowhere.png")
    with pytest.raises(InvalidQuery, match="is int; a path, an address, bytes"):
        photos.add(5)  # type: ignore[call-overload]
    with pytest.raises(InvalidQuery, match=r"float64 of shape \(8, 8, 3\)"):
        photos.add(np.zeros((8, 8, 3)))
    with pytest.raises(InvalidQuery, match="Many images are a list"):
        photos.add(np.zeros((2, 8, 8, 3), np.uint8))
    assert photos.count() == 0


def test_ids_and_meta_fit_the_images_or_nothing_is_written(photos: Collection) -> None:
    two = [image(1), image(2)]
    with pytest.raises(InvalidQuery, match="'a' is given 2 times"):
        photos.add(two, id=["a", "a"])
    with pytest.raises(InvalidQuery, match="id has fewer entries"):
        photos.add(two, id=["a"])
    with pytest.raises(InvalidQuery, match="one for each image is wanted, in a list"):
        photos.add(two, id="a")
    with pytest.raises(InvalidQuery, match="a mapping such as"):
        photos.add(two, meta=[1, 2])  # type: ignore[list-item]
    assert photos.count() == 0


@pytest.mark.parametrize("given", ["", "  ", 7, b"a", ("a",)])
def test_what_is_no_id_is_refused(photos: Collection, given: Any) -> None:
    with pytest.raises(InvalidQuery, match="a text is wanted, such as a UUID"):
        photos.add(image(1), id=given)
    with pytest.raises(InvalidQuery, match="a text is wanted, such as a UUID"):
        photos.add([image(1), image(2)], id=["a", given])
    assert photos.count() == 0


def test_a_uuid_is_one_id_however_it_is_written(photos: Collection) -> None:
    id = uuid.uuid4()
    assert photos.add(image(1), id=str(id).upper()) == str(id)
    assert photos.add(image(2), id=id) == str(id)
    with pytest.raises(InvalidQuery, match="is given 2 times"):
        photos.add([image(1), image(2)], id=[str(id), str(id).upper()])
    assert photos.count() == 1


def test_metadata_comes_from_numpy_and_pandas_as_from_python(photos: Collection) -> None:
    moment = np.datetime64("2024-05-02T10:00:00")
    given = {
        "stars": np.int64(5),
        "share": np.float32(0.5),
        "seen": np.bool_(True),
        "sizes": np.array([1, 2]),
        "when": moment,
        "never": np.datetime64("NaT"),
        "whole": object,
    }
    point = photos.get(photos.add(image(1), meta=given))
    assert point is not None
    meta = point.payload["meta"]
    assert (meta["stars"], meta["share"], meta["seen"], meta["sizes"]) == (5, 0.5, True, [1, 2])
    assert (meta["when"], meta["never"], meta["whole"]) == ("2024-05-02T10:00:00", None, str(object))
    assert photos.count(where="meta.stars == 5") == 1


def test_thousands_come_from_whatever_gives_them_one_by_one(photos: Collection) -> None:
    random = np.random.default_rng(0)
    added = photos.add(
        (random.integers(0, 255, (8, 8, 3), np.uint8) for _ in range(1_200)),
        meta=[{"stars": number} for number in range(1_200)],
    )

    assert added.counts.stored == photos.count() == 1_200
    assert photos.count(where="meta.stars >= 1100") == 100


def test_metadata_is_changed_key_by_key_and_the_vector_stays(photos: Collection) -> None:
    id = photos.add(image(1), meta={"stars": 1, "album": "x", "tags": ["a"]})
    before = photos.get(id, vector=True)

    photos.update(id, {"stars": 5, "album": None, "tags": ["b"]})

    after = photos.get(id, vector=True)
    assert before is not None
    assert after is not None
    assert (after.payload["meta"], after.payload["tags"]) == ({"stars": 5}, ["b"])
    np.testing.assert_array_equal(before.vector, after.vector)
    with pytest.raises(InvalidQuery, match=r"numpy\.int64"):
        photos.update(id, {"stars": np.int64(5)})
    with pytest.raises(InvalidQuery):
        photos.update(str(uuid.UUID(int=5)), {"stars": 5})


def test_images_are_walked_through_counted_and_removed(photos: Collection) -> None:
    ids = [photos.add(image(n), meta={"stars": n}) for n in range(1, 6)]

    def stars(**options: Any) -> list[int]:
        return [each.payload["meta"]["stars"] for each in photos.iterate(**options)]

    assert stars(order_by="-meta.stars") == [5, 4, 3, 2, 1]
    assert stars(order_by="meta.stars", where="meta.stars > 3") == [4, 5]
    assert sorted(each.id for each in photos.iterate(fields=[])) == sorted(ids)
    assert photos.facets("format")[0].count == photos.info().points == 5
    assert photos.get(str(uuid.UUID(int=7))) is None
    assert photos.delete(ids[0]) == 1
    assert photos.delete([ids[0], ids[1]]) == 1
    assert photos.delete(where="meta.stars == 3") == 1
    assert photos.count() == 2
    for wrong in ({}, {"where": ""}, {"ids": ids, "where": "width > 0"}):
        with pytest.raises(InvalidQuery, match="name what to delete"):
            photos.delete(**wrong)
    with pytest.raises(InvalidQuery):
        photos.delete("no id")
    (last, _) = photos.iterate(order_by="-meta.stars", fields=["meta.stars"], vectors=True)
    assert (last.payload, last.vector is None) == ({"meta": {"stars": 5}}, False)


def test_a_collection_that_is_not_there_is_made_by_the_first_image(settings: Settings) -> None:
    with Collection.open(settings=named(settings, "fresh")) as fresh:
        with pytest.raises(CollectionMissing):
            fresh.count()
        fresh.add(image(1))
        assert fresh.count() == 1


def test_a_closed_collection_says_so(settings: Settings) -> None:
    closed = Collection.open(settings=named(settings, "shared"))
    closed.close()
    closed.close()

    for ask in (lambda: closed.add(image(1)), closed.count, closed.info):
        with pytest.raises(PolyglanceError, match="was closed"):
            ask()
    with pytest.raises(ConfigError, match="give either settings"):
        Collection.open("x", settings=settings)
    with pytest.raises(ConfigError, match="unknown space 'nowhere'"):
        Collection.open("x", space="nowhere")


def test_the_asynchronous_twin_does_the_same(photos: Collection) -> None:
    async def work() -> None:
        async with await AsyncCollection.open(settings=photos.settings) as twin:
            id = await twin.add(image(1), meta={"stars": 2})
            await twin.update(id, {"stars": 3})
            point = await twin.get(id)
            assert point is not None
            assert point.payload["meta"] == {"stars": 3}
            assert [each.id async for each in twin.iterate(order_by="width")] == [id]
            assert [hit.id for hit in await (await twin.search()).text("a dog")] == [id]
            assert (await twin.count(), await twin.delete(id), await twin.count()) == (1, 1, 0)

    asyncio.run(work())


SCRIPT = """
from polyglance import ingest
print("begun", flush=True)
{guard}
    report = ingest({place!r}, space="mini", overrides={{"qdrant.path": {data!r}, "ingest.workers": 1}})
    print(report.counts.stored)
"""


@pytest.mark.parametrize(
    ("guard", "said"),
    [pytest.param("if __name__ == '__main__':", "", marks=pytest.mark.slow), ("if True:", "ConfigError")],
)
def test_worker_processes_need_a_guard_and_one_sentence_says_so(tmp_path: Path, guard: str, said: str) -> None:
    write_images(tmp_path / "album", ["a.png", "b.png"])
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(guard=guard, place=str(tmp_path / "album"), data=str(tmp_path / "data")))

    command = [sys.executable, str(script)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200)

    if said:
        assert "ConfigError: worker processes import your program" in ran.stderr.splitlines()[-1]
        assert ran.stderr.count("Traceback") == 1
    else:
        assert (ran.stdout.splitlines()[-1], ran.returncode) == ("2", 0), ran.stderr
