"""Whatever is asked, the answer is hits or an InvalidQuery that names what is wrong: by Python and by command line."""

import io
import json
import math
import string
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from connector import ImageSearch, InvalidQuery, Query, Settings, image, point
from connector import text as text_query
from connector.filters.grammar import DEEPEST, MOST_TERMS
from connector.search.classify import classify
from connector.search.options import MAX_TEXT, check_text
from connector.search.query import TextPart, WeightedPart
from tests.conftest import CommandLine
from tests.images import image as numbered_image


@pytest.fixture(scope="module")
def search(noto: Settings) -> Iterator[ImageSearch]:
    with ImageSearch.open(settings=noto) as opened:
        yield opened


def complaint(call: Callable[[], object]) -> str | None:
    """What an InvalidQuery says, None where there is an answer. Anything else fails the test."""
    try:
        call()
    except InvalidQuery as error:
        return str(error)
    return None


# texts


SPOKEN = [
    "كلب في الثلج", "שלום עולם", "ab \u202emirrored\u202c", "🐕", "👨\u200d👩\u200d👧\u200d👦 🏖️", "e\u0301te\u0301",
    "\ttabs\nand\r\nlines\f", "x" * MAX_TEXT, "🐕" * 5_000, "犬" * MAX_TEXT, "a" + "\u0301" * 2_000, "\U0010ffff",
    "' OR 1=1; --", "<script>alert(1)</script>", "{}{}%s\\", "\ufffd", "\ue000", "ｄｏｇ", "NaN", "0",
]  # fmt: skip


@pytest.mark.parametrize("text", SPOKEN, ids=lambda text: repr(text[:20]))
def test_text_of_every_script_and_length_is_answered(search: ImageSearch, text: str) -> None:
    hits = search.text(text, limit=3)

    assert len(hits) == 3
    assert all(math.isfinite(hit.score) for hit in hits)


@pytest.mark.parametrize(
    ("text", "says", "position"),
    [
        ("", "the text is empty; say what the image shows", None),
        (" \t\n\u3000\u00a0", "the text is empty", None),
        ("\u200b\u200d\u200f\ufe0f\u202e", "the text is empty", None),  # what only joins and directs says nothing
        ("dog\x00", "character 4 of the text is U+0000, a control character", 4),
        ("\x1b[31mred", "character 1 of the text is U+001B, a control character", 1),
        ("a\x7fb", "character 2 of the text is U+007F, a control character", 2),
        ("caf\x81", "character 4 of the text is U+0081, a control character", 4),
        ("dog \ud83d", "character 5 of the text is U+D83D, half a surrogate pair, so no Unicode", 5),
        ("\udcff", "character 1 of the text is U+DCFF, half a surrogate pair", 1),
        ("x" * (MAX_TEXT + 1), "the text has 10001 characters; 10000 are allowed", None),
    ],
)
def test_text_that_asks_nothing_is_told_with_the_character(
    search: ImageSearch, text: str, says: str, position: int | None
) -> None:
    for ask in (
        lambda: search.text(text),
        lambda: search.query(text_query(text)),
        lambda: search.queries([text]),
        lambda: search.groups(text, by="folder"),
        lambda: search.facets("folder", of=text),
        lambda: search.embed_texts([text]),
    ):
        with pytest.raises(InvalidQuery) as caught:
            ask()
        assert says in str(caught.value)
        assert caught.value.position == position


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(), max_size=30))
def test_a_text_that_is_accepted_can_be_encoded_and_says_something(text: str) -> None:
    if complaint(lambda: check_text("the text", text)) is None:
        assert text.encode().strip()


# numbers

NO_NUMBERS = [0, -1, 10**9, 10**5000, True, 1.0, float("nan"), float("inf"), "5", None, [1], np.float32(3)]


@pytest.mark.parametrize("limit", NO_NUMBERS, ids=range(len(NO_NUMBERS)))
def test_a_limit_is_a_whole_number_within_its_bounds(search: ImageSearch, limit: Any) -> None:
    for ask in (
        lambda: search.text("x", limit=limit),
        lambda: search.texts(["x"], limit=limit),
        lambda: search.like(str(uuid.UUID(int=1)), limit=limit),
        lambda: search.queries(["x"], limit=limit),
        lambda: search.exact(np.ones((1, 128), dtype=np.float32), limit=limit),
        lambda: search.groups("x", by="folder", limit=limit),
        lambda: search.groups("x", by="folder", size=limit),
        lambda: search.facets("folder", limit=limit),
        lambda: search.sample(limit),
        lambda: search.ordered("bytes", limit=limit),
    ):
        with pytest.raises(InvalidQuery, match=r"(limit|size) is .* between 1 and 10000"):
            ask()


@pytest.mark.parametrize("offset", [-1, 10**9, 0.5, None, "1"])
def test_an_offset_is_a_whole_number_within_its_bounds(search: ImageSearch, offset: Any) -> None:
    for ask in (lambda: search.text("x", offset=offset), lambda: search.ordered("bytes", offset=offset)):
        with pytest.raises(InvalidQuery, match=r"offset is .* between 0 and 10000"):
            ask()


# filters


@pytest.mark.parametrize(
    ("where", "says"),
    [
        (" or ".join(f"width == {n}" for n in range(10_000)), "characters; at most 10,000 are read"),
        ("width in (" + ",".join(["1"] * 2_000) + ")", f"2,000 terms; at most {MOST_TERMS:,} are read"),
        ("(" * 4_000 + "width > 1" + ")" * 4_000, None),  # brackets alone nest nothing
        ("not " * 2_000 + "width > 1", f"at most {DEEPEST} levels are read"),
        ("(" * 9_000, "the filter ends too early"),
        ("width > 1\x00", "'\\x00' cannot be read here"),
        ("\x00", "'\\x00' cannot be read here"),
        ('camera == "\ud83d"', "this letter is no Unicode"),
        ("width > NaN", "text goes in quotes"),
        ("width > 1e999", "too large"),
        ("width == " + "9" * 5_000, "too many digits"),
        ('camera == "\x07"', None),  # a file's own metadata may hold anything
        ("\u202ewidth > 1", "cannot be read here"),
        ("🐕 > 1", "cannot be read here"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_filter_without_measure_is_told_and_never_a_traceback(
    search: ImageSearch, where: str, says: str | None
) -> None:
    if says is None:
        assert search.count(where=where) >= 0
        return
    with pytest.raises(InvalidQuery) as caught:
        search.count(where=where)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("where", [5, b"width > 1", ["width > 1"], {"must": []}, object(), True, 0, []])
def test_what_is_no_filter_is_told(search: ImageSearch, where: Any) -> None:
    with pytest.raises(InvalidQuery, match=r"the filter is \w+; an expression or a qdrant_client.models.Filter"):
        search.text("dog", where=where)


# points, fields, queries, vectors


@pytest.mark.parametrize("wrong", ["", "x", "7", 7, None, b"x", "\x00", "\ud83d", "0" * 10_000, uuid.UUID(int=1)])
def test_what_is_no_id_is_told(search: ImageSearch, wrong: Any) -> None:
    for ask in (
        lambda: search.like(wrong),
        lambda: search.points([wrong]),
        lambda: search.query(point(wrong)),
        lambda: search.set_payload(wrong, {}),
    ):
        with pytest.raises(InvalidQuery, match=r"is no point id|has no point") as caught:
            ask()
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("field", ["", "nothing", "meta", "meta.", "uri.x", 5, None, ["folder"], "\x00", "folder "])
def test_what_is_no_field_is_told(search: ImageSearch, field: Any) -> None:
    for ask in (
        lambda: search.facets(field),
        lambda: search.facets(field, of="dog"),
        lambda: search.groups("dog", by=field),
        lambda: search.ordered(field),
    ):
        with pytest.raises(InvalidQuery, match=r"cannot be (counted|put in the order)|order_by is .*; a field that"):
            ask()


@pytest.mark.parametrize("weight", ["1", None, True, float("nan"), float("-inf"), 10**400, 1j])
def test_what_is_no_weight_is_told(search: ImageSearch, weight: Any) -> None:
    with pytest.raises(InvalidQuery, match=r"has the weight .*; a finite number is wanted"):
        search.query(Query((WeightedPart(TextPart("dog"), weight),)))


@pytest.mark.parametrize(
    "vectors",
    [
        np.ones((1, 5), dtype=np.float32), np.ones(128, dtype=np.float32), np.full((1, 128), np.nan, dtype=np.float32),
        np.zeros((1, 128), dtype=np.float32), np.full((1, 128), np.inf, dtype=np.float32),
        np.ones((1, 1, 128), dtype=np.float32), [[1.0] * 5], [None], ["x"],
    ],
    ids=range(9),
)  # fmt: skip
def test_what_is_no_vector_is_told(search: ImageSearch, vectors: Any) -> None:
    for ask in (search.nearest, search.exact):
        with pytest.raises(InvalidQuery, match="query 0"):
            ask(vectors)


# images


@pytest.mark.parametrize(
    "wrong",
    [
        b"", b"\x00" * 1000, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", numbered_image(1)[:200],
        "", " ", "nowhere.jpg", "\x00", "/", "/dev/null", "/proc/self/mem", "http://", "https://[::1]/x.jpg", "http://0/x",
        "file:///etc/passwd", "ftp://example.org/x.jpg", "x" * 5_000, "\ud83d.jpg", None, 5, object(), [b""],
    ],
    ids=lambda value: repr(value)[:14],
)  # fmt: skip
def test_what_is_no_image_is_told(search: ImageSearch, wrong: Any) -> None:
    for ask in (
        lambda: search.image(wrong),
        lambda: search.query(text_query("dog") + image(wrong)),
        lambda: classify(search, [wrong], labels=["dog", "cat"]),
    ):
        with pytest.raises(InvalidQuery) as caught:
            ask()
        assert str(caught.value)


def test_pillow_images_that_are_none_are_told(search: ImageSearch) -> None:
    closed = Image.open(io.BytesIO(numbered_image(1)))
    closed.close()
    cut = Image.open(io.BytesIO(numbered_image(1)[:200]))
    for wrong in (closed, cut, Image.new("RGB", (0, 5))):
        with pytest.raises(InvalidQuery):
            search.image(wrong)
    for right in (Image.new("P", (9, 9)), Image.new("1", (9, 9)), Image.new("CMYK", (9, 9)), Image.new("I;16", (9, 9))):
        assert len(search.image(right, limit=2)) == 2


# everything at once

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=20),
    st.lists(st.text(max_size=3), max_size=2), st.just(10**5000), st.just({}),
)  # fmt: skip
CALLS: list[Callable[[ImageSearch, Any, Any], Any]] = [
    lambda search, a, b: search.text(a, limit=b),
    lambda search, a, b: search.text("dog", where=a, min_score=b),
    lambda search, a, b: search.text("dog", offset=a, diversity=b),
    lambda search, a, b: search.queries([a, b]),
    lambda search, a, b: search.image(a, where=b),
    lambda search, a, b: search.like(a, limit=b),
    lambda search, a, b: search.groups(a, by=b),
    lambda search, a, b: search.facets(a, of=b),
    lambda search, a, b: search.ordered(a, where=b),
    lambda search, a, b: search.sample(a, where=b),
    lambda search, a, b: search.count(where=a) and search.points([b]),
    lambda search, a, b: search.query(a * text_query("dog") + point(b)) if isinstance(a, float) else search.query(a),
    lambda search, a, b: list(search.each(where=a, fields=["uri"])) and search.nearest([a, b]),  # type: ignore[arg-type]
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(CALLS), ANYTHING, ANYTHING)
def test_any_call_answers_or_says_what_is_wrong(
    search: ImageSearch, call: Callable[[ImageSearch, Any, Any], Any], first: Any, second: Any
) -> None:
    said = complaint(lambda: call(search, first, second))
    assert said is None or 0 < len(said) < 2_000


@pytest.mark.slow
@settings(max_examples=3_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(CALLS), ANYTHING, ANYTHING)
def test_many_calls_answer_or_say_what_is_wrong(
    search: ImageSearch, call: Callable[[ImageSearch, Any, Any], Any], first: Any, second: Any
) -> None:
    assert complaint(lambda: call(search, first, second)) != ""


# the command line


@pytest.fixture
def on_noto(noto: Settings, search: ImageSearch, cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line on the bundled images."""
    search.close()  # the embedded engine serves one at a time; these are the module's last tests
    monkeypatch.setenv("POLYGLANCE_QDRANT__PATH", str(noto.qdrant.path))
    monkeypatch.setenv("POLYGLANCE_MODEL__SPACE", "mini")
    return cli


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search", ""], "the text is empty"),
        (["search", "\udcff"], "character 1 of the text is U+DCFF"),
        (["search", "a\x07"], "character 2 of the text is U+0007"),
        (["search", "dog", "--without", " "], "text 2 of 2 is empty"),
        (["search", "x" * 10_001], "has 10001 characters"),
        (["search", "dog", "-n", "0"], "limit is 0"),
        (["search", "dog", "-n", "-1"], "limit is -1"),
        (["search", "dog", "-n", "1000000000"], "limit is 1000000000"),
        (["search", "dog", "-n", "1e3"], "parse string as an integer"),
        (["search", "dog", "--offset", "-1"], "offset is -1"),
        (["search", "dog", "--min-score", "nan"], "min_score is nan"),
        (["search", "dog", "--diversity", "nan"], "diversity is nan"),
        (["search", "dog", "--where", "width > 1 " * 2_000], "at most 10,000 are read"),
        (["search", "dog", "--where", "\x00"], "cannot be read here"),
        (["search", "--image", "\x00"], "cannot be read"),
        (["search", "--image", "x" * 5_000], "cannot be read"),
        (["search", "--like", str(uuid.UUID(int=9))], "has no point"),
        (["search", "--facet", "\udcff"], "cannot be counted"),
        (["search", "dog", "--group-by", ""], "cannot be counted"),
        (["classify", "--all", "--labels", "dog"], "2 to 10,000 labels"),
        (["classify", "--all", "--labels", "dog,,cat"], "label 2 is empty"),
        (["classify", "--all", "--labels", "dog,\udcff"], "character 1 of label 2 is U+DCFF"),
        (["evaluate", "\x00"], "null byte"),
        (["export", "\x00"], "null byte"),
        (["export", "a.parquet", "\x00"], "character 1 of the text is U+0000"),
    ],
    ids=lambda value: " ".join(value)[:40].encode("unicode_escape").decode() if isinstance(value, list) else "",
)
def test_a_wrong_call_exits_with_2_in_one_line_of_words(on_noto: CommandLine, arguments: list[str], says: str) -> None:
    ran = on_noto(*arguments)

    assert ran.code == 2
    assert says in " ".join(ran.err.replace("│", " ").split())
    assert "Traceback" not in ran.err
    assert ran.out == ""


def test_a_whole_answer_is_json_whatever_was_asked(on_noto: CommandLine) -> None:
    for text in ("كلب", "🐕", "\u202ea", "--json", string.printable.strip() + "é"):
        ran = on_noto("search", "-n", 1, "--json", "--", text)
        assert json.loads(ran.out)["query"] == text
