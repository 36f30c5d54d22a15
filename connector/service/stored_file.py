"""What finding a file says: where an image's bytes are, and how to read on.

The one rule: a stretch of a tar is handed out only if the tar itself says that a file of this size begins there.
"""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from connector.errors import OriginalMissing
from connector.version import Version

HEAD = 64 * 1024
"""Bytes read at first: they tell the format, and are the whole of a small image."""
BLOCK = 256 * 1024
"""Bytes read at a time from then on."""

BLOCK_OF_TAR = 512
"""Bytes of a member's header, right before its data."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a file that is an image of its own, while the file is of ``version``."""

    start: int
    size: int
    version: Version


def check_member(header: bytes, *, span: Span) -> None:
    """Raise OriginalMissing unless the block before a stretch is the header of a file of its size."""
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        raise OriginalMissing("no file of the tar begins where the payload of this point says.") from error
    if not member.isreg() or member.size != span.size:
        raise OriginalMissing("the file in the tar is not the one that the payload of this point describes.")


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file, or a stretch of one, that is there: ``tag`` tells it from what may be there later."""

    size: int
    tag: str
    head: bytes
    read_on: Callable[[int, int], Iterator[bytes]]
