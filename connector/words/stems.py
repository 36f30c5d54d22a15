"""Stems: a word without the ending of its plural or case, for scripts whose words have such endings.

The one rule: a few safe endings of each script, without a dictionary and without knowing the language, alike for what
is stored and what is asked. Both sides lose the same ending, so a stem need not be a word. Where an ending may as well
belong to another word (the German plural in -er, broken plurals in Arabic) it stays.
"""

from collections.abc import Callable
from functools import lru_cache


@lru_cache(maxsize=1 << 15)
def stem_of(word: str) -> str:
    """The stem of a word in normal form (``connector.words.normal``); itself where nothing is known of its script."""
    if len(word) < 4 and ord(word[0]) < 0x590:
        return word
    for first, last, stem in _SCRIPTS:
        if first <= ord(word[0]) <= last:
            return stem(word)
    return word


def _latin(word: str) -> str:
    """English, German, French, Spanish, Italian, Portuguese, Dutch, Polish, Turkish, Swedish, within reason."""
    if not word.isalpha():
        return word
    for ending, instead in _PLURALS:
        if word.endswith(ending):
            word = word[: len(word) - len(ending)] + instead
            break
    else:
        if word[-1] == "s" and word[-2] not in "sui":
            word = word[:-1]
    for ending in ("lari", "leri", "lar", "ler", "arna", "orna", "erna", "en"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    if len(word) >= 5 and word[-1] in "aeioy":
        word = word[:-1]
    return word[:-1] if len(word) >= 5 and word[-1] == "i" else word


_PLURALS = (
    *(("ies", "y"), ("eaux", "eau"), ("aux", "al"), ("eux", "eu")),
    *((f"{hiss}es", hiss) for hiss in ("ch", "sh", "ss", "x", "zz")),
)


def _without(endings: str, *, least: int, before: str = "") -> Callable[[str], str]:
    """Take the longest of ``before`` off the beginning, and the longest of the endings; ``least`` characters stay."""
    longest = sorted(endings.split(), key=len, reverse=True)
    firsts = sorted(before.split(), key=len, reverse=True)

    def stem(word: str) -> str:
        for first in firsts:
            if word.startswith(first) and len(word) - len(first) >= least:
                word = word[len(first) :]
                break
        for ending in longest:
            if word.endswith(ending) and len(word) - len(ending) >= least:
                return word[: -len(ending)]
        return word

    return stem


_GREEK = _without("ουσ ων οσ οι ου εσ ασ ησ εισ εων ια ιου ιων α η ο ι ε υ", least=3)
_CYRILLIC = _without(
    "ами ями ого его ому ему ыми ими ах ях ам ям ом ем ов ев еи ои ии ыи ая яя ое ее ие ые ую юю их ых "
    "ою ею ів ью а я о е и ы у ю ь і є",
    least=3,
)
_ARMENIAN = _without("ներ եր ները երը ների երի ով ում ը ն ի", least=3)
_HEBREW = _without("ימ ות ה ת", least=3, before="ה")
_ARABIC = _without("ات ون ين ان ها هم نا ه", least=3, before="وال بال كال فال ال لل")
_DEVANAGARI = _without("ियों ियां ाओं ों ें ीं ां ो े ी ि ा ू ु", least=2)
_BENGALI = _without("গুলো গুলি গুলোর দের রা টি টা কে তে ের ে", least=3)
_GURMUKHI = _without("ਾਂ ੀਆਂ ਿਆਂ ੇ ੀ ਾ", least=2)
_GUJARATI = _without("ાઓ ીઓ ઓ ો ું ા ી ે", least=2)
_TAMIL = _without("ங்கள் க்கள் களை களில் கள்", least=2)
_TELUGU = _without("లు ులు ాలు లను లో ు", least=2)
_KANNADA = _without("ಗಳು ಗಳ ಗಳನ್ನು", least=2)
_MALAYALAM = _without("കൾ ങ്ങൾ കള് കളെ", least=2)
_SINHALA = _without("වල් ල්ලා ෝ ා", least=2)
_GEORGIAN = _without("ებმა ების ებს ები მა ის ით ად ს ი ა", least=3)
_ETHIOPIC = _without("ዎች ኦች ዎቹ ች", least=2)

_SCRIPTS: tuple[tuple[int, int, Callable[[str], str]], ...] = (
    (0x61, 0x24F, _latin),
    (0x370, 0x3FF, _GREEK),
    (0x400, 0x52F, _CYRILLIC),
    (0x530, 0x58F, _ARMENIAN),
    (0x5D0, 0x5EF, _HEBREW),
    (0x620, 0x77F, _ARABIC),
    (0x900, 0x97F, _DEVANAGARI),
    (0x980, 0x9FF, _BENGALI),
    (0xA00, 0xA7F, _GURMUKHI),
    (0xA80, 0xAFF, _GUJARATI),
    (0xB80, 0xBFF, _TAMIL),
    (0xC00, 0xC7F, _TELUGU),
    (0xC80, 0xCFF, _KANNADA),
    (0xD00, 0xD7F, _MALAYALAM),
    (0xD80, 0xDFF, _SINHALA),
    (0x10A0, 0x10FF, _GEORGIAN),
    (0x1200, 0x137F, _ETHIOPIC),
)
"""First and last code point of a script, and how its words lose their endings."""
