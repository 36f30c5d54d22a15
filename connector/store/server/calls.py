"""Calls: every call of qdrant-client on one collection, its errors translated, tried again while that can help.

The one rule: nobody else calls qdrant-client. What is called may be repeated without harm, so an answer that was lost
on the way costs time and nothing else, and it may be any node of a cluster that answers.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from qdrant_client import QdrantClient

from connector.errors import StoreRefused, StoreUnavailable
from connector.settings import QdrantSettings
from connector.store.server.errors import FOREIGN, Call, translate
from connector.store.server.nodes import Nodes
from connector.store.server.retries import RetryPolicy, persist

T = TypeVar("T")


class Calls:
    """Calls about one collection. Safe to use from many threads; ``close`` ends every wait."""

    def __init__(self, settings: QdrantSettings, *, collection: str) -> None:
        """Raises ConfigError where ``settings.url`` is none or holds something else than http(s) addresses."""
        self.collection = collection
        self.closing = threading.Event()
        self._nodes = Nodes(settings)
        self._secret = settings.api_key
        self._retry_policy = RetryPolicy(
            total_s=settings.retry_s,
            full_s=settings.full_wait_s,
            first_s=settings.retry_first_s,
            closing=self.closing,
            nodes=len(self._nodes),
        )

    def __str__(self) -> str:
        return f"{self.collection!r} at {self._nodes}"

    def ask(self, operation: Callable[[QdrantClient], T], *, doing: str) -> T:
        """What ``operation`` answers. ``doing`` is its name in messages. Raises StoreError."""
        return persist(partial(self._once, operation, doing=doing), retry_policy=self._retry_policy, doing=doing)

    def close(self) -> None:
        """Let go of the connections; calls that wait in other threads give up."""
        self.closing.set()
        self._nodes.close()

    def _once(self, operation: Callable[[QdrantClient], T], *, doing: str) -> T:
        node = self._nodes.current
        call = Call(doing, collection=self.collection, address=node.address, secret=self._secret)
        if self.closing.is_set():
            raise StoreUnavailable(f"{call.what} was given up: the engine is closed.")
        try:
            answer = operation(node.client)
        except FOREIGN as error:
            ours = translate(error, call=call)
            if isinstance(ours, StoreUnavailable) and ours.retry_after is None:
                self._nodes.leave(node)
                if advice := node.tls_advice():
                    raise StoreRefused(f"{call.what} at {node.address} failed. {advice}") from error
            raise ours from error
        node.answered = True
        return answer


def results(futures: Sequence[Future[None]]) -> None:
    """Wait for all of them; the first failure is raised, and what had not begun by then is not begun."""
    try:
        for future in futures:
            future.result()
    finally:
        for future in futures:
            future.cancel()
