"""Text from files, stores and strangers, made fit for a terminal or a line of a log.

The rule: whatever is shown passes through here. Control characters, direction marks and line ends become U+FFFD, so
that no file name moves a cursor, changes a colour or begins a line of its own; letters of every script stay. Names and
passwords in addresses are masked by ``mask_credentials`` where an address comes in.
"""

import json
import logging
import re
import unicodedata
from datetime import UTC, datetime
from typing import Any

_MARK = "\N{REPLACEMENT CHARACTER}"
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""They shape words of Persian and Hindi, and emoji; they move nothing."""


def printable(text: object) -> str:
    """The text on one line of a terminal; what could act on it is replaced by U+FFFD."""
    return "".join(letter if _is_harmless(letter) else _MARK for letter in str(text))


def printable_lines(text: object) -> str:
    """A text of several lines and columns of ours: its line ends and tabs stay. Pass values through ``printable``."""
    return "".join(letter if letter in "\n\t" or _is_harmless(letter) else _MARK for letter in str(text))


_CREDENTIALS = re.compile(
    r"(?P<scheme>https?:[/\\]*|file://(?=[^\s/]{1,4096}@)|(?<![a-z0-9+.-])(?!file:)[a-z][a-z0-9+.-]{0,30}:[/\\]{2,})"
    r"(?:[^\s/?#\\]{1,4096}|[^\s/?#\\@:\[]{0,256}:(?!\d*(?:[/?#\s'\",;)]|$)).{0,4096})@",
    re.IGNORECASE,
)
"""Whatever stands between a scheme and the last @ of an authority; also a password whose slashes were not escaped."""


_BARE = re.compile(r"(?<![^\s'\"(=,])[^\s/?#\\@:'\"(=,]{1,256}:(?![/\\]|\*{3}@)[^\s@'\"]{1,4096}@(?=[\w\[])")
"""The same before the name of a host that no scheme stands before: ``user:password@host:9000``."""
_SIGNATURE = re.compile(
    r"([?&;](?:x-amz-[\w-]{1,40}|x-goog-[\w-]{1,40}|awsaccesskeyid|googleaccessid|signature|key-pair-id|policy|sig)=)"
    r"[^&\s'\"<>#]+",
    re.IGNORECASE,
)
"""What signs an address (``connector.remote.signed``)."""
_LONGEST = 8192
"""Letters of a text that are looked at and shown; an address of more is none."""


def mask_credentials(text: str) -> str:
    """The text, cut where very long, with ``***`` for ``user:password`` of every address in it, and for signatures."""
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    if "=" in cut:
        cut = _SIGNATURE.sub(r"\1***", cut)
    if "@" not in cut:
        return cut
    return _BARE.sub("***@", _CREDENTIALS.sub(r"\g<scheme>***@", cut))


def printable_json(value: Any) -> str:
    """JSON on one line; what ``printable`` replaces stands in it as an escape, so that nothing is lost."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(letter if _is_harmless(letter) else json.dumps(letter)[1:-1] for letter in text)


class PrintableFormatter(logging.Formatter):
    """Log lines of which each is one line; a traceback keeps its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name)
        """The line of a record, without names and passwords in addresses."""
        return printable(mask_credentials(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802  (logging's name)
        """The traceback of a record."""
        return printable_lines(super().formatException(ei))


class JsonFormatter(logging.Formatter):
    """Log lines of which each is one JSON object: time (RFC 3339, UTC), level, logger, message, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, without names and passwords in addresses."""
        told = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": mask_credentials(record.getMessage()),
        }
        if record.exc_info:
            told["traceback"] = mask_credentials(self.formatException(record.exc_info))
        return printable_json(told)


def _is_harmless(letter: str) -> bool:
    return letter.isprintable() or letter in _JOINERS or unicodedata.category(letter) == "Zs"
