"""AsyncImageSearch: every method of ImageSearch, awaited; ``each`` with ``async for``.

The rule: no answer is made here. Each call runs the method of the same name in a thread, so the event loop stays free;
the texts of calls that wait together have gone through the model together by then, and their vectors are remembered.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self, Unpack

from connector.awaited import Awaited, awaited, streamed
from connector.records import FacetCount, Vectors
from connector.search.batching import TextBatcher
from connector.search.client import ImageSearch
from connector.search.hits import HitGroups, Hits
from connector.search.options import SearchArguments, SearchOptions
from connector.search.query import Query, TextPart, WeightedPart
from connector.search.text_encoder import REMEMBERED
from connector.settings import Settings

BATCH = 64
"""Texts in one pass through the model."""


def embed_parts(search: ImageSearch, parts: Sequence[TextPart]) -> Vectors:
    """The vectors of texts, each in its language: one pass through each tower that they need."""
    return search.embed_queries([Query((WeightedPart(part),)) for part in parts])


class AsyncImageSearch(Awaited[ImageSearch]):
    """An open collection of images for ``async`` code; closed by ``async with`` or ``close``."""

    def __init__(self, search: ImageSearch, *, batcher: TextBatcher | None = None) -> None:
        super().__init__(search)
        self._batcher = batcher or TextBatcher(partial(embed_parts, search), queue=REMEMBERED, batch=BATCH)

    @classmethod
    async def open(
        cls,
        *,
        space: str | None = None,
        collection: str | None = None,
        settings: Settings | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> Self:
        """Open a collection as ``ImageSearch.open`` does."""
        return cls(
            await asyncio.to_thread(
                ImageSearch.open, space=space, collection=collection, settings=settings, overrides=overrides
            )
        )

    async def pinned(self, space: str | None = None) -> Self:
        """As ``ImageSearch.pinned``."""
        return type(self)(await asyncio.to_thread(self._inner.pinned, space))

    async def text(self, text: str, **options: Unpack[SearchArguments]) -> Hits:
        """As ``ImageSearch.text``; what is asked meanwhile goes through the model together."""
        await self._embed_together([text], options)
        return await asyncio.to_thread(self._inner.text, text, **options)

    async def query(self, query: Query | str, **options: Unpack[SearchArguments]) -> Hits:
        """As ``ImageSearch.query``; the texts of what is asked meanwhile go through the model together."""
        await self._embed_together([query], options)
        return await asyncio.to_thread(self._inner.query, query, **options)

    async def groups(
        self, query: Query | str, *, by: str, size: int = 3, **options: Unpack[SearchArguments]
    ) -> HitGroups:
        """As ``ImageSearch.groups``; the texts of what is asked meanwhile go through the model together."""
        await self._embed_together([query], options)
        return await asyncio.to_thread(self._inner.groups, query, by=by, size=size, **options)

    async def facets(
        self, field: str, *, of: Query | str | None = None, **options: Unpack[SearchArguments]
    ) -> list[FacetCount]:
        """As ``ImageSearch.facets``; the texts of what is asked meanwhile go through the model together."""
        await self._embed_together([] if of is None else [of], options)
        return await asyncio.to_thread(self._inner.facets, field, of=of, **options)

    score_scale = awaited(ImageSearch.score_scale)
    texts = awaited(ImageSearch.texts)
    image = awaited(ImageSearch.image)
    like = awaited(ImageSearch.like)
    queries = awaited(ImageSearch.queries)
    nearest = awaited(ImageSearch.nearest)
    exact = awaited(ImageSearch.exact)
    each = streamed(ImageSearch.each)
    page = awaited(ImageSearch.page)
    check = awaited(ImageSearch.check)
    count = awaited(ImageSearch.count)
    sample = awaited(ImageSearch.sample)
    ordered = awaited(ImageSearch.ordered)
    points = awaited(ImageSearch.points)
    embed_texts = awaited(ImageSearch.embed_texts)
    embed_image = awaited(ImageSearch.embed_image)
    embed_images = awaited(ImageSearch.embed_images)
    embed_query = awaited(ImageSearch.embed_query)
    embed_queries = awaited(ImageSearch.embed_queries)
    set_payload = awaited(ImageSearch.set_payload)
    set_labels = awaited(ImageSearch.set_labels)
    info = awaited(ImageSearch.info)

    async def close(self) -> None:
        """Let go of the model's thread and of the store; whoever waits in this event loop is cancelled."""
        await self._batcher.close()
        await asyncio.to_thread(self._inner.close)

    async def _embed_together(self, queries: Sequence[Query | str], options: SearchArguments) -> None:
        """Have the texts of queries embedded with those of other callers; not where words alone answer.

        Raises InvalidQuery before that.
        """
        if options.get("mode") == "words":
            return
        check = partial(self._inner.check, queries, **options)
        inner, wanted = self._inner, SearchOptions(**options)
        quick = inner.following.now().retriever.is_quick(wanted.where) and inner.reader.is_quick(
            queries, options=wanted
        )
        checked = check() if quick else await asyncio.to_thread(check)  # the store may be asked for its fields
        parts = [one.part for each in checked for one in each.parts if isinstance(one.part, TextPart)]
        await asyncio.gather(*map(self._batcher.vector_of, parts))
