"""AsyncImageSearch: every method of ImageSearch, awaited; ``each`` with ``async for``.

The rule: no answer is made here. Each call runs the method of the same name in a thread, so the event loop stays free;
the texts of calls that wait together have gone through the model together by then, and their vectors are remembered.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial, wraps
from itertools import islice
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

from connector.records import FacetCount, Vectors
from connector.search.batching import TextBatcher
from connector.search.client import ImageSearch
from connector.search.hits import HitGroups, Hits
from connector.search.options import SearchArguments
from connector.search.query import Query, TextPart, WeightedPart
from connector.search.text_encoder import REMEMBERED
from connector.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")
PAGE = 1_000
"""Points that a stream takes from the store at a time."""
BATCH = 64
"""Texts in one pass through the model."""


def _awaited(
    method: Callable[Concatenate[ImageSearch, P], R],
) -> Callable[Concatenate["AsyncImageSearch", P], Coroutine[Any, Any, R]]:
    @wraps(method)
    async def call(self: "AsyncImageSearch", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(method, self._search, *args, **kwargs)

    return call


def _streamed(
    method: Callable[Concatenate[ImageSearch, P], Iterator[R]],
) -> Callable[Concatenate["AsyncImageSearch", P], AsyncIterator[R]]:
    @wraps(method)
    async def stream(self: "AsyncImageSearch", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        waiting = method(self._search, *args, **kwargs)
        while page := await asyncio.to_thread(list, islice(waiting, PAGE)):
            for each in page:
                yield each

    return stream


def embed_parts(search: ImageSearch, parts: Sequence[TextPart]) -> Vectors:
    """The vectors of texts, each in its language: one pass through each tower that they need."""
    return search.embed_queries([Query((WeightedPart(part),)) for part in parts])


class AsyncImageSearch:
    """An open collection of images for ``async`` code; closed by ``async with`` or ``close``."""

    def __init__(self, search: ImageSearch, *, batcher: TextBatcher | None = None) -> None:
        self._search = search
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

    async def text(self, text: str, **options: Unpack[SearchArguments]) -> Hits:
        """As ``ImageSearch.text``; what is asked meanwhile goes through the model together."""
        await self._embed_together([text], options)
        return await asyncio.to_thread(self._search.text, text, **options)

    async def query(self, query: Query | str, **options: Unpack[SearchArguments]) -> Hits:
        """As ``ImageSearch.query``; the texts of what is asked meanwhile go through the model together."""
        await self._embed_together([query], options)
        return await asyncio.to_thread(self._search.query, query, **options)

    async def groups(
        self, query: Query | str, *, by: str, size: int = 3, **options: Unpack[SearchArguments]
    ) -> HitGroups:
        """As ``ImageSearch.groups``; the texts of what is asked meanwhile go through the model together."""
        await self._embed_together([query], options)
        return await asyncio.to_thread(self._search.groups, query, by=by, size=size, **options)

    async def facets(
        self, field: str, *, of: Query | str | None = None, **options: Unpack[SearchArguments]
    ) -> list[FacetCount]:
        """As ``ImageSearch.facets``; the texts of what is asked meanwhile go through the model together."""
        await self._embed_together([] if of is None else [of], options)
        return await asyncio.to_thread(self._search.facets, field, of=of, **options)

    texts = _awaited(ImageSearch.texts)
    image = _awaited(ImageSearch.image)
    like = _awaited(ImageSearch.like)
    queries = _awaited(ImageSearch.queries)
    nearest = _awaited(ImageSearch.nearest)
    exact = _awaited(ImageSearch.exact)
    each = _streamed(ImageSearch.each)
    check = _awaited(ImageSearch.check)
    count = _awaited(ImageSearch.count)
    sample = _awaited(ImageSearch.sample)
    ordered = _awaited(ImageSearch.ordered)
    points = _awaited(ImageSearch.points)
    embed_texts = _awaited(ImageSearch.embed_texts)
    embed_image = _awaited(ImageSearch.embed_image)
    embed_images = _awaited(ImageSearch.embed_images)
    embed_query = _awaited(ImageSearch.embed_query)
    embed_queries = _awaited(ImageSearch.embed_queries)
    set_payload = _awaited(ImageSearch.set_payload)
    set_labels = _awaited(ImageSearch.set_labels)
    info = _awaited(ImageSearch.info)

    async def close(self) -> None:
        """Let go of the model's thread and of the store; whoever waits in this event loop is cancelled."""
        await self._batcher.close()
        await asyncio.to_thread(self._search.close)

    async def _embed_together(self, queries: Sequence[Query | str], options: SearchArguments) -> None:
        """Have the texts of queries embedded with those of other callers. Raises InvalidQuery before that."""
        check = partial(self._search.check, queries, **options)
        quick = self._search.retriever.is_quick(options.get("where"))
        checked = check() if quick else await asyncio.to_thread(check)  # the store may be asked for a filter's fields
        parts = [one.part for each in checked for one in each.parts if isinstance(one.part, TextPart)]
        await asyncio.gather(*map(self._batcher.vector_of, parts))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
