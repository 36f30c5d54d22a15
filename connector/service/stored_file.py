"""What finding a file says: where an image's bytes are, and how to read on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from connector.version import Version

HEAD = 64 * 1024
"""Bytes read at first: they tell the format, and are the whole of a small image."""
BLOCK = 256 * 1024
"""Bytes read at a time from then on."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a file that is an image of its own, while the file is of ``version``."""

    start: int
    size: int
    version: Version


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file, or a stretch of one, that is there: ``tag`` tells it from what may be there later."""

    size: int
    tag: str
    head: bytes
    read_on: Callable[[int, int], Iterator[bytes]]
