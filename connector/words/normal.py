"""Normal form: any text -> words that can be compared, alike at ingestion and at question time.

The one rule: what is written in several ways for one and the same reader becomes one: case, width, accents of Latin,
Greek and Cyrillic letters, vowel points of Arabic and Hebrew, digits of every script. Vowels of Indic and Thai scripts
are letters of their words and stay. What nobody sees (format characters, marks of direction) is left out, and all that
is neither letter nor number parts words; what stands between two letters as a hyphen or an apostrophe makes a compound
of them, too. Nothing here refuses a text, whatever it holds.
"""

import re
import unicodedata
from itertools import pairwise

MOST_CHARACTERS = 20_000
"""Of one text; what stands behind is not read. A page of print has some 3,000."""
MOST_PARTS = 8
"""Parts of a compound of which neighbours are joined."""
LONGEST_WORD = 64
"""Characters of a word; what is longer is no word, and is cut."""

_FOLDED = {
    **dict(zip("ıłøđðħŋƒ", "iloddhnf", strict=True)),
    **{"æ": "ae", "œ": "oe", "þ": "th", "ĸ": "k"},
    **dict(zip("ىیېکةۀہھ", "يييكهههه", strict=True)),
    **dict(zip("ךםןףץ", "כמנפצ", strict=True)),
    "ँ": "ं",
}
"""Letters that no decomposition takes apart, or that end words in a form of their own."""
_POINTS = (
    *(range(0x300, 0x370), range(0x1AB0, 0x1B00), range(0x1DC0, 0x1E00), range(0x20D0, 0x2100)),
    *(range(0x64B, 0x660), range(0x670, 0x671), range(0x6D6, 0x6EE), range(0x8CA, 0x900)),
    *(range(0x591, 0x5BE), (0x5BF, 0x5C1, 0x5C2, 0x5C4, 0x5C5, 0x5C7), range(0x640, 0x641)),
    *(range(0xFE00, 0xFE10), range(0xFE20, 0xFE30), range(0xE0100, 0xE01F0)),
    (0x93C, 0x9BC, 0xA3C, 0xABC, 0xB3C, 0xCBC),
)
"""Accents; points of Arabic and Hebrew and the stroke that stretches Arabic words; what varies a glyph; the dot that
letters of Indic scripts have below, which many leave out."""

CHINESE = "\u3005-\u3007\u3031-\u3035\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
"""Han and Kana, as a class of a regular expression."""
KOREAN = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"
"""Hangul: it has spaces, but particles stick to its words."""
SOUTH_EAST = (
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf"
    "\u1b00-\u1b7f\ua980-\ua9df\u1680\u1700-\u173f"
)
"""Thai, Lao, Myanmar, Khmer and their neighbours, which put no space between words."""
_UNSPACED = re.compile(f"[{CHINESE}{KOREAN}{SOUTH_EAST}]")
_PIECES = re.compile(f"[{CHINESE}]+|[{KOREAN}]+|[{SOUTH_EAST}]+|[^{CHINESE}{KOREAN}{SOUTH_EAST}]+")
_SPECIAL = re.compile("[äöüÄÖÜ]|[aouAOU]\u0308|[گچپژ]")
_SPELT = {"a": "ae", "o": "oe", "u": "ue", "گ": "ك", "چ": "ج", "پ": "ب", "ژ": "ز"}
"""Umlauts, and letters of Persian and its neighbours that Arabic keyboards, and readers of images, lack."""

_APOSTROPHES = "'\u2019\u2018`\u2032\u02b9-\u02bf\u02c8\u05f3\u05f4\""
_HYPHENS = "\\-\u2010-\u2013\u2212\u05be_/&\u00b7\u2027\u30fb"
_CONNECTORS = re.compile(f"[{_APOSTROPHES}{_HYPHENS}][^\\W\\d_]")
_APOSTROPHE = re.compile(f"[{_APOSTROPHES}]")
_HYPHEN = re.compile(f"[{_HYPHENS}]")
_ABBREVIATION = re.compile(r"(?<![\w.])[^\W\d_](?:\.[^\W\d_])+(?![^\W_])")
_LOOSE = re.compile("(?<=[\u0620-\u06ff])\u200c(?=[\u0620-\u06ff])")
"""What Persian puts inside a word where others put a hyphen: seen as a small gap, and typed as a space by many."""


_NASALS = re.compile("ङ्(?=[क-घ])|ञ्(?=[च-झ])|ण्(?=[ट-ढ])|न्(?=[त-ध])|म्(?=[प-भ])")
"""In Devanagari the nasal of a consonant's own class, which a dot above may stand for: हिन्दी is हिंदी."""
_MIXED = re.compile("[a-z]+[\u03b1-\u03c9\u0430-\u045f]|[\u03b1-\u03c9\u0430-\u045f]+[a-z]")
_LOOKS = {
    "\u0370": str.maketrans("abehikmnoptuvxyz", "αβεηικμνορτυνχυζ"),
    "\u0430": str.maketrans("abcehikmnoptxy", "авсенікмпортху"),
}
"""Latin letters as Greek and Cyrillic ones that look like them: readers of images, and some keyboards, mix them."""
_PUNCTUATION = re.compile(r"[!#$%()*+,.:;<=>?@\[\]\\^{|}~]")


class _Letters(dict[int, str | None]):
    """What becomes of each character, looked up in Unicode's tables once."""

    def __missing__(self, code: int) -> str | None:
        self[code] = became = _became(chr(code), code)
        return became


def _became(character: str, code: int) -> str | None:
    if character in _FOLDED:
        return _FOLDED[character]
    if any(code in some for some in _POINTS):
        return None
    if 0x2B9 <= code <= 0x2BF or code == 0x2C8:  # apostrophes that Unicode counts among letters
        return " "
    match unicodedata.category(character):
        case "Cf":
            return None
        case "Nd":
            return str(unicodedata.decimal(character))
        case "Lu" | "Ll" | "Lt" | "Lm" | "Lo" | "Mn" | "Mc" | "Nl" | "No":
            return character
        case "So" if code >= 0x2600:  # an emoji is a word
            return f" {character} "
        case _:
            return " "


_LETTERS = _Letters()
_ASCII = {code: " " for code in range(128) if not chr(code).isalnum()}


def words_of(text: str) -> list[str]:
    """The words of a text, in order: ``Überraschung – ２０２４`` gives ``["uberraschung", "2024"]``."""
    text = text[:MOST_CHARACTERS]
    if "\u200c" in text:
        text = _LOOSE.sub("-", text)
    if text.isascii():
        normal = text.lower().translate(_ASCII)
    else:
        folded = unicodedata.normalize("NFKC", text).casefold().lower()  # Cherokee folds to capitals
        normal = unicodedata.normalize("NFC", unicodedata.normalize("NFD", folded).translate(_LETTERS))
        if "\u094d" in normal:
            normal = _NASALS.sub("ं", normal)
        if _MIXED.search(normal):
            return [_of_one_script(word)[:LONGEST_WORD] for word in normal.split()]
    return [word[:LONGEST_WORD] for word in normal.split()] if len(normal) > LONGEST_WORD else normal.split()


def _of_one_script(word: str) -> str:
    """A word of Greek or Cyrillic letters without Latin ones among them that look alike."""
    others = [letter for letter in word if letter > "\u036f"]
    if len(others) < len(word) / 2 or not _MIXED.search(word):
        return word
    return word.translate(_LOOKS["\u0430" if others[0] >= "\u0430" else "\u0370"])


def compounds_of(text: str) -> list[str]:
    """Words that hyphens, apostrophes and the like part, joined: ``Wi-Fi``, ``O'Neill``, ``U.S.A.`` without them.

    Numbers are none: ``connector.words.terms`` joins those.
    """
    text = text[:MOST_CHARACTERS]
    if not text.isascii():
        text = _LOOSE.sub("-", unicodedata.normalize("NFKC", text.replace("\u00b4", "'")))
    joined = ["".join(words_of(each)) for each in _ABBREVIATION.findall(text)] if "." in text else []
    if _CONNECTORS.search(text):
        for token in _PUNCTUATION.sub(" ", text).split():
            joined += _joined(_HYPHEN.split(token))
    if not joined:
        return []
    known = {*words_of(text)}
    return [
        each
        for each in dict.fromkeys(joined)
        if 1 < len(each) <= LONGEST_WORD and not each.isdigit() and each not in known
    ]


def _joined(parts: list[str]) -> list[str]:
    """What a word's parts make together: all of them, those with an apostrophe, and neighbours."""
    words = ["".join(words_of(part)) for part in parts]
    alone = [word for word, part in zip(words, parts, strict=True) if _APOSTROPHE.search(part)]
    return [*alone, "".join(words), *(one + other for one, other in pairwise(words[:MOST_PARTS]))]


def spelt_out(text: str) -> list[str]:
    """Words with umlauts, or letters that Arabic lacks, as they are spelt without: ``Müller`` gives ``["mueller"]``."""
    if not _SPECIAL.search(text):
        return []
    parts = (part for part in text[:MOST_CHARACTERS].split() if _SPECIAL.search(part))
    return [word for part in parts for word in words_of(_SPECIAL.sub(_spelt, part))]


def _spelt(found: re.Match[str]) -> str:
    return _SPELT[unicodedata.normalize("NFD", found[0])[0].lower()]


def pieces_of(word: str) -> list[str]:
    """A word taken apart where its script changes between one with spaces and one without."""
    return _PIECES.findall(word) if not word.isascii() and _UNSPACED.search(word) else [word]


def is_unspaced(piece: str) -> bool:
    """Whether a piece is of a script in which words stand without spaces, or particles stick to them."""
    return _UNSPACED.match(piece) is not None


def gram_of(piece: str) -> int:
    """How many characters together tell such words apart: two in Chinese, Japanese, Korean, three in Thai and so on."""
    return 3 if re.match(f"[{SOUTH_EAST}]", piece) else 2
