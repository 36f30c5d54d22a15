"""Metadata from the command line to the collection and back: local days, sidecars, names in any form, litter."""

import io
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from tests.conftest import CommandLine
from tests.images import write_images

pytestmark = pytest.mark.usefixtures("data_folder")

TOKYO: dict[int, Any] = {
    GPS.GPSLatitudeRef: "N",
    GPS.GPSLatitude: (35.0, 41.0, 0.0),
    GPS.GPSLongitudeRef: "E",
    GPS.GPSLongitude: (139.0, 45.0, 0.0),
}


def photo(file: Path, *, colour: str, taken: str | None = None, offset: str = "", place: Any = None) -> None:
    exif = Image.Exif()
    if taken:
        exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = taken
    if offset:
        exif.get_ifd(IFD.Exif)[Base.OffsetTimeOriginal] = offset
    exif.get_ifd(IFD.GPSInfo).update(place or {})
    made = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(made, "JPEG", exif=exif)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(made.getvalue())


def found(cli: CommandLine, where: str) -> set[str]:
    ran = cli("search", "dog", "--space", "mini", "--json", "--where", where)
    assert ran.code == 0, ran.err
    return {hit["payload"]["filename"] for hit in ran.json["hits"]}


def ingest(cli: CommandLine, *arguments: str) -> Any:
    ran = cli("ingest", *arguments, "--space", "mini", "--json")
    assert ran.code == 0, ran.err
    return ran.json


def test_a_day_is_the_day_where_the_image_was_taken(cli: CommandLine, workplace: Path) -> None:
    photo(workplace / "lib/offset.jpg", colour="red", taken="2024:05:02 07:00:00", offset="+09:00")
    photo(workplace / "lib/place.jpg", colour="green", taken="2024:05:02 07:30:00", place=TOKYO)
    photo(workplace / "lib/inside.jpg", colour="blue", taken="2024:05:02 23:00:00-07:00")
    photo(workplace / "lib/later.jpg", colour="black", taken="2024:06:01 12:00:00")
    ingest(cli, "lib")

    assert found(cli, 'taken_on == "2024-05-02"') == {"offset.jpg", "place.jpg", "inside.jpg"}
    assert found(cli, 'taken_on in "2024-05"') == {"offset.jpg", "place.jpg", "inside.jpg"}
    assert found(cli, "taken_at < 2024-05-02") == {"offset.jpg", "place.jpg"}
    assert found(cli, "taken_month == 6") == {"later.jpg"}
    assert found(cli, 'taken_weekday == "thursday"') == {"offset.jpg", "place.jpg", "inside.jpg"}
    assert found(cli, "7 <= taken_hour < 8") == {"offset.jpg", "place.jpg"}


def test_sidecars_and_takeout_say_when_where_and_what(cli: CommandLine, workplace: Path) -> None:
    photo(workplace / "lib/IMG-edited.jpg", colour="red")
    photo(workplace / "lib/a.JPG", colour="red")  # the same bytes, and no word of the other's sidecar
    photo(workplace / "lib/b.jpg", colour="blue", taken="2020:01:01 00:00:00")
    takeout = {
        "title": "IMG.jpg",
        "photoTakenTime": {"timestamp": "1714600800"},
        "geoData": {"latitude": 35.68, "longitude": 139.76, "altitude": 0.0},
    }
    (workplace / "lib/IMG.jpg.supplemental-meta.json").write_text(json.dumps(takeout))
    (workplace / "lib/b.jpg.xmp").write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmp:Rating="5"><dc:subject><rdf:Bag><rdf:li>sea</rdf:li></rdf:Bag></dc:subject></rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    )
    ingest(cli, "lib")

    assert found(cli, 'taken_on == "2024-05-02" and near(location, 35.68, 139.76, km=1)') == {"IMG-edited.jpg"}
    assert found(cli, 'rating == 5 and "sea" in tags') == {"b.jpg"}
    assert found(cli, "not exists(taken_at)") == {"a.JPG"}
    photo(workplace / "lib/c.jpg", colour="red")  # again the same bytes, of which the collection knows already
    ingest(cli, "lib")
    assert found(cli, "not exists(taken_at)") == {"a.JPG", "c.jpg"}


@pytest.mark.parametrize(("on_disk", "asked"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_are_found_in_any_normal_form(cli: CommandLine, workplace: Path, on_disk: Any, asked: Any) -> None:
    folder = unicodedata.normalize(on_disk, "Café")
    write_images(workplace / "lib", [f"{folder}/é.png"], first_seed=1)
    ingest(cli, "lib")
    name = unicodedata.normalize(asked, "Café")

    assert found(cli, f'folder == "{name}"') == {"é.png"}
    assert found(cli, f'folder startswith "{name}"') == {"é.png"}
    ran = cli("search", "dog", "--space", "mini", "--json")
    (hit,) = ran.json["hits"]
    assert hit["payload"]["folder"] == ["Café"]
    assert hit["payload"]["object_key"].endswith(f"/{folder}/é.png")


def test_what_is_excluded_is_said(cli: CommandLine, workplace: Path) -> None:
    write_images(workplace / "lib", ["a.png", "@eaDir/a.png", "drafts/b.png"])
    assert ingest(cli, "lib", "--exclude", "drafts/")["passed_over"] == {"litter": 1, "excluded": 1}
    assert "passed over: 2 (" in cli("ingest", "lib", "--space", "mini", "--exclude", "drafts/").out
