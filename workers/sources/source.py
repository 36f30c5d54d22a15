"""Source: where images come from. Each kind lists refs and reads them; nothing else knows buckets or folders."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal, Protocol, runtime_checkable

from connector.errors import CannotRead, Stage
from workers.records import Outcome, Ref, Reject
from workers.sources.mounts import Mounts


class Source(Protocol):
    """A place full of images. ``list`` runs in one thread, ``read`` in many at once."""

    @property
    def root(self) -> str:
        """The canonical URI of the place, kept in every point as ``source``."""

    def list(self) -> Iterator[Ref | Reject]:
        """Every image there is, lazily. Raises SourceError when the place as a whole cannot be listed."""

    def read(self, refs: Sequence[Ref]) -> Iterator[Outcome]:
        """One outcome for each ref, in order. Raises SourceError only for what would fail every image."""

    def close(self) -> None:
        """Let go of connections."""


@runtime_checkable
class Selective(Protocol):
    """A source that lists files by their names, and counts by suffix those that the last listing left out."""

    @property
    def passed_over(self) -> Mapping[str, int]:
        """How many, by suffix, the most frequent first."""


Whereabouts = Literal["there", "gone", "emptied", "unmounted"]
"""Of an image that a listing does not name: it is there all the same; it is gone; its folder is there without anything
in it; the disk that it lay on is not there."""


@runtime_checkable
class Locating(Protocol):
    """A source that can say what became of an image which its listing does not name."""

    def locate(self, uri: str) -> Whereabouts:
        """Look for it now."""


@runtime_checkable
class Checkable(Protocol):
    """A source that can say at any time, and from any thread, whether it could be listed."""

    def check(self) -> None:
        """Raise SourceError where it cannot."""


@runtime_checkable
class Mounting(Protocol):
    """A source below which disks may be mounted."""

    @property
    def mounts(self) -> Mounts:
        """Those that it saw, and those that it is told of."""


def locate(source: Source, uri: str) -> Whereabouts:
    """What became of an image that the source's listing does not name; ``gone`` where the listing alone decides."""
    return source.locate(uri) if isinstance(source, Locating) else "gone"


def passed_over(source: Source) -> Mapping[str, int]:
    """How many files the last listing of a source left out, by suffix; none of one that lists by other means."""
    return source.passed_over if isinstance(source, Selective) else {}


@runtime_checkable
class Braked(Protocol):
    """A source whose store may ask for fewer requests."""

    @property
    def throttled(self) -> int:
        """How many requests the store has refused so far because they were too many."""


def throttled(source: Source) -> int:
    """How many requests a source's store has refused so far because they were too many."""
    return source.throttled if isinstance(source, Braked) else 0


def rejected(fault: CannotRead, uri: str, *, stage: Stage = "read") -> Reject:
    """The reject of the image at ``uri``."""
    return Reject(uri, stage=stage, reason=fault.reason, detail=str(fault))


# fmt: off
EXTENSIONS = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".avifs", ".gif", ".tif", ".tiff", ".bmp",
    ".dib", ".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc", ".heic", ".heics", ".heif", ".heifs", ".hif", ".jxl",
})
# fmt: on
"""What is listed, case-blind. What a file really is, its bytes decide later."""

_HIDDEN = re.compile(r"(^|/)\.(?!\.?/)")


def scheme_of(address: str) -> str:
    """The scheme of an address in small letters, empty for a path. ``http:`` with too few slashes is no path either."""
    scheme, colon, _ = address.partition(":")
    return scheme.lower() if colon and ("://" in address or scheme.lower() in ("http", "https")) else ""


def is_image_name(name: str) -> bool:
    """Whether a file of this name is listed; a name that ends in a slash stands for a folder."""
    return not name.endswith("/") and PurePosixPath(name).suffix.lower() in EXTENSIONS


def is_hidden(path: str) -> bool:
    """Whether a part of the path begins with a dot; ``./`` and ``../`` do not count."""
    return _HIDDEN.search(path) is not None


def readable(name: bytes) -> str:
    """A path or name as text, U+FFFD for what is no UTF-8."""
    return name.decode("utf-8", "replace")
