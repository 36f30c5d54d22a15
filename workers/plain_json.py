"""Foreign values as plain JSON: what a table, a sidecar, a header or EXIF holds becomes what any store takes.

The one rule: nothing raises. What cannot be kept becomes text, or None.
"""

import math
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np

MAX_TEXT = 32_768
"""Characters kept of one string of the user's metadata."""
MAX_DEPTH = 16
"""Levels of nesting kept of the user's metadata."""


def clean(value: Any) -> Any:
    """``value`` as plain JSON: text without NULs and lone surrogates, finite numbers, 64-bit integers, text as keys.

    numpy's numbers and arrays become Python's, dates ISO 8601, decimals floats, longer integers text, bytes text where
    they are UTF-8. NaN, infinity, other bytes, and what lies deeper than ``MAX_DEPTH`` become None; anything else its
    ``str``.
    """
    return _clean(value, depth=0)


def plain_text(text: str) -> str:
    """Text that UTF-8 and every store can hold: no NULs, no lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _clean(value: Any, *, depth: int) -> Any:
    match value:
        case np.datetime64():
            return None if np.isnat(value) else str(value)
        case np.generic() | np.ndarray():
            return _clean(value.tolist(), depth=depth)
        case None | bool():
            return value
        case str():
            return plain_text(value[:MAX_TEXT])
        case int():
            return int(value) if -(2**63) <= value < 2**63 else _long(value)
        case Decimal() if not value.is_finite():
            return None
        case float() | Decimal():
            number = float(value)
            return number if math.isfinite(number) else None
        case datetime() | date() | time():
            return value.isoformat() if value == value else None  # pandas' NaT is a datetime
        case bytes():
            return _clean_bytes(value)
    if depth >= MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        return {plain_text(str(key)[:MAX_TEXT]): _clean(item, depth=depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item, depth=depth + 1) for item in value]
    return plain_text(str(value)[:MAX_TEXT])


def _clean_bytes(value: bytes) -> str | None:
    try:
        return plain_text(value.decode("utf-8")[:MAX_TEXT])
    except UnicodeDecodeError:
        return None


def _long(value: int) -> str | None:
    """An integer of more than 64 bits as text, so that an id keeps its digits; none of thousands of digits."""
    return str(value) if value.bit_length() <= 4096 else None
