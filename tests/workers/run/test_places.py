"""What depends on the place that lists an image is never frozen: its sources and folders are sets."""

import hashlib
import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from connector.store.edge.engine import EmbeddedEngine
from tests.conftest import CommandLine, Ran
from tests.corpus_files import saved, scene
from tests.images import image, write_images
from workers.sources.disk import uri_of

pytestmark = pytest.mark.usefixtures("data_folder")


@pytest.fixture
def library(workplace: Path) -> Path:
    """``lib`` with images at its top, in 2023 and in 2024/holiday; nothing is ingested yet."""
    write_images(workplace / "lib", ["top.png", "2023/a.png", "2024/b.png", "2024/holiday/c.png"])
    return workplace / "lib"


def ingest(cli: CommandLine, *arguments: object) -> Ran:
    ran = cli("ingest", *arguments, "--space", "mini", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["listed"] == ran.json["stored"] + ran.json["unchanged"] + ran.json["rejected"]
    return ran


def found(cli: CommandLine, where: str | None = None) -> dict[str, dict[str, Any]]:
    """The payload of every image that matches, by its file name."""
    condition = [] if where is None else ["--where", where]
    ran = cli("search", "a dog", "--space", "mini", "--json", "--limit", "1000", *condition)
    assert ran.code == 0, ran.err
    return {hit["payload"]["filename"]: hit["payload"] for hit in ran.json["hits"]}


def test_a_parent_ingested_later_takes_its_subfolder_in_without_reading_it_again(
    cli: CommandLine, library: Path
) -> None:
    assert ingest(cli, library / "2024").json["stored"] == 2
    before = found(cli)
    whole = ingest(cli, library).json

    assert (whole["stored"], whole["unchanged"], whole["joined"], whole["copied"]) == (2, 2, 2, 0)
    assert found(cli)["c.png"]["ingested_at"] == before["c.png"]["ingested_at"]
    assert found(cli, f'source == "{uri_of(library)}"').keys() == {"top.png", "a.png", "b.png", "c.png"}
    assert found(cli, f'source == "{uri_of(library / "2024")}"').keys() == {"b.png", "c.png"}
    assert found(cli, 'folder == "holiday"').keys() == {"c.png"}  # as an application asks that began with 2024
    assert found(cli, 'folder == "2024/holiday"').keys() == {"c.png"}
    assert found(cli, 'folder startswith "2024"').keys() == {"b.png", "c.png"}
    again = ingest(cli, library, library / "2024").json
    assert (again["unchanged"], again["joined"]) == (6, 0)


@pytest.mark.slow
def test_a_changed_image_stays_in_all_its_places(cli: CommandLine, library: Path) -> None:
    ingest(cli, library / "2024", library)
    (library / "2024" / "holiday" / "c.png").write_bytes(image(77))
    assert ingest(cli, library).json["stored"] == 1

    assert found(cli)["c.png"]["source"] == [uri_of(library), uri_of(library / "2024")]
    assert found(cli)["c.png"]["folder"] == ["2024/holiday", "holiday"]


def test_pruning_the_parent_sees_what_was_deleted_from_the_subfolder(cli: CommandLine, library: Path) -> None:
    ingest(cli, library / "2024", library)
    (library / "2024" / "b.png").unlink()

    ran = cli("prune", library, "--space", "mini", "--yes", "--max-prune", "1", "--json")

    assert (ran.code, ran.json["points"], ran.json["removed"], ran.json["left"]) == (0, 4, 1, 0)
    assert found(cli).keys() == {"top.png", "a.png", "c.png"}


@pytest.mark.slow
def test_what_one_place_does_not_take_any_more_stays_in_the_other(cli: CommandLine, library: Path) -> None:
    """It is there, only not named by this listing: hidden folders were meant once, and are not now."""
    write_images(library, [".hidden/d.png"], first_seed=50)
    ingest(cli, library, "--hidden")
    ingest(cli, library / ".hidden")
    ran = ingest(cli, library, "--prune", "--max-prune", "1")

    assert (ran.json["pruned"][0]["removed"], ran.json["pruned"][0]["left"]) == (1, 1)
    assert found(cli)["d.png"]["source"] == [uri_of(library / ".hidden")]


@pytest.mark.slow
def test_an_image_that_a_list_names_too_is_in_both(cli: CommandLine, library: Path) -> None:
    ingest(cli, library)
    (library / "best.txt").write_text("2024/holiday/c.png\n")
    assert ingest(cli, library / "best.txt").json["joined"] == 1

    assert found(cli, f'source == "{uri_of(library / "best.txt")}"').keys() == {"c.png"}
    (library / "best.txt").write_text("2023/a.png\n")
    ran = ingest(cli, library / "best.txt", "--prune", "--max-prune", "1").json
    assert (ran["joined"], ran["pruned"][0]["removed"], ran["pruned"][0]["left"]) == (1, 1, 1)
    assert found(cli)["c.png"]["source"] == [uri_of(library)]


def bitmap(seed: int) -> bytes:
    """An image whose file has the same size whatever it shows."""
    return saved(scene(48, 48, seed=seed), "BMP")


def edit_in_place(path: Path, data: bytes) -> None:
    """Write other bytes as an editor does that keeps the size and the time."""
    was = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert path.stat().st_size == was.st_size


def test_an_edit_that_keeps_size_and_time_is_seen_by_its_content(cli: CommandLine, library: Path) -> None:
    path = library / "2024" / "edited.bmp"
    path.write_bytes(bitmap(1))
    ingest(cli, library)
    edit_in_place(path, bitmap(2))

    assert ingest(cli, library).json["unchanged"] == 5  # nobody can know
    seen = ingest(cli, library, "--verify", "content").json
    assert (seen["stored"], seen["copied"], seen["unchanged"]) == (1, 0, 4)
    assert ingest(cli, library, "--verify", "content").json["unchanged"] == 5
    assert found(cli)["edited.bmp"]["content_hash"] == hashlib.blake2b(bitmap(2), digest_size=16).hexdigest()


@pytest.mark.slow
def test_force_embeds_everything_again(cli: CommandLine, library: Path) -> None:
    ingest(cli, library)
    before = found(cli)
    done = ingest(cli, library, "--force").json
    after = found(cli)

    assert (done["stored"], done["copied"], done["unchanged"]) == (4, 0, 0)
    assert all(after[name]["ingested_at"] > before[name]["ingested_at"] for name in before)
    assert cli("ingest", library, "--space", "mini", "--force", "--verify", "content").code == 2


def test_a_sidecar_that_comes_changes_or_goes_changes_the_payload_alone(cli: CommandLine, library: Path) -> None:
    ingest(cli, library)
    beside = library / "2023" / "a.json"
    for text, album in (('{"album": "Norderney"}', "Norderney"), ('{"album": "Sylt, 2023"}', "Sylt, 2023")):
        beside.write_text(text)
        done = ingest(cli, library).json
        assert (done["stored"], done["copied"], done["unchanged"]) == (1, 1, 3)
        assert found(cli)["a.png"]["meta"] == {"album": album}
    beside.unlink()
    assert ingest(cli, library).json["copied"] == 1
    assert "meta" not in found(cli)["a.png"]


# places that move, and places that go


def vectors(cli: CommandLine, data_folder: Path) -> dict[str, Any]:
    """By content, the vector of every point."""
    del cli
    engine = EmbeddedEngine.open(data_folder, collection="images-mini")
    with closing(engine):
        page = engine.scroll(limit=1000, vectors=True)
    return {str(point.payload["content_hash"]): point.vector for point in page.points}


def test_a_library_that_moved_keeps_its_vectors_whatever_its_images_are_called_now(
    cli: CommandLine, library: Path, data_folder: Path
) -> None:
    (library / "2023" / "a.json").write_text('{"album": "Norderney"}')
    ingest(cli, library, library / "2024")
    before = vectors(cli, data_folder)
    moved = library.with_name("moved")
    library.rename(moved)
    (moved / "2024" / "b.png").rename(moved / "renamed.png")
    write_images(moved, ["new.png"], first_seed=60)
    (moved / "broken.png").symlink_to(moved / "nowhere")
    (moved / "top.png").unlink()

    counts = ("listed", "moved", "renamed", "present", "unknown", "rejected", "left")
    planned = cli("relocate", library, moved, "--space", "mini", "--dry-run", "--json")
    assert (planned.code, [planned.json[name] for name in counts]) == (0, [5, 3, 1, 0, 1, 1, 1]), planned.err
    assert found(cli)["c.png"]["source"] == [uri_of(library), uri_of(library / "2024")]
    done = cli("relocate", library, moved, "--space", "mini", "--json").json
    assert [done[name] for name in counts] == [5, 3, 1, 0, 1, 1, 1]

    after = found(cli)
    assert after.keys() == {"a.png", "renamed.png", "c.png", "top.png"}
    assert after["c.png"]["source"] == [uri_of(moved), uri_of(moved / "2024")]
    assert after["c.png"]["folder"] == ["2024/holiday", "holiday"]
    assert after["renamed.png"]["source"] == [uri_of(moved)]
    assert (after["a.png"]["meta"], after["a.png"]["uri"]) == ({"album": "Norderney"}, uri_of(moved / "2023/a.png"))
    for content, vector in vectors(cli, data_folder).items():
        assert vector == pytest.approx(before[content], abs=1e-3)
    again = cli("relocate", library, moved, "--space", "mini", "--json").json
    assert [again[name] for name in counts] == [5, 0, 0, 3, 1, 1, 1]
    brought = ingest(cli, moved).json
    assert (brought["stored"], brought["unchanged"], brought["joined"]) == (1, 3, 0)


def test_a_relocation_that_was_stopped_goes_on(cli: CommandLine, library: Path, data_folder: Path) -> None:
    """It may stop between writing the new points and removing the old ones: then both are there."""
    ingest(cli, library)
    moved = Path(shutil.copytree(library, library.with_name("moved")))
    ingest(cli, moved)  # leaves what a relocation leaves that wrote everything and removed nothing
    assert len(found(cli)) == 4

    done = cli("relocate", library, moved, "--space", "mini", "--json").json

    assert (done["moved"], done["present"], done["left"]) == (0, 4, 0)
    engine = EmbeddedEngine.open(data_folder, collection="images-mini")
    with closing(engine):
        assert engine.info().points == 4


def test_a_folder_that_moved_within_its_root_stays_in_it(cli: CommandLine, library: Path) -> None:
    ingest(cli, library)
    (library / "2024").rename(library / "2025")

    assert cli("relocate", library / "2024", library / "2025", "--space", "mini", "--json").json["moved"] == 2
    assert found(cli)["c.png"]["source"] == [uri_of(library)]
    assert found(cli, 'folder == "2025/holiday"').keys() == {"c.png"}
    assert ingest(cli, library, "--prune", "--max-prune", "0").json["unchanged"] == 4


def test_a_place_of_which_nothing_is_stored_cannot_move(cli: CommandLine, library: Path) -> None:
    ingest(cli, library / "2024")
    refused = cli("relocate", library / "2023", library, "--space", "mini")
    assert (refused.code, "holds nothing of" in refused.err) == (1, True)
    assert cli("relocate", library, library, "--space", "mini").code == 2
    assert cli("relocate", library / "2024", library / "nowhere", "--space", "mini").code == 1


def test_a_place_is_forgotten_and_what_another_one_lists_stays(cli: CommandLine, library: Path) -> None:
    ingest(cli, library, library / "2024")

    planned = cli("forget", library, "--space", "mini", "--dry-run", "--json").json
    assert (planned["points"], planned["removed"], planned["left"]) == (4, 2, 2)
    assert len(found(cli)) == 4
    done = cli("forget", library, "--space", "mini", "--json").json
    assert (done["removed"], done["left"]) == (2, 2)
    assert {name: payload["source"] for name, payload in found(cli).items()} == {
        "b.png": [uri_of(library / "2024")],
        "c.png": [uri_of(library / "2024")],
    }
    assert [run["source"] for run in cli("status", "--space", "mini", "--json").json] == [uri_of(library / "2024")]
    unknown = cli("forget", library, "--space", "mini")
    assert (unknown.code, uri_of(library / "2024") in unknown.err) == (2, True)


# disks that are away


def test_a_folder_that_is_empty_now_is_not_taken_for_deleted(cli: CommandLine, library: Path) -> None:
    ingest(cli, library)
    shutil.rmtree(library / "2024")
    (library / "2024").mkdir()  # as a disk leaves it that is not mounted
    (library / "top.png").unlink()

    shown = cli("prune", library, "--space", "mini", "--yes", "--max-prune", "1")
    assert (shown.code, f"kept 2 points whose images are not there: {uri_of(library / '2024')}" in shown.out) == (
        0,
        True,
    )
    assert found(cli).keys() == {"a.png", "b.png", "c.png"}
    done = ingest(cli, library, "--prune", "--max-prune", "1").json["pruned"][0]
    assert (done["gone"], done["kept"]) == (0, 2)
    assert cli("prune", library, "--space", "mini", "--yes", "--max-prune", "1", "--vanished").code == 0
    assert found(cli).keys() == {"a.png"}
