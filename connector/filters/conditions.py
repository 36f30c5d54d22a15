"""The meaning of a filter expression: its tree -> conditions of Qdrant, each field checked against the indexes.

``connector.filters.parse`` is the door; it imports this module late, for ``qdrant_client.models`` takes a second.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeAlias

from qdrant_client import models

from connector.errors import InvalidQuery
from connector.filters.grammar import read_moment, read_period
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
from connector.filters.unknown import about_unknown
from connector.settings import FieldType

Value: TypeAlias = str | int | float | bool | date | datetime

HOLDS: Mapping[FieldType, str] = {
    "keyword": 'text, such as "jpeg"',
    "integer": "whole numbers, such as 1024",
    "float": "numbers, such as 3.5",
    "bool": "true or false",
    "geo": "a place; ask with near(…) or within(…)",
    "datetime": 'a time, such as 2024-05-01 or 2024-05-01T12:30:00Z, or "2024-05" for a month',
    "text": 'prose; ask for words with "word" in FIELD',
}
USAGE = {
    "near": "near(location, 48.2, 16.37, km=5)",
    "within": "within(location, top=49, left=9.5, bottom=46.4, right=17.2)",
    "exists": "exists(location)",
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_BOUNDS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_EXACT_IN_DOUBLES = 2**53
_WIDE = 180.0
"""A box over the 180th meridian that leaves out fewer degrees is asked in two halves: whole, it may find nothing."""
_HAIR = 1e-9
"""Degrees, a tenth of a millimetre: Qdrant leaves a box's border out, and people mean it in."""


def compiled(node: Node, *, source: Source, indexes: Mapping[str, FieldType]) -> models.Filter:
    """The filter of a parsed expression. Raises InvalidQuery."""
    condition = _Compiler(source, indexes).condition(node)
    return condition if isinstance(condition, models.Filter) else models.Filter(must=[condition])


@dataclass(frozen=True, slots=True)
class _Field:
    """A field that the collection indexes, where it stands in the expression."""

    name: str
    kind: FieldType
    span: Span


class _Compiler:
    """Turns the nodes of one expression into conditions. Nesting is bounded by the parser."""

    def __init__(self, source: Source, indexes: Mapping[str, FieldType]) -> None:
        self._source = source
        self._indexes = indexes

    def condition(self, node: Node) -> models.Condition:
        """The condition of a node and everything below it."""
        match node:
            case And():
                return models.Filter(must=[self.condition(part) for part in node.parts])
            case Or():
                return models.Filter(should=[self.condition(part) for part in node.parts])
            case Not():
                return models.Filter(must_not=[self.condition(node.inner)])
            case Comparison():
                return self._comparison(node)
            case Among():
                return self._among(node)
            case Inside():
                return self._inside(node)
            case Starts():
                return self._starts(node)
            case Call():
                return self._call(node)

    # comparisons

    def _comparison(self, node: Comparison) -> models.Condition:
        if len(node.operands) > 2:
            return self._chain(node)
        left, right = node.operands
        operator = node.operators[0]
        if isinstance(left, Literal):
            left, right, operator = right, left, _MIRRORED[operator]
        field, literal = self._field_and_literal(left, right)
        if operator in _BOUNDS:
            return self._range(field, [(operator, literal)])
        equal = self._equal(field, literal)
        return equal if operator == "==" else models.Filter(must_not=[equal])

    def _chain(self, node: Comparison) -> models.Condition:
        """``10 <= width < 20``: one element of the field satisfies both bounds."""
        low, middle, high = node.operands if len(node.operands) == 3 else (None, None, None)
        directions = {operator[0] for operator in node.operators}
        if not isinstance(middle, Path) or not isinstance(low, Literal) or not isinstance(high, Literal):
            raise self._fault("a chained comparison has one field, in the middle: 10 <= width < 20.", _reach(node))
        if directions not in ({"<"}, {">"}):
            raise self._fault("a chained comparison points one way: 10 <= width < 20.", _reach(node))
        first, second = node.operators
        return self._range(self._field(middle), [(_MIRRORED[first], low), (second, high)])

    def _field_and_literal(self, left: Operand, right: Operand) -> tuple[_Field, Literal]:
        if isinstance(left, Literal):
            raise self._fault("a value is compared with a value; one side has to be a field.", left.span)
        if isinstance(right, Path):
            raise self._bare_name(right)
        return self._field(left), right

    def _range(self, field: _Field, bounds: Sequence[tuple[str, Literal]]) -> models.Condition:
        if field.kind == "datetime":
            limits = [self._time_limit(field, operator, literal) for operator, literal in bounds]
            return models.FieldCondition(key=field.name, range=models.DatetimeRange(**dict(limits)))
        if field.kind not in ("integer", "float"):
            raise self._fault(
                f"{field.name!r} has no order: it holds {HOLDS[field.kind]}. < <= > >= are for numbers and times.",
                bounds[0][1].span,
            )
        numbers = {_BOUNDS[operator]: self._number(field, literal) for operator, literal in bounds}
        return models.FieldCondition(key=field.name, range=models.Range(**numbers))

    def _time_limit(self, field: _Field, operator: str, literal: Literal) -> tuple[str, datetime]:
        """A day is all of its 24 hours: after it is from the next midnight on, up to it is before that."""
        first, following = self._instants(field, literal)
        if following is None:
            return _BOUNDS[operator], first
        return {"<": ("lt", first), "<=": ("lt", following), ">": ("gte", following), ">=": ("gte", first)}[operator]

    def _equal(self, field: _Field, literal: Literal) -> models.Condition:
        """The field, or an element of it, is this value."""
        if field.kind == "float":
            number = self._number(field, literal)
            return models.FieldCondition(key=field.name, range=models.Range(gte=number, lte=number))
        if field.kind == "datetime":
            first, following = self._instants(field, literal)
            end = {"lte": first} if following is None else {"lt": following}
            return models.FieldCondition(key=field.name, range=models.DatetimeRange(gte=first, **end))
        values: Any = forms(self._exact(field, literal))
        match = models.MatchValue(value=values[0]) if len(values) == 1 else models.MatchAny(any=values)
        return models.FieldCondition(key=field.name, match=match)

    # membership

    def _among(self, node: Among) -> models.Condition:
        """``format in ("jpeg", "webp")``."""
        if isinstance(node.item, Literal):
            raise self._fault('before in (…) stands a field, as in format in ("jpeg", "webp").', node.item.span)
        field = self._field(node.item)
        members = [self._field_and_literal(node.item, member)[1] for member in node.members]
        if field.kind in ("keyword", "integer"):
            values: Any = [form for member in members for form in forms(self._exact(field, member))]
            return models.FieldCondition(key=field.name, match=models.MatchAny(any=values))
        return models.Filter(should=[self._equal(field, member) for member in members])

    def _inside(self, node: Inside) -> models.Condition:
        """``"beach" in tags``, and for prose ``"red boat" in meta.caption``: all of the words, in any order.

        ``taken_on in "2024-05"`` is a time within a month.
        """
        if isinstance(node.whole, Literal):
            if isinstance(node.item, Path) and self._field(node.item).kind == "datetime":
                return self._equal(self._field(node.item), node.whole)
            raise self._fault('after in stands a list such as ("jpeg", "webp"), or a field.', node.whole.span)
        field, literal = self._field_and_literal(node.whole, node.item)
        if field.kind != "text":
            return self._equal(field, literal)
        if not isinstance(literal.value, str):
            raise self._wrong_value(field, literal)
        words = forms(literal.value)
        return _joined(models.FieldCondition(key=field.name, match=models.MatchText(text=str(t))) for t in words)

    def _starts(self, node: Starts) -> models.Condition:
        """``folder startswith "2024/"``."""
        if isinstance(node.item, Literal):
            raise self._fault('before startswith stands a field, as in folder startswith "2024/".', node.item.span)
        field, literal = self._field_and_literal(node.item, node.prefix)
        if field.kind != "keyword":
            raise self._fault(f"startswith is for text; {field.name!r} holds {HOLDS[field.kind]}.", field.span)
        prefixes = forms(self._exact(field, literal))
        return _joined(models.FieldCondition(key=field.name, match=models.MatchPrefix(prefix=str(p))) for p in prefixes)

    # functions

    def _call(self, node: Call) -> models.Condition:
        match node.name.name:
            case "near":
                return self._near(node)
            case "within":
                return self._within(node)
            case "exists":
                (path,) = self._arguments(node, positional=1, named=())
                field = self._field(self._path(node, path))
                empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=field.name))
                return models.Filter(must_not=[empty])
            case "startswith":
                raise self._fault('startswith stands between: folder startswith "2024/".', node.name.span)
            case _:
                seen = self._source.quote(node.name.span)
                raise self._fault(f"unknown function {seen!r}; known are near, within, exists.", node.name.span)

    def _near(self, node: Call) -> models.Condition:
        """``near(location, 48.2, 16.37, km=5)``: less than this far from a point, along the ground."""
        unit = next((a.name.name for a in node.arguments if a.name is not None and a.name.name in ("km", "m")), "km")
        path, latitude, longitude, distance = self._arguments(node, positional=3, named=(unit,))
        centre = models.GeoPoint(lat=self._degrees(latitude, most=90), lon=self._degrees(longitude, most=180))
        metres = self._plain_number(distance) * (1000 if unit == "km" else 1)
        if metres <= 0:
            raise self._fault(f"the distance {unit}= has to be above 0.", distance.value.span)
        circle = models.GeoRadius(center=centre, radius=metres)
        return models.FieldCondition(key=self._place(node, path).name, geo_radius=circle)

    def _within(self, node: Call) -> models.Condition:
        """``within(location, top=…, left=…, bottom=…, right=…)``; left > right crosses the 180th meridian."""
        path, top, left, bottom, right = self._arguments(node, positional=1, named=("top", "left", "bottom", "right"))
        north, south = self._degrees(top, most=90), self._degrees(bottom, most=90)
        west, east = self._degrees(left, most=180), self._degrees(right, most=180)
        if north < south:
            raise self._fault(f"top={north:g} lies below bottom={south:g}; top is the northern edge.", top.value.span)
        field = self._place(node, path).name
        halves = [(west, 180.0), (-180.0, east)] if west > east and west - east < _WIDE else [(west, east)]
        boxes: list[models.Condition] = [
            models.FieldCondition(
                key=field,
                geo_bounding_box=models.GeoBoundingBox(
                    top_left=self._corner(latitude=north + _HAIR, longitude=left_edge - _HAIR),
                    bottom_right=self._corner(latitude=south - _HAIR, longitude=right_edge + _HAIR),
                ),
            )
            for left_edge, right_edge in halves
        ]
        return boxes[0] if len(boxes) == 1 else models.Filter(should=boxes)

    def _corner(self, *, latitude: float, longitude: float) -> models.GeoPoint:
        """A corner a hair inside the globe's limits: at them, an indexed box matches nothing."""
        return models.GeoPoint(
            lat=max(-90 + 10 * _HAIR, min(90 - 10 * _HAIR, latitude)),
            lon=max(-180 + 10 * _HAIR, min(180 - 10 * _HAIR, longitude)),
        )

    def _arguments(self, node: Call, *, positional: int, named: tuple[str, ...]) -> list[Argument]:
        """The arguments in the order wanted. Raises InvalidQuery with the usage when they are others."""
        by_place = [argument for argument in node.arguments if argument.name is None]
        by_name = {argument.name.name: argument for argument in node.arguments if argument.name is not None}
        if (
            len(by_place) != positional
            or by_name.keys() != set(named)
            or len(node.arguments) != positional + len(named)
        ):
            raise self._fault(f"{node.name.name} is written {USAGE[node.name.name]}.", node.name.span)
        return [*by_place, *(by_name[name] for name in named)]

    def _path(self, node: Call, argument: Argument) -> Path:
        if isinstance(argument.value, Literal):
            raise self._fault(f"{node.name.name} begins with a field: {USAGE[node.name.name]}.", argument.value.span)
        return argument.value

    def _place(self, node: Call, argument: Argument) -> _Field:
        field = self._field(self._path(node, argument))
        if field.kind != "geo":
            raise self._fault(f"{node.name.name} is for places; {field.name!r} holds {HOLDS[field.kind]}.", field.span)
        return field

    def _plain_number(self, argument: Argument) -> float:
        value = argument.value
        if isinstance(value, Path) or isinstance(value.value, bool) or not isinstance(value.value, int | float):
            raise self._fault("here should be a number.", value.span)
        return float(value.value)

    def _degrees(self, argument: Argument, *, most: int) -> float:
        degrees = self._plain_number(argument)
        if abs(degrees) > most:
            what = "latitude" if most == 90 else "longitude"
            raise self._fault(f"{degrees:g} is no {what}: it lies between -{most} and {most}.", argument.value.span)
        return degrees

    # values

    def _exact(self, field: _Field, literal: Literal) -> str | int | bool:
        """A value that Qdrant matches exactly."""
        value = literal.value
        match field.kind:
            case "keyword" if isinstance(value, str):
                return value
            case "bool" if isinstance(value, bool):
                return value
            case "integer" if isinstance(value, int) and not isinstance(value, bool):
                return value
            case "integer" if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_IN_DOUBLES:
                return int(value)
            case _:
                raise self._wrong_value(field, literal)

    def _number(self, field: _Field, literal: Literal) -> float:
        value = literal.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong_value(field, literal)
        if isinstance(value, int) and abs(value) > _EXACT_IN_DOUBLES:
            raise self._fault(f"{value} is too large to be compared exactly; at most 2^53 = {2**53}.", literal.span)
        return float(value)

    def _instants(self, field: _Field, literal: Literal) -> tuple[datetime, datetime | None]:
        """The first instant, and for a whole day, month or year the first one after it; in UTC."""
        if isinstance(literal.value, str) and (period := read_period(literal.value)):
            return period
        value: Value | None = read_moment(literal.value) if isinstance(literal.value, str) else literal.value
        if isinstance(value, datetime):
            return value, None
        if not isinstance(value, date):
            raise self._wrong_value(field, literal)
        if value == date.max:
            raise self._fault(f"{value} is the last day there is; name an earlier one.", literal.span)
        first = datetime.combine(value, time.min, tzinfo=UTC)
        return first, first + timedelta(days=1)

    # fields

    def _field(self, path: Path) -> _Field:
        """The indexed field of this name. Raises InvalidQuery that says what to do about any other."""
        kind = self._indexes.get(path.name)
        if kind is not None:
            return _Field(name=path.name, kind=kind, span=path.span)
        raise self._fault(about_unknown(path.name, indexes=self._indexes), path.span)

    def _fault(self, message: str, span: Span) -> InvalidQuery:
        return self._source.fault(message, span)

    def _wrong_value(self, field: _Field, literal: Literal) -> InvalidQuery:
        seen = self._source.quote(literal.span)
        return self._fault(f"{field.name!r} holds {HOLDS[field.kind]}; {seen} is none.", literal.span)

    def _bare_name(self, path: Path) -> InvalidQuery:
        if path.name.lower() in ("null", "none", "nil"):
            return self._fault("there is no null; whether a field is there is asked with exists(FIELD).", path.span)
        seen = self._source.quote(path.span)
        message = f'{seen} stands where a value should be; text goes in quotes: "{seen}".'
        return self._fault(message, path.span)


def forms(value: str | int | bool) -> list[str | int | bool]:
    """A value in the ways that stores may hold it: text as it is, with accents composed (NFC), and apart (NFD)."""
    if not isinstance(value, str) or value.isascii():
        return [value]
    return [*dict.fromkeys([value, unicodedata.normalize("NFC", value), unicodedata.normalize("NFD", value)])]


def _joined(conditions: Iterable[models.Condition]) -> models.Condition:
    several = [*conditions]
    return several[0] if len(several) == 1 else models.Filter(should=several)


def _reach(node: Comparison) -> Span:
    return Span(node.operands[0].span.start, node.operands[-1].span.end)
