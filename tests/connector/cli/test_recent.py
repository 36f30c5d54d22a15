"""Which collection a command means that names none: the one that was ingested into last."""

import json
from pathlib import Path

import pytest

from tests.conftest import CommandLine
from tests.images import write_images
from tests.qdrant_standin.standin import running

LINE = "as ingested into last"


@pytest.fixture
def ingested(cli: CommandLine, data_folder: Path, workplace: Path) -> CommandLine:
    """Two images in collection ``photos``, in space mini; nothing else."""
    del data_folder
    write_images(workplace / "album", ["a.png", "b.png"])
    assert cli("ingest", "album", "--space", "mini", "--collection", "photos").code == 0
    return cli


def test_the_next_command_means_what_was_ingested_into_last(ingested: CommandLine) -> None:
    ran = ingested("search", "a dog", "--facet", "folder")
    assert (ran.code, "collection photos, space mini, " + LINE in ran.err) == (0, True), ran.err
    quiet = ingested("search", "a dog", "--json")
    assert (len(quiet.json["hits"]), LINE in quiet.err) == (2, False)
    again = ingested("ingest", "album", "--json").json
    assert (again["collection"], again["unchanged"]) == ("photos", 2)
    shown = ingested("settings", "--json").json
    assert shown["qdrant.collection"] == {"value": "photos", "from": "the last ingest"}
    assert shown["model.space"] == {"value": "mini", "from": "the last ingest"}


@pytest.mark.parametrize("how", ["option", "variable", "file", "user"])
def test_whatever_is_set_wins(
    ingested: CommandLine, workplace: Path, monkeypatch: pytest.MonkeyPatch, how: str, tmp_path: Path
) -> None:
    options: list[str] = []
    match how:
        case "option":
            options = ["--collection", "other"]
        case "variable":
            monkeypatch.setenv("POLYGLANCE_QDRANT__COLLECTION", "other")
        case "file":
            (workplace / "polyglance.toml").write_text('[qdrant]\ncollection = "other"\n')
        case "user":
            monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
            (tmp_path / "polyglance").mkdir()
            (tmp_path / "polyglance" / "polyglance.toml").write_text('[qdrant]\ncollection = "other"\n')

    ran = ingested("search", "a dog", *options)

    assert (ran.code, "collection 'other' does not exist" in ran.err) == (1, True)


def test_a_space_alone_means_its_last_collection_and_a_collection_alone_its_space(
    ingested: CommandLine, workplace: Path
) -> None:
    write_images(workplace / "more", ["c.png"], first_seed=5)
    assert ingested("ingest", "more", "--collection", "demo").code == 0  # the space is the last one's

    assert len(ingested("search", "a dog", "--space", "mini", "--json").json["hits"]) == 1
    assert len(ingested("search", "a dog", "--collection", "photos", "--json").json["hits"]) == 2
    own = ingested("ingest", "album", "--json").json  # one's own images never join the demo's
    assert (own["collection"], own["unchanged"]) == ("photos", 2)
    listed = ingested("collection", "list", "--json").json["collections"]
    assert listed == [
        {"name": "demo", "points": 1, "space": "mini", "fault": None, "last": False},
        {"name": "photos", "points": 2, "space": "mini", "fault": None, "last": True},
    ]
    assert "photos" in ingested("collection", "list").out


def test_nothing_is_deleted_because_it_was_ingested_into_last(ingested: CommandLine) -> None:
    ran = ingested("collection", "delete", "--yes")
    assert (ran.code, "images-clip-vit-b-32" in ran.err) == (1, True)
    assert ingested("collection", "delete", "--yes", "--space", "mini", "--collection", "photos").code == 0
    ran = ingested("collection", "info")
    assert (ran.code, LINE in ran.err) == (1, False)  # what is not there any more is nobody's default
    assert ingested("collection", "list", "--json").json == {"collections": []}


def test_what_cannot_be_read_of_earlier_commands_is_as_if_there_were_none(
    ingested: CommandLine, data_folder: Path
) -> None:
    for text in ("", "{", "[1]", json.dumps([{"collection": "photos"}]), json.dumps({"a": 1})):
        (data_folder / ".recent.json").write_text(text)
        ran = ingested("collection", "info")
        assert (ran.code, "images-clip-vit-b-32" in ran.err) == (1, True)


def test_the_collections_of_a_server_are_listed(ingested: CommandLine) -> None:
    with running() as standin:
        for transport in ("grpc", "rest"):
            settings = standin.settings(transport)
            given = [f"qdrant.{n}={getattr(settings, n)}" for n in ("url", "transport", "grpc_port")]
            flags = [part for each in given for part in ("--set", each)]
            assert ingested("collection", "create", "--space", "mini", "--collection", "far", *flags).code == 0
            listed = ingested("collection", "list", "--json", *flags)
            assert listed.json == {
                "collections": [{"name": "far", "points": 0, "space": "mini", "fault": None, "last": False}]
            }
