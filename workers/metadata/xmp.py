"""XMP, embedded or in a file of its own: what photographers and their programs wrote about an image.

The rule: hostile XML costs nothing. No entity is expanded and no DTD read (``defusedxml``), and what is larger than
``MAX_XMP_BYTES`` is no metadata. Whatever is broken gives nothing and raises nothing.
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

MAX_XMP_BYTES = 4 * 1024 * 1024
"""A packet above this is not parsed; what programs write are kilobytes, with their history some hundreds of them."""
MOST_ELEMENTS = 100_000
"""Elements that are looked at."""
MAX_VALUES = 1_000
"""Values that are kept of one property."""

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_DC = "{http://purl.org/dc/elements/1.1/}"
_XMP = "{http://ns.adobe.com/xap/1.0/}"
_EXIF = "{http://ns.adobe.com/exif/1.0/}"
_EXIF_EX = "{http://cipa.jp/exif/1.0/}"
_AUX = "{http://ns.adobe.com/exif/1.0/aux/}"
_TIFF = "{http://ns.adobe.com/tiff/1.0/}"
_PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
_IPTC = "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}"
_HIERARCHIES = {
    "{http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject": "|",
    "{http://www.digikam.org/ns/1.0/}TagsList": "/",
    "{http://ns.microsoft.com/photo/1.0/}LastKeywordXMP": "/",
    "{http://ns.microsoft.com/photo/1.0}LastKeywordXMP": "/",
    "{http://ns.iview-multimedia.com/mediapro/1.0/}CatalogSets": "|",
}
"""Where programs keep keywords that stand below one another, and what stands between the levels."""
_PLACES = (_IPTC + "Location", _PHOTOSHOP + "City", _PHOTOSHOP + "State", _PHOTOSHOP + "Country")
"""Where people write down where an image was taken, the smallest first."""
_CONTAINERS = (_RDF + "Bag", _RDF + "Seq", _RDF + "Alt")

Properties = Mapping[str, list[tuple[str, str]]]
"""Values by qualified name, each with its language, empty where it has none."""


def read_xmp(packet: bytes | str | None) -> dict[str, Any]:
    """What a packet says, as fields of the payload, and ``taken`` as text; empty for none, or a broken one."""
    properties = _properties(packet)
    if not properties:
        return {}

    def first(*names: str) -> str | None:
        return next((values[0][1] for name in names if (values := properties.get(name))), None)

    def texts(name: str) -> list[str]:
        return [value for _, value in properties.get(name, ())]

    found: dict[str, Any] = {
        "tags": [*dict.fromkeys([*texts(_DC + "subject"), *_keywords(properties)])],
        "creator": texts(_DC + "creator"),
        "rating": _rating(first(_XMP + "Rating")),
        "label": first(_XMP + "Label"),
        "camera": _camera(first(_TIFF + "Make"), first(_TIFF + "Model")),
        "lens": first(_EXIF_EX + "LensModel", _AUX + "Lens", _EXIF + "LensModel"),
        "location": _location(first(_EXIF + "GPSLatitude"), first(_EXIF + "GPSLongitude")),
        "altitude": _altitude(first(_EXIF + "GPSAltitude"), first(_EXIF + "GPSAltitudeRef")),
        "place": [*dict.fromkeys(value for name in _PLACES for value in texts(name))],
        "taken": first(
            *(_EXIF + "DateTimeOriginal", _PHOTOSHOP + "DateCreated", _XMP + "CreateDate", _EXIF + "DateTimeDigitized")
        ),
    }
    languages = {}
    for field in ("title", "description"):
        values = properties.get(_DC + field, [])
        by_language = {language: value for language, value in values if language}
        default = by_language.get("x-default") or (values[0][1] if values else None)
        found[field] = default
        others = {language: value for language, value in by_language.items() if language != "x-default"}
        if others and set(others.values()) != {default}:
            languages[field] = others
    found["languages"] = languages
    return {name: value for name, value in found.items() if value not in (None, [], {}, "")}


def _properties(packet: bytes | str | None) -> Properties:
    if not packet or len(packet) > MAX_XMP_BYTES:
        return {}
    data = packet.encode("utf-8", "replace") if isinstance(packet, str) else packet
    try:
        root = fromstring(_trimmed(data), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError, UnicodeError):
        return {}
    found: dict[str, list[tuple[str, str]]] = {}
    for count, description in enumerate(root.iter(_RDF + "Description")):
        if count >= MOST_ELEMENTS:
            break
        for name, value in description.attrib.items():
            if not name.startswith(_RDF) and value.strip():
                found.setdefault(name, []).append(("", value.strip()))
        for each in description:
            values = found.setdefault(each.tag, [])
            values.extend([*_values(each)][: MAX_VALUES - len(values)])
    return {name: values for name, values in found.items() if values}


def _trimmed(data: bytes) -> bytes:
    """As UTF-8, without what pads a packet at its ends, which XML does not allow there."""
    for marks, encoding in _WIDE.items():
        if data.startswith(marks):
            text = data.decode(encoding, "replace").lstrip("\ufeff")
            return _DECLARATION.sub("", text.strip("\0 \t\r\n"), count=1).encode()
    return data.removeprefix(b"\xef\xbb\xbf").strip(b"\0 \t\r\n")


_WIDE = {(b"\xff\xfe", b"<\0"): "utf-16-le", (b"\xfe\xff", b"\0<"): "utf-16-be"}
_DECLARATION = re.compile(r"\A<\?xml[^>]{0,200}\?>")


def _values(element: Element) -> Iterator[tuple[str, str]]:
    """The text of a property, or of each of its elements, with its language."""
    if len(element) == 0:
        text = (element.text or element.get(_RDF + "resource") or "").strip()
        if text:
            yield element.get(_LANGUAGE, ""), text
        return
    for container in element:
        if container.tag in _CONTAINERS:
            for item in container:
                if text := (item.text or "").strip():
                    yield item.get(_LANGUAGE, "").lower(), text


def _keywords(properties: Properties) -> Iterator[str]:
    """The keywords that stand below one another: each level as a word, and the way to the last, by slashes."""
    for name, between in _HIERARCHIES.items():
        for _, text in properties.get(name, ()):
            levels = [level for each in text.split(between) if (level := each.strip())]
            yield from levels
            if len(levels) > 1:
                yield "/".join(levels)


def _rating(text: str | None) -> int | None:
    """-1 (rejected) to 5; 0 is no rating."""
    try:
        rating = round(float(text or ""))
    except (ValueError, OverflowError):
        return None
    return rating if -1 <= rating <= 5 and rating else None


def _camera(make: str | None, model: str | None) -> str | None:
    if not make or not model:
        return make or model
    return model if make.split()[0].casefold() == model.split()[0].casefold() else f"{make} {model}"


_PART = r"(?:,(\d{1,2}(?:\.\d+)?))?"
_COORDINATE = re.compile(rf"(\d{{1,3}}){_PART}{_PART}\s*([NSEW])", re.ASCII | re.IGNORECASE)


def _location(latitude: str | None, longitude: str | None) -> dict[str, float] | None:
    lat, lon = _degrees(latitude, "NS", limit=90), _degrees(longitude, "EW", limit=180)
    return None if lat is None or lon is None or (lat == 0 and lon == 0) else {"lat": lat, "lon": lon}


def _degrees(text: str | None, known: str, *, limit: float) -> float | None:
    """``48,12.3456N`` or ``48,12,20N``, and signed decimal degrees, which some programs write."""
    match = _COORDINATE.fullmatch((text or "").strip())
    if match is None:
        try:
            size = float(text or "")
        except ValueError:
            return None
        return round(size, 7) if abs(size) <= limit else None
    letter = match[4].upper()
    size = float(match[1]) + float(match[2] or 0) / 60 + float(match[3] or 0) / 3600
    if letter not in known or size > limit:
        return None
    return round(-size if letter == known[1] else size, 7)


def _altitude(text: str | None, reference: str | None) -> float | None:
    """Metres above the sea, below it negative."""
    if not text or len(text) > 40:
        return None
    try:
        metres = float(Fraction(text.strip()))
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    return round(-metres if reference == "1" else metres, 3) if abs(metres) < 100_000 else None
