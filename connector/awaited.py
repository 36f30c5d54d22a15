"""A class for ``async`` code whose methods are those of another, each run in a thread.

The rule: nothing is done here. The event loop stays free, and what is raised is what the method raises.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from itertools import islice
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
PAGE = 1_000
"""Items that a stream takes at a time."""


class Awaited(ABC, Generic[T]):
    """Holds what does the work, and closes it at the end of an ``async with``."""

    def __init__(self, inner: T) -> None:
        self._inner = inner

    @abstractmethod
    async def close(self) -> None:
        """Close what does the work."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def awaited(
    method: Callable[Concatenate[T, P], R],
) -> Callable[Concatenate[Awaited[T], P], Coroutine[Any, Any, R]]:
    """A method, to be awaited."""

    @wraps(method)
    async def call(self: Awaited[T], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(method, self._inner, *args, **kwargs)

    return call


def streamed(
    method: Callable[Concatenate[T, P], Iterator[R]],
) -> Callable[Concatenate[Awaited[T], P], AsyncIterator[R]]:
    """A method that gives one item after the other, for ``async for``."""

    @wraps(method)
    async def stream(self: Awaited[T], /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        waiting = method(self._inner, *args, **kwargs)
        while page := await asyncio.to_thread(list, islice(waiting, PAGE)):
            for each in page:
                yield each

    return stream
