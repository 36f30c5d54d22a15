"""Readiness: whether the service can answer now: its text tower is warm, and the store answers.

The rule: the store is looked at every few seconds, whoever asks, so that its death, or a collection that was deleted,
shows soon; and one look at a time, so that a store that gives no answer holds one thread and no more.
"""

import asyncio
import logging
from pathlib import Path

from connector.errors import PolyglanceError, StoreUnavailable
from connector.search.async_client import AsyncImageSearch
from connector.service.metrics import Metrics

log = logging.getLogger(__name__)

LOOK_S = 2.0
"""Seconds between two looks at the store."""
ANSWER_S = 2.0
"""Seconds within which the store answers a look, or the service calls itself not ready."""


class Readiness:
    """What ``/readyz`` tells. ``fault`` says why not, None where all is well or still ``starting``."""

    def __init__(self, search: AsyncImageSearch, *, metrics: Metrics, data: Path) -> None:
        self._data = data
        self._search = search
        self._metrics = metrics
        self._look: asyncio.Task[None] | None = None
        self.starting = True
        self.fault: PolyglanceError | None = None

    async def warm_up(self) -> None:
        """Ask a first question, and one with a filter: nobody is to wait for the model, or for what filters take."""
        self._note(await self._asked())
        self.starting = False

    async def watch(self) -> None:
        """Look for ever whether the store answers, and warm up where that could not be done before."""
        while True:
            await asyncio.sleep(LOOK_S)
            if not self.starting:
                self._note(await self._seen())

    async def close(self) -> None:
        """Wait for a look that is under way; the store, once closed, gives it up."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait([self._look])

    async def _seen(self) -> PolyglanceError | None:
        if self._look is None:
            self._look = asyncio.create_task(self._look_at_the_store())
        done, _ = await asyncio.wait([self._look], timeout=ANSWER_S)
        if not done:
            return StoreUnavailable(f"the store gave no answer within {ANSWER_S:g} seconds.")
        look, self._look = self._look, None
        error = look.exception()
        if error is None or isinstance(error, PolyglanceError):
            return error
        raise error

    async def _look_at_the_store(self) -> None:
        if self.fault is None:
            await self._search.info()
        elif (error := await self._asked()) is not None:
            raise error

    async def _asked(self) -> PolyglanceError | None:
        try:
            info = await self._search.info()
            await self._search.text("warm-up", limit=1)  # learns what is relevant here, too
            if "width" in info.schema.indexes:
                await self._search.count(where="width >= 1")
        except PolyglanceError as error:
            return error
        return None

    def _note(self, fault: PolyglanceError | None) -> None:
        if fault is not None and (self.fault is None or type(self.fault) is not type(fault)):
            log.error("not_ready %s", fault)
        elif fault is None and self.fault is not None:
            log.warning("ready_again")
        self.fault = fault
        self._metrics.ready.set(fault is None)
        self._metrics.note_disk(self._data)
