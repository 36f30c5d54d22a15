"""The routes of ingestions as resources: begun, looked at, followed and cancelled.

The one rule: a request returns at once. What it began goes on in a process of its own: see ``workers.service.jobs``.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import asdict

from fastapi import HTTPException, Response
from fastapi.responses import StreamingResponse

from connector.errors import InvalidQuery, OriginalMissing
from connector.search.async_client import AsyncImageSearch
from connector.service.roots import Roots
from workers.service.answers import IngestionRequest, JobAnswer
from workers.service.jobs import REPORT_S, Job, Jobs

_SILENT_S = 15.0
"""Seconds after which a stream without news says that it lives."""


class Ingesting:
    """Ingestions into one collection."""

    def __init__(self, jobs: Jobs, *, roots: Roots, search: AsyncImageSearch) -> None:
        self._jobs = jobs
        self._roots = roots
        self._search = search

    async def begin(self, request: IngestionRequest, response: Response) -> JobAnswer:
        """Bring in what is new or changed in these places; ``Location`` is where to look how far it is.

        Places were ingested before, lie below one that was, or are named by ``serve.roots``. One ingestion runs at a
        time. What was brought in already is skipped, so that the same request goes on where another one ended.
        """
        for place in request.places:
            if not place.startswith("/") and "://" not in place:
                raise InvalidQuery(f"{place!r} is no place; an absolute path or an address is wanted.")
            try:
                await asyncio.to_thread(self._roots.check, place)
            except OriginalMissing as error:
                said = (
                    f"{place!r} lies outside serve.roots and what was ingested on this machine; name it in serve.roots"
                )
                raise HTTPException(403, said) from error
        await self._search.info()  # a collection that was deleted is not made again
        job = await asyncio.to_thread(self._jobs.begin, request.places, prune=request.prune)
        response.headers["Location"] = f"/v1/ingestions/{job.id}"
        return _answer(job)

    async def look(self, id: str) -> JobAnswer:
        """Where an ingestion stands that was begun by a request."""
        return _answer(await self._found(id))

    async def follow(self, id: str) -> StreamingResponse:
        """Where it stands, again and again until its end, as server-sent events: ``progress``, and at last ``end``."""
        return StreamingResponse(self._events(await self._found(id)), media_type="text/event-stream")

    async def cancel(self, id: str) -> JobAnswer:
        """Ask an ingestion to stop. What it stored stays; one that has ended stays as it is."""
        await self._found(id)
        await asyncio.to_thread(self._jobs.cancel, id)
        return _answer(await self._found(id))

    async def _found(self, id: str) -> Job:
        job = await asyncio.to_thread(self._jobs.get, id)
        if job is None:
            raise HTTPException(404, f"there is no ingestion {id!r} that was begun by POST /v1/ingestions")
        return job

    async def _events(self, job: Job) -> AsyncIterator[str]:
        told: Job | None = None
        told_at = 0.0
        while True:
            if job != told:
                yield _event("progress" if job.state == "running" else "end", job)
                told, told_at = job, time.monotonic()
            elif time.monotonic() - told_at > _SILENT_S:
                yield ": it goes on\n\n"
                told_at = time.monotonic()
            if job.state != "running":
                return
            await asyncio.sleep(REPORT_S)
            job = await self._found(job.id)


def _answer(job: Job) -> JobAnswer:
    return JobAnswer(**asdict(job))


def _event(kind: str, job: Job) -> str:
    return f"event: {kind}\ndata: {json.dumps(asdict(job))}\n\n"
