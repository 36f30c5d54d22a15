"""The tree of a filter expression: nodes that know their size, leaves that know where they stand in the text."""

import unicodedata
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeAlias

from connector.errors import InvalidQuery

LONGEST_QUOTE = 60
"""Characters of an expression that a message repeats in one place."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where something stands in the expression: ``text[start:end]``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Path:
    """A field by name, such as ``width`` or ``meta.price``."""

    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Literal:
    """A value; ``date`` for a whole day, ``datetime`` (with zone) for an instant."""

    value: str | int | float | bool | date | datetime
    span: Span


Operand: TypeAlias = Path | Literal


@dataclass(frozen=True, slots=True)
class Comparison:
    """``operands[0] operators[0] operands[1] …``: one operator, or two for a chain such as 10 <= width < 20."""

    operands: tuple[Operand, ...]
    operators: tuple[str, ...]
    terms: int = 1
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Among:
    """``item in (members)``."""

    item: Operand
    members: tuple[Operand, ...]
    depth: int = 1

    @property
    def terms(self) -> int:
        """A term for each member."""
        return len(self.members)


@dataclass(frozen=True, slots=True)
class Inside:
    """``item in whole``: an element of a list field, or words of a text field."""

    item: Operand
    whole: Operand
    terms: int = 1
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Starts:
    """``item startswith prefix``."""

    item: Operand
    prefix: Operand
    terms: int = 1
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a call; ``name`` is None where it goes by position."""

    name: Path | None
    value: Operand


@dataclass(frozen=True, slots=True)
class Call:
    """``name(arguments)``."""

    name: Path
    arguments: tuple[Argument, ...]
    terms: int = 1
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of ``inner``."""

    inner: "Node"
    terms: int
    depth: int


@dataclass(frozen=True, slots=True)
class And:
    """Every one of ``parts``."""

    parts: tuple["Node", ...]
    terms: int
    depth: int


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of ``parts``."""

    parts: tuple["Node", ...]
    terms: int
    depth: int


Node: TypeAlias = Comparison | Among | Inside | Starts | Call | Not | And | Or


@dataclass(frozen=True, slots=True)
class Source:
    """The text of an expression, able to point into itself."""

    text: str

    def quote(self, span: Span) -> str:
        """The text there, shortened where it is long."""
        seen = self.text[span.start : span.end]
        return seen if len(seen) <= LONGEST_QUOTE else f"{seen[:LONGEST_QUOTE]}…"

    def fault(self, message: str, span: Span) -> InvalidQuery:
        """An error that says ``message``, the place, and shows it with a caret line."""
        start = min(span.start, len(self.text))
        line_start = self.text.rfind("\n", 0, start) + 1
        line_end = self.text.find("\n", start)
        line = self.text[line_start : line_end if line_end >= 0 else len(self.text)]
        number, column = self.text.count("\n", 0, start) + 1, start - line_start + 1
        place = f"column {column}" if "\n" not in self.text.strip() else f"line {number}, column {column}"
        shown, before = _window(line, column - 1)
        carets = "^" * max(1, min(_cells(self.text[start : span.end]), _cells(shown) - _cells(before)))
        said = f"{message} ({place} of the filter)\n  {shown}\n  {' ' * _cells(before)}{carets}"
        return InvalidQuery(said, position=start + 1)


_BEFORE, _AFTER = 40, 40


def _window(line: str, index: int) -> tuple[str, str]:
    """The part of a line around ``index`` worth showing, and the part of that before ``index``."""
    first, last = max(0, index - _BEFORE), index + _AFTER
    head = "…" if first else ""
    tail = "…" if last < len(line) else ""
    before = head + _printable(line[first:index])
    return before + _printable(line[index:last]) + tail, before


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _cells(text: str) -> int:
    """How wide a terminal shows the text: wide letters take two cells, combining ones none."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )
