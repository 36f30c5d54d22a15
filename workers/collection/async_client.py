"""AsyncCollection: every method of Collection, awaited; ``iterate`` with ``async for``.

The rule: nothing is done here. Each call runs the method of the same name in a thread, so the event loop stays free.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from functools import wraps
from itertools import islice
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from connector.records import StoredPoint
from connector.search.async_client import AsyncImageSearch
from connector.search.options import Where
from connector.settings import Settings
from workers.collection.client import TOGETHER, Collection

P = ParamSpec("P")
R = TypeVar("R")


def _awaited(
    method: Callable[Concatenate[Collection, P], R],
) -> Callable[Concatenate["AsyncCollection", P], Coroutine[Any, Any, R]]:
    @wraps(method)
    async def call(self: "AsyncCollection", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(method, self._collection, *args, **kwargs)

    return call


class AsyncCollection:
    """A collection of images to read and to write, for ``async`` code; closed by ``async with`` or ``close``."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._search: AsyncImageSearch | None = None

    @classmethod
    async def open(
        cls,
        collection: str | None = None,
        *,
        space: str | None = None,
        settings: Settings | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> Self:
        """Open a collection as ``Collection.open`` does."""
        opened = await asyncio.to_thread(
            Collection.open, collection, space=space, settings=settings, overrides=overrides
        )
        return cls(opened)

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._collection.name

    async def search(self) -> AsyncImageSearch:
        """The collection to ask, open for as long as this one: ``await (await photos.search()).text("a dog")``."""
        search = await asyncio.to_thread(lambda: self._collection.search)
        if self._search is None:
            self._search = AsyncImageSearch(search)
        return self._search

    add = _awaited(Collection.add)
    get = _awaited(Collection.get)
    get_many = _awaited(Collection.get_many)
    count = _awaited(Collection.count)
    facets = _awaited(Collection.facets)
    info = _awaited(Collection.info)
    update = _awaited(Collection.update)
    delete = _awaited(Collection.delete)
    close = _awaited(Collection.close)

    async def iterate(
        self,
        *,
        where: Where = None,
        order_by: str | None = None,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
    ) -> AsyncIterator[StoredPoint]:
        """As ``Collection.iterate``."""
        found = self._collection.iterate(where=where, order_by=order_by, fields=fields, vectors=vectors)
        while page := await asyncio.to_thread(list, islice(found, TOGETHER)):
            for each in page:
                yield each

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
