"""The routes of duplicates: a search for them as a resource, its groups a page at a time, and what somebody decides.

The one rule: a search is what was found then, and its pages tell what is there now: images that were removed since, and
those that somebody called another image, are left out.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from fastapi import HTTPException, Query, Response
from fastapi.responses import StreamingResponse

from connector.records import StoredPoint
from connector.search.async_client import AsyncImageSearch
from connector.service.admission import AdmissionQueue
from connector.service.keys import Keys
from connector.settings import Settings
from connector.store.open import open_engine
from workers.collection.client import Collection
from workers.duplicates.groups import DuplicateGroup, DuplicateKind
from workers.service.answers import (
    DuplicateAnswer,
    DuplicateGroupAnswer,
    DuplicateGroupsAnswer,
    DuplicateGroupsRequest,
    DuplicatesAnswer,
    DuplicatesJobAnswer,
    DuplicatesRequest,
    NotSameAnswer,
    NotSameRequest,
)
from workers.service.jobs import Job, Jobs, Reporter, beside

ROUTE = "duplicates"
KEPT = 5
"""Searches that are remembered, with their groups."""
SHOWN = 50
"""Images of a group that a page tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicatesJob(Job):
    """A search for duplicates: what it was asked for, and how far it is or what it found."""

    kinds: tuple[DuplicateKind, ...]
    where: str | None
    near: float
    stage: str = "counting"
    done: int = 0
    total: int = 0
    images: int = 0
    distinct: int = 0
    compared: int = 0
    featureless: int = 0
    unread: int = 0
    groups: Mapping[str, int] = field(default_factory=dict)


class Duplicates:
    """Searches for duplicates in one collection."""

    def __init__(
        self, settings: Settings, *, collection: Collection, search: AsyncImageSearch, queue: AdmissionQueue, keys: Keys
    ) -> None:
        self.jobs = Jobs(DuplicatesJob, _find, settings=settings, route=ROUTE, kept=KEPT)
        self._collection = collection
        self._search = search
        self._queue = queue
        self._keys = keys

    async def begin(self, request: DuplicatesRequest, response: Response) -> DuplicatesJobAnswer:
        """Look for duplicates; ``Location`` is where to look how far it is. Nothing is deleted and nothing changed.

        One search runs at a time. The last searches are remembered with what they found.
        """
        await self._search.count(where=request.where)
        job = DuplicatesJob(kinds=tuple(request.kinds), where=request.where, near=request.near)
        await asyncio.to_thread(self.jobs.begin, job)
        response.headers["Location"] = f"/v1/{ROUTE}/{job.id}"
        return _answer(job)

    async def all(self) -> DuplicatesAnswer:
        """The last searches, the latest first."""
        return DuplicatesAnswer(searches=[*map(_answer, await asyncio.to_thread(self.jobs.all))])

    async def look(self, id: str) -> DuplicatesJobAnswer:
        """How far a search is, or how many groups of each kind it found."""
        return _answer(await self.jobs.found(id))

    async def follow(self, id: str) -> StreamingResponse:
        """How far it is, again and again until its end, as server-sent events: ``progress``, and at last ``end``."""
        return await self.jobs.events(id)

    async def cancel(self, id: str) -> DuplicatesJobAnswer:
        """Ask a search to stop; it has found nothing then. One that has ended stays as it is."""
        return _answer(await self.jobs.cancelled(id))

    async def groups(self, id: str, request: Annotated[DuplicateGroupsRequest, Query()]) -> DuplicateGroupsAnswer:
        """Groups of one kind, the largest first and the best image of each in front, as they are by now.

        ``next`` is the ``offset`` of the following page, null at the end. A page may have fewer groups than
        ``limit``: those of which less than two images are left are passed over.
        """
        job = await self.jobs.found(id)
        if job.state != "done":
            raise HTTPException(404, f"the search {id} is {job.state}; it has groups once it is done")
        return await asyncio.to_thread(self._page, id, request)

    async def decide_not_same(self, request: NotSameRequest) -> NotSameAnswer:
        """Remember that an image is not the same as others: no group has it together with one of them from now on."""
        await self._queue.run(lambda _: self._collection.decide_not_same(request.id, *request.others))
        return NotSameAnswer(id=request.id, others=request.others)

    def _page(self, id: str, request: DuplicateGroupsRequest) -> DuplicateGroupsAnswer:
        end = request.offset + request.limit
        lines = [*islice(_lines(self.jobs.file_of(id, request.kind)), request.offset, end + 1)]
        told = [json.loads(line) for line in lines[: request.limit]]
        there = self._there({each["id"] for group in told for each in group["images"][:SHOWN]})
        shown = (self._group(group, there) for group in told)
        return DuplicateGroupsAnswer(
            groups=[each for each in shown if each is not None], next=end if len(lines) > request.limit else None
        )

    def _there(self, ids: set[str]) -> dict[str, StoredPoint]:
        wanted, found = iter(sorted(ids)), {}
        while some := [*islice(wanted, 500)]:
            found.update({each.id: each for each in self._collection.get_many(some)})
        return found

    def _group(self, group: dict[str, Any], there: Mapping[str, StoredPoint]) -> DuplicateGroupAnswer | None:
        told = group["images"][:SHOWN]
        kept = _together([there[each["id"]] for each in told if each["id"] in there])
        images = [DuplicateAnswer(**each, **self._keys.addresses(each["id"])) for each in told if each["id"] in kept]
        gone = len(told) - len(images)
        if len(images) < 2:
            return None
        return DuplicateGroupAnswer(
            id=group["id"],
            kind=group["kind"],
            size=group["size"] - gone,
            best=images[0].id,
            reason=group["reason"] if images[0].id == group["best"] else "the best of those that are left",
            images=images,
        )


def _together(points: Sequence[StoredPoint]) -> set[str]:
    """The ids of a group that nobody set apart from one that stands before it."""
    kept: dict[str, set[str]] = {}
    for point in points:
        decided = point.payload.get("not_same")
        apart = {each for each in decided if isinstance(each, str)} if isinstance(decided, list) else set()
        if not apart & kept.keys() and not any(point.id in others for others in kept.values()):
            kept[point.id] = apart
    return {*kept}


def _lines(path: Path) -> Iterator[str]:
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            yield from file


def _answer(job: DuplicatesJob) -> DuplicatesJobAnswer:
    return DuplicatesJobAnswer(**asdict(job))


def _find(settings: Settings, job: DuplicatesJob, reporter: Reporter[DuplicatesJob]) -> DuplicatesJob:
    """The work of a search's process: its groups go into a file for each kind, a line for each group."""
    from workers.duplicates.find import find_duplicates  # here: the service itself does without it

    now = job

    def note(stage: str, done: int, total: int) -> None:
        nonlocal now
        now = replace(job, stage=stage, done=done, total=total)

    reporter.follow(lambda: now)
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        report = find_duplicates(
            engine, settings=settings, where=job.where, kinds=job.kinds, near=job.near, on_progress=note
        )
    counts: dict[str, int] = {}
    for kind in job.kinds:
        groups = report.of(kind)
        _write(beside(reporter.path, kind), groups)
        counts[kind] = len(groups)
    return replace(
        now,
        images=report.images,
        distinct=report.distinct,
        compared=report.compared,
        featureless=report.featureless,
        unread=len(report.unread),
        groups=counts,
    )


def _write(path: Path, groups: Sequence[DuplicateGroup]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(asdict(each))}\n" for each in groups)
