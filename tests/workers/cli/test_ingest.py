"""`polyglance ingest` and `polyglance rejected`, from the command line to the collection and back."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import polyglance
from connector.store.edge.folder import RESERVE
from connector.store.edge.shared import SharedEngine
from connector.store.schema import CollectionSchema, Fingerprint
from tests import corpus
from tests.conftest import CommandLine, Ran, finish
from tests.hosts import HostProcess
from tests.images import image, numbered, write_images

pytestmark = [
    pytest.mark.usefixtures("data_folder"),
    pytest.mark.skipif(sys.platform == "win32", reason="links, signals and names of Unix"),
]
COUNTS = ("listed", "stored", "unchanged", "rejected")


def ingest(cli: CommandLine, *arguments: object) -> Ran:
    """Ingest with space mini, and hold the counts of whatever comes of it."""
    ran = cli("ingest", *arguments, "--space", "mini", "--json")
    if ran.code == 0:
        assert ran.json["listed"] == ran.json["stored"] + ran.json["unchanged"] + ran.json["rejected"]
    return ran


def counts(ran: Ran) -> list[int]:
    assert ran.code == 0, ran.err
    return [ran.json[name] for name in COUNTS]


def found(cli: CommandLine) -> list[dict[str, Any]]:
    """The payload of every image that a search can find."""
    ran = cli("search", "dog", "--space", "mini", "--json", "--limit", "10000")
    assert ran.code == 0, ran.err
    return [hit["payload"] for hit in ran.json["hits"]]


def names(cli: CommandLine) -> set[str]:
    return {payload["filename"] for payload in found(cli)}


def case(name: str) -> bytes:
    """A file of the corpus."""
    return next(each for each in corpus.CASES if each.name == name).make()


# folders


def test_a_folder_is_taken_with_all_below_it(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png", "b/c.PNG", "b/d/e.Jpg", "f.JPEG", "b/ä ö/g.png"])
    (workplace / "album/notes.txt").write_text("no image")
    (workplace / "album/b/song.mp3").write_bytes(b"ID3")

    assert counts(ingest(cli, "album")) == [5, 5, 0, 0]
    assert {(*p["folder"], p["filename"]) for p in found(cli)} == {
        ("", "a.png"),
        ("b", "c.PNG"),
        ("b/d", "e.Jpg"),
        ("", "f.JPEG"),
        ("b/ä ö", "g.png"),
    }


def test_a_file_and_many_places_are_taken_too(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace, ["one.png", "a/two.png", "b/three.png"])

    assert counts(ingest(cli, "one.png", "a", workplace / "b")) == [3, 3, 0, 0]


def test_links_are_followed_and_loops_survived(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace, ["album/a.png", "elsewhere/b.png"])
    (workplace / "album/loop").symlink_to(workplace / "album")
    (workplace / "album/self").symlink_to(workplace / "album/self")
    (workplace / "album/sub").mkdir()
    (workplace / "album/sub/up").symlink_to("../..")
    (workplace / "album/there").symlink_to(workplace / "elsewhere")

    ran = ingest(cli, "album")

    assert ran.code == 0
    assert {"a.png", "b.png"} <= names(cli)
    assert ran.json["rejected"] == 0


def test_hidden_files_and_folders_are_left_out_unless_asked_for(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png", ".b.png", ".thumbnails/c.png", "._d.png"])

    assert counts(ingest(cli, "album")) == [1, 1, 0, 0]
    assert counts(ingest(cli, "album", "--hidden")) == [4, 3, 1, 0]


def test_names_of_every_kind_are_ingested_and_found(cli: CommandLine, workplace: Path) -> None:
    odd = ["with space.png", 'quote\'s "q".png', "two\nlines.png", "%41#?&.png", "собака 犬.png", "[x] {y}.png"]
    write_images(workplace / "album", odd)
    invalid = os.fsdecode(b"inv\xffalid.png")
    write_images(workplace / "album", [invalid], first_seed=50)

    ran = ingest(cli, "album")

    assert counts(ran) == [7, 7, 0, 0]
    assert names(cli) == {*odd, "inv\ufffdalid.png"}
    assert all(p["uri"].isascii() and not set(p["uri"]) & set(' "\n') for p in found(cli))
    assert any(p["uri"].endswith("/inv%FFalid.png") for p in found(cli))
    assert counts(ingest(cli, "album")) == [7, 0, 7, 0]


def test_a_folder_whose_own_name_is_no_text_can_be_named(cli: CommandLine, workplace: Path) -> None:
    folder = workplace / os.fsdecode(b"al\xffbum")
    write_images(folder, ["a.png"])

    assert counts(ingest(cli, folder)) == [1, 1, 0, 0]
    shutil.rmtree(folder)
    ran = ingest(cli, folder)
    assert ran.code == 1
    assert "al\ufffdbum does not exist" in ran.err


# runs


def test_json_is_one_last_line_with_the_counts(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png", "b.png"])
    (workplace / "album/bad.png").write_text("no image")

    ran = ingest(cli, "album")

    assert len(ran.out.splitlines()) == 1
    assert [ran.json[name] for name in COUNTS] == [3, 2, 0, 1]
    assert ran.json["collection"] == "images-mini"
    assert ran.json["reasons"] == {"not_an_image": 1}
    assert ran.json["bottleneck"] in ran.json["busy"]
    assert ran.json["images_per_second"] > 0


def test_a_person_gets_the_books_in_a_sentence(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png"])

    ran = cli("ingest", "album", "--space", "mini")

    assert ran.code == 0
    assert ran.out.startswith("listed 1 = stored 1 + unchanged 0 + rejected 0\n")
    assert "the bottleneck is" in ran.out


def test_a_second_run_stores_nothing_and_a_changed_image_again(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png", "b.png", "c.png"])
    assert counts(ingest(cli, "album")) == [3, 3, 0, 0]
    assert counts(ingest(cli, "album")) == [3, 0, 3, 0]

    (workplace / "album/b.png").write_bytes(image(77, size=60))
    assert counts(ingest(cli, "album")) == [3, 1, 2, 0]
    assert len(found(cli)) == 3
    assert {p["width"] for p in found(cli)} == {48, 60}


def test_metadata_beside_an_image_can_be_filtered_by(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png", "b.png"])
    (workplace / "album/a.png.json").write_text('{"price": 12.5, "tags": ["blue"], "big": 123456789012345678901234}')
    (workplace / "album/b.png.json").write_text('{"price": NaN}')
    fields = ("--set", 'qdrant.meta_fields={"price": "float"}')

    assert counts(ingest(cli, "album", *fields)) == [2, 2, 0, 0]
    ran = cli("search", "dog", "--space", "mini", "--json", "--where", "meta.price > 10")
    assert [hit["payload"]["filename"] for hit in ran.json["hits"]] == ["a.png"]
    assert ran.json["hits"][0]["payload"]["tags"] == ["blue"]


# what was rejected


@pytest.fixture
def bad_album(workplace: Path) -> Path:
    """Two good images, one of them 2000x2, among five that are none."""
    folder = workplace / "bad album"
    write_images(folder, ["good.png"])
    (folder / "thin.png").write_bytes(case("png-thin.png"))
    (folder / "page.jpg").write_text("<html>404</html>")
    (folder / "cut.png").write_bytes(image(5)[:-100])
    (folder / "half.jpg").write_bytes(case("50-percent-of-jpeg-baseline.jpg"))
    (folder / "bomb.png").write_bytes(case("png-broken-bomb.png"))
    (folder / "nothing.png").touch()
    (folder / "nowhere.png").symlink_to("not-there.png")
    return folder


EXPECTED = {
    "page.jpg": ("decode", "not_an_image"),
    "cut.png": ("decode", "truncated"),
    "half.jpg": ("decode", "truncated"),
    "bomb.png": ("decode", "too_many_pixels"),
    "nothing.png": ("decode", "empty"),
    "nowhere.png": ("list", "missing"),
}


def test_bad_images_are_rejected_with_a_reason_and_harm_no_other(cli: CommandLine, bad_album: Path) -> None:
    assert (bad_album / "bomb.png").stat().st_size < 60_000

    assert counts(ingest(cli, bad_album)) == [8, 2, 0, 6]
    assert names(cli) == {"good.png", "thin.png"}
    ran = cli("rejected", "--space", "mini", "--json")
    assert ran.code == 0
    assert {each["uri"].rpartition("/")[2]: (each["stage"], each["reason"]) for each in ran.json} == EXPECTED
    for each in ran.json:
        assert list(each) == ["uri", "stage", "reason", "detail", "attempt"]
        assert each["uri"].startswith("file:///")
        assert each["detail"]


def test_rejects_can_be_listed_by_reason(cli: CommandLine, bad_album: Path) -> None:
    ingest(cli, bad_album)

    ran = cli("rejected", "--space", "mini", "--reason", "truncated", "--json")
    assert sorted(each["uri"].rpartition("/")[2] for each in ran.json) == ["cut.png", "half.jpg"]
    plain = cli("rejected", "--space", "mini", "--reason", "truncated")
    assert [line.split("\t")[:2] for line in plain.out.splitlines()] == [["truncated", "decode"]] * 2


def test_without_rejects_there_is_an_empty_list(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png"])
    for _ in ("before any run", "after one"):
        assert cli("rejected", "--space", "mini", "--json").json == []
        plain = cli("rejected", "--space", "mini")
        assert (plain.code, plain.out) == (0, "")
        assert "no rejected images in collection images-mini" in plain.err
        ingest(cli, "album")


def test_rejects_of_every_place_are_listed_and_forgotten_once_mended(cli: CommandLine, workplace: Path) -> None:
    for place in ("a", "b"):
        (workplace / place).mkdir()
        (workplace / place / "bad.png").write_text("no image")
    ingest(cli, "a")
    ingest(cli, "b")
    assert len(cli("rejected", "--space", "mini", "--json").json) == 2

    write_images(workplace / "a", ["bad.png"])
    assert counts(ingest(cli, "a")) == [1, 1, 0, 0]
    assert [each["uri"][-9:] for each in cli("rejected", "--space", "mini", "--json").json] == ["b/bad.png"]


def test_nothing_stored_and_everything_rejected_ends_with_1(cli: CommandLine, workplace: Path) -> None:
    (workplace / "album").mkdir()
    (workplace / "album" / "bad.png").write_text("no image")

    ran = cli("ingest", "album", "--space", "mini")
    assert ran.code == 1
    assert "listed 1 = stored 0 + unchanged 0 + rejected 1" in ran.out
    assert "nothing was stored: all 1 images were rejected. `polyglance rejected` lists them" in ran.err
    assert cli("retry", "--space", "mini").code == 1

    write_images(workplace / "album", ["good.png"])
    assert cli("ingest", "album", "--space", "mini").code == 0
    assert cli("ingest", "album", "--space", "mini").code == 0  # nothing stored, but not everything rejected


def test_a_shard_that_is_missing_ends_with_1_and_the_others_are_stored(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png"])
    with tarfile.open(workplace / "s-0.tar", "w") as tar:
        tar.add(workplace / "album/a.png", "a.png")

    ran = cli("ingest", "s-{0..2}.tar", "--space", "mini")

    assert ran.code == 1
    assert "listed 3 = stored 1 + unchanged 0 + rejected 2" in ran.out
    assert "2 tars are missing: `polyglance rejected --reason missing_archive` names them" in ran.err


def test_every_command_that_reads_runs_knows_where_they_are(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png"])
    (workplace / "album" / "bad.png").write_text("no image")
    given = ("--runs", workplace / "runs", "--space", "mini")
    assert cli("ingest", "album", *given).code == 0

    assert [run["rejected"] for run in cli("status", "--json", *given).json] == [1]
    assert len(cli("rejected", "--json", *given).json) == 1
    assert cli("rejected", "--paths", *given).out == f"{workplace}/album/bad.png\n"
    assert cli("rejected", "-0", *given).out == f"{workplace}/album/bad.png\0"
    assert "leave --json out" in cli("rejected", "-0", "--json", *given).json["error"]["message"]
    assert cli("retry", "--json", *given).json["rejected"] == 1
    assert cli("prune", "album", "--dry-run", "--json", *given).json["gone"] == 0
    assert "--runs" in cli("watch", "--help").out


# places that are none


def test_a_missing_folder_is_told_before_anything_is_written(cli: CommandLine, data_folder: Path) -> None:
    write_images(Path.cwd() / "album", ["a.png"])

    ran = ingest(cli, "album", "not-there")

    assert ran.code == 1
    assert ran.err == (
        f"polyglance: {Path.cwd()}/not-there does not exist. Name a folder or an image; "
        "a relative path starts in the working folder.\n"
    )
    assert not data_folder.exists()


def test_an_empty_folder_is_told_and_no_failure(cli: CommandLine, workplace: Path) -> None:
    (workplace / "empty").mkdir()

    ran = ingest(cli, "empty")

    assert counts(ran) == [0, 0, 0, 0]
    assert ran.err == "no images found in empty; nothing was done.\n"
    assert cli("ingest", "empty", "--space", "mini").out == ""


@pytest.mark.parametrize("place", ["https:/x", "s4://bucket", "/dev/null"])
def test_a_place_of_no_kind_is_told(cli: CommandLine, place: str) -> None:
    ran = ingest(cli, place)

    assert ran.code == 1
    assert ran.err.startswith("polyglance: ")
    assert "Traceback" not in ran.err


def unprivileged() -> list[str]:
    """The start of a command that permissions hold for, root or not."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root reads everything, and setpriv is not here to take that from it")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def test_a_folder_that_may_not_be_read_is_told(cli: CommandLine, workplace: Path) -> None:
    (workplace / "closed").mkdir(mode=0)

    ran = cli.run("ingest", "closed", "--space", "mini", under=unprivileged())

    assert ran.code == 1
    assert "closed cannot be opened by this user: Permission denied" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.slow
def test_what_may_not_be_read_below_a_folder_is_rejected(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png", "b.png", "closed/c.png"])
    (workplace / "album/b.png").chmod(0)
    (workplace / "album/closed").chmod(0)

    ran = cli.run("ingest", "album", "--space", "mini", "--json", under=unprivileged())

    (workplace / "album/closed").chmod(0o700)
    assert counts(ran) == [3, 1, 0, 2]
    rejected = cli("rejected", "--space", "mini", "--json").json
    assert {(each["stage"], each["reason"]) for each in rejected} == {
        ("list", "permission_denied"),
        ("read", "permission_denied"),
    }


# the store


def test_a_collection_of_another_space_is_kept_unless_told_otherwise(
    cli: CommandLine, workplace: Path, data_folder: Path
) -> None:
    engine = SharedEngine.open(data_folder, collection="mine")
    engine.create(CollectionSchema(Fingerprint("clip-vit-b-32", dims=512, image_size=224)))
    engine.close()
    write_images(workplace / "album", ["a.png"])

    ran = ingest(cli, "album", "--collection", "mine")
    assert ran.code == 1
    assert "collection 'mine' was built by space clip-vit-b-32 (512 dims)" in ran.err
    assert "--recreate" in ran.err

    assert counts(ingest(cli, "album", "--collection", "mine", "--recreate")) == [1, 1, 0, 0]
    assert cli("search", "dog", "--space", "mini", "--collection", "mine", "--json").json["hits"]


def test_recreate_begins_anew(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png", "b.png"])
    ingest(cli, "album")
    (workplace / "album/b.png").unlink()

    assert counts(ingest(cli, "album", "--recreate")) == [1, 1, 0, 0]
    assert names(cli) == {"a.png"}


def test_recreate_where_nothing_is_creates(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "album", ["a.png"])

    assert counts(ingest(cli, "album", "--recreate")) == [1, 1, 0, 0]


def test_other_weights_of_the_same_space_are_refused(cli: CommandLine, workplace: Path, data_folder: Path) -> None:
    engine = SharedEngine.open(data_folder, collection="images-mini")
    engine.create(CollectionSchema(Fingerprint("mini", dims=128, image_size=64, weights="0123456789abcdef")))
    engine.close()
    write_images(workplace / "album", ["a.png"])

    ran = ingest(cli, "album")

    assert ran.code == 1
    assert "0123456789abcdef there" in ran.err
    assert "--recreate" in ran.err


def test_data_that_another_process_has_open_are_filled_and_searched_all_the_same(
    cli: CommandLine, workplace: Path, data_folder: Path
) -> None:
    write_images(workplace / "album", ["a.png", "b.png"])
    with HostProcess() as other:
        other.host(data_folder, collection="images-mini")

        assert counts(ingest(cli, "album")) == [2, 2, 0, 0]
        assert len(cli("search", "dog", "--space", "mini", "--json").json["hits"]) == 2
        other.close(data_folder, collection="images-mini")

    assert counts(ingest(cli, "album")) == [2, 0, 2, 0]


def test_a_data_folder_that_cannot_be_made_is_told(
    cli: CommandLine, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(workplace / "album", ["a.png"])
    monkeypatch.setenv("POLYGLANCE_QDRANT__PATH", str(workplace / "album/a.png/data"))

    ran = ingest(cli, "album")

    assert ran.code == 1
    assert "the embedded engine cannot use" in ran.err
    assert "Traceback" not in ran.err


@contextmanager
def small_disk(path: Path, *, size: int) -> Iterator[None]:
    """A file system of this size at ``path``."""
    path.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=False)
    if made.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def resize(disk: Path, *, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_stops_the_run_and_the_next_one_ends_it(
    cli: CommandLine, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image has 200 KB of metadata, so that some hundred fill the disk."""
    album, disk = workplace / "album", workplace / "disk"
    write_images(album, ["a.png"])
    one = image(1)
    for number in range(600):
        (album / f"{number}.png").write_bytes(numbered(one, number))
        (album / f"{number}.json").write_text(json.dumps(dict.fromkeys("abcdef", "x" * 32_000)))
    monkeypatch.setenv("POLYGLANCE_QDRANT__PATH", str(disk / "data"))
    monkeypatch.setenv("POLYGLANCE_MODEL__BATCH_SIZE", "8")
    with small_disk(disk, size=1024**3):
        assert ingest(cli, album / "a.png").code == 0
        resize(disk, size=shutil.disk_usage(disk).used + RESERVE + 64 * 1024**2)
        ran = cli.run("ingest", album, "--space", "mini", "--json")

        assert ran.code == 1
        assert ran.json["error"]["kind"] == "StoreFull"
        assert "MiB free; the embedded engine writes only while 128 MiB are. What was stored before is safe" in ran.err
        assert "Traceback" not in ran.err
        kept = len(found(cli))
        assert 1 < kept < 601

        resize(disk, size=1024**3)
        again = ingest(cli, album)
        assert again.json["resumed"]["listed"] == again.json["listed"] == 601
        assert counts(again) == [601, 0, 601, 0]
        assert len(found(cli)) == 601


# stopping


NOHUP = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
"""Starts a command with Ctrl-C ignored, as a shell starts a background job."""


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("stop", "under"),
    [
        pytest.param(signal.SIGINT, [], id="Ctrl-C", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, NOHUP, id="SIGTERM to a background job", marks=pytest.mark.slow),
    ],
)
def test_stopping_is_clean_says_how_to_go_on_and_loses_nothing(
    cli: CommandLine, workplace: Path, stop: signal.Signals, under: list[str]
) -> None:
    album = workplace / "album"
    album.mkdir()
    one = image(1)
    for number in range(500):
        (album / f"{number}.png").write_bytes(numbered(one, number))
    command = ["-v", "ingest", album, "--space", "mini", "--json", "--set", "ingest.shard_size=20"]
    child = cli.start(*command, under=under)
    assert child.stderr is not None
    for line in child.stderr:
        if "shard_done" in line:
            break
    child.send_signal(stop)

    ran = finish(child)

    assert ran.code == 1
    assert "images were stored. Give the same command again to go on with the rest." in ran.err
    assert "Traceback" not in ran.err
    assert ran.json["error"]["kind"] == "RunIncomplete"
    kept = len(found(cli))
    assert 20 <= kept < 500
    assert f"stopped; {kept} images were stored." in ran.err
    (told,) = json.loads(cli("status", "--space", "mini", "--json").out)
    assert (told["state"], told["stored"]) == ("stopped", kept)
    again = ingest(cli, album)
    assert again.code == 0
    assert again.json["listed"] == again.json["stored"] + again.json["unchanged"] == 500
    assert len(found(cli)) == 500


def test_a_worker_that_dies_before_it_begins_ends_the_run_in_a_sentence(
    cli: CommandLine, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first shard holds nothing new, so that the run has counted work when it asks for a worker."""
    album, sites = workplace / "album", workplace / "sites"
    write_images(album, ["a.png"])
    assert counts(ingest(cli, album)) == [1, 1, 0, 0]
    (album / "b.png").write_bytes(image(2))
    sites.mkdir()
    (sites / "sitecustomize.py").write_text("import os, sys\nif '--multiprocessing-fork' in sys.argv: os._exit(9)\n")

    with monkeypatch.context() as broken:
        broken.setenv("PYTHONPATH", os.pathsep.join([str(sites), str(Path(polyglance.__file__).parent)]))
        ran = ingest(cli, album, "--set", "ingest.shard_size=1", "--set", "ingest.workers=1")

    assert (ran.code, ran.json["error"]["kind"]) == (1, "RunIncomplete")
    assert "the first worker died before it began to work: exit status 9. Give" in ran.err
    (told,) = json.loads(cli("status", "--space", "mini", "--json").out)
    assert (told["state"], told["unchanged"], told["error"]) == ("failed", 1, ran.json["error"]["message"])
    assert ingest(cli, album).code == 0
    assert names(cli) == {"a.png", "b.png"}


@pytest.mark.usefixtures("interruptible")
def test_stopping_while_the_model_loads_says_so_too(
    cli: CommandLine, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library that loads it reads a pipe that nobody ever writes, so that loading lasts."""
    write_images(workplace / "album", ["a.png"])
    sites, pipe = workplace / "sites", workplace / "pipe"
    sites.mkdir()
    os.mkfifo(pipe)
    (sites / "sentence_transformers.py").write_text(f"open({str(pipe)!r}).read()\nraise ImportError('it is none')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(sites), str(Path(polyglance.__file__).parent)]))
    child = cli.start("ingest", "album", "--space", "mini")
    with pipe.open("w"):  # returns once the child reads it
        child.send_signal(signal.SIGINT)

    ran = finish(child)

    assert ran.code == 1
    assert "stopped; 0 images were stored. Give the same command again" in ran.err
    assert "Traceback" not in ran.err
