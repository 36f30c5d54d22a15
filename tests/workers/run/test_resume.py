"""`polyglance status`, `retry`, and an ingestion that goes on where it was broken off, from the command line."""

import gzip
import json
from pathlib import Path

import pytest

from connector.settings import Settings
from tests.conftest import CommandLine, Ran
from tests.images import image, numbered, write_images
from workers.pipeline.counters import RunReport, ShardReport
from workers.records import Counts, Ref
from workers.run.ingestion import manifest_of
from workers.run.shards import Listed, RunFolder
from workers.sources.open import open_source

pytestmark = pytest.mark.usefixtures("data_folder")


def ingest(cli: CommandLine, *arguments: object) -> Ran:
    return cli("ingest", *arguments, "--space", "mini", "--json")


def status(cli: CommandLine) -> dict[str, object]:
    (found,) = cli("status", "--space", "mini", "--json").json
    return dict(found)


def broken_off(album: Path, *, done: int) -> RunFolder:
    """What a run leaves that was killed after its listing, with ``done`` of its shards of one image each."""
    settings = Settings.load({"model.space": "mini"})
    source = open_source(str(album), settings=settings)
    folder = RunFolder.of(source.root, settings=settings)
    folder.begin(manifest_of(source.root, place=str(album), settings=settings))
    refs = [item for item in source.list() if isinstance(item, Ref)]
    for number, ref in enumerate(refs):
        folder.write_shard(number, [ref])
    folder.end_listing(Listed(len(refs), rejected=0, shards=len(refs), busy=0.1), rejects=[])
    for number in range(done):
        folder.end_shard(number, ShardReport(RunReport(counts=Counts(1, stored=1)), ()))
    return folder


# going on


def test_a_run_that_was_broken_off_is_finished_and_then_the_place_is_looked_at_anew(
    cli: CommandLine, workplace: Path
) -> None:
    write_images(workplace / "album", ["a.png", "b.png", "c.png", "d.png"])
    broken_off(workplace / "album", done=1)
    write_images(workplace / "album", ["e.png"], first_seed=9)

    ran = ingest(cli, "album")

    assert ran.code == 0, ran.err
    assert (ran.json["resumed"]["listed"], ran.json["resumed"]["stored"]) == (4, 4)
    assert ran.json["resumed"]["images_per_second"] * ran.json["resumed"]["seconds"] == pytest.approx(3, abs=0.1)
    assert (ran.json["listed"], ran.json["unchanged"], ran.json["stored"]) == (5, 3, 2)  # a.png was never there
    assert status(cli)["state"] == "done"
    assert "resumed" not in ingest(cli, "album").json


def test_an_image_that_changed_or_went_since_the_listing_is_told_truly(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png", "b.png", "c.png"])
    broken_off(workplace / "album", done=0)
    (workplace / "album/a.png").write_bytes(numbered(image(30), 1))
    (workplace / "album/b.png").unlink()

    ran = ingest(cli, "album")

    assert (ran.json["resumed"]["stored"], ran.json["resumed"]["rejected"]) == (2, 1)
    assert ran.json["resumed"]["reasons"] == {"missing": 1}
    assert (ran.json["listed"], ran.json["unchanged"], ran.json["rejected"]) == (2, 2, 0)


def test_books_that_cannot_be_read_are_begun_anew(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png", "b.png"])
    folder = broken_off(workplace / "album", done=0)
    folder.files.write("listing/000001.gz", gzip.compress(json.dumps([["half"]]).encode())[:-4])

    ran = ingest(cli, "album")

    assert ran.code == 0, ran.err
    assert "resumed" not in ran.json
    assert ran.json["stored"] + ran.json["unchanged"] == 2


def test_recreating_the_collection_forgets_what_was_done(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png", "b.png"])
    broken_off(workplace / "album", done=1)

    ran = ingest(cli, "album", "--recreate")

    assert "resumed" not in ran.json
    assert ran.json["stored"] == 2


def test_a_second_run_of_the_same_place_at_the_same_time_is_refused(cli: CommandLine, workplace: Path) -> None:
    from filelock import FileLock

    from connector.run_status import digest, runs_of

    write_images(workplace / "album", ["a.png"])
    settings = Settings.load({"model.space": "mini"})
    top = runs_of(settings.qdrant, collection=settings.collection)
    top.mkdir(parents=True)
    with FileLock(top / f"{digest((workplace / 'album').as_uri())}.lock"):
        ran = ingest(cli, "album")

    assert ran.code == 1
    assert "another run of" in ran.err
    assert "polyglance status" in ran.err


# status


def test_status_says_how_a_run_ended_and_what_it_rejected(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png", "b.png"])
    (workplace / "album/bad.jpg").write_bytes(b"no image")
    ingest(cli, "album")

    said = status(cli)
    assert (said["state"], said["listed"], said["stored"], said["rejected"]) == ("done", 3, 2, 1)
    assert said["reasons"] == {"not_an_image": 1}
    ran = cli("status", "--space", "mini")
    assert "3 of 3: stored 2, unchanged 0, rejected 1" in ran.out
    assert "not_an_image 1" in ran.out


def test_status_tells_a_run_that_is_not_heard_of_any_more(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png"])
    ingest(cli, "album")
    folder = RunFolder.of((workplace / "album").as_uri(), settings=Settings.load({"model.space": "mini"}))
    told = json.loads(folder.read_status() or b"")
    folder.files.write(
        "status.json", json.dumps({**told, "state": "running", "updated_at": "2024-05-01T00:00:00+00:00"}).encode()
    )
    assert status(cli)["state"] == "broken"
    assert "goes on with the rest" in cli("status", "--space", "mini").out


def test_status_where_nothing_ever_ran_says_so(cli: CommandLine) -> None:
    ran = cli("status", "--space", "mini")

    assert (ran.code, ran.out.strip()) == (0, "")
    assert "nothing was ingested into collection images-mini" in ran.err
    assert cli("status", "--space", "mini", "--json").json == []


# retry


@pytest.fixture
def album(cli: CommandLine, workplace: Path) -> Path:
    """An ingested album with three rejects, for two reasons."""
    album = workplace / "album"
    write_images(album, ["a.png", "b.png"])
    for name in ("x.jpg", "y.jpg"):
        (album / name).write_bytes(b"no image")
    (album / "cut.png").write_bytes(image(9)[:-40])
    assert ingest(cli, "album").json["rejected"] == 3
    return album


def rejected(cli: CommandLine) -> dict[str, tuple[str, int]]:
    found = cli("rejected", "--space", "mini", "--json").json
    return {each["uri"].rpartition("/")[2]: (each["reason"], each["attempt"]) for each in found}


def test_retry_tries_the_rejects_again_and_nothing_else(cli: CommandLine, album: Path) -> None:
    (album / "cut.png").write_bytes(image(9))
    write_images(album, ["new.png"], first_seed=20)

    ran = cli("retry", "--space", "mini", "--json")

    assert (ran.code, ran.json["listed"], ran.json["stored"], ran.json["rejected"]) == (0, 3, 1, 2)
    assert rejected(cli) == {"x.jpg": ("not_an_image", 2), "y.jpg": ("not_an_image", 2)}
    cli("retry", "--space", "mini")
    assert rejected(cli)["x.jpg"] == ("not_an_image", 3)
    assert cli("search", "dog", "--space", "mini", "--json").json["hits"] != []


def test_retry_for_one_reason_leaves_the_others_as_they_were(cli: CommandLine, album: Path) -> None:
    for name in ("x.jpg", "cut.png"):
        (album / name).write_bytes(image(40 + len(name)))

    ran = cli("retry", "--reason", "truncated", "--space", "mini", "--json")

    assert (ran.json["listed"], ran.json["stored"]) == (1, 1)
    assert rejected(cli) == {"x.jpg": ("not_an_image", 1), "y.jpg": ("not_an_image", 1)}


def test_retry_from_another_folder_finds_the_place(
    cli: CommandLine, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (album / "x.jpg").write_bytes(image(51))
    monkeypatch.chdir(tmp_path)

    assert cli("retry", "--space", "mini", "--json").json["stored"] == 1


def test_retry_with_nothing_to_do_says_so(cli: CommandLine) -> None:
    ran = cli("retry", "--space", "mini")

    assert ran.code == 0
    assert "no rejected images to try again in collection images-mini" in ran.err


def test_what_names_nothing_that_could_be_read_stays_and_is_counted(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace, ["a.png"])
    (workplace / "list.csv").write_text("url,caption\na.png,one\n,none\n")
    assert ingest(cli, "list.csv").json["rejected"] == 1

    ran = cli("retry", "--space", "mini", "--json")

    assert (ran.json["listed"], ran.json["hopeless"]) == (0, 1)
    assert len(rejected(cli)) == 1
