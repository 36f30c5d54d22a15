"""QuestionReader: a query whose text names a date or a place -> what is left to compare, and a filter, as chips.

The rule: only what the collection knows of its images is asked for. Where no image has a date, dates stay in the text.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial

from connector.errors import StoreRefused
from connector.search.options import SearchOptions
from connector.search.query import Query, TextPart
from connector.store.engine import Engine
from connector.understand.question import FIELDS, Chip, ChipKind, understand


@dataclass(frozen=True, slots=True)
class ReadQuery:
    """A query taken apart: ``query`` is None where the chips are all of it, so that there is nothing to compare."""

    query: Query | None
    chips: tuple[Chip, ...] = ()


class QuestionReader:
    """Reads the dates and places in the texts of queries to one collection. Safe to use from many threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: set[ChipKind] = set()
        self._lock = threading.Lock()

    def read(self, query: Query, *, options: SearchOptions) -> ReadQuery:
        """The query without the dates and places that the collection can be asked for, and these."""
        at = _text_at(query) if options.understand else None
        if at is None:
            return ReadQuery(query)
        part = query.parts[at].part
        assert isinstance(part, TextPart)
        read = partial(understand, part.text, today=date.today(), language=part.language, literal=options.literal or "")
        found = read()
        if not found.chips:
            return ReadQuery(query)
        kinds = {each.kind for each in found.chips}
        if missing := kinds - self._there(kinds):
            found = read(kinds=kinds - missing)
        left = [*query.parts]
        if found.text:
            left[at] = replace(left[at], part=replace(part, text=found.text))
        elif any(each.weight > 0 for each in [*left[:at], *left[at + 1 :]]) or len(left) == 1:
            del left[at]
        return ReadQuery(Query(tuple(left)) if left else None, found.chips)

    def is_quick(self, queries: Sequence[Query | str], *, options: SearchOptions) -> bool:
        """Whether ``read`` takes them at once: the store need not be asked what it knows of its images."""
        if not options.understand or len(self._known) == len(FIELDS):
            return True
        texts = [each if isinstance(each, str) else _text_of(each) for each in queries]
        return not any(understand(each, today=date.today(), language=options.language).chips for each in texts)

    def _there(self, kinds: set[ChipKind]) -> set[ChipKind]:
        """Those of the kinds that some image has a value for."""
        with self._lock:
            for kind in kinds - self._known:
                if self._has(FIELDS[kind]):
                    self._known.add(kind)
            return kinds & self._known

    def _has(self, field: str) -> bool:
        from qdrant_client import models

        empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=field))
        try:
            return bool(
                self._engine.scroll(limit=1, start=None, where=models.Filter(must_not=[empty]), fields=[]).points
            )
        except StoreRefused:  # a collection of before, without the index
            return False


def where_of(chips: Sequence[Chip]) -> str | None:
    """The filter expression of all the chips, None without any."""
    return " and ".join(each.where for each in chips) or None


def _text_at(query: Query) -> int | None:
    """Which part of a query is the text that is asked for; None where there is none, or are several."""
    texts = [n for n, one in enumerate(query.parts) if isinstance(one.part, TextPart) and one.weight > 0]
    return texts[0] if len(texts) == 1 else None


def _text_of(query: Query) -> str:
    at = _text_at(query) if isinstance(query, Query) else None
    part = None if at is None else query.parts[at].part
    return part.text if isinstance(part, TextPart) and isinstance(part.text, str) else ""
