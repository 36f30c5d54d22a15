"""Text to tokens, alike for the words we know and for questions: numbers, words, signs, unspaced characters.

The rule: a token keeps where it stood in the text, so that whatever was understood can be shown and taken back.
"""

import re
import unicodedata
from dataclasses import dataclass

_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3041-\u30fa\u30fc-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
)
"""Scripts without spaces between words, and Korean, whose words end in particles."""
_ASCII_SIGN, _LATIN_SIGN = r"!-/:-@\[-`{-~", r"\u00a0-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b9\u00bb-\u00bf"
_EASTERN_SIGN = r"\u060c\u061b\u061f\u06d4\u0964\u0965"
_OTHER_SIGN = r"\u2000-\u206f\u3000-\u3004\u3008-\u303f\u30fb\uff00-\uff0f\uff1a-\uff20"
_SIGN = rf"\s\d{_ASCII_SIGN}{_LATIN_SIGN}{_EASTERN_SIGN}{_OTHER_SIGN}"
_TOKEN = re.compile(rf"(?P<number>\d+)|(?P<unspaced>[{_UNSPACED}])|(?P<word>[^{_SIGN}{_UNSPACED}]+)|(?P<sign>\S)")
_UNSPACED_LETTER = re.compile(f"[{_UNSPACED}]")
_HANGUL = re.compile("[\uac00-\ud7a3]")
_ALIKE = str.maketrans(
    {"’": "'", "ʼ": "'", "`": "'", "׳": "'", "–": "-", "—": "-", "‐": "-", "‑": "-", "\u0307": None}
    | dict.fromkeys("أإآٱ", "ا")
    | {"ي": "ی", "ى": "ی", "ك": "ک", "\u0640": None, "\u200c": None, "\u200e": None, "\u200f": None}
    | dict.fromkeys(map(chr, range(0x064B, 0x0653)), None)
)
"""Letters that are written in several ways and mean the same, and marks that are left out as often as not."""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a text: ``key`` as it is looked up, ``start`` and ``end`` where it stands, ``number`` of digits."""

    text: str
    key: str
    start: int
    end: int
    number: int | None = None

    @property
    def is_unspaced(self) -> bool:
        """Whether its script has no spaces between words."""
        return bool(_UNSPACED_LETTER.match(self.key))

    @property
    def is_hangul(self) -> bool:
        """Whether it is a syllable of Korean, whose words begin after a space and end in particles."""
        return bool(_HANGUL.match(self.key))

    @property
    def is_capital(self) -> bool:
        """Whether it begins with a capital."""
        return self.text[0].isupper()

    @property
    def is_word(self) -> bool:
        """Whether it is made of letters."""
        return self.number is None and self.text[0].isalpha()


def tokens(text: str) -> list[Token]:
    """The tokens of a text."""
    found = []
    for match in _TOKEN.finditer(text):
        piece = match[0]
        number = int(piece) if match.lastgroup == "number" and len(piece) <= 8 else None
        key = piece if number is not None else normal(piece)
        if key:
            found.append(Token(piece, key, match.start(), match.end(), number))
    return found


def normal(text: str) -> str:
    """A word as it is looked up: one form of each letter, no capitals."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).casefold().translate(_ALIKE))


def key_of(phrase: str) -> str:
    """A phrase as it is looked up: the keys of its tokens by spaces, ``#`` for any number."""
    return " ".join(each.key for each in tokens(phrase))


def folded(key: str) -> str:
    """A key without the accents of Latin and Greek letters, as people type it in haste."""
    kept: list[str] = []
    for letter in unicodedata.normalize("NFD", key):
        if unicodedata.combining(letter) and kept and ("a" <= kept[-1] <= "z" or "α" <= kept[-1] <= "ω"):
            continue
        kept.append(letter)
    return unicodedata.normalize("NFC", "".join(kept))
