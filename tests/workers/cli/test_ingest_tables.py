"""Tables from the command line to the collection and back: images in them, their names, and what nobody can read."""

import json
from pathlib import Path
from typing import Any

import pytest

from connector.service.originals import Originals
from connector.settings import Settings
from tests.conftest import CommandLine
from tests.images import write_images

pytestmark = pytest.mark.usefixtures("data_folder")


def found(cli: CommandLine, *arguments: str) -> list[dict[str, Any]]:
    ran = cli("search", "dog", "--space", "mini", "--json", *arguments)
    assert ran.code == 0, ran.err
    return [hit["payload"] for hit in ran.json["hits"]]


def file_of(number: int, folder: Path) -> bytes:
    write_images(folder, [f"{number}.png"], first_seed=number)
    return (folder / f"{number}.png").read_bytes()


def test_images_in_a_parquet_file_are_stored_found_and_handed_out(cli: CommandLine, workplace: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    files = [file_of(number, workplace / "made") for number in range(3)]
    names = arrow.array([f"img{number}.png" for number in range(3)])
    column = arrow.StructArray.from_arrays([arrow.array(files, type=arrow.binary()), names], names=["bytes", "path"])
    table = arrow.table({"image": column, "Price (USD)": [10.5, 20.5, 30.5], "size.w": [1, 2, 3]})
    pytest.importorskip("pyarrow.parquet").write_table(table, "train.parquet")
    declared = 'qdrant.meta_fields={"Price (USD)": "float", "size.w": "integer"}'

    ran = cli("ingest", "train.parquet", "--space", "mini", "--json", "--set", declared)

    assert (ran.code, ran.json["stored"]) == (0, 3)
    assert {payload["filename"] for payload in found(cli)} == {"img0.png", "img1.png", "img2.png"}
    (cheap,) = found(cli, "--where", 'meta["Price (USD)"] < 20')
    assert (cheap["filename"], cheap["meta"]) == ("img0.png", {"Price (USD)": 10.5, "size.w": 1})
    assert [each["filename"] for each in found(cli, "--where", 'meta["size.w"] == 3')] == ["img2.png"]
    original = Originals(Settings.load()).find(cheap)
    assert b"".join(original.blocks(0, original.size)) == files[0]
    again = cli("ingest", "train.parquet", "--space", "mini", "--json")
    assert again.json["unchanged"] == 3


def test_a_run_that_rejects_everything_ends_with_one_and_another_does_not(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace, ["dog.png"])
    (workplace / "all.csv").write_bytes("path,street\ndog.png,Straße\n".encode("latin-1"))
    (workplace / "some.csv").write_bytes("path,street\ndog.png,Straße\ndog.png,Weg\n".encode("latin-1"))

    everything = cli("ingest", "all.csv", "--space", "mini", "--json")
    assert (everything.code, everything.json["rejected"], everything.json["stored"]) == (1, 1, 0)
    assert "--set table.encoding=" in cli("rejected", "--space", "mini").out
    assert cli("ingest", "some.csv", "--space", "mini").code == 0

    known = cli("ingest", "all.csv", "--space", "mini", "--set", "table.encoding=latin-1")
    assert known.code == 0
    assert [payload["meta"] for payload in found(cli)] == [{"street": "Straße"}]


def test_an_image_that_is_none_ends_with_one_as_well(cli: CommandLine, workplace: Path) -> None:
    (workplace / "broken.jpg").write_bytes(b"no image")
    assert cli("ingest", "broken.jpg", "--space", "mini").code == 1
    assert json.loads(cli("ingest", "broken.jpg", "--space", "mini", "--json").out)["reasons"] == {"not_an_image": 1}
