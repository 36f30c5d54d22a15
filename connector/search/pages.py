"""A page of a listing and where the next one begins: in the order of the ids, or of a number or date.

The one rule: a cursor says which image was last, not how many there were, so that a deep page costs what the first one
does and images that come meanwhile move nothing. Of equal values the ids decide.
"""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

from connector.errors import InvalidQuery
from connector.records import Payload, StoredPoint
from connector.search.hits import field_of
from connector.search.options import as_point_id, check_between, is_number, order_of, shown
from connector.store.engine import Engine
from connector.store.points import check_order

if TYPE_CHECKING:
    from qdrant_client.models import FieldCondition, Filter

Value: TypeAlias = float | int | str
MOST = 1_000
"""Images on one page."""
LONGEST = 1_000
"""Characters of a cursor."""


@dataclass(frozen=True, slots=True)
class ListingPage:
    """Images of a listing; ``next`` is the cursor of the following page, None at the end."""

    points: Sequence[StoredPoint]
    next: str | None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page begins: after the image ``point`` of ``value``; or at it, where the order is that of the ids."""

    order: str
    value: Value | None
    point: str

    def cursor(self) -> str:
        text = json.dumps([self.order, self.value, self.point], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def of(cls, cursor: str, *, order: str) -> "_Place":
        try:
            if len(cursor) > LONGEST:
                raise ValueError
            text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            known, value, point = json.loads(text)
            fits = isinstance(known, str) and isinstance(point, str)
            if not fits or not (value is None or isinstance(value, str) or is_number(value)):
                raise ValueError
            if isinstance(value, str) and _instant(value) is None:
                raise ValueError
            place = cls(known, value, as_point_id(point))
        except (ValueError, TypeError, InvalidQuery, RecursionError) as error:
            raise InvalidQuery(f"{shown(cursor)} is no cursor; take the one that came with the page before.") from error
        if known != order or (value is None) != (not order):
            raise InvalidQuery(f"the cursor is one of order_by={shown(known)}; give the same order with it.")
        return place


def listing_page(
    engine: Engine,
    *,
    where: "Filter | None",
    order_by: str | None,
    fields: Sequence[str] | None,
    vectors: bool,
    limit: int,
    cursor: str | None,
) -> ListingPage:
    """The images from a cursor on, ``limit`` at most, all that match in turn.

    ``order_by="-taken_at"`` begins with the latest; images without the field are left out, and one with several values
    stands at the first of them in this order. Raises InvalidQuery.
    """
    check_between("limit", limit, 1, MOST)
    order = order_by or ""
    place = None if cursor is None else _Place.of(cursor, order=order)
    if order_by is None:
        page = engine.scroll(
            limit=limit, start=place.point if place else None, where=where, fields=fields, vectors=vectors
        )
        return ListingPage(page.points, None if page.next is None else _Place(order, None, page.next).cursor())
    wanted = order_of(order_by)
    key = wanted.key
    indexes = engine.info().schema.indexes
    check_order(key, indexes=indexes)
    dates = indexes[key] == "datetime"
    if place is not None and isinstance(place.value, str) != dates:
        raise InvalidQuery(f"the cursor is none of {shown(key)}; take the one that came with the page before.")
    listing = _Ordered(engine, key=key, dates=dates, descending=wanted.descending, where=where)
    found, more = listing.after(place, limit=limit)
    following = _Place(order, listing.value(found[-1]), found[-1].id).cursor() if more else None
    if fields is not None or vectors:
        read = {each.id: each for each in engine.retrieve([p.id for p in found], fields=fields, vectors=vectors)}
        found = [read[each.id] for each in found if each.id in read]  # one may be deleted meanwhile
    return ListingPage(found, following)


@dataclass(frozen=True, slots=True)
class _Ordered:
    """All that match, by the value of a field and, of equal values, by their ids."""

    engine: Engine
    key: str
    dates: bool
    descending: bool
    where: "Filter | None"

    def after(self, place: _Place | None, *, limit: int) -> tuple[list[StoredPoint], bool]:
        """Images from a place on, and whether others may follow."""
        found: list[StoredPoint] = []
        if place is not None:
            found = self._alike(place.value, after=place.point, limit=limit)
            if len(found) == limit:
                return found, True
        wanted = limit - len(found)
        condition = self.where if place is None else self._past(place.value)
        ahead = self.engine.ordered(self.key, descending=self.descending, limit=wanted + 1, where=condition)
        valued = {each.id: each for each in ahead if self.value(each) is not None}
        if len(ahead) <= wanted:
            return [*found, *self._sorted(valued.values())], False
        if not valued:
            return found, False
        edge = self.value([*valued.values()][-1])  # of this value there may be more than were read
        found += self._sorted(each for each in valued.values() if self.value(each) != edge)
        if len(found) < limit:
            found += self._alike(edge, after=None, limit=limit - len(found))
        return found, bool(found)

    def value(self, point: StoredPoint) -> Value | None:
        """The value that decides an image's place, None where it cannot be read."""
        return sort_value(point.payload, self.key, dates=self.dates, descending=self.descending)

    def _sorted(self, points: Iterable[StoredPoint]) -> list[StoredPoint]:
        """As they came, those of one value by their ids, as the store keeps them: numbers first."""
        groups = groupby(points, key=self.value)
        return [
            each
            for _, alike in groups
            for each in sorted(alike, key=lambda one: (not one.id.isdecimal(), one.id.zfill(20)))
        ]

    def _alike(self, value: Value | None, *, after: str | None, limit: int) -> list[StoredPoint]:
        """Images of this very value, in the order of their ids."""
        first = "gt" if self.descending else "lt"
        where = self._where(must=self._bounded(value, "gte", "lte"), must_not=self._bounded(value, first))
        page = self.engine.scroll(limit=limit + 1, start=after, where=where)
        return [each for each in page.points if each.id != after][:limit]

    def _past(self, value: Value | None) -> "Filter":
        return self._where(must_not=self._bounded(value, "gte" if self.descending else "lte"))

    def _where(self, *, must_not: "FieldCondition", must: "FieldCondition | None" = None) -> "Filter":
        from qdrant_client import models  # here: it takes a second to import

        return models.Filter(must=[each for each in (self.where, must) if each is not None], must_not=[must_not])

    def _bounded(self, value: Value | None, *bounds: str) -> "FieldCondition":
        from qdrant_client import models

        limits: dict[str, Any] = dict.fromkeys(bounds, value)
        return models.FieldCondition(
            key=self.key, range=models.DatetimeRange(**limits) if self.dates else models.Range(**limits)
        )


def sort_value(payload: Payload, key: str, *, dates: bool, descending: bool) -> Value | None:
    """The value that decides an image's place in an order, as a page's cursor holds it; see ``order_value``."""
    value = order_value(payload, key, dates=dates, descending=descending)
    return value.isoformat() if isinstance(value, datetime) else value


def order_value(payload: Payload, key: str, *, dates: bool, descending: bool) -> datetime | float | int | None:
    """What decides an image's place in an order: of several values the first in it; None where none can be read."""
    held = field_of(payload, key)
    several = held if isinstance(held, list) else [held]
    values: list[Any] = [each for each in map(_instant if dates else _number, several) if each is not None]
    if not values:
        return None
    first: datetime | float | int = max(values) if descending else min(values)
    return first


def _number(value: object) -> float | int | None:
    return value if is_number(value) else None


def _instant(value: object) -> datetime | None:
    """The moment in UTC, as the store has it; without a zone it is UTC already. None for what is no date."""
    try:
        moment = datetime.fromisoformat(value)  # type: ignore[arg-type]  # what is no text is no date either
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        return None
