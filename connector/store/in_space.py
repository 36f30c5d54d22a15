"""An engine as it looks from one space: every vector that is asked for or compared is of that one.

The rule: whoever embeds a question by the towers of a space asks through such a view, so that a question and what it is
compared with are of one space, whichever the collection answers by meanwhile.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from connector.records import Hit, StoredPoint
from connector.store.engine import Engine, NearestQuery, Page, WordsQuery

if TYPE_CHECKING:
    from qdrant_client.models import Filter


def in_space(engine: Engine, space: str) -> Engine:
    """The same engine, whose vectors are those of ``space``. Its calls raise SpaceChanged once there are none."""
    return cast("Engine", _InSpace(engine, space))


class _InSpace:
    """Names the space in the calls that have to do with vectors; every other call is the engine's own."""

    def __init__(self, engine: Engine, space: str) -> None:
        self._engine = engine
        self._space = space

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def retrieve(
        self,
        ids: Sequence[str],
        *,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
        terms: Sequence[int] = (),
    ) -> list[StoredPoint]:
        space = self._space if vectors else None
        return self._engine.retrieve(ids, fields=fields, vectors=vectors, terms=terms, space=space)

    def scroll(
        self,
        *,
        limit: int,
        start: str | None = None,
        where: "Filter | None" = None,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
    ) -> Page:
        space = self._space if vectors else None
        return self._engine.scroll(limit=limit, start=start, where=where, fields=fields, vectors=vectors, space=space)

    def query(self, queries: Sequence[NearestQuery | WordsQuery]) -> list[list[Hit]]:
        return self._engine.query(
            [replace(each, space=self._space) if isinstance(each, NearestQuery) else each for each in queries]
        )
