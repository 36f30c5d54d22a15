"""Which words are found in which scripts: the cases, and the table of docs/words.md that is made of them.

python -m tests.words_table     writes the table anew, as the embedded engine answers
"""

import unicodedata
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from connector.filters.parse import parse_filter
from connector.records import Point
from connector.store.edge.engine import EmbeddedEngine
from connector.store.engine import Engine, WordsQuery
from connector.store.schema import CollectionSchema, Fingerprint, Words
from connector.words.settings import WordsSettings
from tests.scratch import scratch_folder

PAGE = Path(__file__).parents[1] / "docs" / "words.md"
BEGIN, END = "<!-- scripts -->", "<!-- end of scripts -->"
KINDS = ("word", "inner", "bare", "case", "form")
"""A whole word; a word inside a run without spaces; without accents or points; in another case; another form of it."""
HEADS = ("whole word", "inner word", "without marks", "other case", "other form")
SCHEMA = CollectionSchema(
    Fingerprint("mini", dims=4, image_size=64), {"caption": "text"}, words=Words(WordsSettings().all_weights)
)


@dataclass(frozen=True)
class Case:
    """A caption in a language, and what it is asked for by kind; ``missed`` are kinds that are not found."""

    language: str
    script: str
    caption: str
    asked: Mapping[str, str]
    missed: tuple[str, ...] = ()


def _case(language: str, script: str, caption: str, *missed: str, **asked: str) -> Case:
    return Case(language, script, caption, asked, missed)


CASES: tuple[Case, ...] = (
    _case("English", "Latin", "Two dogs on the beach", word="beach", case="BEACH", form="dog"),
    _case("English, cities", "Latin", "Old cities by night", word="night", case="Old", form="city"),
    _case("German", "Latin", "Überraschung für Hunde", word="Hunde", bare="uberraschung", case="HUNDE", form="Hund"),
    _case("German, ß", "Latin", "Große Straße in Köln", word="Köln", bare="Koln", case="STRASSE", form="Straßen"),
    _case("German, -er", "Latin", "Bunte Häuser", "form", word="Häuser", bare="hauser", case="HÄUSER", form="Haus"),
    _case("French", "Latin", "Les bateaux à l'été, café fermé", word="café", bare="cafe", case="CAFÉ", form="bateau"),
    _case("Spanish", "Latin", "Niños en las playas", word="niños", bare="ninos", case="NIÑOS", form="playa"),
    _case("Portuguese", "Latin", "Corações e praias", word="praias", bare="coracoes", case="PRAIAS", form="praia"),
    _case("Italian", "Latin", "Spiagge della città", word="spiagge", bare="citta", case="CITTÀ", form="spiaggia"),
    _case("Dutch", "Latin", "Twee honden aan zee", word="honden", case="HONDEN", form="hond"),
    _case("Swedish", "Latin", "Båtarna på sjön", word="sjön", bare="sjon", case="SJÖN"),
    _case("Polish", "Latin", "Zachód słońca na plaży w Łodzi", word="plaży", bare="lodzi", case="PLAŻY", form="plaża"),
    _case("Czech", "Latin", "Kočka a žluté růže", word="kočka", bare="kocka", case="RŮŽE", form="kočky"),
    _case("Turkish", "Latin", "İstanbul'da kediler ve ışık", word="kediler", bare="isik", case="istanbul", form="kedi"),
    _case("Irish", "Latin", "Conan O’Neill’s café", word="O'Neill", inner="neill", bare="oneill", case="ONEILL"),
    _case("compounds", "Latin", "Wi-Fi im U.S.-Café, AC/DC", word="wi-fi", inner="wi", bare="wifi acdc", case="WIFI"),
    _case("German, spelt out", "Latin", "Müller, Größe", word="Müller", bare="muller", form="Mueller"),
    _case("Hawaiian", "Latin", "Hawaiʻi", word="Hawai'i", bare="Hawaii"),
    _case("Vietnamese", "Latin", "Phở bò ở Hà Nội", word="Hà Nội", bare="pho bo", case="HÀ NỘI"),
    _case("Greek", "Greek", "Σκύλοι στην παραλία", word="παραλία", bare="παραλια", case="ΠΑΡΑΛΊΑ", form="σκύλος"),
    _case("Russian", "Cyrillic", "Собака на пляже, ёлка", word="пляже", bare="елка", case="СОБАКА", form="пляж"),
    _case("Ukrainian", "Cyrillic", "Їжак у лісі", word="їжак", bare="іжак", case="ЇЖАК", form="ліс"),
    _case("letters that look alike", "Cyrillic, Greek", "Mосквa, Itαλiα", word="Москва", bare="Ιταλια", case="МОСКВА"),
    _case("Ukrainian, apostrophe", "Cyrillic", "п'ять об’єктів", word="п’ять", bare="пять", case="П'ЯТЬ"),
    _case("Greek, final sigma", "Greek", "Ὀδυσσεύς, ὁδός", word="ὁδός", bare="οδος", case="ΟΔΥΣΣΕΎΣ"),
    _case("Arabic", "Arabic", "الكلاب على الشَّاطِئ", word="الكلاب", bare="الشاطئ", form="شاطئ"),
    _case("Arabic, broken plural", "Arabic", "كلاب كبيرة", "form", word="كلاب", form="كلب"),
    _case("Persian", "Arabic", "سگ‌ها در ساحل", word="ساحل", bare="سگها", form="ساحلها"),
    _case("Hebrew", "Hebrew", "הכלבים בַּחוֹף", word="הכלבים", bare="בחוף", form="כלב"),
    _case("Persian on Arabic keys", "Arabic", "كرنادا, پاریس", word="پاریس", form="گرنادا", bare="باريس"),
    _case("Persian, gap", "Arabic", "می‌روم به کتاب‌خانه", word="کتاب‌خانه", inner="کتاب", bare="میروم", form="می روم"),
    _case("Hebrew, marks", "Hebrew", "צה״ל, בית־ספר, ג'ירפה", word="צה״ל", inner="ספר", bare="צהל", form="גירפה"),
    _case("Hindi, dots", "Devanagari", "फ़िल्म में हिन्दी", word="फ़िल्म", bare="फिल्म", form="हिंदी"),
    _case("Hindi", "Devanagari", "समुद्र तट पर कुत्ते", word="समुद्र", form="कुत्ता"),
    _case("Bengali", "Bengali", "সৈকতে কুকুরগুলো", word="কুকুরগুলো", form="কুকুর"),
    _case("Punjabi", "Gurmukhi", "ਸਮੁੰਦਰ ਤੇ ਕੁੱਤੇ", word="ਸਮੁੰਦਰ", form="ਕੁੱਤਾ"),
    _case("Gujarati", "Gujarati", "દરિયા કિનારે કૂતરો", word="દરિયા", form="કૂતરા"),
    _case("Tamil", "Tamil", "கடற்கரையில் நாய்கள்", word="நாய்கள்", form="நாய்"),
    _case("Telugu", "Telugu", "బీచ్ లో కుక్కలు", word="కుక్కలు", form="కుక్క"),
    _case("Kannada", "Kannada", "ಕಡಲತೀರ ನಾಯಿಗಳು", word="ನಾಯಿಗಳು", form="ನಾಯಿ"),
    _case("Malayalam", "Malayalam", "കടൽത്തീരം നായകൾ", word="നായകൾ", form="നായ"),
    _case("Sinhala", "Sinhala", "වෙරළ බල්ලා", word="වෙරළ"),
    _case("Thai", "Thai", "สุนัขบนชายหาดกรุงเทพมหานคร", word="สุนัขบนชายหาดกรุงเทพมหานคร", inner="กรุงเทพ"),
    _case("Lao", "Lao", "ໝາຢູ່ຫາດຊາຍວຽງຈັນ", word="ໝາຢູ່ຫາດຊາຍວຽງຈັນ", inner="ວຽງຈັນ"),
    _case("Khmer", "Khmer", "ឆ្កែនៅឆ្នេរភ្នំពេញ", word="ឆ្កែនៅឆ្នេរភ្នំពេញ", inner="ភ្នំពេញ"),
    _case("Burmese", "Myanmar", "ရန်ကုန်မြို့ကခွေး", word="ရန်ကုန်မြို့ကခွေး", inner="ရန်ကုန်"),
    _case("Georgian", "Georgian", "ძაღლები სანაპიროზე", word="ძაღლები", form="ძაღლი"),
    _case("Georgian, capitals", "Georgian", "თბილისი", word="თბილისი", case="ᲗᲑᲘᲚᲘᲡᲘ"),
    _case("Cherokee", "Cherokee", "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ", word="ᏣᎳᎩ", case="ꮳꮃꭹ"),
    _case("Armenian", "Armenian", "Կատուներ Երևանում", word="կատուներ", case="ԿԱՏՈՒՆԵՐ", form="կատու"),
    _case("Amharic", "Ethiopic", "ቤት እና መኪናዎች", word="ቤት", form="መኪና"),
    _case("Tibetan", "Tibetan", "ལྷ་ས་གྲོང་ཁྱེར", word="ལྷ་ས", inner="གྲོང"),
    _case("Chinese, simplified", "Han", "上海外滩的夜景", word="上海外滩的夜景", inner="夜景"),
    _case("Chinese, traditional", "Han", "臺北車站的貓", word="臺北車站的貓", inner="貓"),
    _case("Japanese", "Han, Kana", "東京駅の案内看板", word="東京駅の案内看板", inner="看板"),
    _case("Japanese, Kana", "Kana", "さくらとｺｰﾋｰとパン", word="さくらとコーヒーとパン", inner="コーヒー"),
    _case("Japanese, dots between", "Kana", "レオナルド・ダ・ヴィンチ", word="ダ・ヴィンチ", bare="ルドダヴィ"),
    _case("Korean, taken apart", "Hangul", unicodedata.normalize("NFD", "서울타워"), word="서울타워", inner="타워"),
    _case("Korean", "Hangul", "서울역에서 찍은 강아지들", word="서울역에서", inner="서울", form="강아지"),
    _case("numbers", "digits", "Dessert 2024, 1.234 Euro", word="2024", inner="1234"),
    _case("numbers, Arabic", "digits", "عام ٢٠٢٤", word="2024"),
    _case("numbers, Devanagari", "digits", "वर्ष २०२४", word="2024"),
    _case("code", "Latin, digits", "RE16 TGK", word="RE16", inner="16TG", case="tgk", form="re16tgk"),
    _case("code, joined", "Latin, digits", "RE16TGK", word="RE16TGK", inner="16tg", case="tgk", form="RE16 TGK"),
    _case("code, German", "Latin, digits", "M-AB 1234", word="M-AB 1234", inner="B12", case="ab", form="MAB1234"),
    _case("zeros", "digits", "Sendung 0012-7788", word="0012-7788", inner="788", bare="12-7788", form="00127788"),
    _case("ISBN", "digits", "ISBN 978-3-16-148410-0", word="978-3-16-148410-0", inner="148410", form="9783161484100"),
    _case("telephone", "digits", "+49 (0)30 123456-78", word="030 123456-78", inner="3456", form="12345678"),
    _case("IBAN", "Latin, digits", "DE89 3704 0044 0532 0130 00", word="DE89 3704", form="DE89370400440532013000"),
    _case("date", "digits", "2023-07-14", word="2023-07-14", inner="2023", form="20230714"),
    _case("run together", "Latin", "#NoFilter, OpenStreetMap", word="#NoFilter", inner="street", case="NOFILTER"),
    _case("address", "Latin", "anna.maria@example-shop.co.uk", word="example-shop", inner="anna", bare="exampleshop"),
    _case("invisible", "Latin, Hebrew", "so\u00adft \u200fחוף\u200e re\u200bd", word="soft", inner="red", bare="חוף"),
    _case("full width", "Latin", "ＳＡＬＥ　５０％", word="sale", case="SALE", inner="50"),
    _case("ligature", "Latin", "Oﬃce ﬁsh", word="office", case="FISH"),
    _case("emoji", "symbols", "Geburtstag🎂Kuchen", word="🎂", case="KUCHEN"),
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """Whether one question found its caption: by its words, and by a filter."""

    case: Case
    kind: str
    by_words: bool
    by_filter: bool


def id_of(number: int) -> str:
    """The id of a case's point."""
    return str(uuid.UUID(int=number + 1))


def fill(engine: Engine) -> None:
    """Make the collection, with a point for each case and one without text."""
    engine.create(SCHEMA)
    payloads: list[dict[str, Any]] = [{"meta": {"caption": case.caption}} for case in CASES]
    vector = np.array([1, 0, 0, 0], dtype=np.float32)
    engine.upsert([Point(id_of(number), vector, each) for number, each in enumerate([*payloads, {"width": 1}])])


def answers(engine: Engine) -> list[Answer]:
    """Every question of every case, as an engine answers it."""
    questions = [(number, kind) for number, case in enumerate(CASES) for kind in KINDS if kind in case.asked]
    asked = [CASES[number].asked[kind] for number, kind in questions]
    found = engine.query([WordsQuery(text, limit=len(CASES)) for text in asked])
    return [
        Answer(
            CASES[number],
            kind,
            by_words=id_of(number) in {hit.id for hit in hits},
            by_filter=id_of(number) in _filtered(engine, text),
        )
        for (number, kind), text, hits in zip(questions, asked, found, strict=True)
    ]


def _filtered(engine: Engine, text: str) -> set[str]:
    where = parse_filter(f'"{text}" in meta.caption', indexes=SCHEMA.indexes)
    return {point.id for point in engine.scroll(limit=len(CASES), where=where, fields=[]).points}


def table(found: Sequence[Answer]) -> str:
    """The table as Markdown: what was asked, and whether words and filters find it."""
    by_case = {(answer.case.language, answer.kind): answer for answer in found}
    lines = [f"| language | script | caption | {' | '.join(HEADS)} |", "| --- " * (3 + len(KINDS)) + "|"]
    for case in CASES:
        cells = [_cell(case, by_case.get((case.language, kind)), kind) for kind in KINDS]
        caption = case.caption.replace("\u00ad", "").translate(dict.fromkeys((0x200B, 0x200E, 0x200F)))
        lines.append(f"| {case.language} | {case.script} | {caption} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(case: Case, answer: Answer | None, kind: str) -> str:
    if answer is None:
        return ""
    marks = {(True, True): "", (True, False): " (by words alone)", (False, True): " (by a filter alone)"}
    mark = marks.get((answer.by_words, answer.by_filter), " **not found**")
    return f"{case.asked[kind]}{mark}"


def main() -> None:
    """Write the table into its page."""
    with scratch_folder() as folder, closing(EmbeddedEngine.open(folder, collection="scripts")) as engine:
        fill(engine)
        made = table(answers(engine))
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
