"""XMP, IPTC and Google Takeout: what people wrote, in every way of writing it, and what is broken or hostile."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.images.decode import Iptc
from workers.metadata.iptc import read_iptc
from workers.metadata.takeout import read_takeout
from workers.metadata.xmp import MAX_XMP_BYTES, read_xmp

HEAD = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:exifEX="http://cipa.jp/exif/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
 xmlns:aux="http://ns.adobe.com/exif/1.0/aux/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/">"""
TAIL = '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'


def packet(body: str) -> bytes:
    return (HEAD + body + TAIL).encode()


def bag(*values: str, kind: str = "Bag") -> str:
    return f"<rdf:{kind}>{''.join(f'<rdf:li>{value}</rdf:li>' for value in values)}</rdf:{kind}>"


def subject(*values: str) -> str:
    return f"<rdf:Description><dc:subject>{bag(*values)}</dc:subject></rdf:Description>"


def test_elements_and_attributes_say_the_same() -> None:
    as_elements = packet(
        "<rdf:Description rdf:about=''><xmp:Rating>4</xmp:Rating><xmp:Label>Red</xmp:Label>"
        "<tiff:Make>Canon</tiff:Make><tiff:Model>EOS R5</tiff:Model><aux:Lens>RF 50mm</aux:Lens>"
        "<exif:GPSLatitude>52,31.2N</exif:GPSLatitude><exif:GPSLongitude>13,24,18E</exif:GPSLongitude>"
        "<exif:GPSAltitude>341/10</exif:GPSAltitude><exif:GPSAltitudeRef>1</exif:GPSAltitudeRef>"
        "<exif:DateTimeOriginal>2024-05-02T07:00:00+09:00</exif:DateTimeOriginal></rdf:Description>"
    )
    as_attributes = packet(
        "<rdf:Description rdf:about='' xmp:Rating='4' xmp:Label='Red' tiff:Make='Canon' tiff:Model='EOS R5' "
        "aux:Lens='RF 50mm' exif:GPSLatitude='52,31.2N' exif:GPSAltitude='341/10' exif:GPSAltitudeRef='1'/>"
        "<rdf:Description exif:GPSLongitude='13,24,18E' exif:DateTimeOriginal='2024-05-02T07:00:00+09:00'/>"
    )
    assert (
        read_xmp(as_elements)
        == read_xmp(as_attributes)
        == {
            "rating": 4,
            "label": "Red",
            "camera": "Canon EOS R5",
            "lens": "RF 50mm",
            "location": {"lat": 52.52, "lon": 13.405},
            "altitude": -34.1,
            "taken": "2024-05-02T07:00:00+09:00",
        }
    )


def test_lists_and_languages_are_kept() -> None:
    found = read_xmp(
        packet(
            f"<rdf:Description><dc:subject>{bag('sea', 'Leuchtturm &amp; Meer')}</dc:subject>"
            f"<dc:creator>{bag('Anna', 'Ben', kind='Seq')}</dc:creator>"
            "<dc:title><rdf:Alt><rdf:li xml:lang='x-default'>Lighthouse</rdf:li></rdf:Alt></dc:title>"
            "<dc:description><rdf:Alt><rdf:li xml:lang='de'>Ein Turm</rdf:li>"
            "<rdf:li xml:lang='x-default'>A tower</rdf:li><rdf:li xml:lang='fr-FR'>Une tour</rdf:li></rdf:Alt>"
            "</dc:description></rdf:Description>"
        )
    )
    assert found == {
        "tags": ["sea", "Leuchtturm & Meer"],
        "creator": ["Anna", "Ben"],
        "title": "Lighthouse",
        "description": "A tower",
        "languages": {"description": {"de": "Ein Turm", "fr-fr": "Une tour"}},
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr:hierarchicalSubject xmlns:lr='http://ns.adobe.com/lightroom/1.0/'", "Places|Europe| Ålesund "),
        ("digiKam:TagsList xmlns:digiKam='http://www.digikam.org/ns/1.0/'", "Places/Europe/Ålesund"),
        ("m:LastKeywordXMP xmlns:m='http://ns.microsoft.com/photo/1.0/'", "Places/Europe/Ålesund/"),
        ("m:LastKeywordXMP xmlns:m='http://ns.microsoft.com/photo/1.0'", "Places/Europe/Ålesund"),
        ("mediapro:CatalogSets xmlns:mediapro='http://ns.iview-multimedia.com/mediapro/1.0/'", "Places|Europe|Ålesund"),
    ],
)
def test_keywords_below_one_another_are_found_by_each_level_and_by_the_whole_way(name: str, value: str) -> None:
    tag = name.partition(" ")[0]
    found = read_xmp(
        packet(
            f"<rdf:Description><dc:subject>{bag('sea', 'Ålesund')}</dc:subject>"
            f"<{name}>{bag(value, 'sea', '|/', kind='Seq')}</{tag}></rdf:Description>"
        )
    )
    assert [tag for tag in found["tags"] if tag not in "|/"] == [
        *("sea", "Ålesund", "Places", "Europe", "Places/Europe/Ålesund")
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_packet_in_any_unicode_is_read(encoding: str) -> None:
    body = HEAD + f"<rdf:Description><dc:subject>{bag('größe')}</dc:subject></rdf:Description>" + TAIL
    text = body.replace("\ufeff", "") if encoding == "utf-8-sig" else body
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    assert read_xmp(mark + text.encode(encoding)) == {"tags": ["größe"]}


BOMB = (
    "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>"
    + "".join(f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 10}'>" for n in range(9))
    + "]>"
)
OUTSIDE = "<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/hostname'>]>"
HOSTILE: dict[str, bytes] = {
    "an entity bomb": (
        BOMB + (HEAD + f"<rdf:Description><dc:subject>{bag('&j;')}</dc:subject></rdf:Description>" + TAIL)
    ).encode(),
    "a file of ours": (
        OUTSIDE + (HEAD + f"<rdf:Description><dc:subject>{bag('&a;')}</dc:subject></rdf:Description>" + TAIL)
    ).encode(),
    "megabytes": packet(f"<rdf:Description xmp:Label='{'x' * MAX_XMP_BYTES}'/>"),
    "depth": (HEAD + "<rdf:Description>" * 60_000).encode(),
    "closed depth": packet("<rdf:Description>" * 20_000 + "</rdf:Description>" * 20_000),
    "nothing": b"",
    "no XML": b"\xff\xd8\xff",
    "half": packet("<rdf:Description xmp:Rating='4'/>")[:-30],
    "an encoding that nobody knows": b"<?xml version='1.0' encoding='latin-42'?><x/>",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_and_broken_packets_say_nothing_and_cost_nothing(what: str) -> None:
    assert read_xmp(HOSTILE[what]) == {}


def test_many_values_are_bounded() -> None:
    found = read_xmp(
        packet(f"<rdf:Description><dc:subject>{bag(*map(str, range(20_000)))}</dc:subject></rdf:Description>")
    )
    assert len(found["tags"]) == 1000


@pytest.mark.parametrize(
    ("attribute", "field"),
    [
        ("xmp:Rating='many'", "rating"),
        ("xmp:Rating='0'", "rating"),
        ("xmp:Rating='77'", "rating"),
        ("xmp:Rating='1e999'", "rating"),
        ("exif:GPSAltitude='1/0'", "altitude"),
        ("exif:GPSAltitude='nan'", "altitude"),
        ("exif:GPSLatitude='91,0N' exif:GPSLongitude='1,0E'", "location"),
        ("exif:GPSLatitude='1,0E' exif:GPSLongitude='1,0E'", "location"),
        ("exif:GPSLatitude='0,0N' exif:GPSLongitude='0,0E'", "location"),
    ],
)
def test_a_value_that_cannot_be_is_left_out(attribute: str, field: str) -> None:
    assert read_xmp(packet(f"<rdf:Description {attribute} xmp:Label='x'/>")) == {"label": "x"}, field


@given(st.binary(max_size=300), st.integers(0, 300))
def test_nothing_raises(noise: bytes, at: int) -> None:
    whole = packet(subject("x"))
    json.dumps(read_xmp(whole[:at] + noise + whole[at:]))
    values: Iptc = {(2, 25): noise, (2, 55): noise, (2, 60): noise, (2, 120): [noise, noise]}
    json.dumps(read_iptc(values))


def test_iptc_is_read_in_its_charset() -> None:
    plain: Iptc = {(2, 25): [b"sea", "größe".encode("cp1252")], (2, 5): b"Title"}
    assert read_iptc(plain) == {"tags": ["sea", "größe"], "title": "Title"}
    marked = {(1, 90): b"\x1b%G", (2, 120): "größe".encode(), (2, 80): b"Anna"}
    assert read_iptc(marked) == {"description": "größe", "creator": ["Anna"]}
    assert read_iptc({(2, 55): b"20240502", (2, 60): b"070000+0900"}) == {"taken": "2024-05-02T07:00:00+0900"}
    assert read_iptc(None) == {}


TAKEOUT: dict[str, Any] = {
    "title": "IMG.jpg",
    "description": "At the sea",
    "photoTakenTime": {"timestamp": "1714600800", "formatted": "1 May 2024, 22:00:00 UTC"},
    "geoData": {"latitude": 35.68, "longitude": 139.76, "altitude": 12.5, "latitudeSpan": 0.0},
    "geoDataExif": {"latitude": 1.0, "longitude": 2.0, "altitude": 0.0},
}


def test_takeout_says_when_and_where() -> None:
    assert read_takeout(TAKEOUT) == {
        "instant": 1714600800,
        "location": {"lat": 35.68, "lon": 139.76},
        "altitude": 12.5,
        "description": "At the sea",
    }
    nowhere = {"latitude": 0.0, "longitude": 0.0, "altitude": 0.0}
    assert read_takeout({**TAKEOUT, "geoData": nowhere})["location"] == {"lat": 1.0, "lon": 2.0}
    assert "location" not in read_takeout({**TAKEOUT, "geoData": nowhere, "geoDataExif": nowhere})


@pytest.mark.parametrize("taken", [None, "x", {}, {"timestamp": "soon"}, {"timestamp": "9" * 30}, {"timestamp": None}])
def test_a_json_that_is_not_googles_or_broken_says_no_time(taken: object) -> None:
    assert "instant" not in read_takeout(
        {"photoTakenTime": taken, "geoData": {"latitude": "x", "longitude": [], "altitude": 1}}
    )
