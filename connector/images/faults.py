"""What became of an image that cannot be read: any exception of a decoder as one UnreadableImage.

The rule: one image is one reject. Only what ends the process passes (KeyboardInterrupt, SystemExit, GeneratorExit).
What was never seen before is ``decoder_error`` and is logged once with its traceback. A detail holds no bytes of the
file and no control characters.
"""

import logging
import re
import struct
import threading
import traceback
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from connector.errors import UnreadableImage
from connector.images.structure import ends_early, unread_kind

log = logging.getLogger(__name__)

MAX_DETAIL = 300
"""Characters kept of what a decoder says."""

_SEEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
    Warning,
)
"""What Pillow and its codecs have been seen to raise on broken files."""


@contextmanager
def one_image(name: str, data: bytes) -> Iterator[None]:
    """Whatever the block raises ends as UnreadableImage. ``data`` tells a file cut short from a damaged one."""
    try:
        yield
    except (UnreadableImage, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a plug-in written in Rust panics past Exception
        raise _unreadable(error, name, data) from error


def _unreadable(error: BaseException, name: str, data: bytes) -> UnreadableImage:
    said = _message(error)
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return UnreadableImage(f"this {name} claims too many pixels: {said}", reason="too_many_pixels")
    if not isinstance(error, _SEEN) or isinstance(error, RecursionError):
        _log_once(error, name)
        return UnreadableImage(f"the decoder of {name} failed: {type(error).__name__}: {said}", reason="decoder_error")
    if isinstance(error, EOFError) or "truncated" in str(error).lower() or (data and ends_early(data, name=name)):
        return UnreadableImage(f"this {name} ends before its image does: {said}", reason="truncated")
    if kind := unread_kind(data, name=name, said=str(error)):
        return UnreadableImage(f"a {name} of this kind is not supported ({kind}): {said}", reason="unsupported_format")
    return UnreadableImage(f"broken {name}: {said}", reason="corrupt")


_QUOTED = re.compile(r"""b?'(?:[^'\\]|\\.)*'|b?"(?:[^"\\]|\\.)*\"""")
_UNSEEN = re.compile(r"[^ -~]+")


def _message(error: BaseException) -> str:
    """What an error says, without what it may quote of the file, on one line of ASCII."""
    said = "" if isinstance(error, UnicodeError | KeyError) else str(error)
    text = _UNSEEN.sub(" ", _QUOTED.sub("…", said).replace("…", "...")).strip()
    return " ".join(text.split())[:MAX_DETAIL] or type(error).__name__


def _log_once(error: BaseException, name: str) -> None:
    """Log an error with its traceback, the first time that one comes from its place in the code."""
    frames = traceback.extract_tb(error.__traceback__)
    place = (type(error).__name__, *(f"{frame.filename}:{frame.lineno}" for frame in frames[-1:]))
    with _logging:
        if place in _logged or len(_logged) >= _MOST_LOGGED:
            return
        _logged.add(place)
    log.error("decoder_error format=%s error=%s", name, place[0], exc_info=error)


_MOST_LOGGED = 100
_logged: set[tuple[str, ...]] = set()
_logging = threading.Lock()
