"""The grammar of filter expressions: text -> a small tree whose leaves know where they stand in the text.

What the words mean (which fields exist, what they hold) is ``connector.filters.parse``; here is only how they are put
together. The parser is LALR: it walks any text without recursion, however deeply nested.
"""

import re
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from connector.errors import InvalidQuery
from connector.filters.nodes import (
    Among,
    And,
    Argument,
    Call,
    Comparison,
    Inside,
    Literal,
    Node,
    Not,
    Operand,
    Or,
    Path,
    Source,
    Span,
    Starts,
)
from connector.store.schema import payload_key

LONGEST = 10_000
"""Characters of an expression."""
MOST_TERMS = 1_000
"""Comparisons and list members of an expression."""
DEEPEST = 50
"""Levels of and, or and not inside each other."""

GRAMMAR = r"""
?start: disjunction
?disjunction: conjunction (_OR conjunction)*
?conjunction: negation (_AND negation)*
?negation: _NOT negation -> negated
    | _LPAR disjunction _RPAR
    | operand (COMPARE operand)+ -> comparison
    | operand _IN list -> among
    | operand _NOT _IN list -> not_among
    | operand _IN operand -> inside
    | operand _NOT _IN operand -> not_inside
    | operand _STARTSWITH operand -> starts
    | PATH _LPAR (argument (_COMMA argument)*)? _RPAR -> call
list: _LPAR operand (_COMMA operand)* _COMMA? _RPAR
    | _LBRACKET operand (_COMMA operand)* _COMMA? _RBRACKET
argument: operand
    | PATH _ASSIGN operand
?operand: PATH -> path | STRING -> string | NUMBER -> number | DATE -> moment | TRUE -> true | FALSE -> false

_AND.3: /and(?![\w.-])/i
_OR.3: /or(?![\w.-])/i
_NOT.3: /not(?![\w.-])/i
_IN.3: /in(?![\w.-])/i
_STARTSWITH.3: /startswith(?![\w.-])/i
TRUE.3: /true(?![\w.-])/i
FALSE.3: /false(?![\w.-])/i
DATE.2: /\d{4}-\d\d-\d\d(?:[Tt]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:[Zz]|[+-]\d\d:\d\d)?)?(?![\w:])/
NUMBER.1: /[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])/
PATH: /[^\W\d][\w-]*(?:\.[\w-]+|\[(?:"[^"\\\n]+"|'[^"'\\\n]+')\])*/
STRING: /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/
COMPARE: /==|!=|<=|>=|<|>/
_ASSIGN: "="
_LPAR: "("
_RPAR: ")"
_LBRACKET: "["
_RBRACKET: "]"
_COMMA: ","
%ignore /\s+/
"""


def parse(text: str) -> tuple[Node, Source]:
    """The tree of an expression. Raises InvalidQuery, pointing at the place, for whatever is no expression."""
    source = Source(text)
    if len(text) > LONGEST:
        raise InvalidQuery(f"the filter has {len(text):,} characters; at most {LONGEST:,} are read.")
    if not text.strip():
        raise InvalidQuery("the filter is empty; write a condition such as width >= 1024, or leave the filter out.")
    try:
        text.encode()
        node: Node = _parser().parse(text)  # type: ignore[assignment]  # the transformer builds nodes, not trees
    except UnicodeEncodeError as error:
        raise source.fault("this letter is no Unicode.", Span(error.start, error.start + 1)) from error
    except UnexpectedToken as error:
        raise _unexpected_token(source, error) from error
    except UnexpectedCharacters as error:
        raise _unexpected_character(source, error.pos_in_stream or 0) from error
    except _Fault as fault:
        raise source.fault(fault.message, fault.span) from None
    _check_size(node)
    return node, source


def _check_size(node: Node) -> None:
    if node.terms > MOST_TERMS:
        raise InvalidQuery(f"the filter has {node.terms:,} terms; at most {MOST_TERMS:,} are read.")
    if node.depth > DEEPEST:
        raise InvalidQuery(f"the filter nests and, or and not {node.depth:,} deep; at most {DEEPEST} levels are read.")


class _Fault(Exception):
    """A leaf that cannot be read, on its way to ``parse``, which knows the text."""

    def __init__(self, message: str, span: Span) -> None:
        super().__init__(message)
        self.message = message
        self.span = span


@v_args(inline=True)
class _Builder(Transformer[Token, Node]):
    """Builds nodes from the bottom up while the parser reduces."""

    def path(self, token: Token) -> Path:
        names = [bare or quoted[1:-1] for bare, quoted in _NAME.findall(token)]
        return Path(name=payload_key(*names), span=_span(token))

    def string(self, token: Token) -> Literal:
        return Literal(value=_ESCAPE.sub(lambda found: _unescaped(found, token), token[1:-1]), span=_span(token))

    def number(self, token: Token) -> Literal:
        return Literal(value=_number(token), span=_span(token))

    def moment(self, token: Token) -> Literal:
        moment = read_moment(str(token))
        if moment is None:
            raise _Fault(f"there is no such date as {token}", _span(token))
        return Literal(value=moment, span=_span(token))

    def true(self, token: Token) -> Literal:
        return Literal(value=True, span=_span(token))

    def false(self, token: Token) -> Literal:
        return Literal(value=False, span=_span(token))

    def comparison(self, *parts: Any) -> Comparison:
        return Comparison(operands=parts[::2], operators=tuple(str(each) for each in parts[1::2]))

    def list(self, *members: Operand) -> tuple[Operand, ...]:
        return members

    def among(self, item: Operand, members: tuple[Operand, ...]) -> Among:
        return Among(item=item, members=members)

    def not_among(self, item: Operand, members: tuple[Operand, ...]) -> Not:
        return self.negated(Among(item=item, members=members))

    def inside(self, item: Operand, whole: Operand) -> Inside:
        return Inside(item=item, whole=whole)

    def not_inside(self, item: Operand, whole: Operand) -> Not:
        return self.negated(Inside(item=item, whole=whole))

    def starts(self, item: Operand, prefix: Operand) -> Starts:
        return Starts(item=item, prefix=prefix)

    def argument(self, first: Any, value: Operand | None = None) -> Argument:
        return Argument(name=None, value=first) if value is None else Argument(name=self.path(first), value=value)

    def call(self, name: Token, *arguments: Argument) -> Call:
        return Call(name=self.path(name), arguments=arguments)

    def negated(self, inner: Node) -> Not:
        return Not(inner=inner, terms=inner.terms, depth=inner.depth + 1)

    def conjunction(self, *parts: Node) -> And:
        return And(parts=parts, terms=sum(p.terms for p in parts), depth=1 + max(p.depth for p in parts))

    def disjunction(self, *parts: Node) -> Or:
        return Or(parts=parts, terms=sum(p.terms for p in parts), depth=1 + max(p.depth for p in parts))


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", lexer="basic", transformer=_Builder())


def _span(token: Token) -> Span:
    assert token.start_pos is not None  # tokens of our parser know their place
    return Span(token.start_pos, token.start_pos + len(token))


_NAME = re.compile(r"""([\w-]+)|\[("[^"]+"|'[^']+')\]""")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "/": "/"}


def _unescaped(found: re.Match[str], token: Token) -> str:
    hexadecimal, letter = found.groups()
    if hexadecimal is not None and not 0xD800 <= int(hexadecimal, 16) <= 0xDFFF:
        return chr(int(hexadecimal, 16))
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    start = _span(token).start + 1 + found.start()
    raise _Fault(
        rf"unknown escape {found.group()}; known are \n \t \r \\ \" \' \/ and \u with four hex digits of a character",
        Span(start, start + len(found.group())),
    )


def _number(token: Token) -> int | float:
    if len(token) > 400:
        raise _Fault("this number has too many digits", _span(token))
    if re.fullmatch(r"[-+]?\d+", token):
        whole = int(token)
        if not -(2**63) <= whole < 2**63:
            raise _Fault(f"{token} does not fit 64 bits", _span(token))
        return whole
    value = float(token)
    if value in (float("inf"), float("-inf")):
        raise _Fault(f"{token} is too large for a number", _span(token))
    return value


def read_moment(text: str) -> date | datetime | None:
    """A day (2024-05-01) or an instant (2024-05-01T12:30, UTC where no zone is given); None for anything else."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
            return date.fromisoformat(text)
        if not re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d", text, re.ASCII):
            return None
        moment = datetime.fromisoformat(text.upper())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def read_period(text: str) -> tuple[datetime, datetime] | None:
    """A month (2024-05) or a year (2024): its first instant in UTC, and the first one after it; None for others."""
    match = re.fullmatch(r"(\d{4})(?:-(\d\d))?", text, re.ASCII)
    if match is None:
        return None
    year, month = int(match[1]), int(match[2] or 1)
    months = year * 12 + month - 1 + (1 if match[2] else 12)
    try:
        return datetime(year, month, 1, tzinfo=UTC), datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)
    except ValueError:  # month 13, year 0, and the last year that there is
        return None


_HINTS = (
    (r"=(?!=)", "equality is written =="),
    (r"&", "conditions are joined by and"),
    (r"\|", "conditions are joined by or"),
    (r"!(?!=)", "the opposite is written not"),
    (r"[“”„‟‘’«»‹›`]", "text goes in straight quotes, \" or '"),
    (r"""["']""", "the text that opens here is never closed"),
    (r"\d{4}-", "a date is written 2024-05-01 or 2024-05-01T12:30:00Z"),
    (r"[-+.\d]", "a number is written 12, -3.5 or 1e6; text goes in quotes"),
    (r"[*%~]", 'patterns are not known; there is startswith, as in folder startswith "2024/"'),
    (r">", "unequal is written !="),
)


def _hint(source: Source, position: int) -> str:
    rest = source.text[position:]
    for pattern, hint in _HINTS:
        if re.match(pattern, rest):
            return f"; {hint}"
    return ""


def _unexpected_character(source: Source, position: int) -> InvalidQuery:
    shown = repr(source.text[position])
    return source.fault(f"{shown} cannot be read here{_hint(source, position)}.", Span(position, position + 1))


def _unexpected_token(source: Source, error: UnexpectedToken) -> InvalidQuery:
    expected = _expectation(error.expected)
    token: Token = error.token
    if token.type == "$END":
        end = len(source.text.rstrip())
        return source.fault(f"the filter ends too early: here should be {expected}.", Span(end, end + 1))
    start = _span(token).start
    if re.search(r"\d{4}$", source.text[:start]) and token.type == "NUMBER":
        start -= 4
    hint = _hint(source, start) if token.type in ("_ASSIGN", "COMPARE", "NUMBER") else ""
    return source.fault(f"unexpected {source.quote(_span(token))!r}: here should be {expected}{hint}.", _span(token))


def _expectation(terminals: set[str]) -> str:
    """What could stand here, in words. After a condition the parser may name only what would end its surroundings."""
    for expected, words in _EXPECTATIONS:
        if expected in terminals:
            return words
    return "something else"


_EXPECTATIONS = (
    ("_AND", "and, or, or the end"),
    ("_STARTSWITH", "a comparison such as == != < <= > >= in, not in, startswith"),
    ("_NOT", "a condition such as width >= 1024"),
    ("_LBRACKET", "a list such as (1, 2), or a field"),
    ("PATH", "a field or a value"),
    ("_COMMA", "a comma or a closing bracket"),
    ("_RPAR", "and, or, or a closing bracket"),
    ("$END", "and, or, or the end"),
    ("_IN", "in"),
)
