"""Duplicates are told in four lists, each with its evidence; vectors propose, bytes and pixels decide."""

import io
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import scenes
from connector.errors import InvalidQuery
from connector.records import local_path
from connector.settings import Settings
from connector.store.open import open_engine
from polyglance import Collection
from tests.conftest import CommandLine
from tests.connector.service.conftest import copied
from tests.scratch import scratch_folder
from workers.duplicates import candidates
from workers.duplicates.candidates import near_pairs
from workers.duplicates.find import DuplicateReport, find_duplicates
from workers.duplicates.groups import Duplicate, DuplicateGroup
from workers.duplicates.look import look_at
from workers.duplicates.same import compare
from workers.run.ingestion import ingest

EVERYTHING = -1.0
"""The cosine from which every pair is compared."""
FORMS = {"quality 30", "scale 0.25", "crop 10 %", "rotated by 90", "watermark", "PNG", "WebP", "HEIC"}


def _unseen(_: object) -> AbstractContextManager[None]:
    return nullcontext()


def _taken(image: Image.Image, at: str) -> bytes:
    """The image as a camera writes it at this time."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Acme", "One"
    exif[0x8769] = {0x9003: at, 0x9011: "+00:00"}
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, exif=exif)
    return file.getvalue()


def _write_library(images: Path) -> None:
    folder, burst, flat = (images / name for name in ("scene", "burst", "flat"))
    for each in (folder, burst, flat):
        each.mkdir(parents=True)
    origin = scenes.draw(1, scenes.Exposure())
    (folder / "origin.jpg").write_bytes(scenes.encoded(origin))
    (folder / "copy.jpg").write_bytes(scenes.encoded(origin))
    for name, data in scenes.forms(origin, seed=1):
        (folder / f"form {name}.{scenes.SUFFIXES.get(name, 'jpg')}").write_bytes(data)
    for name, other in scenes.others(1):
        (folder / f"other {name}.jpg").write_bytes(scenes.encoded(other))
    for second, exposure in enumerate((scenes.Exposure(), scenes.Exposure(noise=5), scenes.Exposure(people=3))):
        at = f"2024:05:17 12:00:0{second}"
        (burst / f"burst {second}.jpg").write_bytes(_taken(scenes.draw(2, exposure), at))
    for level in (100, 101, 102):
        Image.new("RGB", (300, 200), (level, level, level)).save(flat / f"flat {level}.png")


@pytest.fixture(scope="module")
def library() -> Iterator[Settings]:
    """A scene in every form and in other exposures, a burst, and three images of one colour."""
    with scratch_folder() as folder:
        images = folder / "images"
        _write_library(images)
        settings = Settings.load({"model.space": "mini", "ingest.workers": 0, "qdrant.path": str(folder / "data")})
        done = ingest([str(images)], settings=settings, recreate=False, show=_unseen, wait=_unseen)
        assert done.report.counts.rejected == 0
        yield settings


@pytest.fixture(scope="module")
def report(library: Settings) -> DuplicateReport:
    """What is found in the scene, with every pair compared."""
    return _found(library, where='folder == "scene"')


@pytest.fixture(scope="module")
def rest(library: Settings) -> DuplicateReport:
    """What is found in the burst and among the images of one colour."""
    return _found(library, where='folder == "burst" or folder == "flat"')


def _found(settings: Settings, **options: Any) -> DuplicateReport:
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        return find_duplicates(engine, settings=settings, **{"near": EVERYTHING, **options})


def _names(group: DuplicateGroup) -> set[str]:
    return {_name(image) for image in group.images}


def _name(image: Duplicate) -> str:
    path = local_path(image.uri)
    assert path is not None
    return path.name


def test_equal_bytes_are_one_group_and_are_looked_at_once(report: DuplicateReport) -> None:
    (group,) = report.of("identical")

    assert _names(group) == {"origin.jpg", "copy.jpg"}
    assert report.images - report.distinct == 1


def test_one_image_in_every_form_is_one_group_and_no_other_exposure_is_in_it(report: DuplicateReport) -> None:
    (group,) = report.of("same_image")

    (origin,) = _names(group) & {"origin.jpg", "copy.jpg"}
    assert _names(group) == {origin, *(f"form {name}.{scenes.SUFFIXES.get(name, 'jpg')}" for name in FORMS)}


def test_the_best_stands_first_and_the_others_say_why_they_are_there(report: DuplicateReport) -> None:
    (group,) = report.of("same_image")
    seen = {_name(image): image.evidence for image in group.images}

    assert group.images[0].id == group.best
    assert group.images[0].format == "png"
    assert "format without loss" in group.reason
    assert seen["form rotated by 90.jpg"] is not None
    assert seen["form rotated by 90.jpg"].pixels is not None
    assert seen["form rotated by 90.jpg"].pixels.turns in (1, 3)
    assert seen["form crop 10 %.jpg"] is not None
    assert seen["form crop 10 %.jpg"].pixels is not None
    assert 0.75 < seen["form crop 10 %.jpg"].pixels.overlap < 0.87


def test_a_burst_is_one_moment_and_not_one_image_even_where_nothing_moved(rest: DuplicateReport) -> None:
    (group,) = rest.of("same_moment")

    assert _names(group) == {"burst 0.jpg", "burst 1.jpg", "burst 2.jpg"}
    assert all(each.evidence is not None and each.evidence.seconds in (1, 2) for each in group.images)


def test_images_of_one_colour_are_counted_and_not_joined(rest: DuplicateReport) -> None:
    assert rest.featureless == 3
    assert not rest.of("same_image")


def test_each_image_is_in_one_group_of_a_kind(report: DuplicateReport) -> None:
    for kind in ("identical", "same_image", "same_moment", "look_alikes"):
        ids = [image.id for group in report.of(kind) for image in group.images]
        assert len(ids) == len(set(ids))


def test_groups_have_the_same_ids_in_another_search(library: Settings, report: DuplicateReport) -> None:
    again = _found(library, kinds=["identical"])

    assert [each.id for each in again.groups] == [each.id for each in report.of("identical")]


def test_a_decision_takes_an_image_out_of_its_group(library: Settings, cli: CommandLine) -> None:
    with copied(library) as settings:
        same = ["--set", f"qdrant.path={settings.qdrant.path}", "--space", "mini", "--json"]
        (found,) = _found(settings, kinds=["same_image"], near=0.97, where='folder == "scene"').groups
        png = found.best
        for other in found.images[1:]:
            ran = cli("duplicates", "--not-same", png, other.id, *same)
            assert (ran.code, ran.json) == (0, {"not_same": [png, other.id]})

        (rest,) = _found(settings, kinds=["same_image"], near=0.97, where='folder == "scene"').groups
        assert {each.id for each in rest.images} == {each.id for each in found.images} - {png}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--not-same", "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000001"), "twice"),
        (("--not-same", "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"), "no point"),
        (("--not-same", "dog", "cat"), "dog"),
        (("--kind", "siblings"), "no kind of duplicates 'siblings'"),
        (("--near", "2"), "between -1 and 1"),
        (("--where", "nonsense == 1"), "nonsense"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    library: Settings, cli: CommandLine, arguments: tuple[str, ...], said: str
) -> None:
    ran = cli("duplicates", *arguments, "--set", f"qdrant.path={library.qdrant.path}", "--space", "mini")

    assert ran.code == 2
    assert said in ran.err


def test_the_command_tells_a_person_and_a_script(library: Settings, cli: CommandLine) -> None:
    store = ("--set", f"qdrant.path={library.qdrant.path}", "--space", "mini")
    told = cli("duplicates", *store, "--kind", "identical")
    read = cli("duplicates", *store, "--kind", "identical", "--json")

    assert told.code == read.code == 0
    assert "identical bytes: 1 group" in told.out
    assert "origin.jpg" in told.out
    (group,) = read.json["groups"]
    assert group["kind"] == "identical"
    spare = [str(local_path(each["uri"])) for each in group["images"] if each["id"] != group["best"]]
    assert cli("duplicates", *store, "--kind", "identical", "-0").out == "".join(f"{each}\0" for each in spare) != ""
    assert "say of which list" in cli("duplicates", *store, "--paths").err
    assert {"id", "size", "best", "reason", "images"} <= group.keys()


def test_an_image_that_is_gone_is_named_and_called_the_same_as_none(library: Settings, cli: CommandLine) -> None:
    images = library.qdrant.path.parent / "images"
    away = images.with_name("away")
    shutil.move(images / "scene" / "form PNG.png", away)
    try:
        store = ("--set", f"qdrant.path={library.qdrant.path}", "--space", "mini")
        ran = cli(
            "duplicates", *store, "--kind", "same_image", "--near", "0.99", "--where", 'folder == "scene"', "--json"
        )
    finally:
        shutil.move(away, images / "scene" / "form PNG.png")

    assert ran.code == 1
    (gone,) = ran.json["unread"]
    assert gone not in {image["id"] for group in ran.json["groups"] for image in group["images"]}


def test_a_program_finds_them_too(library: Settings) -> None:
    with Collection.open(settings=library) as images:
        found = images.duplicates(kinds=["identical"])

    assert [each.size for each in found.of("identical")] == [2]


def test_a_filter_bounds_what_is_looked_through(library: Settings) -> None:
    assert _found(library, where='format == "heic"').images == 1


# Pixels


def test_a_logo_that_hides_a_part_of_an_image_leaves_doubt() -> None:
    """What is no thin overlay may be something that moved: it is not called the same."""
    origin = scenes.draw(3, scenes.Exposure())
    covered = origin.copy()
    covered.paste((200, 30, 30), (300, 200, 420, 320))

    first, second = (look_at(scenes.encoded(each), max_pixels=10**8) for each in (origin, covered))
    assert not compare(first, second).same


@pytest.mark.parametrize("seed", [3, 4, 5, 6])
def test_the_image_with_the_watermark_is_told_from_the_one_without(seed: int) -> None:
    origin = scenes.draw(seed, scenes.Exposure())
    forms = dict(scenes.forms(origin, seed=seed))
    plain, marked = (look_at(each, max_pixels=10**8) for each in (forms["quality 30"], forms["watermark"]))
    assert (compare(plain, marked).overlay, compare(marked, plain).overlay) == ("second", "first")


def test_a_watermark_too_faint_to_be_seen_makes_no_image_the_best() -> None:
    origin = scenes.draw(7, scenes.Exposure())
    forms = {
        "IMG_7.jpg": scenes.encoded(origin),
        "IMG_7 watermark.jpg": dict(scenes.forms(origin, seed=7))["watermark"],
    }
    assert len(forms["IMG_7.jpg"]) < len(forms["IMG_7 watermark.jpg"])
    with scratch_folder() as folder:
        (folder / "images").mkdir()
        for name, data in forms.items():
            (folder / "images" / name).write_bytes(data)
        settings = Settings.load({"model.space": "mini", "ingest.workers": 0, "qdrant.path": str(folder / "data")})
        ingest([str(folder / "images")], settings=settings, recreate=False, show=_unseen, wait=_unseen)
        with Collection.open(settings=settings) as collection:
            (group,) = collection.duplicates(near=EVERYTHING).of("same_image")
    assert [_name(each) for each in group.images] == [*forms]
    assert "shortest name" in group.reason


def test_another_colour_is_another_image() -> None:
    origin = scenes.draw(3, scenes.Exposure())
    swapped = Image.merge("RGB", (origin.getchannel("B"), origin.getchannel("G"), origin.getchannel("R")))

    first, second = (look_at(scenes.encoded(each), max_pixels=10**8) for each in (origin, swapped))
    assert not compare(first, second).same


# Candidates


def test_pairs_are_found_across_cells_and_cut_cells() -> None:
    chance = np.random.default_rng(7)
    vectors = chance.normal(size=(1_000, 32)).astype(np.float32)
    vectors[1::2] = vectors[::2] + chance.normal(size=vectors[::2].shape).astype(np.float32) * 0.1
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    found = near_pairs(vectors.astype(np.float16), least=0.97, cell=200)

    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    twins = {(row, row + 1) for row in range(0, len(vectors), 2)}
    assert len(twins & pairs) >= 0.99 * len(twins)
    assert all(first < second for first, second in pairs)


def test_many_vectors_that_are_all_alike_make_few_pairs_and_one_group() -> None:
    count = 5_000
    vectors = np.full((count, 8), 8**-0.5, dtype=np.float16)

    found = near_pairs(vectors, least=0.9, cell=2_000)

    assert len(found.first) <= 2 * candidates.SPILL * (candidates.NEAREST + 1) * count
    assert _connected(found.first.tolist(), found.second.tolist(), count=count)


def _connected(first: list[int], second: list[int], *, count: int) -> bool:
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for one, other in zip(first, second, strict=True):
        parent[root(one)] = root(other)
    return len({root(row) for row in range(count)}) == 1


def test_no_pair_is_told_twice() -> None:
    chance = np.random.default_rng(8)
    vectors = chance.normal(size=(50, 4)).astype(np.float16)

    found = near_pairs(vectors, least=-100.0)

    pairs = [*zip(found.first.tolist(), found.second.tolist(), strict=True)]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) <= set(combinations(range(50), 2))


def test_a_kind_that_is_none_is_refused(library: Settings) -> None:
    with pytest.raises(InvalidQuery, match="siblings"):
        _found(library, kinds=["siblings"])
