"""Which names are listed: those that end like a picture's, and none that begin with a dot."""

import re
from pathlib import PurePosixPath

# fmt: off
EXTENSIONS = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".avifs", ".gif", ".tif", ".tiff", ".bmp",
    ".dib", ".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc", ".heic", ".heics", ".heif", ".heifs", ".hif",
})
# fmt: on
"""What is listed, case-blind. What a file really is, its bytes decide later."""

_HIDDEN = re.compile(r"(^|/)\.(?!\.?/)")


def is_picture_name(name: str) -> bool:
    """Whether a file of this name is listed."""
    return PurePosixPath(name).suffix.lower() in EXTENSIONS


def is_hidden(path: str) -> bool:
    """Whether a part of the path begins with a dot; ``./`` and ``../`` do not count."""
    return _HIDDEN.search(path) is not None


def readable(name: bytes) -> str:
    """A path or name as text, U+FFFD for what is no UTF-8."""
    return name.decode("utf-8", "replace")
