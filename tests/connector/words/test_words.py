"""Nothing that a text may hold stops an image from being written, and what is left out is said."""

import logging
import random
import unicodedata

import pytest

from connector.words.index import MOST_TERMS, WordIndex, asked_vector
from connector.words.normal import LONGEST_WORD, words_of
from connector.words.phrases import asked_phrase, asked_text, searchable
from connector.words.stems import stem_of
from connector.words.terms import asked_terms, name_terms, number_of, stored_terms

INDEX = WordIndex({"title": 3.0, "tags": 3.0, "meta.caption": 2.0, "meta": 2.0, "folder": 0.5}, meta_texts=["note"])
NUMBERS = [3385788448, 4247622340, 139300741, 634351890]
VALUES = {3385788448: 1.9046, 3842489009: 1.5942, 4255156595: 1.5714}


def test_terms_are_the_same_on_every_machine_and_for_ever() -> None:
    assert [number_of(term) for term in ("hund", "看板", "re16", "")] == NUMBERS
    vector = INDEX.vector_of({"title": "Hund", "meta": {"caption": "der Hund", "note": "x"}, "width": 3})
    assert dict(zip(vector.indices, vector.values, strict=True)) == VALUES


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \u200b\u200e\x00\ufeff\n", []),
        ("\u202eright\u202c to \u2067left\u2069", ["right", "to", "left"]),
        ("nul\x00byte tab\tnew\nline", ["nul", "byte", "tab", "new", "line"]),
        ("Mосквa Itαλiα iPad3 naïve βeta2", ["москва", "ιταλια", "ipad3", "naive", "βeta2"]),
        ("lone \ud83d surrogate \udc00", ["lone", "surrogate"]),
        ("zero\u200bwidth so\u00adft", ["zerowidth", "soft"]),
        ("a\u0301\u0301\u0301\u0301 Z\u0351\u036b\u0343algo", ["a", "zalgo"]),
        ("x" * 1000, ["x" * LONGEST_WORD]),
        ("\ue000\U000f0000 \uffff", []),
        ("١٢٣ १२३ １２３", ["123", "123", "123"]),
        ("e\u0301té ÉTÉ", ["ete", "ete"]),
    ],
)
def test_what_nobody_sees_is_no_word(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_any_text_at_all_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    characters = random.Random(0)
    for length, times in ((1, 50), (3, 50), (40, 30), (2500, 2)):
        for _ in range(times):
            codes = (
                characters.choice((characters.randrange(0x110000), characters.randrange(0x600))) for _ in range(length)
            )
            text = "".join(map(chr, codes))
            vector = INDEX.vector_of({"title": text, "folder": [text], "tags": [text]})
            assert len(vector.indices) <= MOST_TERMS
            assert all(0 <= index < 2**32 for index in vector.indices)
            assert all(0 < value <= 2.2 for value in vector.values)
            for form in ("NFC", "NFD"):
                assert words_of(unicodedata.normalize(form, text)) == words_of(text)
            asked_vector(text)
            asked_text(text)
            asked_phrase(text)
            searchable([text]).encode()
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"uri": "file:///a.jpg", "meta": {"caption": "word " * 200_000}}, "meta.caption"),
        ({"uri": "file:///a.jpg", "tags": [f"tag {number}" for number in range(100_000)]}, "tags"),
        ({"uri": "file:///a.jpg", "title": " ".join(f"word{number}" for number in range(3000))}, "after 2000 terms"),
        ({"uri": "file:///a.jpg", "meta": {"caption": "看" * 1_000_000}}, "meta.caption"),
    ],
)
def test_what_is_too_long_is_cut_and_said(
    payload: dict[str, object], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    vector = INDEX.vector_of(payload)

    assert 0 < len(vector.indices) <= MOST_TERMS
    assert "words_cut" in caplog.text
    assert said in caplog.text
    assert "file:///a.jpg" in caplog.text


@pytest.mark.parametrize(
    "value", [None, True, 7, 1.5, {"a": {"b": ["c", None, {"d": 2024}]}}, [[["deep"]]], [], {}, ""]
)
def test_a_field_may_hold_anything(value: object) -> None:
    vector = INDEX.vector_of({"title": value, "tags": value, "meta": value, "folder": value})

    assert len(vector.indices) == len(vector.values)


def test_a_value_nested_deeper_than_python_recurses_is_taken() -> None:
    value: object = "deep"
    for _ in range(5000):
        value = [value]

    assert INDEX.vector_of({"title": value}).indices == [number_of("deep")]


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("RE16 TGK", ["re16", "TGK", "re16tgk", "RE16TGK", "16tg", "16", "e16", "RE16-TGK", "re16 tgk"]),
        ("HN-AB 123E", ["123e", "AB123", "HNAB123E", "hn"]),
        ("Rechnung 4711-0815", ["4711", "0815", "815"]),
        ("Tel. 0049 123456", ["123456", "3456", "123", "49"]),
        ("1.234,56 EUR", ["1234", "1.234"]),
        ("20240512", ["2024", "202405"]),
        ("iPhone15Pro", ["iphone", "15", "iPhone15Pro", "ne15"]),
    ],
)
def test_every_part_of_a_code_is_found(stored: str, asked: list[str]) -> None:
    there = stored_terms(stored)

    assert [text for text in asked if not asked_terms(text).keys() & there.keys()] == []


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("IMG_20240512_183012.jpg", ["IMG_20240512", "2024", "20240512", "183012"]),
        ("DSC01234.JPG", ["DSC01234", "1234", "01234", "dsc"]),
        ("StrandInItalien2023.png", ["strand", "italien", "2023"]),
        ("RE16TGK.jpg", ["re16", "tgk", "16tg"]),
        ("2024/07 Urlaub", ["2024", "urlaub", "07", "7"]),
        ("看板.webp", ["看板", "看"]),
        ("Oma_80.Geburtstag.jpeg", ["oma", "80", "geburtstag"]),
        ("StrandInItalien_Müller.png", ["strandinitalien", "mueller", "muller"]),
        ("O'Neill_wi-fi.png", ["oneill", "O'Neill", "wifi"]),
        ("20230714T123456.jpg", ["2023", "202307"]),
        ("rechnung_0012-7788.png", ["0012-7788", "12-7788", "00127788"]),
        (unicodedata.normalize("NFD", "ガンダム_서울타워.png"), ["ガンダム", "서울"]),
    ],
)
def test_names_are_split_at_case_and_digits(name: str, asked: list[str]) -> None:
    there = name_terms(name)

    assert [text for text in asked if not asked_terms(text).keys() & there.keys()] == []
    assert number_of("jpg") not in there


@pytest.mark.parametrize(
    ("one", "other"),
    [("京都", "東京駅"), ("corner", "corn"), ("plan", "planet"), ("as", "a"), ("2024", "1024"), ("re17", "re16tgk")],
)
def test_what_only_looks_alike_is_told_apart(one: str, other: str) -> None:
    assert not asked_terms(one).keys() & stored_terms(other).keys()


@pytest.mark.parametrize("word", ["a", "ss", "us", "ies", "aux", "ы", "й", "의", "ของ", "ا", "ال", "ה", "हे"])
def test_a_short_word_keeps_something(word: str) -> None:
    assert stem_of(word)
