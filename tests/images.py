"""Small images for tests that care for files and answers, not for formats (``tests.corpus`` has those)."""

import io
from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from tests.corpus_files import saved, scene


def image(seed: int, *, size: int = 48) -> bytes:
    """A PNG that no other seed gives."""
    return saved(scene(size, size, seed=seed), "PNG")


def write_images(folder: Path, names: Iterable[str], *, first_seed: int = 0) -> list[Path]:
    """One small image under each of these names below ``folder``, which is made where it is missing."""
    paths = [folder / name for name in names]
    for seed, path in enumerate(paths, start=first_seed):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(seed))
    return paths


def photo(
    seed: int,
    *,
    taken: str | None = None,
    at: tuple[float, float] | None = None,
    description: str = "",
    tags: Iterable[str] = (),
) -> bytes:
    """A JPEG whose EXIF says when it was taken, as a camera's clock does, and where, in degrees north and east.

    Its description and its tags stand in XMP.
    """
    exif = Image.Exif()
    if taken:
        exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = taken
    if at:
        north, east = ((int(each), int(each % 1 * 60), round(each * 60 % 1 * 60, 2)) for each in at)
        exif.get_ifd(IFD.GPSInfo).update(
            {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: north, GPS.GPSLongitudeRef: "E", GPS.GPSLongitude: east}
        )
    out = io.BytesIO()
    Image.open(io.BytesIO(image(seed))).convert("RGB").save(
        out, "JPEG", exif=exif, xmp=xmp(description=description, tags=tags).encode()
    )
    return out.getvalue()


def xmp(*, description: str = "", tags: Iterable[str] = ()) -> str:
    """A packet of XMP with what is said of an image."""
    items = "".join(f"<rdf:li>{escape(tag)}</rdf:li>" for tag in tags)
    return f"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>
<dc:description>{escape(description)}</dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"""


def numbered(data: bytes, number: int) -> bytes:
    """The same image in other bytes: what lies behind an image's end changes none of its pixels."""
    return data + number.to_bytes(4, "big")
