"""KnownSchema: a collection's schema as it was read last, and when it has to be read again.

The rule: fields and indexes are asked of the server once. Which spaces there are may change at any time, so whoever
writes vectors, or names no space, goes by a schema of some seconds ago at most.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from qdrant_client import models

from connector.errors import StoreRefused
from connector.store.engine import FOLLOW_S, NearestQuery, WordsQuery
from connector.store.schema import CollectionSchema
from connector.store.server.schema import read_schema


class KnownSchema:
    """The schema of one collection. Safe to use from many threads: at worst it is read twice."""

    def __init__(self, collection: str, *, read: Callable[[], models.CollectionInfo]) -> None:
        self._collection = collection
        self._read = read
        self._schema: CollectionSchema | None = None
        self._read_at = -math.inf

    def known(self) -> CollectionSchema:
        """The schema, asked of the server once."""
        return self._schema or self._read_anew()

    def now(self) -> CollectionSchema:
        """The schema as it was some seconds ago at most."""
        schema = self._schema
        return self._read_anew() if schema is None or time.monotonic() - self._read_at > FOLLOW_S else schema

    def keep(self, schema: CollectionSchema) -> None:
        """Go by this one from now on."""
        self._schema, self._read_at = schema, time.monotonic()

    def forget(self) -> None:
        """Read it again when it is wanted: what stands there may be another collection."""
        self._schema = None

    def for_queries(self, queries: Sequence[NearestQuery | WordsQuery]) -> CollectionSchema:
        """The schema that questions are asked by: the known one, where it has their spaces."""
        spaces = {query.space for query in queries if isinstance(query, NearestQuery)}
        return self._with({each for each in spaces if each}, any_=None in spaces)

    @contextmanager
    def asking(self, queries: Sequence[NearestQuery | WordsQuery]) -> Iterator[None]:
        """Raise SpaceChanged where questions are refused because their space is gone meanwhile."""
        try:
            yield
        except StoreRefused:
            schema = self._read_anew()
            for query in queries:
                if isinstance(query, NearestQuery):
                    schema.vector_in(query.space, collection=self._collection)
            raise

    def vector_in(self, space: str | None) -> str:
        """The name of a space's vectors, by default of the one that answers. Raises SpaceChanged."""
        schema = self._with(set() if space is None else {space}, any_=space is None)
        return schema.vector_in(space, collection=self._collection)

    def _with(self, spaces: set[str], *, any_: bool) -> CollectionSchema:
        schema = self.now() if any_ else self.known()
        return schema if spaces <= schema.dims.keys() else self._read_anew()

    def _read_anew(self) -> CollectionSchema:
        schema = read_schema(self._read(), collection=self._collection)
        self.keep(schema)
        return schema
