"""What is asked of a shard of Qdrant Edge that this process has open: the calls of ``Engine`` that change nothing."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import qdrant_edge as edge

from connector.records import FacetCount, Hit, StoredPoint
from connector.store.edge import requests as ask
from connector.store.edge.folder_engine import FolderEngine
from connector.store.edge.words import answers_of, points_with_words
from connector.store.engine import CollectionInfo, NearestQuery, Page, WordsQuery
from connector.store.points import check_facet, check_ids, check_order
from connector.store.schema import CollectionSchema

if TYPE_CHECKING:
    from qdrant_client.models import Filter


class ReadingEngine(FolderEngine):
    """Answers from the open shard; ``connector.store.engine.Engine`` says what each call promises."""

    @abstractmethod
    def _use(self) -> AbstractContextManager[tuple[edge.EdgeShard, CollectionSchema]]:
        """The open shard and its schema, for one caller at a time, with foreign errors translated."""

    def info(self) -> CollectionInfo:
        """Schema and size. Raises CollectionMissing."""
        with self._use() as (shard, schema):
            numbers = shard.info()
            vectors = numbers.indexed_vectors_count - points_with_words(shard, schema=schema)  # which Edge counts too
            indexed = vectors // len(schema.dims) - self._folder.sealed
            return CollectionInfo(schema, numbers.points_count, max(0, indexed))

    def retrieve(
        self,
        ids: Sequence[str],
        *,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
        terms: Sequence[int] = (),
        space: str | None = None,
    ) -> list[StoredPoint]:
        """The points of these ids that exist."""
        check_ids(ids)
        with self._use() as (shard, schema):
            name = schema.vector_in(space, collection=self.collection) if vectors else None
            return ask.retrieved(shard, ids, fields=fields, vector=name, terms=terms)

    def query(self, queries: Sequence[NearestQuery | WordsQuery]) -> list[list[Hit]]:
        """Answer all queries in one planned batch."""
        with self._use() as (shard, schema):
            return answers_of(queries, shard=shard, schema=schema, collection=self.collection)

    def scroll(
        self,
        *,
        limit: int,
        start: str | None = None,
        where: "Filter | None" = None,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
        space: str | None = None,
    ) -> Page:
        """Walk the collection in id order."""
        check_ids([] if start is None else [start])
        with self._use() as (shard, schema):
            name = schema.vector_in(space, collection=self.collection) if vectors else None
            request = ask.scroll_request(
                limit=limit, start=start, where=where, fields=fields, vector=name, schema=schema
            )
            records, following = shard.scroll(request)
            points = [ask.stored_point(record, vector=name) for record in records]
            return Page(points=points, next=None if following is None else str(following))

    def count(self, *, where: "Filter | None" = None) -> int:
        """How many points match, exactly."""
        with self._use() as (shard, schema):
            return shard.count(edge.CountRequest(exact=True, filter=ask.edge_condition(where, schema=schema)))

    def facet(self, key: str, *, where: "Filter | None" = None, limit: int = 10) -> list[FacetCount]:
        """The field's most frequent values and their exact counts."""
        with self._use() as (shard, schema):
            check_facet(key, indexes=schema.indexes)
            return ask.counts_of(key, shard=shard, where=where, limit=limit, schema=schema)

    def sample(self, limit: int, *, where: "Filter | None" = None) -> list[StoredPoint]:
        """Points picked at random."""
        with self._use() as (shard, schema):
            return ask.picked(edge.Sample.Random, shard=shard, limit=limit, where=where, schema=schema)

    def ordered(
        self, key: str, *, descending: bool, limit: int, offset: int = 0, where: "Filter | None" = None
    ) -> list[StoredPoint]:
        """Points in the order of an indexed number or date."""
        with self._use() as (shard, schema):
            check_order(key, indexes=schema.indexes)
            order = edge.OrderBy(key, edge.Direction.Desc if descending else edge.Direction.Asc)
            return ask.picked(order, shard=shard, limit=limit, offset=offset, where=where, schema=schema)
