"""The routes of ingestions as resources: begun, looked at, followed and cancelled.

The one rule: a request returns at once. What it began goes on in a process of its own: see ``workers.service.jobs``.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace

from fastapi import HTTPException, Response
from fastapi.responses import StreamingResponse

from connector.errors import InvalidQuery, OriginalMissing
from connector.search.async_client import AsyncImageSearch
from connector.service.roots import Roots
from connector.settings import Settings
from workers.run.loop import Progress
from workers.service.answers import IngestionRequest, JobAnswer
from workers.service.jobs import Job, Jobs, Reporter

ROUTE = "ingestions"
KEPT = 50
"""Ingestions that are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestionJob(Job):
    """An ingestion: what it was asked for and where it stands. ``rate`` is images a second."""

    places: tuple[str, ...]
    prune: bool
    listed: int = 0
    listed_all: bool = False
    stored: int = 0
    unchanged: int = 0
    rejected: int = 0
    pruned: int = 0
    rate: float = 0.0


class Ingesting:
    """Ingestions into one collection."""

    def __init__(self, settings: Settings, *, roots: Roots, search: AsyncImageSearch) -> None:
        self.jobs = Jobs(IngestionJob, _ingest, settings=settings, route=ROUTE, kept=KEPT)
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
        job = IngestionJob(places=tuple(request.places), prune=request.prune)
        await asyncio.to_thread(self.jobs.begin, job)
        response.headers["Location"] = f"/v1/{ROUTE}/{job.id}"
        return _answer(job)

    async def look(self, id: str) -> JobAnswer:
        """Where an ingestion stands that was begun by a request."""
        return _answer(await self.jobs.found(id))

    async def follow(self, id: str) -> StreamingResponse:
        """Where it stands, again and again until its end, as server-sent events: ``progress``, and at last ``end``."""
        return await self.jobs.events(id)

    async def cancel(self, id: str) -> JobAnswer:
        """Ask an ingestion to stop. What it stored stays; one that has ended stays as it is."""
        return _answer(await self.jobs.cancelled(id))


def _answer(job: IngestionJob) -> JobAnswer:
    return JobAnswer(**asdict(job))


def _ingest(settings: Settings, job: IngestionJob, reporter: Reporter[IngestionJob]) -> IngestionJob:
    """The work of an ingestion's process. Counts at its end leave out the runs of earlier ones, finished first."""
    from workers.run.ingestion import ingest  # here: the service itself does without it

    ingesting = settings.ingest.model_copy(update={"workers": settings.ingest.workers or 0})
    settings = settings.model_copy(update={"ingest": ingesting})
    seen: list[Callable[[], Progress]] = []
    reporter.follow(lambda: _so_far(job, [each() for each in [*seen]]))

    @contextmanager
    def show(progress: Callable[[], Progress]) -> Iterator[None]:
        seen.append(progress)
        yield

    done = ingest(
        job.places,
        settings=settings,
        recreate=False,
        show=show,
        wait=lambda _: nullcontext(),
        prune="remove" if job.prune else "no",
    )
    counts = done.report.counts
    return replace(
        _so_far(job, [each() for each in seen]),
        listed=counts.listed,
        stored=counts.stored,
        unchanged=counts.unchanged,
        rejected=counts.rejected,
        pruned=sum(each.removed for each in done.pruned),
        error=next((each.refusal for each in done.pruned if each.refusal is not None), None),
    )


def _so_far(job: IngestionJob, progress: list[Progress]) -> IngestionJob:
    counts = [each.report.counts for each in progress]
    return replace(
        job,
        listed=sum(each.total for each in progress),
        listed_all=len(progress) >= len(job.places) and all(each.listed_all for each in progress),
        stored=sum(each.stored for each in counts),
        unchanged=sum(each.unchanged for each in counts),
        rejected=sum(each.rejected for each in counts),
        rate=progress[-1].rate if progress else 0.0,
    )
