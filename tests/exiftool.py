"""What we read of images' metadata, beside what exiftool reads: 320 files that exiftool itself writes.

    python -m tests.exiftool        # prints the table of docs/formats.md

Needs exiftool (Debian: libimage-exiftool-perl). The values are drawn with one seed, so that every run writes the same.
"""

import io
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from connector.images.decode import decode
from workers.pipeline.metadata import content_of, describe
from workers.records import Blob, Ref
from workers.sources.disk import DiskSource

COUNT = 320
SEED = 18
KINDS = {"jpg": "JPEG", "png": "PNG", "tif": "TIFF", "webp": "WEBP"}
WORDS = ("sea", "Leuchtturm", "größe", "犬", "собака", "two words", "a & b <c>", "Ålesund", "été", 'quo"te')
NAMES = ("Anna Ek", "Böll, Ben", "山田太郎")
CAMERAS = (
    ("Canon", "Canon EOS R5", "RF24-70mm F2.8 L IS USM"),
    ("FUJIFILM", "X-T4", "XF35mmF1.4 R"),
    ("Apple", "iPhone 15", ""),
)
FIELDS = (
    *("taken_local", "offset", "camera", "lens", "location", "altitude"),
    *("tags", "rating", "label", "title", "description", "creator"),
)


@dataclass(slots=True)
class Compared:
    """One field over all files: how often exiftool reads it, how often we read the same, and where not."""

    there: int = 0
    same: int = 0
    differences: list[str] = field(default_factory=list)


def missing() -> str | None:
    """Why the comparison cannot run here; None where it can."""
    return None if shutil.which("exiftool") else "exiftool is not installed (Debian: libimage-exiftool-perl)"


def compared() -> Mapping[str, Compared]:
    """Every field, over files that are made for it."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        _write(folder)
        theirs, ours = _read_by_exiftool(folder), _read_by_us(folder)
    found = {name: Compared() for name in FIELDS}
    for file in sorted(ours):
        for name, compared in found.items():
            one, other = ours[file].get(name), theirs[file].get(name)
            if one is None and other is None:
                continue
            compared.there += 1
            if _alike(one, other):
                compared.same += 1
            else:
                compared.differences.append(f"{file}: {one!r}, exiftool {other!r}")
    return found


def table(found: Mapping[str, Compared]) -> str:
    """The comparison, as it stands in docs/formats.md."""
    rows = [f"| `{name}` | {each.there} | {each.same} |" for name, each in found.items()]
    return "\n".join(["| field | files that have it | read alike |", "| --- | --- | --- |", *rows])


# ---- writing


def _write(folder: Path) -> None:
    draw = random.Random(SEED)
    arguments: list[str] = []
    for number in range(COUNT):
        kind = [*KINDS][number % len(KINDS)]
        file = folder / f"{number:03}.{kind}"
        image = io.BytesIO()
        Image.new("RGB", (16, 16), (number % 256, 80, 160)).save(image, KINDS[kind])
        file.write_bytes(image.getvalue())
        beside = number % 5 == 4
        written = [*_exif(draw), *([] if beside else _xmp(draw)), *(_iptc(draw) if kind in ("jpg", "tif") else ())]
        arguments += [*written, "-overwrite_original", "-q", "-charset", "iptc=UTF8", str(file), "-execute"]
        if beside:
            name = file.with_suffix(".xmp") if number % 2 else Path(f"{file}.xmp")
            arguments += [*_xmp(draw), "-q", "-o", str(name), "-execute"]
    (folder / "arguments").write_text("\n".join(arguments), encoding="utf-8")
    _run("-@", str(folder / "arguments"))


def _exif(draw: random.Random) -> Iterator[str]:
    if draw.random() < 0.7:
        yield f"-EXIF:DateTimeOriginal={_moment(draw):%Y:%m:%d %H:%M:%S}"
        if draw.random() < 0.5:
            yield f"-EXIF:OffsetTimeOriginal={draw.choice(['+09:00', '-03:30', '+00:00', '+05:45'])}"
        if draw.random() < 0.3:
            yield f"-EXIF:SubSecTimeOriginal={draw.randrange(1, 1000):03}"
    if draw.random() < 0.6:
        make, model, lens = draw.choice(CAMERAS)
        yield from (f"-EXIF:Make={make}", f"-EXIF:Model={model}", *([f"-EXIF:LensModel={lens}"] if lens else []))
    if draw.random() < 0.5:
        lat, lon = draw.uniform(-89, 89), draw.uniform(-179, 179)
        yield from (f"-EXIF:GPSLatitude={abs(lat):.6f}", f"-EXIF:GPSLatitudeRef={'N' if lat >= 0 else 'S'}")
        yield from (f"-EXIF:GPSLongitude={abs(lon):.6f}", f"-EXIF:GPSLongitudeRef={'E' if lon >= 0 else 'W'}")
        if draw.random() < 0.6:
            height = draw.uniform(-300, 4000)
            yield f"-EXIF:GPSAltitude={abs(height):.1f}"
            yield f"-EXIF:GPSAltitudeRef#={0 if height >= 0 else 1}"
    if draw.random() < 0.3:
        yield f"-EXIF:ImageDescription={draw.choice(WORDS)}"
    if draw.random() < 0.3:
        yield f"-EXIF:Artist={draw.choice(NAMES[:2])}"


def _xmp(draw: random.Random) -> Iterator[str]:
    yield f"-XMP-xmp:CreatorTool=test {draw.random()}"  # so that a file of its own is never empty
    yield from (f"-XMP-dc:Subject={word}" for word in draw.sample(WORDS, draw.randrange(4)))
    yield from (f"-XMP-dc:Creator={name}" for name in draw.sample(NAMES, draw.randrange(3)))
    if draw.random() < 0.5:
        yield f"-XMP-xmp:Rating={draw.choice([-1, 0, 1, 2, 3, 4, 5])}"
    if draw.random() < 0.3:
        yield f"-XMP-xmp:Label={draw.choice(['Red', 'Grün', 'To do'])}"
    if draw.random() < 0.4:
        yield from (f"-XMP-dc:Title={draw.choice(WORDS)}", f"-XMP-dc:Title-de={draw.choice(WORDS)}")
    if draw.random() < 0.4:
        yield from (f"-XMP-dc:Description={draw.choice(WORDS)} at noon", f"-XMP-dc:Description-fr={draw.choice(WORDS)}")
    if draw.random() < 0.3:
        yield from (
            f"-XMP-exif:GPSLatitude={draw.uniform(-89, 89):.6f}",
            f"-XMP-exif:GPSLongitude={draw.uniform(-179, 179):.6f}",
        )
    if draw.random() < 0.3:
        yield f"-XMP-aux:Lens={draw.choice(['RF50mm F1.2 L USM', 'Laowa 12mm'])}"
    if draw.random() < 0.3:
        yield f"-XMP-photoshop:DateCreated={_moment(draw):%Y:%m:%d %H:%M:%S}+02:00"


def _iptc(draw: random.Random) -> Iterator[str]:
    if draw.random() < 0.5:
        yield "-IPTC:CodedCharacterSet=UTF8"
        yield from (f"-IPTC:Keywords={word}" for word in draw.sample(WORDS, draw.randrange(1, 4)))
        if draw.random() < 0.5:
            yield from (f"-IPTC:ObjectName={draw.choice(WORDS)}", f"-IPTC:Caption-Abstract={draw.choice(WORDS)}, seen")
        if draw.random() < 0.5:
            yield f"-IPTC:By-line={draw.choice(NAMES)}"


def _moment(draw: random.Random) -> datetime:
    return datetime.fromtimestamp(draw.randrange(946_684_800, 1_767_225_600), UTC)


# ---- reading


def _read_by_us(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    source = DiskSource(folder, hidden=False, max_bytes=10_000_000)
    refs = [item for item in source.list() if isinstance(item, Ref)]
    found = {}
    for blob in source.read(refs):
        assert isinstance(blob, Blob), blob
        content = content_of(blob.data, decode(blob.data, size=8, max_pixels=10_000), content_hash="")
        payload = describe(blob, content, now=datetime.now(UTC))
        offset = str(payload.get("taken_at", ""))[len(str(payload.get("taken_local", ""))) :]
        written = content.get("moment") and content["moment"].offset is not None
        found[blob.ref.filename] = {**payload, "offset": offset if written and "taken" not in blob.fields else None}
    return found


def _read_by_exiftool(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    files = sorted(each for each in folder.iterdir() if each.suffix != "")
    read = json.loads(_run("-json", "-n", "-G1", "-a", "-charset", "iptc=UTF8", *map(str, files)))
    by_name = {Path(each["SourceFile"]).name: each for each in read}
    found = {}
    for name, tags in by_name.items():
        if not name.endswith(".xmp"):
            beside = by_name.get(f"{Path(name).stem}.xmp") or by_name.get(f"{name}.xmp") or {}
            found[name] = _values(tags, {tag: value for tag, value in beside.items() if tag.startswith("XMP-")})
    return found


def _values(tags: Mapping[str, Any], beside: Mapping[str, Any]) -> dict[str, Any]:
    """Our fields of what exiftool read, where a sidecar goes before the file, and in it the nearest to the camera."""

    def first(*names: str) -> Any:
        for read in (beside, tags):
            for name in names:
                if read.get(name) not in (None, ""):
                    return str(read[name]) if isinstance(read[name], int) and name not in _NUMBERS else read[name]
        return None

    def several(*names: str) -> list[str]:
        lists = [read[name] for read in (beside, tags) for name in names if name in read]
        return [
            *dict.fromkeys(str(each) for value in lists for each in (value if isinstance(value, list) else [value]))
        ]

    def measured(*names: str) -> Any:
        found = [read[name] for read in (beside, tags) for name in names if name in read]
        return found[0] if found else None

    taken = str(first("ExifIFD:DateTimeOriginal", "XMP-photoshop:DateCreated") or "")
    if "XMP-photoshop:DateCreated" in beside:
        taken = str(beside["XMP-photoshop:DateCreated"])
    camera = taken and taken == str(tags.get("ExifIFD:DateTimeOriginal", ""))
    fraction = str(tags.get("ExifIFD:SubSecTimeOriginal", "")).rstrip("0") if camera else ""
    place = (measured("GPS:GPSLatitude", "XMP-exif:GPSLatitude"), measured("GPS:GPSLongitude", "XMP-exif:GPSLongitude"))
    if "GPS:GPSLatitude" in tags and "XMP-exif:GPSLatitude" not in beside:
        signs = (tags.get("GPS:GPSLatitudeRef") == "S", tags.get("GPS:GPSLongitudeRef") == "W")
        place = tuple(-abs(v) if sign else abs(v) for v, sign in zip(place, signs, strict=True))
    height = tags.get("GPS:GPSAltitude")
    make, model = tags.get("IFD0:Make"), str(tags.get("IFD0:Model", ""))
    creators = several("XMP-dc:Creator") or several("IPTC:By-line") or several("IFD0:Artist")
    if "XMP-dc:Creator" in beside:
        value = beside["XMP-dc:Creator"]
        creators = value if isinstance(value, list) else [value]
    rating = measured("XMP-xmp:Rating")
    return {
        "taken_local": _iso(taken[:19]) + (f".{fraction}" if fraction else "") if taken else None,
        "offset": tags.get("ExifIFD:OffsetTimeOriginal") if camera else (taken[19:] or None) if not beside else None,
        "camera": None if make is None else model if make.split()[0] == model.split()[0] else f"{make} {model}",
        "lens": beside.get("XMP-aux:Lens") or tags.get("ExifIFD:LensModel") or tags.get("XMP-aux:Lens"),
        "location": None if None in place else {"lat": place[0], "lon": place[1]},
        "altitude": None if height is None else -height if tags.get("GPS:GPSAltitudeRef") == 1 else height,
        "tags": several("XMP-dc:Subject", "IPTC:Keywords") or None,
        "rating": rating if rating else None,
        "label": first("XMP-xmp:Label"),
        "title": first("XMP-dc:Title", "IPTC:ObjectName"),
        "description": first("XMP-dc:Description", "IPTC:Caption-Abstract", "IFD0:ImageDescription"),
        "creator": creators or None,
    }


_NUMBERS = ("XMP-xmp:Rating",)


def _iso(text: str) -> str:
    return text[:10].replace(":", "-") + "T" + text[11:]


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return all(abs(one[name] - other[name]) < 1e-5 for name in one)
    if isinstance(one, float) and isinstance(other, int | float):
        return abs(one - other) < 0.01
    if isinstance(one, list) and isinstance(other, list):
        return sorted(one) == sorted(other)
    return bool(one == other)


def _run(*arguments: str) -> str:
    done: Sequence[str] = ("exiftool", *arguments)
    return subprocess.run(done, capture_output=True, text=True, check=False, encoding="utf-8").stdout


if __name__ == "__main__":
    sys.stdout.write(f"{missing() or table(compared())}\n")
