"""AsyncImageSearch: every method of ImageSearch, awaited; ``each`` with ``async for``.

The rule: no logic lives here. Each call runs the method of the same name in a thread, so the event loop stays free.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from functools import wraps
from itertools import islice
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from connector.search.client import ImageSearch
from connector.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")
PAGE = 1_000
"""Points that a stream takes from the store at a time."""


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


class AsyncImageSearch:
    """An open collection of images for ``async`` code; closed by ``async with`` or ``close``."""

    def __init__(self, search: ImageSearch) -> None:
        self._search = search

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

    text = _awaited(ImageSearch.text)
    texts = _awaited(ImageSearch.texts)
    image = _awaited(ImageSearch.image)
    like = _awaited(ImageSearch.like)
    query = _awaited(ImageSearch.query)
    queries = _awaited(ImageSearch.queries)
    nearest = _awaited(ImageSearch.nearest)
    exact = _awaited(ImageSearch.exact)
    each = _streamed(ImageSearch.each)
    groups = _awaited(ImageSearch.groups)
    facets = _awaited(ImageSearch.facets)
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
    info = _awaited(ImageSearch.info)
    close = _awaited(ImageSearch.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
