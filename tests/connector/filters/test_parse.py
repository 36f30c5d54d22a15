"""Filter expressions: what they select, held against a naive evaluation; and what they say when they are wrong."""

import json
import math
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import models

from connector.errors import InvalidQuery
from connector.filters.grammar import DEEPEST, LONGEST, MOST_TERMS
from connector.filters.parse import as_filter, parse_filter
from connector.records import Point
from connector.settings import FieldType
from connector.store.edge.shared import SharedEngine
from connector.store.schema import CollectionSchema, Fingerprint
from tests.scratch import scratch_folder

META: Mapping[str, FieldType] = {
    "price": "float",
    "sold": "bool",
    "caption": "text",
    "sizes": "integer",
    "shot": "datetime",
    "shop-name": "keyword",
    "größe": "integer",
    "Price (USD)": "float",
    "size.w": "integer",
}
SCHEMA = CollectionSchema(Fingerprint("mini", dims=4, image_size=64), META)
INDEXES = SCHEMA.indexes
GUIDE = Path(__file__).parents[3] / "docs" / "filters.md"


def plain(expression: str) -> dict[str, Any]:
    """The filter of an expression as plain JSON."""
    return parse_filter(expression, indexes=INDEXES).model_dump(mode="json", exclude_none=True)


def complaint(expression: str) -> str:
    with pytest.raises(InvalidQuery) as caught:
        parse_filter(expression, indexes=INDEXES)
    return str(caught.value)


# what expressions mean


@pytest.mark.parametrize(
    ("expression", "key"),
    [
        ('meta["Price (USD)"] < 20', 'meta."Price (USD)"'),
        ("meta['Price (USD)'] < 20", 'meta."Price (USD)"'),
        ('meta["size.w"] < 20', 'meta."size.w"'),
        ("meta.size.w < 20", "meta.size.w"),
        ('meta["size"]["w"] < 20', "meta.size.w"),
        ('meta["price"] < 20', "meta.price"),
        ('10 <= meta["Price (USD)"] < 20 and width > 1', 'meta."Price (USD)"'),
    ],
)
def test_a_name_in_brackets_is_any_name(expression: str, key: str) -> None:
    assert plain(expression)["must"][0]["key"] == key


def test_an_unknown_name_in_brackets_is_declared_as_it_is_written() -> None:
    assert """{"Weight (kg)": "float"}""" in complaint('meta["Weight (kg)"] < 20')
    assert "The nearest one is 'meta.\"Price (USD)\"'" in complaint('meta["Price (EUR)"] < 20')


@pytest.mark.parametrize(
    ("expression", "bounds"),
    [
        ('taken_on == "2024-05-02"', {"gte": "2024-05-02T00:00:00Z", "lt": "2024-05-03T00:00:00Z"}),
        ('taken_on in "2024-05"', {"gte": "2024-05-01T00:00:00Z", "lt": "2024-06-01T00:00:00Z"}),
        ('taken_on == "2024-12"', {"gte": "2024-12-01T00:00:00Z", "lt": "2025-01-01T00:00:00Z"}),
        ('taken_on in "2024"', {"gte": "2024-01-01T00:00:00Z", "lt": "2025-01-01T00:00:00Z"}),
        ('taken_on in "2024-05-02"', {"gte": "2024-05-02T00:00:00Z", "lt": "2024-05-03T00:00:00Z"}),
        ('taken_on > "2024-05"', {"gte": "2024-06-01T00:00:00Z"}),
        ('taken_on <= "2024-05"', {"lt": "2024-06-01T00:00:00Z"}),
        ('"2024-05" <= taken_on <= "2024-07"', {"gte": "2024-05-01T00:00:00Z", "lt": "2024-08-01T00:00:00Z"}),
    ],
)
def test_a_month_and_a_year_are_all_of_their_days(expression: str, bounds: dict[str, str]) -> None:
    assert plain(expression)["must"] == [{"key": "taken_on", "range": bounds}]


@pytest.mark.parametrize("text", ["2024-13", "2024-00", "0000", "9999", "24-05", "May"])
def test_what_is_no_month_is_refused(text: str) -> None:
    assert "is none" in complaint(f'taken_on in "{text}"')


NFC, NFD = "Cafe\u0301".replace("e\u0301", "\u00e9"), "Cafe\u0301"


@pytest.mark.parametrize("form", [NFC, NFD])
def test_text_is_asked_for_in_every_normal_form(form: str) -> None:
    def asked(expression: str) -> set[str]:
        return set(re.findall(r"Cafe\u0301|Caf\u00e9", json.dumps(plain(expression), ensure_ascii=False)))

    for expression in ("folder == '{}'", "'{}' in tags", "folder in ('{}', 'x')", "'{}' in meta.caption"):
        assert asked(expression.format(form)) == {NFC, NFD}, expression
    assert asked(f"folder startswith '{form}'") == {NFC, NFD}
    assert asked(f"folder != '{form}'") == {NFC, NFD}
    assert "should" not in json.dumps(plain("folder == 'Cafe'"))


def test_a_list_may_follow_in_without_a_space() -> None:
    assert plain('format in["jpeg"]') == plain('format in ("jpeg",)')


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("width >= 1024", {"must": [{"key": "width", "range": {"gte": 1024.0}}]}),
        ("1024 <= width", {"must": [{"key": "width", "range": {"gte": 1024.0}}]}),
        ("10 <= width < 20", {"must": [{"key": "width", "range": {"gte": 10.0, "lt": 20.0}}]}),
        ("20 > width >= 10", {"must": [{"key": "width", "range": {"gte": 10.0, "lt": 20.0}}]}),
        ("width > 10.5", {"must": [{"key": "width", "range": {"gt": 10.5}}]}),
        ("width == 3", {"must": [{"key": "width", "match": {"value": 3}}]}),
        ("width == 3.0", {"must": [{"key": "width", "match": {"value": 3}}]}),
        ("meta.price == -1.5e1", {"must": [{"key": "meta.price", "range": {"gte": -15.0, "lte": -15.0}}]}),
        ("meta.sold == true", {"must": [{"key": "meta.sold", "match": {"value": True}}]}),
        ('camera == "iPhone 4"', {"must": [{"key": "camera", "match": {"value": "iPhone 4"}}]}),
        ("camera == 'iPhone 4'", {"must": [{"key": "camera", "match": {"value": "iPhone 4"}}]}),
        ('camera != "x"', {"must_not": [{"key": "camera", "match": {"value": "x"}}]}),
        ('format in ("jpeg", "webp")', {"must": [{"key": "format", "match": {"any": ["jpeg", "webp"]}}]}),
        ('format in ["jpeg", "webp",]', {"must": [{"key": "format", "match": {"any": ["jpeg", "webp"]}}]}),
        ("width not in (1, 2)", {"must_not": [{"key": "width", "match": {"any": [1, 2]}}]}),
        (
            "meta.sold in (true, false)",
            {
                "should": [
                    {"key": "meta.sold", "match": {"value": True}},
                    {"key": "meta.sold", "match": {"value": False}},
                ]
            },
        ),
        ('"beach" in tags', {"must": [{"key": "tags", "match": {"value": "beach"}}]}),
        ('"beach" not in tags', {"must_not": [{"key": "tags", "match": {"value": "beach"}}]}),
        ('"red boat" in meta.caption', {"must": [{"key": "meta.caption", "match": {"text": "red boat"}}]}),
        ('folder startswith "2024/"', {"must": [{"key": "folder", "match": {"prefix": "2024/"}}]}),
        ("exists(location)", {"must_not": [{"is_empty": {"key": "location"}}]}),
        ("meta.größe > 1", {"must": [{"key": "meta.größe", "range": {"gt": 1.0}}]}),
        ('meta.shop-name == "a"', {"must": [{"key": "meta.shop-name", "match": {"value": "a"}}]}),
        (
            "near(location, 48.2, -16.37, km=5)",
            {"must": [{"key": "location", "geo_radius": {"center": {"lat": 48.2, "lon": -16.37}, "radius": 5000.0}}]},
        ),
        (
            "near(location, 48, 16, m=50)",
            {"must": [{"key": "location", "geo_radius": {"center": {"lat": 48.0, "lon": 16.0}, "radius": 50.0}}]},
        ),
    ],
)
def test_an_expression_becomes_this_filter(expression: str, expected: dict[str, Any]) -> None:
    assert plain(expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("taken_at > 2024-05-01", {"gte": "2024-05-02T00:00:00Z"}),
        ("taken_at >= 2024-05-01", {"gte": "2024-05-01T00:00:00Z"}),
        ("taken_at < 2024-05-01", {"lt": "2024-05-01T00:00:00Z"}),
        ("taken_at <= 2024-05-01", {"lt": "2024-05-02T00:00:00Z"}),
        ("taken_at == 2024-05-01", {"gte": "2024-05-01T00:00:00Z", "lt": "2024-05-02T00:00:00Z"}),
        ('taken_at == "2024-05-01"', {"gte": "2024-05-01T00:00:00Z", "lt": "2024-05-02T00:00:00Z"}),
        ("2024-05-01 <= taken_at <= 2024-05-31", {"gte": "2024-05-01T00:00:00Z", "lt": "2024-06-01T00:00:00Z"}),
        ("taken_at > 2024-05-01T12:30", {"gt": "2024-05-01T12:30:00Z"}),
        ('taken_at > "2024-05-01 12:30:15"', {"gt": "2024-05-01T12:30:15Z"}),
        ("taken_at > 2024-05-01T12:30:15.25+02:00", {"gt": "2024-05-01T10:30:15.250000Z"}),
        ("taken_at == 2024-05-01T12:30:15Z", {"gte": "2024-05-01T12:30:15Z", "lte": "2024-05-01T12:30:15Z"}),
    ],
)
def test_a_day_is_all_of_its_hours_and_a_time_is_an_instant(expression: str, expected: dict[str, str]) -> None:
    assert plain(expression) == {"must": [{"key": "taken_at", "range": expected}]}


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        ("width > 1 and width > 2 or width > 3", "(width > 1 and width > 2) or width > 3"),
        ("width > 1 or width > 2 and width > 3", "width > 1 or (width > 2 and width > 3)"),
        ("not width > 1 and width > 2", "(not (width > 1)) and width > 2"),
        ("not not width > 1", "not (not (width > 1))"),
        ("width NOT IN (1) AND NOT width > TRUE_".replace("TRUE_", "2"), "width not in (1) and not width > 2"),
        ("((((width > 1))))", "width > 1"),
        ("width>1and width>2".replace("1and", "1 and"), "width > 1\n\tand\r\n width > 2"),
        ('"a" in tags or not "b" in tags', '("a" in tags) or ("b" not in tags)'),
    ],
)
def test_not_binds_closer_than_and_and_and_closer_than_or(expression: str, same: str) -> None:
    assert plain(expression) == plain(same)


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (r'"a\"b"', 'a"b'),
        (r"'it\'s'", "it's"),
        (r'"back\\slash"', "back\\slash"),
        (r'"tab\tnew\nline"', "tab\tnew\nline"),
        (r'"stra\u00dfe"', "straße"),
        ('"日本の犬 🐕"', "日本の犬 🐕"),
        ('"and or not in"', "and or not in"),
        ('""', ""),
    ],
)
def test_text_is_quoted_either_way_with_escapes(literal: str, value: str) -> None:
    assert plain(f"camera == {literal}") == {"must": [{"key": "camera", "match": {"value": value}}]}


def test_a_box_takes_its_border_in_and_stays_off_the_limits_of_the_globe() -> None:
    (condition,) = plain("within(location, right=180, top=90, bottom=-90, left=-180)")["must"]
    box = condition["geo_bounding_box"]

    assert 89.99999 < box["top_left"]["lat"] < 90
    assert -180 < box["top_left"]["lon"] < -179.99999
    (condition,) = plain("within(location, top=49, left=9, bottom=46, right=17)")["must"]
    assert condition["geo_bounding_box"]["top_left"]["lat"] > 49
    assert condition["geo_bounding_box"]["bottom_right"]["lat"] < 46


# what wrong ones say


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (
            "widht >= 1024",
            """
            unknown field 'widht'. The nearest one is 'width'. (column 1 of the filter)
              widht >= 1024
              ^^^^^""",
        ),
        (
            "width > 1 and price < 3",
            """
            unknown field 'price'. The nearest one is 'meta.price'. (column 15 of the filter)
              width > 1 and price < 3
                            ^^^^^""",
        ),
        (
            "meta.prise < 3",
            """
            'meta.prise' is not indexed. The nearest one is 'meta.price'. To index it, declare its type, as in POLYGLANCE_QDRANT__META_FIELDS='{"prise": "float"}' (keyword, integer, float, bool, geo, datetime, text), and run `polyglance collection create`. (column 1 of the filter)
              meta.prise < 3
              ^^^^^^^^^^""",  # noqa: E501
        ),
        (
            'exposure == "1/60"',
            """
            'exposure' is kept with every image but not indexed, so no filter can use it. (column 1 of the filter)
              exposure == "1/60"
              ^^^^^^^^""",
        ),
        (
            'width >= "1024"',
            """
            'width' holds whole numbers, such as 1024; "1024" is none. (column 10 of the filter)
              width >= "1024"
                       ^^^^^^""",
        ),
        (
            'camera > "a"',
            """
            'camera' has no order: it holds text, such as "jpeg". < <= > >= are for numbers and times. (column 10 of the filter)
              camera > "a"
                       ^^^""",  # noqa: E501
        ),
        (
            "camera == Canon",
            """
            Canon stands where a value should be; text goes in quotes: "Canon". (column 11 of the filter)
              camera == Canon
                        ^^^^^""",
        ),
        (
            'camera == "Canon',
            """
            '"' cannot be read here; the text that opens here is never closed. (column 11 of the filter)
              camera == "Canon
                        ^""",
        ),
        (
            "width = 3",
            """
            unexpected '=': here should be a comparison such as == != < <= > >= in, not in, startswith; equality is written ==. (column 7 of the filter)
              width = 3
                    ^""",  # noqa: E501
        ),
        (
            "width >",
            """
            the filter ends too early: here should be a field or a value. (column 8 of the filter)
              width >
                     ^""",
        ),
        (
            '"日本" in tags and\n  camera == x',
            """
            x stands where a value should be; text goes in quotes: "x". (line 2, column 13 of the filter)
                camera == x
                          ^""",
        ),
        (
            '"日本" in tags and camera == x',
            """
            x stands where a value should be; text goes in quotes: "x". (column 28 of the filter)
              "日本" in tags and camera == x
                                           ^""",
        ),
    ],
)
def test_a_wrong_expression_is_told_with_its_place(expression: str, message: str) -> None:
    assert complaint(expression) == re.sub(r"\n {12}", "\n", message)[1:]


@pytest.mark.parametrize(
    ("expression", "part"),
    [
        ("", "the filter is empty"),
        (" \n ", "the filter is empty"),
        ("width", "here should be a comparison"),
        ("width > 1 and", "here should be a condition such as width >= 1024"),
        ("and width > 1", "unexpected 'and'"),
        ("(width > 1", "here should be and, or, or a closing bracket"),
        ("width > 1)", "unexpected ')': here should be and, or, or the end"),
        ("width > 1 height > 2", "unexpected 'height': here should be and, or, or the end"),
        ("width in (1, 2", "a comma or a closing bracket"),
        ("width in ()", "unexpected ')': here should be a field or a value"),
        ("width in 3", "after in stands a list"),
        ("3 in (1, 2)", "before in (…) stands a field"),
        ("width > 3 && height > 3", "conditions are joined by and"),
        ("width > 3 || height > 3", "conditions are joined by or"),
        ("!exists(location)", "the opposite is written not"),
        ("camera == “Canon”", "text goes in straight quotes"),
        ("width <> 3", "unequal is written !="),
        ("width > 12abc", "a number is written 12"),
        ("width > 1e999", "too large"),
        ("width == 99999999999999999999", "does not fit 64 bits"),
        ("width > 9007199254740993", "too large to be compared exactly"),
        ("width == 10.5", "'width' holds whole numbers, such as 1024; 10.5 is none"),
        ("width == true", "true is none"),
        ("meta.sold == 1", "'meta.sold' holds true or false; 1 is none"),
        ('meta.price == "3"', "'meta.price' holds numbers"),
        ("camera == 5", "'camera' holds text"),
        ('camera == "a" or camera in ("b", 5)', "'camera' holds text, such as \"jpeg\"; 5 is none"),
        ("camera == null", "asked with exists(FIELD)"),
        ('camera == "a\\qb"', "unknown escape \\q"),
        ('camera == "\\ud800"', "unknown escape \\u"),
        ("taken_at > 2024-13-01", "there is no such date as 2024-13-01"),
        ("taken_at > 2024-5-1", "a date is written 2024-05-01"),
        ("taken_at > 9999-12-31", "the last day there is"),
        ('taken_at > "yesterday"', "'taken_at' holds a time, such as 2024-05-01"),
        ("taken_at > 3", "'taken_at' holds a time"),
        ("location == 3", "ask with near(…) or within(…)"),
        ('meta.caption == "a"', 'ask for words with "word" in FIELD'),
        ("3 in meta.caption", 'ask for words with "word" in FIELD'),
        ('width startswith "3"', "startswith is for text"),
        ('startswith(folder, "3")', "unexpected 'startswith'"),
        ("near(location, 48.2, km=5)", "near is written near(location, 48.2, 16.37, km=5)"),
        ("near(location, 48.2, 16, 5)", "near is written"),
        ("near(location, 48.2, 16, km=5, m=5)", "near is written"),
        ("near(location, 48.2, 16, km=5, km=6)", "near is written"),
        ("near(location, 98, 16, km=5)", "98 is no latitude: it lies between -90 and 90"),
        ("near(location, 48, 196, km=5)", "196 is no longitude"),
        ("near(location, 48, 16, km=0)", "the distance km= has to be above 0"),
        ('near(location, "48", 16, km=1)', "here should be a number"),
        ("near(width, 48, 16, km=1)", "near is for places; 'width' holds whole numbers"),
        ("near(3, 48, 16, km=1)", "near begins with a field"),
        ("within(location, 1, 2, 3, 4)", "within is written within(location, top="),
        ("within(location, top=1, left=2, bottom=3, right=4)", "top=1 lies below bottom=3"),
        ("nera(location, 48, 16, km=1)", "unknown function 'nera'; known are near, within, exists"),
        ("exists(3)", "exists begins with a field"),
        ("exists(widht)", "The nearest one is 'width'"),
        ("1 < 2", "one side has to be a field"),
        ("width < height", "height stands where a value should be"),
        ("1 < width > 3", "points one way"),
        ("1 == width == 1", "points one way"),
        ("1 < 2 < width", "one field, in the middle"),
        ("1 < width < 3 < 4", "one field, in the middle"),
        ("meta == 3", "name a field of it, such as meta.price"),
        ("zzzz == 3", "unknown field 'zzzz'. There are: alerts, alerts_due, altitude"),
        ("\x00", "cannot be read here"),
        ('camera == "\udcff"', "this letter is no Unicode"),
        ("width > 1; drop", "cannot be read here"),
    ],
)
def test_a_wrong_expression_is_told_apart(expression: str, part: str) -> None:
    assert part in complaint(expression)


def test_a_field_that_an_old_collection_does_not_index_says_how_to_index_it() -> None:
    with pytest.raises(
        InvalidQuery, match="'lens' is not indexed in this collection yet; `polyglance collection create`"
    ):
        parse_filter('lens == "x"', indexes={"width": "integer"})


@pytest.mark.parametrize(
    ("expression", "limit"),
    [
        (" or ".join(["width > 1"] * 10_000), f"characters; at most {LONGEST:,}"),
        (f"width in ({', '.join(['1'] * (MOST_TERMS + 1))})", f"the filter has 1,001 terms; at most {MOST_TERMS:,}"),
        (" or ".join(["3<width"] * 900), None),
        ("not " * 2_000 + "width > 1", f"2,001 deep; at most {DEEPEST}"),
        ("(" * 4_000 + "width > 1" + ")" * 4_000, None),
        ("(" * 9_999, "here should be a condition"),
        ("not(" * 60 + "width > 1" + ")" * 60, "61 deep"),
        ("width" * 1_900 + " > 1", "unknown field 'widthwidth"),
        ("1" * 5_000 + " < width", "too many digits"),
        ('"' * 9_999, "unexpected"),
    ],
)
def test_size_has_limits_and_never_ends_in_a_recursion_error(expression: str, limit: str | None) -> None:
    if limit is None:
        plain(expression)
    else:
        assert limit in complaint(expression)


def test_a_message_stays_short_however_long_the_name() -> None:
    assert len(complaint("width" * 1_900 + " > 1")) < 800
    assert len(complaint(f'width > "{"a" * 9_000}"')) < 400
    assert len(complaint("width > 1 " + "a" * 9_000)) < 400


def test_reading_the_module_imports_nothing_heavy() -> None:
    heavy = ("qdrant_client", "lark", "numpy")
    code = f"import sys, connector.filters.parse; print([n for n in {heavy} if n in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"


# the guide


def test_every_example_of_the_guide_is_accepted() -> None:
    blocks = re.findall(r"```text\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    examples = [line for block in blocks for line in block.splitlines() if line.strip()]

    assert len(examples) >= 20
    for example in examples:
        parse_filter(example, indexes=INDEXES)


# the same answers as a naive evaluation


@dataclass(frozen=True)
class Test:
    """An expression as text, and its meaning as a function over a payload."""

    __test__ = False
    text: str
    holds: Callable[[Mapping[str, Any]], bool]


Values: TypeAlias = Sequence[Any]


def values(payload: Mapping[str, Any], key: str) -> Values:
    """Every value of a field: none where it is missing, null or an empty list."""
    value: Any = payload
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def some(key: str, accepts: Callable[[Any], bool]) -> Callable[[Mapping[str, Any]], bool]:
    return lambda payload: any(accepts(value) for value in values(payload, key))


ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
}
WORDS = ["a", "b", "2024/a", "2024/b", "été", "犬", 'q"', "back\\", ""]
CAPTION_WORDS = ["red", "boat", "sea"]
INTEGERS = [-3, -1, 0, 1, 2, 7, 1024]
FLOATS = [-1.5, 0.0, 0.25, 3.0, 20.0]
DAYS = [date(2024, 4, 30), date(2024, 5, 1), date(2024, 5, 2)]
INSTANTS = [
    datetime(2024, 5, 1, tzinfo=UTC),
    datetime(2024, 5, 1, 12, 30, tzinfo=UTC),
    datetime(2024, 5, 1, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2024, 5, 2, tzinfo=UTC),
    datetime(2024, 5, 3, 1, tzinfo=UTC),
]
SPOTS = [(48.2, 16.37), (48.21, 16.4), (0.0, 0.0), (10.0, 179.9), (10.0, -179.9), (-80.0, 3.0), (80.0, -120.0)]
NUMBERS: Mapping[str, Sequence[int] | Sequence[float]] = {
    "width": INTEGERS,
    "meta.sizes": INTEGERS,
    "meta.price": FLOATS,
}
KEYWORDS = ["camera", "folder", "tags", "meta.shop-name"]
TIMES = ["taken_at", "meta.shot"]


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def payloads(draw: st.DrawFn) -> dict[str, Any]:
    def maybe(options: Sequence[Any]) -> Any:
        one = st.sampled_from(options)
        return draw(st.one_of(st.just(...), st.none(), one, one, one, st.lists(one, max_size=3)))

    moments = [moment.isoformat().replace("+00:00", "Z") for moment in INSTANTS]
    places = [{"lat": latitude, "lon": longitude} for latitude, longitude in SPOTS]
    captions = [" ".join(words) for words in (["red"], ["red", "boat"], ["boat", "sea", "red"], ["Sea", "BOAT"])]
    flat = {
        "camera": maybe(WORDS),
        "folder": maybe(WORDS),
        "tags": maybe(WORDS),
        "width": maybe(INTEGERS),
        "taken_at": maybe(moments),
        "location": maybe(places),
    }
    meta = {
        "price": maybe(FLOATS),
        "sold": maybe([True, False]),
        "sizes": maybe(INTEGERS),
        "shot": maybe(moments),
        "shop-name": maybe(WORDS),
        "caption": maybe(captions),
    }
    meta = {key: value for key, value in meta.items() if value is not ...}
    return {key: value for key, value in flat.items() if value is not ...} | ({"meta": meta} if meta else {})


@st.composite
def number_tests(draw: st.DrawFn) -> Test:
    key = draw(st.sampled_from(sorted(NUMBERS)))
    bound = draw(st.sampled_from(NUMBERS[key]))
    operator = draw(st.sampled_from([*ORDER, "!="]))
    if key == "width" and operator not in ("==", "!=") and draw(st.booleans()):
        bound += 0.5
    if operator == "!=":
        equal = some(key, lambda value: value == bound)
        return Test(f"{key} != {bound}", lambda payload: not equal(payload))
    if draw(st.booleans()):
        return Test(f"{bound} {operator} {key}", some(key, lambda value: ORDER[operator](bound, value)))
    return Test(f"{key} {operator} {bound}", some(key, lambda value: ORDER[operator](value, bound)))


@st.composite
def chain_tests(draw: st.DrawFn) -> Test:
    key = draw(st.sampled_from(sorted(NUMBERS)))
    low, high = draw(st.tuples(st.sampled_from(NUMBERS[key]), st.sampled_from(NUMBERS[key])))
    first, second = draw(st.sampled_from([("<", "<"), ("<=", "<"), ("<", "<="), (">", ">="), (">=", ">=")]))
    accepts = some(key, lambda value: ORDER[first](low, value) and ORDER[second](value, high))
    return Test(f"{low} {first} {key} {second} {high}", accepts)


@st.composite
def keyword_tests(draw: st.DrawFn) -> Test:
    key = draw(st.sampled_from(KEYWORDS))
    word = draw(st.sampled_from(WORDS))
    match draw(st.sampled_from(["==", "!=", "in", "not in", "startswith"])):
        case "==":
            return Test(f"{key} == {quoted(word)}", some(key, lambda value: value == word))
        case "!=":
            equal = some(key, lambda value: value == word)
            return Test(f"{key} != {quoted(word)}", lambda payload: not equal(payload))
        case "in":
            return Test(f"{quoted(word)} in {key}", some(key, lambda value: value == word))
        case "not in":
            inside = some(key, lambda value: value == word)
            return Test(f"{quoted(word)} not in {key}", lambda payload: not inside(payload))
        case _:
            return Test(f"{key} startswith {quoted(word)}", some(key, lambda value: value.startswith(word)))


@st.composite
def list_tests(draw: st.DrawFn) -> Test:
    options: dict[str, Sequence[Any]] = {**NUMBERS, **dict.fromkeys(KEYWORDS, WORDS), "meta.sold": [True, False]}
    key = draw(st.sampled_from(sorted(options)))
    members = draw(st.lists(st.sampled_from(options[key]), min_size=1, max_size=4))
    written = ", ".join(quoted(m) if isinstance(m, str) else str(m).lower() for m in members)
    among = some(key, lambda value: value in members)
    if draw(st.booleans()):
        return Test(f"{key} not in ({written})", lambda payload: not among(payload))
    return Test(f"{key} in ({written})", among)


def moment_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


@st.composite
def time_tests(draw: st.DrawFn) -> Test:
    key = draw(st.sampled_from(TIMES))
    operator = draw(st.sampled_from(sorted(ORDER)))
    if draw(st.booleans()):
        day = draw(st.sampled_from(DAYS))
        written = draw(st.sampled_from([f"{day}", f'"{day}"']))
        return Test(f"{key} {operator} {written}", some(key, lambda v: ORDER[operator](moment_of(v).date(), day)))
    moment = draw(st.sampled_from(INSTANTS))
    shifted = moment.astimezone(draw(st.sampled_from([UTC, datetime.now(UTC).astimezone().tzinfo])))
    return Test(f"{key} {operator} {shifted.isoformat()}", some(key, lambda v: ORDER[operator](moment_of(v), moment)))


@st.composite
def bool_tests(draw: st.DrawFn) -> Test:
    wanted = draw(st.booleans())
    return Test(f"meta.sold == {str(wanted).lower()}", some("meta.sold", lambda value: value is wanted))


@st.composite
def text_tests(draw: st.DrawFn) -> Test:
    """The index of a text field keeps one bag of words for all of its values."""
    wanted = draw(st.lists(st.sampled_from(CAPTION_WORDS), min_size=1, max_size=2))

    def holds(payload: Mapping[str, Any]) -> bool:
        return set(wanted) <= set(" ".join(values(payload, "meta.caption")).lower().split())

    return Test(f'"{" ".join(wanted)}" in meta.caption', holds)


@st.composite
def exists_tests(draw: st.DrawFn) -> Test:
    key = draw(st.sampled_from(["camera", "location", "meta.price", "meta.sold", "tags", "taken_at"]))
    return Test(f"exists({key})", lambda payload: bool(values(payload, key)))


def kilometres(here: tuple[float, float], there: Mapping[str, float]) -> float:
    """The haversine distance."""
    a, b = math.radians(here[0]), math.radians(there["lat"])
    half_lat, half_lon = (b - a) / 2, math.radians(there["lon"] - here[1]) / 2
    return (
        2
        * 6371.0088
        * math.asin(math.sqrt(math.sin(half_lat) ** 2 + math.cos(a) * math.cos(b) * math.sin(half_lon) ** 2))
    )


@st.composite
def near_tests(draw: st.DrawFn) -> Test:
    here = draw(st.sampled_from(SPOTS))
    radius = draw(st.sampled_from([0.5, 5, 100, 6_000, 19_000, 21_000]))
    return Test(
        f"near(location, {here[0]}, {here[1]}, km={radius})",
        some("location", lambda value: kilometres(here, value) < radius),
    )


@st.composite
def within_tests(draw: st.DrawFn) -> Test:
    latitudes = st.sampled_from([-90, -80, 0, 9.5, 48.2, 60, 90])
    longitudes = st.sampled_from([-180, -179.95, -120, 0, 16.37, 179.9, 180])
    bottom, top = sorted([draw(latitudes), draw(latitudes)])
    left, right = draw(longitudes), draw(longitudes)

    def inside(value: Mapping[str, float]) -> bool:
        east_of_left, west_of_right = value["lon"] >= left, value["lon"] <= right
        across = east_of_left or west_of_right if left > right else east_of_left and west_of_right
        return bottom <= value["lat"] <= top and across

    return Test(f"within(location, top={top}, left={left}, bottom={bottom}, right={right})", some("location", inside))


def joined(parts: st.SearchStrategy[Test]) -> st.SearchStrategy[Test]:
    def both(pair: tuple[Test, Test]) -> Test:
        a, b = pair
        return Test(f"({a.text}) and ({b.text})", lambda payload: a.holds(payload) and b.holds(payload))

    def either(pair: tuple[Test, Test]) -> Test:
        a, b = pair
        return Test(f"({a.text}) or ({b.text})", lambda payload: a.holds(payload) or b.holds(payload))

    def neither(a: Test) -> Test:
        return Test(f"not ({a.text})", lambda payload: not a.holds(payload))

    pairs = st.tuples(parts, parts)
    return st.one_of(pairs.map(both), pairs.map(either), parts.map(neither))


LEAVES = st.one_of(
    number_tests(),
    chain_tests(),
    keyword_tests(),
    list_tests(),
    time_tests(),
    bool_tests(),
    text_tests(),
    exists_tests(),
    near_tests(),
    within_tests(),
)
TESTS = st.recursive(LEAVES, joined, max_leaves=6)


@pytest.fixture(scope="module")
def library() -> Iterator[SharedEngine]:
    with scratch_folder() as folder:
        engine = SharedEngine.open(folder, collection="images")
        engine.create(SCHEMA)
        yield engine
        engine.close()


def fill(engine: SharedEngine, contents: Sequence[Mapping[str, Any]]) -> None:
    """Make these payloads the whole collection."""
    vector = np.array([1, 0, 0, 0], dtype=np.float32)
    engine.delete([point.id for point in engine.scroll(limit=1000, fields=[]).points])
    engine.upsert([Point(str(uuid.UUID(int=n)), vector, payload) for n, payload in enumerate(contents)])


def agree(engine: SharedEngine, contents: Sequence[Mapping[str, Any]], tests: Sequence[Test]) -> None:
    """Every expression selects what its naive meaning selects."""
    fill(engine, contents)
    for test in tests:
        where = parse_filter(test.text, indexes=INDEXES)
        found = [uuid.UUID(point.id).int for point in engine.scroll(limit=1000, where=where, fields=[]).points]
        assert found == [n for n, payload in enumerate(contents) if test.holds(payload)], test.text


CONTENTS = st.lists(payloads(), min_size=1, max_size=12)
MANY_TESTS = st.lists(TESTS, min_size=1, max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(contents=CONTENTS, tests=MANY_TESTS)
def test_an_expression_selects_what_a_naive_evaluation_selects(
    library: SharedEngine, contents: list[dict[str, Any]], tests: list[Test]
) -> None:
    agree(library, contents, tests)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(contents=CONTENTS, tests=MANY_TESTS)
def test_many_expressions_select_what_a_naive_evaluation_selects(
    library: SharedEngine, contents: list[dict[str, Any]], tests: list[Test]
) -> None:
    agree(library, contents, tests)


# fuzz

PIECES = [
    *INDEXES, *"()[],=", "==", "!=", "<", "<=", ">", ">=", "in", "not", "and", "or", "startswith", "near", "within",
    "exists", "km=", "top=", "true", "false", '"a"', "'b'", '"', "\\", "1", "-2.5", "1e9", "2024-05-01", "2024-13-45",
    "2024-05-01T12:00Z", "null", "meta.", ".", "犬", "\n", "\t", "\x00", "\ud83d", "“", "&&", "|", "!", "#", "0x1F",
]  # fmt: skip


def complaint_about(expression: str) -> str | None:
    """What the parser says to a text: nothing, or an InvalidQuery's message. Anything else fails the test."""
    try:
        parse_filter(expression, indexes=INDEXES)
    except InvalidQuery as error:
        return str(error)
    return None


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=80), st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join)))
def test_any_text_is_a_filter_or_an_invalid_query(expression: str) -> None:
    assert complaint_about(expression) != ""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_thousand_texts_are_filters_or_invalid_queries() -> None:
    random = np.random.default_rng(6)
    whole = 'width >= 1024 and format in ("jpeg", "webp") and not (camera == "x" or near(location, 48.2, 16.4, km=5))'
    alphabet = list(set(whole) | {"\\", "'", "é", "犬", "\n", "=", "!", "-", ".", "9"})
    for number in range(100_000):
        if number % 2:
            pieces = random.choice(PIECES, size=random.integers(1, 20))
            assert complaint_about(random.choice(["", " "]).join(pieces)) != ""
            continue
        letters = list(whole)
        for _ in range(random.integers(1, 6)):
            place = int(random.integers(len(letters)))
            letters[place : place + int(random.integers(0, 3))] = random.choice(alphabet, size=random.integers(0, 3))
        assert complaint_about("".join(letters)) != ""


# filters that arrive ready made


def on(key: str) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=1))


@pytest.mark.parametrize(
    "where",
    [
        models.Filter(),
        models.Filter(must=on("width")),
        models.Filter(should=[models.HasIdCondition(has_id=[1]), on("tags[]")]),
        models.Filter(
            must_not=[models.Filter(min_should=models.MinShould(conditions=[on("meta.sizes")], min_count=1))]
        ),
        models.Filter(
            must=[models.NestedCondition(nested=models.Nested(key="meta", filter=models.Filter(must=[on("price")])))]
        ),
        models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="camera"))]),
    ],
)
def test_a_ready_made_filter_on_indexed_fields_passes_as_it_is(where: models.Filter) -> None:
    assert as_filter(where, indexes=INDEXES) is where


@pytest.mark.parametrize(
    ("where", "says"),
    [
        (models.Filter(must=on("widht")), "unknown field 'widht'. The nearest one is 'width'"),
        (models.Filter(must_not=[on("exposure")]), "'exposure' is kept with every image but not indexed"),
        (models.Filter(should=[models.Filter(must=[on("meta.colour")])]), "`polyglance collection create`"),
        (
            models.Filter(must=[models.IsNullCondition(is_null=models.PayloadField(key="prise"))]),
            "unknown field 'prise'",
        ),
        (models.Filter(min_should=models.MinShould(conditions=[on("x")], min_count=1)), "unknown field 'x'"),
        (
            models.Filter(
                must=[models.NestedCondition(nested=models.Nested(key="meta", filter=models.Filter(must=[on("q")])))]
            ),
            "'meta.q' is not indexed",
        ),
        (5, "the filter is int; an expression or a qdrant_client.models.Filter is wanted"),
    ],
)
def test_a_ready_made_filter_on_another_field_is_told_as_an_expression_is(where: Any, says: str) -> None:
    with pytest.raises(InvalidQuery, match=re.escape(says)):
        as_filter(where, indexes=INDEXES)


def test_a_ready_made_filter_without_end_is_refused() -> None:
    where = models.Filter(must=[on("width")])
    for _ in range(500):
        where = models.Filter(must=[where])
    with pytest.raises(InvalidQuery, match="nests more than 100 deep"):
        as_filter(where, indexes=INDEXES)
