"""What a question says of when and where is understood in many languages, and nothing is that it does not say."""

from pathlib import Path

import pytest

from benchmarks.bench_understand import by_locale
from connector.understand.question import understand
from tests.phrases import TODAY, days_of, phrases
from workers.demo import tour

NEGATIVES = Path(__file__).parents[2] / "data" / "no-dates-no-places.txt"


def test_of_two_thousand_date_phrases_in_thirty_languages_nearly_all_are_right() -> None:
    asked = [*phrases()]
    wrong = [each for each in asked if days_of(understand(each.text, today=TODAY).chips) != [(each.first, each.last)]]
    assert len(asked) >= 2_000
    assert len({each.language for each in asked}) >= 20
    assert len(wrong) <= 0.02 * len(asked), wrong


def test_dates_as_other_programs_write_them_are_right_nearly_all() -> None:
    found = by_locale()

    assert found["locale_forms"]["right"] >= 0.99
    assert found["other_locale_forms"]["right"] >= 0.97


@pytest.mark.parametrize(
    ("question", "where"),
    [
        ("Mai–Juli 2021 am See", "2021-05-01 <= taken_on <= 2021-07-31"),
        ("2018年8月～10月の海", "2018-08-01 <= taken_on <= 2018-10-31"),
        ("2018年8月-10月", "2018-08-01 <= taken_on <= 2018-10-31"),
        ("June 2019 to August at the lake", "2019-06-01 <= taken_on <= 2019-08-31"),
        ("2014. 3. 9. 바다", "taken_on == 2014-03-09"),
        ("plage il y a 2 semaines", "2026-11-16 <= taken_on <= 2026-11-22"),
        ("for 2 døgn siden", "taken_on == 2026-11-29"),
        ("قبل يومين", "taken_on == 2026-11-29"),
        ("13 جنوری، 2011", "taken_on == 2011-01-13"),
        ("thg 5 2014", 'taken_on in "2014-05"'),
    ],
)
def test_a_date_is_read_in_the_forms_of_other_lists(question: str, where: str) -> None:
    assert [each.where for each in understand(question, today=TODAY).chips] == [where]


@pytest.mark.parametrize("question", ["Jan-Philipp 2021", "14-Jul-2023", "a May-pole 2019"])
def test_a_dash_between_other_words_makes_no_stretch(question: str) -> None:
    assert not any("<=" in each.where for each in understand(question, today=TODAY).chips)


def test_what_says_neither_when_nor_where_is_left_alone() -> None:
    asked = [line for line in NEGATIVES.read_text(encoding="utf-8").splitlines() if line]
    names = [path.stem.replace("-", " ") for path in Path(str(tour.IMAGES)).rglob("*.png")]
    triggered = [each for each in (*asked, *names) if understand(each, today=TODAY).chips]
    assert len(asked) > 500
    assert len(triggered) <= 0.005 * len(asked), triggered


@pytest.mark.parametrize(
    ("question", "left", "where"),
    [
        ("am Strand im Juli 2023", "am Strand", 'taken_on in "2023-07"'),
        ("昨年の桜", "桜", 'taken_on in "2025"'),
        ("photos from Rome", "", 'place == "Rome"'),
        ("photos from rome", "", 'place == "Rome"'),
        ("Fotos aus Rom letzten Sommer", "", '2026-06-01 <= taken_on <= 2026-08-31 and place in ("Rome", "Rom")'),
        ("ローマの写真", "", 'place in ("Rome", "ローマ")'),
        ("фото из Рима", "", 'place == "Rome"'),
        ("kuvia Roomasta", "", 'place == "Rome"'),
        ("boy in Hamburg, Germany", "boy", 'place == "Hamburg" and place == "Germany"'),
        ("selfies 2019", "selfies", 'taken_on in "2019"'),
        ("dogs since 2019", "dogs", "taken_on >= 2019-01-01"),
        ("Hunde vor 2019", "Hunde", "taken_on < 2019-01-01"),
        ("dogs between 2019 and 2021", "dogs", "2019-01-01 <= taken_on <= 2021-12-31"),
        ("June to August 2023", "", "2023-06-01 <= taken_on <= 2023-08-31"),
        ("a party in the 90s", "a party", "1990-01-01 <= taken_on <= 1999-12-31"),
        ("winter 2022/23", "", "2022-12-01 <= taken_on <= 2023-02-28"),
        ("gestern Abend", "", "taken_on == 2026-11-30 and taken_hour >= 17"),
        ("am Sonntag", "", 'taken_weekday == "sunday"'),
        ("last Sunday", "", "taken_on == 2026-11-29"),
        ("roses in May", "roses", "taken_month == 5"),
        ("03/04/2023", "", "(taken_on == 2023-04-03 or taken_on == 2023-03-04)"),
        ("31.02.2023", "31.02.2023", None),
        ("in 2077", "in 2077", None),
        ("in 99999999999999999999", "in 99999999999999999999", None),
        ("99999999 years ago", "99999999 years ago", None),
        ("", "", None),
        ("\u200b", "\u200b", None),
        ("x" * 10_000 + " 2019", "x" * 10_000 + " 2019", None),
    ],
)
def test_a_question_is_taken_apart(question: str, left: str, where: str | None) -> None:
    found = understand(question, today=TODAY)
    assert found.text == left
    assert (" and ".join(each.where for each in found.chips) or None) == where
    assert [question[each.start : each.end] for each in found.chips] == [each.words for each in found.chips]


def test_a_chip_is_taken_back_by_its_words() -> None:
    assert understand("Fotos aus Rom 2019", today=TODAY, literal="AUS ROM").text == "Fotos aus Rom"
    assert understand("Fotos aus Rom 2019", today=TODAY, kinds=["place"]).text == "Fotos 2019"


def test_the_language_decides_where_a_word_is_of_two() -> None:
    polish, croatian = (understand("listopada 2023", today=TODAY, language=each).chips for each in ("pl", "hr"))
    assert [each.shown for each in (*polish, *croatian)] == ["November 2023", "October 2023"]


@pytest.mark.parametrize(
    "question",
    [
        *("31 February 2023", "photos of 30. Februar 2023", "29 Şubat 2023", "1. Januar 1066", "0 May 2020"),
        *("from 14.7.2023 to 31.2.2023", "2023年13月", "１９９９年１３月", "2023년 2월 30일", "31/06/2021 in May"),
        *("令和0年", "昭和0年", "พ.ศ. 9999", "99/99/2020", "2023-02-29", "year 0", "in 1445 AH", "July 10000"),
        *("1.5 years ago", "2,5 years ago", "1/2 year ago", "10-12 years ago", "1e9 years ago"),
        *("Marta", "Marta am Strand", "Augusta", "kova tuuli", "mais um cachorro", "Martta ja koira"),
    ],
)
def test_days_that_there_are_not_and_names_are_no_dates(question: str) -> None:
    assert understand(question, today=TODAY).chips == ()


@pytest.mark.parametrize(
    ("question", "where"),
    [
        ("平成元年", 'taken_on in "1989"'),
        ("大正15年の写真", 'taken_on in "1926"'),
        ("明治45年", 'taken_on in "1912"'),
        ("พ.ศ. 2566", 'taken_on in "2023"'),
        ("ปี 2566", 'taken_on in "2023"'),
        ("พ.ศ. ๒๕๖๖", 'taken_on in "2023"'),
        ("from 2023 to 2019", "2019-01-01 <= taken_on <= 2023-12-31"),
        ("between 2019 and 2017", "2017-01-01 <= taken_on <= 2019-12-31"),
        ("August to June 2023", "2022-08-01 <= taken_on <= 2023-06-30"),
        ("December 2022 to February", "2022-12-01 <= taken_on <= 2023-02-28"),
        ("3 dogs February 2023", 'taken_on in "2023-02"'),
        ("heinakuussa", "taken_month == 7"),
    ],
)
def test_eras_first_years_and_ends_the_wrong_way_round_are_understood(question: str, where: str) -> None:
    assert [each.where for each in understand(question, today=TODAY).chips] == [where]


@pytest.mark.parametrize("question", ["a dog im J\xadu\xadli\u200b 2023", "\u202ea dog\u202c im\u200f Juli\ufeff 2023"])
def test_what_nobody_sees_changes_no_date_and_the_chip_stands_where_its_words_do(question: str) -> None:
    found = understand(question, today=TODAY)
    (chip,) = found.chips
    assert chip.where == 'taken_on in "2023-07"'
    assert question[chip.start : chip.end] == chip.words
    assert chip.words.endswith("2023")
    assert "2023" not in found.text
    assert understand(question, today=TODAY, literal="im Juli 2023").chips == ()
