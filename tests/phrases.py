"""Date phrases in many languages with the days they mean on one fixed day, for tests and benchmarks.

The rule: nothing of ``connector.understand`` makes them. Sentences are written by hand, with slots for numbers and
names; the days are counted here, by the calendar alone.
"""

# ruff: noqa: E501
import calendar
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from connector.understand.question import Chip

TODAY = date(2026, 12, 1)  # a Tuesday
YEARS = (2005, 2012, 2019, 2023)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A question, its language, and the first and last day it means."""

    text: str
    language: str
    first: date
    last: date


MONTHS: dict[str, str] = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "sv": "januari februari mars april maj juni juli augusti september oktober november december",
    "da": "januar februar marts april maj juni juli august september oktober november december",
    "nb": "januar februar mars april mai juni juli august september oktober november desember",
    "fi": "tammikuussa helmikuussa maaliskuussa huhtikuussa toukokuussa kesäkuussa heinäkuussa elokuussa syyskuussa lokakuussa "
    "marraskuussa joulukuussa",
    "pl": "styczniu lutym marcu kwietniu maju czerwcu lipcu sierpniu wrześniu październiku listopadzie grudniu",
    "cs": "lednu únoru březnu dubnu květnu červnu červenci srpnu září říjnu listopadu prosinci",
    "sk": "januári februári marci apríli máji júni júli auguste septembri októbri novembri decembri",
    "ru": "январе феврале марте апреле мае июне июле августе сентябре октябре ноябре декабре",
    "uk": "січні лютому березні квітні травні червні липні серпні вересні жовтні листопаді грудні",
    "bg": "януари февруари март април май юни юли август септември октомври ноември декември",
    "ro": "ianuarie februarie martie aprilie mai iunie iulie august septembrie octombrie noiembrie decembrie",
    "hu": "januárjában februárjában márciusában áprilisában májusában júniusában júliusában augusztusában szeptemberében októberében "
    "novemberében decemberében",
    "el": "Ιανουάριο Φεβρουάριο Μάρτιο Απρίλιο Μάιο Ιούνιο Ιούλιο Αύγουστο Σεπτέμβριο Οκτώβριο Νοέμβριο Δεκέμβριο",
    "tr": "Ocak Şubat Mart Nisan Mayıs Haziran Temmuz Ağustos Eylül Ekim Kasım Aralık",
    "ar": "يناير فبراير مارس أبريل مايو يونيو يوليو أغسطس سبتمبر أكتوبر نوفمبر ديسمبر",
    "he": "ינואר פברואר מרץ אפריל מאי יוני יולי אוגוסט ספטמבר אוקטובר נובמבר דצמבר",
    "hi": "जनवरी फ़रवरी मार्च अप्रैल मई जून जुलाई अगस्त सितंबर अक्टूबर नवंबर दिसंबर",
    "id": "Januari Februari Maret April Mei Juni Juli Agustus September Oktober November Desember",
    "ja": "1月 2月 3月 4月 5月 6月 7月 8月 9月 10月 11月 12月",
    "zh": "1月 2月 3月 4月 5月 6月 7月 8月 9月 10月 11月 12月",
    "ko": "1월 2월 3월 4월 5월 6월 7월 8월 9월 10월 11월 12월",
    "vi": "1 2 3 4 5 6 7 8 9 10 11 12",
    "th": "มกราคม กุมภาพันธ์ มีนาคม เมษายน พฤษภาคม มิถุนายน กรกฎาคม สิงหาคม กันยายน ตุลาคม พฤศจิกายน ธันวาคม",
}
MONTH_YEAR: dict[str, str] = {
    "en": "dog in {m} {y}|beach, {m} {y}", "de": "am Strand im {m} {y}", "fr": "plage en {m} {y}", "es": "playa en {m} de {y}",
    "it": "spiaggia a {m} {y}", "pt": "praia em {m} de {y}", "nl": "strand in {m} {y}", "sv": "stranden i {m} {y}", "da":
    "stranden i {m} {y}", "nb": "stranda i {m} {y}", "fi": "ranta {m} {y}", "pl": "plaża w {m} {y}|plaża w {m} {y} roku", "cs":
    "pláž v {m} {y}", "sk": "pláž v {m} {y}", "ru": "пляж в {m} {y}|пляж в {m} {y} года", "uk": "пляж у {m} {y} року", "bg":
    "плаж през {m} {y}", "ro": "plajă în {m} {y}", "hu": "strand {y} {m}", "el": "παραλία τον {m} του {y}", "tr": "plaj {m} {y}", "ar":
    "شاطئ في {m} {y}", "he": "חוף ב{m} {y}", "hi": "{m} {y} में समुद्र तट", "id": "pantai {m} {y}", "ja": "{y}年{m}の海", "zh": "{y}年{m}的海滩", "ko":
    "{y}년 {m} 바다", "vi": "bãi biển tháng {m} năm {y}", "th": "ทะเล {m} {y}",
}  # fmt: skip
YEAR: dict[str, str] = {
    "en": "a dog in {y}|selfies {y}", "de": "ein Hund im Jahr {y}|Selfies {y}", "fr": "un chien en {y}", "es": "un perro en {y}", "it": "un cane nel {y}",
    "pt": "um cachorro em {y}", "nl": "een hond in {y}", "sv": "en hund {y}", "da": "en hund i {y}", "nb": "en hund i {y}", "fi": "koira vuonna {y}", "pl":
    "pies w {y} roku", "cs": "pes v roce {y}", "sk": "pes v roku {y}", "ru": "собака в {y} году", "uk": "собака у {y} році", "bg": "куче през {y} година", "ro":
    "un câine în {y}", "hu": "kutya {y}-ban", "el": "σκύλος το {y}", "tr": "köpek {y} yılında", "ar": "كلب في عام {y}", "he": "כלב בשנת {y}", "hi":
    "{y} में कुत्ता", "id": "anjing tahun {y}", "ja": "{y}年の犬", "zh": "{y}年的狗", "ko": "{y}년 개", "vi": "con chó năm {y}", "th": "หมา ปี {y}",
}  # fmt: skip
LAST_YEAR: dict[str, str] = {
    "en": "last year", "de": "letztes Jahr|im letzten Jahr", "fr": "l'année dernière|l'an dernier", "es": "el año pasado", "it": "l'anno scorso", "pt":
    "no ano passado", "nl": "vorig jaar", "sv": "förra året", "da": "sidste år", "nb": "i fjor", "fi": "viime vuonna", "pl": "w zeszłym roku", "cs": "v minulém roce|loni",
    "sk": "minulý rok", "ru": "в прошлом году", "uk": "минулого року", "bg": "миналата година", "ro": "anul trecut", "hu": "tavaly|múlt évben", "el": "πέρυσι", "tr":
    "geçen yıl", "ar": "العام الماضي", "he": "בשנה שעברה", "hi": "पिछले साल|गत वर्ष", "id": "tahun lalu", "ja": "昨年|去年", "zh": "去年", "ko": "작년", "vi": "năm ngoái", "th": "ปีที่แล้ว",
}  # fmt: skip
LAST_MONTH: dict[str, str] = {
    "en": "last month", "de": "letzten Monat", "fr": "le mois dernier", "es": "el mes pasado", "it": "il mese scorso", "pt": "no mês passado", "nl": "vorige maand",
    "sv": "förra månaden", "da": "sidste måned", "nb": "forrige måned", "fi": "viime kuussa", "pl": "w zeszłym miesiącu", "cs": "minulý měsíc", "sk": "minulý mesiac",
    "ru": "в прошлом месяце", "uk": "минулого місяця", "bg": "миналия месец", "ro": "luna trecută", "hu": "múlt hónapban", "tr": "geçen ay", "ar": "الشهر الماضي", "he":
    "בחודש שעבר", "hi": "पिछले महीने", "id": "bulan lalu", "ja": "先月", "zh": "上个月", "ko": "지난달", "vi": "tháng trước", "th": "เดือนที่แล้ว", "el": "τον περασμένο μήνα",
}  # fmt: skip
LAST_WEEK: dict[str, str] = {
    "en": "last week", "de": "letzte Woche", "fr": "la semaine dernière", "es": "la semana pasada", "it": "la settimana scorsa", "pt": "na semana passada", "nl":
    "vorige week", "sv": "förra veckan", "da": "sidste uge", "nb": "forrige uke", "fi": "viime viikolla", "pl": "w zeszłym tygodniu", "cs": "minulý týden", "sk": "minulý týždeň",
    "ru": "на прошлой неделе", "uk": "минулого тижня", "bg": "миналата седмица", "ro": "săptămâna trecută", "hu": "múlt héten", "tr": "geçen hafta", "ar": "الأسبوع الماضي",
    "he": "בשבוע שעבר", "hi": "पिछले हफ्ते", "id": "minggu lalu", "ja": "先週", "zh": "上周", "ko": "지난주", "vi": "tuần trước", "th": "สัปดาห์ที่แล้ว", "el": "την περασμένη εβδομάδα",
}  # fmt: skip
YESTERDAY: dict[str, str] = {
    "en": "yesterday", "de": "gestern", "fr": "hier", "es": "ayer", "it": "ieri", "pt": "ontem", "nl": "gisteren", "sv": "igår", "da": "i går", "nb": "i går", "fi": "eilen", "pl":
    "wczoraj", "cs": "včera", "sk": "včera", "ru": "вчера", "uk": "вчора", "bg": "вчера", "ro": "ieri", "hu": "tegnap", "el": "χθες", "tr": "dün", "ar": "أمس", "he": "אתמול", "id":
    "kemarin", "ja": "昨日", "zh": "昨天", "ko": "어제", "vi": "hôm qua", "th": "เมื่อวาน",
}  # fmt: skip
LAST_SUMMER: dict[str, str] = {
    "en": "last summer", "de": "letzten Sommer", "fr": "l'été dernier", "es": "el verano pasado", "it": "l'estate scorsa", "pt": "no verão passado", "nl": "afgelopen zomer",
    "sv": "förra sommaren|i somras", "da": "sidste sommer", "nb": "forrige sommer", "fi": "viime kesänä", "pl": "zeszłego lata", "cs": "minulé léto", "sk": "minulé leto", "ru":
    "прошлым летом", "uk": "минулого літа", "bg": "миналото лято", "ro": "vara trecută", "hu": "múlt nyáron", "el": "το περασμένο καλοκαίρι", "tr": "geçen yaz", "ar": "الصيف الماضي",
    "he": "בקיץ האחרון", "hi": "पिछली गर्मियों", "ko": "지난 여름", "vi": "mùa hè năm ngoái:year", "ja": "昨年の夏:year", "zh": "去年夏天:year",
}  # fmt: skip
SUMMER_OF: dict[str, str] = {
    "en": "summer {y}|the summer of {y}", "de": "Sommer {y}|im Sommer {y}", "fr": "été {y}|l'été {y}", "es": "verano de {y}", "it": "estate {y}", "pt": "verão de {y}", "nl": "zomer {y}",
    "sv": "sommaren {y}", "da": "sommeren {y}", "nb": "sommeren {y}", "fi": "kesällä {y}", "pl": "latem {y}", "cs": "léto {y}", "sk": "leto {y}", "ru": "летом {y} года", "uk":
    "влітку {y}", "bg": "лятото на {y}", "ro": "vara {y}", "hu": "{y} nyara", "el": "καλοκαίρι {y}", "tr": "{y} yazı", "ar": "صيف {y}", "he": "קיץ {y}", "ja": "{y}年の夏", "zh": "{y}年夏天",
    "ko": "{y}년 여름", "vi": "mùa hè {y}", "id": "musim panas {y}",
}  # fmt: skip
DAY: dict[str, str] = {
    "en": "{d} {m} {y}|{m} {d}, {y}", "de": "{d}. {m} {y}|am {d}. {m} {y}", "fr": "le {d} {m} {y}", "es": "{d} de {m} de {y}", "it": "{d} {m} {y}", "pt": "{d} de {m} de {y}", "nl":
    "{d} {m} {y}", "sv": "den {d} {m} {y}", "da": "{d}. {m} {y}", "nb": "{d}. {m} {y}", "ro": "{d} {m} {y}", "bg": "{d} {m} {y}", "tr": "{d} {m} {y}", "ar": "{d} {m} {y}", "id": "{d} {m} {y}",
    "hi": "{d} {m} {y}", "ja": "{y}年{m}{d}日", "zh": "{y}年{m}{d}日", "ko": "{y}년 {m} {d}일", "vi": "ngày {d} tháng {m} năm {y}", "th": "{d} {m} {y}", "he": "{d} ב{m} {y}",
}  # fmt: skip
AGO: dict[str, str] = {
    "en": "{n} days ago", "de": "vor {n} Tagen", "fr": "il y a {n} jours", "es": "hace {n} días", "it": "{n} giorni fa", "pt": "há {n} dias", "nl": "{n} dagen geleden", "sv":
    "för {n} dagar sedan", "da": "for {n} dage siden", "nb": "for {n} dager siden", "fi": "{n} päivää sitten", "pl": "{n} dni temu", "cs": "před {n} dny", "sk": "pred {n} dňami", "ru":
    "{n} дней назад", "uk": "{n} днів тому", "bg": "преди {n} дни", "ro": "acum {n} zile", "hu": "{n} napja", "tr": "{n} gün önce", "ar": "قبل {n} أيام", "he": "לפני {n} ימים", "hi":
    "{n} दिन पहले", "id": "{n} hari yang lalu", "ja": "{n}日前", "zh": "{n}天前", "ko": "{n}일 전", "vi": "{n} ngày trước", "th": "{n} วันก่อน",
}  # fmt: skip


def phrases() -> Iterator[Phrase]:
    """Every phrase."""
    for language, names in MONTHS.items():
        for number, name in enumerate(names.split(), 1):
            for year in (2005, 2016, 2019, 2023):
                last = date(year, number, calendar.monthrange(year, number)[1])
                for template in MONTH_YEAR[language].split("|"):
                    yield Phrase(template.format(m=name, y=year), language, date(year, number, 1), last)
            for template in filter(None, DAY.get(language, "").split("|")):
                day = date(2023, number, 3 + number)
                yield Phrase(template.format(m=name, y=2023, d=day.day), language, day, day)
    for language, text in YEAR.items():
        for template in text.split("|"):
            for year in YEARS:
                yield Phrase(template.format(y=year), language, date(year, 1, 1), date(year, 12, 31))
    for language, text in SUMMER_OF.items():
        for template in text.split("|"):
            for year in YEARS:
                yield Phrase(template.format(y=year), language, date(year, 6, 1), date(year, 8, 31))
    for language, template in AGO.items():
        for count in (2, 3, 5, 9):
            day = TODAY - timedelta(days=count)
            yield Phrase(template.format(n=count), language, day, day)
    fixed = {
        "year": (LAST_YEAR, date(2025, 1, 1), date(2025, 12, 31)),
        "month": (LAST_MONTH, date(2026, 11, 1), date(2026, 11, 30)),
        "week": (LAST_WEEK, date(2026, 11, 23), date(2026, 11, 29)),
        "day": (YESTERDAY, date(2026, 11, 30), date(2026, 11, 30)),
        "summer": (LAST_SUMMER, date(2026, 6, 1), date(2026, 8, 31)),
    }
    for table, first, last in fixed.values():
        for language, text in table.items():
            for said in text.split("|"):
                phrase, _, of_year = said.partition(":")
                if of_year:
                    yield Phrase(phrase, language, date(2025, 6, 1), date(2025, 8, 31))
                else:
                    yield Phrase(phrase, language, first, last)


_ONE_DAY = re.compile(r"taken_on == ([\d-]+)")
_STRETCH = re.compile(r"([\d-]+) <= taken_on <= ([\d-]+)")
_MONTH = re.compile(r'taken_on in "(\d{4})-(\d\d)"')
_YEAR = re.compile(r'taken_on in "(\d{4})"')


def days_of(chips: Iterable[Chip]) -> list[tuple[date, date] | None]:
    """The days that each chip's condition lets through; None for a condition on something else."""
    return [_days(each.where) for each in chips]


def _days(where: str) -> tuple[date, date] | None:
    if match := _ONE_DAY.fullmatch(where):
        return date.fromisoformat(match[1]), date.fromisoformat(match[1])
    if match := _STRETCH.fullmatch(where):
        return date.fromisoformat(match[1]), date.fromisoformat(match[2])
    if match := _MONTH.fullmatch(where):
        year, month = int(match[1]), int(match[2])
        return date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1])
    match = _YEAR.fullmatch(where)
    return (date(int(match[1]), 1, 1), date(int(match[1]), 12, 31)) if match else None
