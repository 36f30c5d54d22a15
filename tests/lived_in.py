"""A library as people keep it, and the real command line driven through it: ``python -m tests.lived_in``.

A scene prints its name once all of it held; the first thing that does not hold ends the script.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from tests.images import image, write_images
from workers.sources.disk import uri_of


class Library:
    """Some folders of images, and a collection of their own in space mini."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.photos = top / "photos"
        self._environment = {**os.environ, "POLYGLANCE_QDRANT__PATH": str(top / "data")}
        self._environment["POLYGLANCE_QDRANT__META_FIELDS"] = json.dumps({"album": "keyword"})
        write_images(self.photos, ["top.png", "2023/a.png", "2024/b.png", "2024/holiday/c.png"])

    def run(self, *arguments: object) -> Any:
        """What a command answers as JSON; one that fails ends the script."""
        command = [sys.executable, "-m", "polyglance", *map(str, arguments), "--json"]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])

    def found(self, where: str) -> set[str]:
        """The names of the images that a filter finds."""
        return {hit["payload"]["filename"] for hit in self.run("search", "a dog", "--where", where, "-n", 100)["hits"]}


def a_subfolder_first_and_the_parent_later(library: Library) -> None:
    """Nothing is read again, and both folders' names find the image."""
    library.run("ingest", library.photos / "2024", "--space", "mini")
    whole = library.run("ingest", library.photos)
    expect((whole["stored"], whole["unchanged"], whole["joined"]), (2, 2, 2))
    for folder in ("holiday", "2024/holiday"):
        expect(library.found(f'folder == "{folder}"'), {"c.png"})


def a_sidecar_that_comes_and_goes(library: Library) -> None:
    """The payload alone changes."""
    beside = library.photos / "2023" / "a.json"
    beside.write_text('{"album": "Norderney"}')
    expect(library.run("ingest", library.photos)["copied"], 1)
    beside.unlink()
    expect(library.run("ingest", library.photos)["copied"], 1)


def a_disk_that_is_away(library: Library) -> None:
    """What an empty folder held is kept, and said to be."""
    away = library.photos.with_name("away")
    (library.photos / "2024").rename(away)
    (library.photos / "2024").mkdir()
    pruned = library.run("prune", library.photos, "--yes", "--max-prune", "1")
    expect((pruned["removed"], pruned["kept"]), (0, 2))
    (library.photos / "2024").rmdir()
    away.rename(library.photos / "2024")


def a_library_that_moves(library: Library) -> None:
    """Its points go along, a renamed image too."""
    old, library.photos = library.photos, library.photos.with_name("moved")
    old.rename(library.photos)
    (library.photos / "top.png").rename(library.photos / "renamed.png")
    done = library.run("relocate", old, library.photos)
    expect((done["moved"], done["renamed"], done["unknown"], done["left"]), (4, 1, 0, 0))
    expect(library.run("ingest", library.photos)["unchanged"], 4)


def a_place_that_is_forgotten(library: Library) -> None:
    """What the subfolder lists too stays."""
    done = library.run("forget", library.photos)
    expect((done["removed"], done["left"]), (2, 2))
    expect(library.found(f'source == "{uri_of(library.photos / "2024")}"'), {"b.png", "c.png"})


def googles_sidecars(library: Library) -> None:
    """Google's time and place are the image's, whatever the sidecar's name was cut to, and an edited copy's too."""
    takeout = library.top / "Takeout"
    write_images(takeout, ["IMG_1.png", "IMG_1(1).png", "IMG_1-edited.png", f"{'long' * 12}.png"], first_seed=100)
    for name, day in (
        ("IMG_1.png.supplemental-metadata.json", 2),
        ("IMG_1.png.suppl(1).json", 3),
        (f"{'long' * 12}.png"[:46] + ".json", 4),
    ):
        said = {"photoTakenTime": {"timestamp": str(1_714_546_800 + (day - 1) * 86_400)}, "description": "by Google"}
        said["geoData"] = {"latitude": 59.9, "longitude": 10.7, "altitude": 12.0}
        (takeout / name).write_text(json.dumps(said))
    expect(library.run("ingest", takeout, "--space", "mini")["stored"], 4)
    expect(library.found('taken_on == "2024-05-02"'), {"IMG_1.png", "IMG_1-edited.png"})
    expect(library.found('taken_on == "2024-05-03" and altitude > 10'), {"IMG_1(1).png"})
    expect(library.found('taken_on == "2024-05-04" and near(location, 59.9, 10.7, km=5)'), {f"{'long' * 12}.png"})


def what_people_wrote_in_xmp(library: Library) -> None:
    """Beside the image and in it; keywords by each of their levels, and one that is written later at once."""
    folder = library.top / "xmp"
    write_images(folder, ["a.png"], first_seed=110)
    body = "<dc:subject><rdf:Bag><rdf:li>fjord</rdf:li></rdf:Bag></dc:subject>"
    body += "<lr:hierarchicalSubject><rdf:Bag><rdf:li>Places|Norway</rdf:li></rdf:Bag></lr:hierarchicalSubject>"
    Image.new("RGB", (64, 64), (9, 99, 160)).save(folder / "b.jpg", xmp=xmp(body))
    (folder / "a.png.xmp").write_bytes(xmp(body + "<aux:Lens>RF 50mm</aux:Lens><xmp:Rating>5</xmp:Rating>"))
    library.run("ingest", folder, "--space", "mini")
    for where in ('tags == "fjord"', 'tags == "Norway"', 'tags == "Places/Norway"'):
        expect(library.found(where), {"a.png", "b.jpg"})
    expect(library.found('rating >= 4 and lens == "RF 50mm"'), {"a.png"})
    (folder / "b.XMP").write_bytes(xmp("<xmp:Label>Red</xmp:Label>"))
    expect(library.run("ingest", folder, "--space", "mini")["copied"], 1)
    expect(library.found('label == "Red" and tags == "Norway"'), {"b.jpg"})


def days_in_three_time_zones(library: Library) -> None:
    """The day is the one on the wall there: by the offset, by the place, by the camera's clock."""
    folder = library.top / "zones"
    tokyo: dict[int, Any] = {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (35.0, 41.0, 0.0)}
    tokyo |= {GPS.GPSLongitudeRef: "E", GPS.GPSLongitude: (139.0, 45.0, 0.0)}
    write_photo(folder / "auckland.jpg", 1, {Base.OffsetTimeOriginal: "+12:00", Base.SubsecTimeOriginal: "25"})
    write_photo(folder / "tokyo.jpg", 2, {}, place=tokyo)
    write_photo(folder / "nowhere.jpg", 3, {})
    library.run("ingest", folder, "--space", "mini")
    zones = {"auckland.jpg", "tokyo.jpg", "nowhere.jpg"}
    expect(library.found('taken_on == "2023-07-09" and taken_hour == 7'), zones)
    expect(library.found('taken_at >= "2023-07-09T00:00:00Z" and taken_on in "2023-07"'), {"nowhere.jpg"})
    expect(library.found('taken_at == "2023-07-08T19:30:00.25Z"'), {"auckland.jpg"})
    expect(library.found('taken_at == "2023-07-08T22:30:00Z"'), {"tokyo.jpg"})


def names_in_any_form(library: Library) -> None:
    """As macOS writes them and as people type them."""
    decomposed, composed = (unicodedata.normalize(form, "Fêtes à Zürich") for form in ("NFD", "NFC"))
    write_images(library.top / "names" / decomposed, [f"{decomposed}.png"], first_seed=120)
    library.run("ingest", library.top / "names", "--space", "mini")
    for form in (composed, decomposed):
        expect(library.found(f'folder == "{form}"'), {f"{composed}.png"})
        expect(library.found(f'filename == "{form}.png"'), {f"{composed}.png"})


def a_tar_with_late_sidecars(library: Library) -> None:
    """A sidecar belongs to its image wherever it stands in the archive; one without an image is told."""
    members = {"b/1.json": b'{"album": "Norderney"}', "a/1.png": image(130), "b/1.png": image(131)}
    members |= {"__MACOSX/a/1.png": image(132), "a/1.xmp": xmp("<xmp:Rating>3</xmp:Rating>"), "lone.json": b"{}"}
    with tarfile.open(library.top / "shard.tar", "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    done = library.run("ingest", library.top / "shard.tar", "--space", "mini")
    expect((done["stored"], done["passed_over"]), (2, {"litter": 1, "sidecar without an image": 1}))
    expect(library.found('meta.album == "Norderney" and folder == "b"'), {"1.png"})
    expect(library.found('rating == 3 and folder == "a"'), {"1.png"})


def litter_and_links(library: Library) -> None:
    """What a NAS, a system or the user does not want listed is counted, and a link stores nothing twice."""
    folder = library.top / "nas"
    write_images(folder, ["a.png", "@eaDir/a.png", "drafts/b.png", ".Trash-1000/c.png"], first_seed=140)
    (folder / ".polyglanceignore").write_text("drafts/\n")
    (folder / "again.png").symlink_to("a.png")
    done = library.run("ingest", folder, "--space", "mini")
    expect((done["listed"], done["stored"]), (1, 1))
    expect(sum(done["passed_over"].values()), 4)


def xmp(body: str) -> bytes:
    """A packet that says this."""
    spaces = {
        "dc": "http://purl.org/dc/elements/1.1/",
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "lr": "http://ns.adobe.com/lightroom/1.0/",
        "aux": "http://ns.adobe.com/exif/1.0/aux/",
        "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    }
    names = " ".join(f'xmlns:{name}="{space}"' for name, space in spaces.items())
    return f"<rdf:RDF {names}><rdf:Description>{body}</rdf:Description></rdf:RDF>".encode()


def write_photo(path: Path, seed: int, tags: Mapping[int, str], *, place: Mapping[int, Any] | None = None) -> None:
    """A JPEG taken at half past seven by the camera's clock."""
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif).update({Base.DateTimeOriginal: "2023:07:09 07:30:00", **tags})
    exif.get_ifd(IFD.GPSInfo).update(place or {})
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (64, 64), (seed * 40, 120, 30)).save(path, exif=exif)


SCENES: tuple[Callable[[Library], None], ...] = (
    a_subfolder_first_and_the_parent_later,
    a_sidecar_that_comes_and_goes,
    a_disk_that_is_away,
    a_library_that_moves,
    a_place_that_is_forgotten,
    googles_sidecars,
    what_people_wrote_in_xmp,
    days_in_three_time_zones,
    names_in_any_form,
    a_tar_with_late_sidecars,
    litter_and_links,
)


def expect(seen: object, wanted: object) -> None:
    """End the script where something else came out."""
    if seen != wanted:
        sys.exit(f"expected {wanted}, saw {seen}")


def main() -> None:
    """Play the scenes, one after the other, in one library."""
    top = Path(tempfile.mkdtemp(prefix="lived-in-"))
    try:
        library = Library(top)
        for scene in SCENES:
            scene(library)
            sys.stdout.write(f"held: {scene.__name__.replace('_', ' ')}\n")
    finally:
        shutil.rmtree(top)


if __name__ == "__main__":
    main()
