"""AsyncCollection: every method of Collection, awaited; ``iterate`` with ``async for``.

The rule: nothing is done here. Each call runs the method of the same name in a thread, so the event loop stays free.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Self

from connector.awaited import Awaited, awaited, streamed
from connector.search.async_client import AsyncImageSearch
from connector.settings import Settings
from workers.collection.client import Collection


class AsyncCollection(Awaited[Collection]):
    """A collection of images to read and to write, for ``async`` code; closed by ``async with`` or ``close``."""

    def __init__(self, collection: Collection) -> None:
        super().__init__(collection)
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
        return self._inner.name

    async def search(self) -> AsyncImageSearch:
        """The collection to ask, open for as long as this one: ``await (await photos.search()).text("a dog")``."""
        search = await asyncio.to_thread(lambda: self._inner.search)
        if self._search is None:
            self._search = AsyncImageSearch(search)
        return self._search

    add = awaited(Collection.add)
    get = awaited(Collection.get)
    get_many = awaited(Collection.get_many)
    count = awaited(Collection.count)
    facets = awaited(Collection.facets)
    info = awaited(Collection.info)
    check = awaited(Collection.check)
    update = awaited(Collection.update)
    duplicates = awaited(Collection.duplicates)
    decide_not_same = awaited(Collection.decide_not_same)
    delete = awaited(Collection.delete)
    iterate = streamed(Collection.iterate)
    close = awaited(Collection.close)
