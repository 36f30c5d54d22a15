"""`polyglance search`: a thin reading of ImageSearch."""

import os
from importlib.metadata import version
from pathlib import Path

import pytest

from connector.settings import Settings
from connector.store.edge.shared import SharedEngine
from connector.store.schema import CollectionSchema, Fingerprint
from tests.conftest import CommandLine
from tests.images import image, write_images
from workers.demo import tour

SAILBOAT = Path(str(tour.IMAGES)) / "travel-places/sailboat.png"


@pytest.fixture
def on_noto(noto: Settings, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled images are what is searched."""
    assert workplace.is_dir()
    monkeypatch.setenv("POLYGLANCE_QDRANT__PATH", str(noto.qdrant.path))
    monkeypatch.setenv("POLYGLANCE_MODEL__SPACE", "mini")


@pytest.mark.usefixtures("on_noto")
def test_words_in_json(cli: CommandLine) -> None:
    ran = cli("search", "собака", "--limit", "3", "--json")

    assert ran.code == 0
    assert ran.err == ""
    assert ran.json.keys() == {"query", "understood", "hits"}
    assert ran.json["query"] == "собака"
    assert "собака" in ran.out
    assert len(ran.json["hits"]) == 3
    for hit in ran.json["hits"]:
        assert hit.keys() == {"id", "score", "relevance", "reasons", "uri", "fault", "payload"}
        assert hit["uri"] == hit["payload"]["uri"]


@pytest.mark.usefixtures("on_noto")
def test_an_image_in_json(cli: CommandLine) -> None:
    ran = cli("search", "--image", SAILBOAT, "--json", "-n", 1)

    assert ran.json["query"] == str(SAILBOAT)
    assert ran.json["hits"][0]["payload"]["filename"] == "sailboat.png"


@pytest.mark.usefixtures("on_noto")
def test_every_way_to_ask_answers_in_json_and_as_a_table(cli: CommandLine) -> None:
    mixed = cli("search", "boat", "--image", SAILBOAT, "--without", "person", "--diversity", 0.3, "--json").json
    assert len(mixed["hits"]) == 10
    first = mixed["hits"][0]["id"]
    assert first not in [hit["id"] for hit in cli("search", "--like", first, "--json").json["hits"]]
    assert cli("search", "boat", "--min-score", 1, "--json").json["hits"] == []
    page = cli("search", "boat", "--offset", 1, "--json").json["hits"]
    assert page[0] == cli("search", "boat", "-n", 2, "--json").json["hits"][1]
    groups = cli("search", "boat", "--group-by", "folder", "-n", 2, "--json").json["groups"]
    assert [len(group["hits"]) > 0 for group in groups] == [True, True]
    counts = cli("search", "--facet", "folder", "-n", 3, "--json").json
    assert counts["field"] == "folder"
    assert len(counts["counts"]) == 3
    assert len(cli("search", "--sample", "-n", 3, "--json").json["points"]) == 3
    sizes = [each["payload"]["bytes"] for each in cli("search", "--order-by", "-bytes", "--json").json["points"]]
    assert sizes == sorted(sizes, reverse=True)
    for arguments in (["boat", "--group-by", "folder"], ["--facet", "folder"], ["--sample"]):
        assert cli("search", *arguments).out.count("\n") > 3


@pytest.mark.usefixtures("on_noto")
def test_a_table_for_people(cli: CommandLine) -> None:
    ran = cli("search", "--image", SAILBOAT, "--limit", "2")

    assert ran.code == 0
    assert ran.out.splitlines()[0].startswith(str(SAILBOAT)[:20])
    assert "sailboat.png" in ran.out.replace("\n", "")
    assert "1.000" in ran.out or "0.999" in ran.out


@pytest.mark.usefixtures("on_noto")
def test_a_filter_narrows_the_answer(cli: CommandLine) -> None:
    ran = cli("search", "dog", "--json", "--where", 'meta.category == "Food & Drink" and width >= 16')

    assert len(ran.json["hits"]) == 10
    assert {hit["payload"]["meta"]["category"] for hit in ran.json["hits"]} == {"Food & Drink"}


@pytest.mark.usefixtures("on_noto")
def test_no_hit_says_what_the_usual_reason_is(cli: CommandLine) -> None:
    ran = cli("search", "dog", "--where", "width > 99999")

    assert (ran.code, ran.out) == (0, "")
    assert "no image matches" in ran.err
    assert cli("search", "dog", "--where", "width > 99999", "--json").json["hits"] == []


@pytest.mark.usefixtures("on_noto")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a text, --image FILE or --like ID"),
        (["--group-by", "folder"], "give a text, --image FILE or --like ID"),
        (["--without", "people"], "--without needs something to push away from"),
        (["dog", "--sample"], "--sample takes no question"),
        (["--facet", "folder", "--sample"], "--facet and --sample exclude one another"),
        (["dog", "--diversity", "2"], "diversity is 2.0; it must be between 0 and 1"),
        (["dog", "--min-score", "2"], "min_score is 2.0; a cosine lies between -1 and 1"),
        (["dog", "--image", "x.jpg"], "'x.jpg' cannot be read"),
        (["--like", "no-id"], "'no-id' is no point id"),
        (["--order-by", "folder"], "cannot be put in the order of 'folder'"),
        (["  "], "the text is empty"),
        (["dog", "--where", "width >="], "width >="),
        (["dog", "--where", "colour == 1"], "colour"),
        (["dog", "--limit", "0"], "limit is 0; it must be between 1 and 10000"),
        (["dog", "--limit", "many"], "--limit"),
        (["--image", "not-there.jpg"], "'not-there.jpg' cannot be read"),
        (["--image", "."], "is no file"),
        (["dog", "--space", "maxi"], "unknown space 'maxi'"),
        (["dog", "--nonsense"], "--nonsense"),
    ],
)
def test_a_wrong_call_exits_with_2_and_says_why(cli: CommandLine, arguments: list[str], message: str) -> None:
    ran = cli("search", *arguments)

    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""
    told = cli("search", *arguments, "--json")
    assert told.code == 2
    assert message in told.json["error"]["message"]


@pytest.mark.usefixtures("on_noto")
def test_an_image_that_is_none_is_a_wrong_call(cli: CommandLine, workplace: Path) -> None:
    (workplace / "page.jpg").write_text("<html>")

    ran = cli("search", "--image", "page.jpg")

    assert ran.code == 2
    assert ran.err.startswith("polyglance: ")


def test_before_anything_is_ingested_the_way_there_is_told(cli: CommandLine, data_folder: Path) -> None:
    ran = cli("search", "dog", "--space", "mini")

    assert ran.code == 1
    assert f"collection 'images-mini' does not exist in {data_folder}" in ran.err
    assert "`polyglance ingest FOLDER` makes and fills it" in ran.err


def test_a_collection_of_another_space_is_told(cli: CommandLine, data_folder: Path) -> None:
    engine = SharedEngine.open(data_folder, collection="mine")
    engine.create(CollectionSchema(Fingerprint("clip-vit-b-32", dims=512, image_size=224)))
    engine.close()

    ran = cli("search", "dog", "--space", "mini", "--collection", "mine")

    assert ran.code == 1
    assert "built by space clip-vit-b-32 (512 dims)" in ran.err


def test_weights_that_are_not_there_say_how_to_get_them(cli: CommandLine, data_folder: Path) -> None:
    engine = SharedEngine.open(data_folder, collection="images-clip-vit-b-32")
    engine.create(CollectionSchema(Fingerprint("clip-vit-b-32", dims=512, image_size=224)))
    engine.close()

    ran = cli("search", "dog", "--set", "model.text_model=/nowhere/clip")

    assert ran.code == 1
    assert "/nowhere/clip does not exist" in ran.err
    assert "--space mini" in ran.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "dog", "--where", "colour == 1"], "colour"),
        (["search", "dog", "--group-by", "colour"], "colour"),
        (["search", "dog", "--facet", "colour"], "colour"),
        (["search", "  "], "the text is empty"),
        (["search", "dog", "--language", "english"], "a tag such as en"),
        (["search", "dog", "--limit", "0"], "limit is 0"),
        (["search", "--image", "not-there.jpg"], "'not-there.jpg' cannot be read"),
        (["export", "out.parquet", "--where", "colour == 1"], "colour"),
        (["export", "out.parquet", " "], "the text is empty"),
        (["evaluate", "not-there.jsonl"], "not-there.jsonl"),
        (["classify", "not-there.jpg", "--labels", "dog,cat"], "not-there.jpg"),
        (["classify", "one.png", "--labels", " , "], "label"),
        (["classify", "--labels", "dog,cat", "--where", "colour == 1"], "colour"),
        (["classify", "--labels", "dog,cat", "--tag", "--where", "colour == 1"], "colour"),
    ],
)
def test_a_cheap_mistake_is_told_before_any_model_loads(
    cli: CommandLine, data_folder: Path, workplace: Path, arguments: list[str], message: str
) -> None:
    (workplace / "one.png").write_bytes(image(1))
    engine = SharedEngine.open(data_folder, collection="images-clip-vit-b-32")
    engine.create(CollectionSchema(Fingerprint("clip-vit-b-32", dims=512, image_size=224)))
    engine.close()

    no_weights = ["--set", "model.text_model=/nowhere/clip", "--set", "model.image_model=/nowhere/clip"]
    ran = cli(*arguments, *no_weights)

    assert ran.code == 2
    assert message in ran.err
    assert "/nowhere/clip" not in ran.err


@pytest.mark.usefixtures("on_noto")
def test_what_goes_into_a_pipe_is_never_wrapped(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")

    ran = cli("search", "boat", "--limit", "4")

    assert len(ran.out.splitlines()) == 6
    assert all(line.rstrip().endswith(".png") for line in ran.out.splitlines()[2:])


@pytest.mark.usefixtures("on_noto")
@pytest.mark.parametrize(
    "question", [["boat"], ["--sample"], ["--order-by", "bytes"], ["boat", "--group-by", "folder"]]
)
def test_paths_alone_are_for_other_programs(cli: CommandLine, question: list[str]) -> None:
    lines, null = cli("search", *question, "-n", 3, "--paths"), cli("search", *question, "-n", 3, "-0")

    assert all(Path(line).is_file() for line in lines.out.splitlines())
    assert all(Path(name).is_file() for name in null.out.split("\0")[:-1])
    assert null.out.endswith("\0")
    assert len(lines.out.splitlines()) == null.out.count("\0") >= 3


@pytest.mark.usefixtures("data_folder")
def test_a_path_comes_as_the_disk_has_it(cli: CommandLine, workplace: Path) -> None:
    name = os.fsencode(workplace / "album") + b"/caf\xe9\n #1%20.png"
    (workplace / "album").mkdir()
    Path(os.fsdecode(name)).write_bytes(image(1))
    assert cli("ingest", "album", "--space", "mini").code == 0

    child = cli.start("search", "dog", "--space", "mini", "-0")
    assert child.stdout is not None
    with child:
        assert os.read(child.stdout.fileno(), 4_096) == name + b"\0"


@pytest.mark.usefixtures("on_noto")
@pytest.mark.parametrize("other", [["dog", "--json"], ["--facet", "folder"]])
def test_paths_are_all_that_is_printed(cli: CommandLine, other: list[str]) -> None:
    ran = cli("search", *other, "--paths")

    assert ran.code == 2
    assert "--paths lists images and nothing else" in ran.err


def test_the_version_is_told(cli: CommandLine) -> None:
    assert cli("--version").out == f"polyglance {version('polyglance')}\n"


def test_a_name_cannot_play_with_the_terminal(cli: CommandLine, data_folder: Path, workplace: Path) -> None:
    write_images(workplace / "album", ["red \x1b[31m name.png", "two\nlines.png"])
    assert cli("ingest", "album", "--space", "mini").code == 0

    ran = cli("search", "dog", "--space", "mini")

    assert "\x1b" not in ran.out
    assert "red \ufffd[31m name.png" in ran.out.replace("\n", "")
    assert "two\ufffdlines.png" in ran.out.replace("\n", "")
    assert data_folder.exists()


def test_a_reader_that_leaves_early_is_no_error(cli: CommandLine, data_folder: Path, workplace: Path) -> None:
    (workplace / "one.png").write_bytes(image(1))
    assert cli("ingest", "one.png", "--space", "mini").code == 0
    read, write = os.pipe()
    os.close(read)
    child = cli.start("search", "dog", "--space", "mini", "--json", out=write)
    os.close(write)

    _, err = child.communicate(timeout=200)

    assert "Traceback" not in err
    assert data_folder.exists()


@pytest.mark.usefixtures("on_noto")
def test_a_language_is_a_hint_and_what_is_none_is_told(cli: CommandLine) -> None:
    plain, hinted = cli("search", "ein Hund", "--json"), cli("search", "ein Hund", "--language", "de", "--json")
    wrong = cli("search", "a dog", "--language", "english")

    assert plain.json["hits"] == hinted.json["hits"] != []
    assert wrong.code == 2
    assert "a tag such as en, de or zh-TW is wanted" in wrong.err


@pytest.mark.usefixtures("on_noto")
def test_where_nothing_fits_relevant_answers_with_nothing(cli: CommandLine) -> None:
    (first, *_) = cli("search", "piña", "--relevant", "--json").json["hits"]

    assert first["payload"]["meta"]["name"] == "pineapple"
    assert cli("search", "the price of justice", "--relevant", "--json").json["hits"] == []
