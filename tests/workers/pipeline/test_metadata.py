import io
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from PIL.TiffImagePlugin import IFDRational

from connector.images.decode import Decoded, decode
from connector.store.schema import PAYLOAD_FIELDS
from connector.version import Version
from workers.metadata.exif import MAX_EXIF_TEXT
from workers.pipeline.metadata import content_of, describe
from workers.plain_json import clean
from workers.records import Blob, Ref

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
REF = Ref(
    uri="file:///photos/holiday/dog.jpg",
    source="file:///photos",
    object_key="/photos/holiday/dog.jpg",
    folder="holiday",
    filename="dog.jpg",
    version=Version("7-1"),
    size=7,
)
BERLIN: dict[int, Any] = {
    GPS.GPSLatitudeRef: "N",
    GPS.GPSLatitude: (52.0, 31.0, 12.0),
    GPS.GPSLongitudeRef: "E",
    GPS.GPSLongitude: (13.0, 24.0, 18.0),
}


def exif_of(
    main: Mapping[int, Any] | None = None,
    *,
    photo: Mapping[int, Any] | None = None,
    place: Mapping[int, Any] | None = None,
) -> Image.Exif:
    exif = Image.Exif()
    for tag, value in (main or {}).items():
        exif[tag] = value
    exif.get_ifd(IFD.Exif).update(photo or {})
    exif.get_ifd(IFD.GPSInfo).update(place or {})
    return exif


def described(blob: Blob, decoded: Decoded, *, content_hash: str) -> dict[str, Any]:
    return describe(blob, content_of(blob.data, decoded, content_hash=content_hash), now=NOW)


def payload(exif: Image.Exif | None = None, *, meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    pixels = np.zeros((8, 8, 3), np.uint8)
    exif = Image.Exif() if exif is None else exif
    decoded = Decoded(pixels=pixels, width=640, height=480, format="jpeg", exif=exif)
    blob = Blob(REF, b"a photo", Version("7-2"), meta or {})
    return described(blob, decoded, content_hash="ab" * 16)


def jpeg(exif: Image.Exif | bytes) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 8), "teal").save(file, "JPEG", exif=exif)
    return file.getvalue()


def test_a_payload_says_where_the_image_is_and_what_it_is() -> None:
    assert payload() == {
        "uri": "file:///photos/holiday/dog.jpg",
        "object_key": "/photos/holiday/dog.jpg",
        "source": ["file:///photos"],
        "folder": ["holiday"],
        "filename": "dog.jpg",
        "format": "jpeg",
        "width": 640,
        "height": 480,
        "bytes": 7,
        "version": "7-2",
        "content_hash": "ab" * 16,
        "ingested_at": "2026-11-23T12:00:00+00:00",
    }


def test_a_payload_has_no_field_that_the_schema_does_not_know() -> None:
    exif = exif_of(
        {Base.Make: "Canon", Base.Model: "EOS R5"},
        photo={Base.DateTimeOriginal: "2020:01:02 03:04:05", Base.LensModel: "RF 50mm", Base.FNumber: 1.8},
        place=BERLIN,
    )
    full = payload(exif, meta={"tags": ["dog"], "mood": "good"})
    assert set(full) <= {field.name for field in PAYLOAD_FIELDS}
    given = {"altitude", "title", "description", "languages", "creator", "rating", "label"}
    assert {field.name for field in PAYLOAD_FIELDS} - set(full) == {
        "alerts",
        "alerts_due",
        "labels",
        "not_same",
        "ocr",
        "ocr_text",
        "tenant",
        "thumbnail_url",
    } | given


def test_exif_is_read_from_a_real_file() -> None:
    exif = exif_of(
        {Base.Make: "Canon", Base.Model: "Canon EOS R5"},
        photo={
            Base.DateTimeOriginal: "2020:01:02 03:04:05",
            Base.OffsetTimeOriginal: "+02:00",
            Base.ExposureTime: IFDRational(1, 125),
            Base.FNumber: IFDRational(28, 10),
            Base.ISOSpeedRatings: 400,
            Base.FocalLength: IFDRational(50, 1),
            Base.LensModel: "RF24-70mm F2.8 L IS USM",
        },
        place=BERLIN,
    )
    data = jpeg(exif)
    blob = Blob(REF, data, Version("1"), {})
    found = described(blob, decode(data, size=8, max_pixels=1000), content_hash="00")
    assert found["taken_at"] == "2020-01-02T03:04:05+02:00"
    assert found["camera"] == "Canon EOS R5"
    assert found["lens"] == "RF24-70mm F2.8 L IS USM"
    assert found["exposure"] == {"time_s": 0.008, "f_number": 2.8, "iso": 400, "focal_length_mm": 50.0}
    assert found["location"] == {"lat": 52.52, "lon": 13.405}


@pytest.mark.parametrize(
    ("photo", "expected"),
    [
        ({Base.DateTimeOriginal: "2020:01:02 03:04:05"}, "2020-01-02T03:04:05"),
        ({Base.DateTimeOriginal: "2020-01-02T03:04:05"}, "2020-01-02T03:04:05"),
        ({Base.DateTimeOriginal: b"2020:01:02 03:04:05\0"}, "2020-01-02T03:04:05"),
        ({Base.DateTimeOriginal: "2020:01:02 03:04:05", Base.OffsetTimeOriginal: "-0330"}, "2020-01-02T03:04:05-03:30"),
        ({Base.DateTimeOriginal: "2020:01:02 03:04:05", Base.OffsetTimeOriginal: "Z"}, "2020-01-02T03:04:05+00:00"),
        ({Base.DateTimeOriginal: "2020:01:02 03:04:05", Base.OffsetTime: "+01:00"}, "2020-01-02T03:04:05+01:00"),
        ({Base.DateTimeOriginal: "2020:01:02 03:04:05", Base.OffsetTimeOriginal: "+99:00"}, "2020-01-02T03:04:05"),
        ({Base.DateTimeDigitized: "1999:12:31 23:59:59"}, "1999-12-31T23:59:59"),
        ({Base.DateTimeOriginal: "0000:00:00 00:00:00"}, None),
        ({Base.DateTimeOriginal: "    :  :     :  :  "}, None),
        ({Base.DateTimeOriginal: "2020:13:45 03:04:05"}, None),
        ({Base.DateTimeOriginal: 17}, None),
        ({Base.DateTime: "2020:01:02 03:04:05"}, None),
    ],
)
def test_taken_at_carries_its_offset_where_it_is_known(photo: dict[int, Any], expected: str | None) -> None:
    assert payload(exif_of(photo=photo)).get("taken_at") == expected


@pytest.mark.parametrize(
    ("make", "model", "expected"),
    [
        ("Canon", "Canon EOS R5", "Canon EOS R5"),
        ("NIKON CORPORATION", "NIKON D750", "NIKON D750"),
        ("Apple", "iPhone 15", "Apple iPhone 15"),
        ("samsung\0\0", " SM-G991B ", "samsung SM-G991B"),
        (None, "X100V", "X100V"),
        ("LEICA", "", "LEICA"),
        ("  ", None, None),
        (b"FUJIFILM\0", "X-T4", "FUJIFILM X-T4"),
        ("CafÃ©", "Ã", "Café Ã"),
        (IFDRational(1, 0), 7, None),
    ],
)
def test_a_camera_is_named_with_its_maker_once(make: object, model: object, expected: str | None) -> None:
    main: dict[int, Any] = {tag: value for tag, value in ((Base.Make, make), (Base.Model, model)) if value is not None}
    assert payload(exif_of(main)).get("camera") == expected


def test_a_camera_with_an_endless_name_is_cut_short() -> None:
    assert len(payload(exif_of({Base.Model: "x" * 100_000}))["camera"]) == MAX_EXIF_TEXT


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({GPS.GPSLatitudeRef: "S", GPS.GPSLongitudeRef: "w"}, {"lat": -52.52, "lon": -13.405}),
        ({GPS.GPSLatitudeRef: b"S\0"}, {"lat": -52.52, "lon": 13.405}),
        ({GPS.GPSLatitude: (52.52,), GPS.GPSLongitude: (13.0, 24.3)}, {"lat": 52.52, "lon": 13.405}),
        ({GPS.GPSLatitude: 52.52}, {"lat": 52.52, "lon": 13.405}),
        ({GPS.GPSLatitude: (90.0, 0.0, 0.0)}, {"lat": 90.0, "lon": 13.405}),
        ({GPS.GPSLatitude: (90.0, 0.0, 1.0)}, None),
        ({GPS.GPSLongitude: (181.0, 0.0, 0.0)}, None),
        ({GPS.GPSLatitude: (IFDRational(52, 1), IFDRational(0, 0), IFDRational(0, 0))}, None),
        ({GPS.GPSLatitude: (-52.0, 31.0, 12.0)}, None),
        ({GPS.GPSLatitude: ()}, None),
        ({GPS.GPSLatitude: "52"}, None),
        ({GPS.GPSLatitudeRef: ""}, None),
        ({GPS.GPSLatitudeRef: "E"}, None),
        ({GPS.GPSLatitude: (0.0, 0.0, 0.0), GPS.GPSLongitude: (0.0, 0.0, 0.0)}, None),
    ],
)
def test_a_location_is_on_the_globe_or_not_there(change: dict[int, Any], expected: object) -> None:
    assert payload(exif_of(place={**BERLIN, **change})).get("location") == expected


@pytest.mark.parametrize(
    ("photo", "expected"),
    [
        ({Base.ExposureTime: IFDRational(1, 0), Base.FNumber: 4.0}, {"f_number": 4.0}),
        ({Base.ISOSpeedRatings: (200, 200)}, {"iso": 200}),
        ({Base.FNumber: float("inf"), Base.FocalLength: 0, Base.ISOSpeedRatings: ()}, None),
        ({Base.FNumber: "f/4", Base.ExposureTime: b"\1"}, None),
    ],
)
def test_exposure_keeps_positive_numbers_only(photo: dict[int, Any], expected: object) -> None:
    assert payload(exif_of(photo=photo)).get("exposure") == expected


def test_one_broken_part_does_not_cost_the_others() -> None:
    exif = exif_of({Base.Model: "X100V"}, photo={Base.ExposureTime: object(), Base.LensModel: "23 mm"})
    exif[IFD.GPSInfo] = 4_000_000_000  # an address with nothing behind it: Pillow raises AttributeError
    exif._ifds.pop(IFD.GPSInfo)
    found = payload(exif)
    assert (found["camera"], found["lens"]) == ("X100V", "23 mm")
    assert {"exposure", "location"}.isdisjoint(found)


def test_exif_that_pillow_warns_about_is_read_as_far_as_it_goes() -> None:
    exif = Image.Exif()
    exif.load(exif_of({Base.Model: "X100V"}, place=BERLIN).tobytes()[:-40])  # warnings are errors in these tests
    found = payload(exif)
    assert found["camera"] == "X100V"
    assert "location" not in found


def test_tags_that_are_a_list_of_words_become_the_field_of_that_name() -> None:
    found = payload(meta={"tags": ["snow", "dog"], "mood": "good"})
    assert (found["tags"], found["meta"]) == (["snow", "dog"], {"mood": "good"})


@pytest.mark.parametrize("tags", ["snow, dog", [1, 2], {"a": 1}, 7])
def test_other_tags_stay_the_users_own(tags: object) -> None:
    found = payload(meta={"tags": tags})
    assert "tags" not in found
    assert found["meta"] == {"tags": tags}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\0b", "ab"),
        ("\ud800x", "?x"),
        (float("nan"), None),
        (-math.inf, None),
        (Decimal("1.5"), 1.5),
        (Decimal("sNaN"), None),
        (2**63 - 1, 2**63 - 1),
        (2**63, "9223372036854775808"),
        pytest.param(1 << 100_000, None, id="a very long integer"),
        (True, True),
        (date(2020, 1, 2), "2020-01-02"),
        (NOW, "2026-11-23T12:00:00+00:00"),
        (b"text", "text"),
        (b"\xff\xfe", None),
        ((1, {2}), [1, [2]]),
        ({1: {"a\0": None}}, {"1": {"a": None}}),
    ],
)
def test_values_of_any_kind_become_plain_json(value: object, expected: object) -> None:
    assert clean(value) == expected


def test_metadata_nested_without_end_is_cut() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    json.dumps(clean(loop))


def is_plain(value: object) -> bool:
    match value:
        case None | bool():
            return True
        case int():
            return -(2**63) <= value < 2**63
        case float():
            return math.isfinite(value)
        case str():
            return "\0" not in value and value.encode() is not None
        case list():
            return all(map(is_plain, value))
        case dict():
            return all(isinstance(key, str) and is_plain(key) and is_plain(item) for key, item in value.items())
        case _:
            return False


def rational(pair: tuple[int, int]) -> IFDRational:
    return IFDRational(*pair)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(st.characters(), max_size=20),
    st.binary(max_size=20),
    st.tuples(st.integers(-(2**31), 2**32), st.integers(-(2**31), 2**32)).map(rational),
    st.sampled_from(["N", "S", "E", "W", "2020:01:02 03:04:05", "+02:00", "Canon"]),
)
garbage = st.one_of(scalars, st.lists(scalars, max_size=4), st.lists(scalars, max_size=4).map(tuple))
MAIN = (Base.Make, Base.Model)
PHOTO = (
    Base.DateTimeOriginal,
    Base.OffsetTimeOriginal,
    Base.DateTimeDigitized,
    Base.OffsetTime,
    Base.ExposureTime,
    Base.FNumber,
    Base.ISOSpeedRatings,
    Base.FocalLength,
    Base.LensModel,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(
    main=st.dictionaries(st.sampled_from(MAIN), garbage),
    photo=st.dictionaries(st.sampled_from(PHOTO), garbage),
    place=st.fixed_dictionaries(dict.fromkeys(BERLIN, garbage)),
    meta=st.dictionaries(st.text(st.characters(), max_size=8), garbage),
)
def test_whatever_exif_and_metadata_hold_the_payload_is_plain_json(
    main: dict[int, Any], photo: dict[int, Any], place: dict[int, Any], meta: dict[str, Any]
) -> None:
    assert is_plain(payload(exif_of(main, photo=photo, place=place), meta=meta))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(data=st.data())
def test_exif_with_broken_bytes_never_costs_the_image(data: st.DataObject) -> None:
    exif = exif_of(
        {Base.Make: "Canon", Base.Model: "EOS R5"},
        photo={Base.DateTimeOriginal: "2020:01:02 03:04:05", Base.FNumber: IFDRational(28, 10)},
        place=BERLIN,
    )
    broken = bytearray(exif.tobytes())
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(6, len(broken) - 1))] = data.draw(st.integers(0, 255))
    image = jpeg(bytes(broken[: data.draw(st.integers(8, len(broken)))]))
    decoded = decode(image, size=8, max_pixels=1000)
    found = described(Blob(REF, image, Version("1"), {}), decoded, content_hash="00")
    assert is_plain(found)
    assert found["format"] == "jpeg"


def test_a_name_that_is_no_text_does_not_reach_the_payload_as_a_surrogate() -> None:
    blob = Blob(replace(REF, filename="\udce9.jpg", folder="\udcff"), b"", Version("1"), {})
    decoded = Decoded(pixels=np.zeros((8, 8, 3), np.uint8), width=1, height=1, format="png", exif=Image.Exif())
    assert is_plain(described(blob, decoded, content_hash="00"))
