"""JSON that knows whether it is still what was written: its last member is the CRC-32 of what stands before it.

The rule: a file without a sum, of an earlier version, is read as it is.
"""

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

_SUM = re.compile(rb'(?:, )?"sum": "([0-9a-f]{8})"\}\Z')


def with_sum(value: Mapping[str, Any]) -> bytes:
    """A JSON object on one line, its sum at its end."""
    text = json.dumps(value)
    separator = ", " if value else ""
    return f'{text[:-1]}{separator}"sum": "{zlib.crc32(text.encode()):08x}"}}'.encode()


def without_sum(data: bytes) -> dict[str, Any]:
    """The object that ``with_sum`` wrote. Raises ValueError for one that is not what was written."""
    found = _SUM.search(data)
    text = data if found is None else data[: found.start()] + b"}"
    if found is not None and int(found[1], 16) != zlib.crc32(text):
        raise ValueError("its check sum is another")
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"it holds {type(value).__name__} and no object")  # noqa: TRY004  (the file is at fault)
    return value
