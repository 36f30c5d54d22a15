"""What every door checks before a model or the store is asked: texts, language tags, ids, numbers.

The rule: a message names the value seen, shortened, and what is wanted instead.
"""

import math
import re
import unicodedata
import uuid
from collections.abc import Sequence
from typing import TypeGuard

from connector.errors import InvalidQuery

MAX_TEXT = 10_000
"""Characters in one question; the text towers read far fewer."""
LANGUAGE_TAG = re.compile(r"([A-Za-z]{2,3})(-[A-Za-z0-9]{1,8})*")
_SILENT = ("Cc", "Cf", "Mn", "Zl", "Zp", "Zs")
"""Categories of characters that say nothing alone: spaces, joiners, direction marks, variation selectors."""


def check_texts(texts: Sequence[str]) -> None:
    """Raise InvalidQuery for the first text that asks nothing, with the character that is wrong."""
    if isinstance(texts, str):
        raise InvalidQuery("texts is one string, not a list of them; for a single text there is text().")
    for number, text in enumerate(texts):
        check_text("the text" if len(texts) == 1 else f"text {number + 1} of {len(texts)}", text)


def check_text(what: str, text: str) -> None:
    """Raise InvalidQuery unless the text says something, is Unicode, and is no longer than MAX_TEXT."""
    if not isinstance(text, str):
        raise InvalidQuery(f"{what} is {type(text).__name__}, not a string.")
    if len(text) > MAX_TEXT:
        raise InvalidQuery(f"{what} has {len(text)} characters; {MAX_TEXT} are allowed.")
    for place, letter in enumerate(text, 1):
        if (unicodedata.category(letter) == "Cc" and not letter.isspace()) or "\ud800" <= letter <= "\udfff":
            raise InvalidQuery(
                f"character {place} of {what} is {_named(letter)}; readable text is wanted.", position=place
            )
    if all(unicodedata.category(letter) in _SILENT for letter in text):
        raise InvalidQuery(f"{what} is empty; say what the image shows.")


def _named(letter: str) -> str:
    kind = "half a surrogate pair, so no Unicode" if "\ud800" <= letter <= "\udfff" else "a control character"
    return f"U+{ord(letter):04X}, {kind}"


def check_language(language: str | None) -> None:
    """Raise InvalidQuery for what is no language tag; None means that the language is not known."""
    if language is not None and not (isinstance(language, str) and LANGUAGE_TAG.fullmatch(language)):
        raise InvalidQuery(f"language is {shown(language)}; a tag such as en, de or zh-TW is wanted.")


def as_point_id(text: str) -> str:
    """The id in the one form that the store knows it by."""
    try:
        return str(uuid.UUID(text))
    except (ValueError, AttributeError, TypeError):
        raise InvalidQuery(f"{shown(text)} is no point id; one looks like {uuid.UUID(int=0)}.") from None


def check_between(name: str, value: int, least: int, greatest: int) -> None:
    """Raise InvalidQuery unless ``value`` is a whole number within the bounds."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidQuery(f"{name} is {shown(value)}; a whole number between {least} and {greatest} is wanted.")
    if not least <= value <= greatest:
        raise InvalidQuery(f"{name} is {shown(value)}; it must be between {least} and {greatest}.")


def is_number(value: object) -> TypeGuard[float]:
    """Whether this is a finite number, and no boolean."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 10**300 if isinstance(value, int) else math.isfinite(value)  # larger ones are no floats


def shown(value: object) -> str:
    """The value as a message repeats it, shortened where it is long."""
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number of more than 30 digits"  # Python itself refuses to print one of 5,000
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
