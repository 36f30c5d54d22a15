"""The routes for whoever runs the service: its health, its counts, what it holds, and what is being ingested."""

import asyncio
import hashlib
import logging
from collections import Counter
from typing import Annotated

from fastapi import HTTPException, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from connector.errors import OriginalError, UnreadableImage
from connector.run_status import RejectedImage, RunStatus, read_rejects, read_runs
from connector.search.async_client import AsyncImageSearch
from connector.service.answers import (
    CollectionAnswer,
    CollectionsAnswer,
    Health,
    IngestionAnswer,
    IngestionsAnswer,
    RejectAnswer,
    RejectsAnswer,
)
from connector.service.keys import Credentials, Keys
from connector.service.metrics import Metrics
from connector.service.problems import problem, status_of
from connector.service.readiness import Readiness
from connector.service.thumbnails import Thumbnails
from connector.settings import Settings

log = logging.getLogger(__name__)

_BEAT_S = 0.05
"""How often the event loop's lag is measured."""


class Operations:
    """Tells how the service, its collection and the ingestions into it are."""

    def __init__(
        self,
        search: AsyncImageSearch,
        *,
        thumbnails: Thumbnails,
        keys: Keys,
        metrics: Metrics,
        settings: Settings,
    ) -> None:
        self._search = search
        self._thumbnails = thumbnails
        self._keys = keys
        self._metrics = metrics
        self._settings = settings
        self.readiness = Readiness(search, metrics=metrics, data=settings.qdrant.path)

    async def collections(self, request: Request, given: Credentials) -> CollectionsAnswer:
        """The collection that is served here, its filterable fields, and whether this caller may change it."""
        info = await self._search.info()
        second = info.schema.second
        here = CollectionAnswer(
            name=self._settings.collection,
            space=info.schema.fingerprint.space,
            next=second.space if second is not None and second.role == "next" else None,
            previous=second.space if second is not None and second.role == "previous" else None,
            points=info.points,
            current=True,
            fields=dict(info.schema.indexes),
        )
        return CollectionsAnswer(collections=[here], may_write=self._keys.writes(request, given))

    async def ingestions(self) -> IngestionsAnswer:
        """The last ingestion of every source, from the run files on this machine, newest first."""
        runs = await asyncio.to_thread(self._runs)
        return IngestionsAnswer(collection=self._settings.collection, ingestions=[*map(_ingestion, runs)])

    async def rejects(
        self,
        run: Annotated[str, Query(examples=["a1b2c3d4e5f6"])],
        reason: Annotated[str | None, Query(examples=["truncated"])] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 60,
        offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    ) -> RejectsAnswer:
        """The images that an ingestion could not take, by reason where one is given."""
        source = await self._source_of(run)
        return await asyncio.to_thread(self._rejects, run, source, reason, slice(offset, offset + limit))

    async def reject_thumbnail(self, run: str, reject: str) -> Response:
        """A small image of a reject, where one can be made."""
        source = await self._source_of(run)
        found = await asyncio.to_thread(self._reject_of, source, reject)
        try:
            data = await self._thumbnails.of_reject({"uri": found.uri})
        except UnreadableImage as error:
            raise HTTPException(404, f"no thumbnail can be made ({error.reason}): {error}") from error
        except OriginalError as error:
            raise HTTPException(404, f"no thumbnail can be made: {error}") from error
        return Response(data, media_type="image/webp", headers={"Cache-Control": "private, max-age=300"})

    async def metrics(self) -> Response:
        """What the service counts, in Prometheus' text format."""
        return Response(self._metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    async def healthz(self) -> Health:
        """The service lives."""
        return Health(status="ok")

    async def readyz(self, request: Request, response: Response) -> Health:
        """The text tower is warm and the collection answers; 503 before that, and while either does not."""
        if self.readiness.fault is not None:
            _, code = status_of(self.readiness.fault)
            return problem(request, 503, code, str(self.readiness.fault))  # type: ignore[return-value]  # in its shape
        if not self.readiness.starting:
            return Health(status="ok")
        response.status_code = 503
        return Health(status="starting")

    async def measure_lag(self) -> None:
        """Note for ever how much later than asked for the event loop comes back."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _BEAT_S
            await asyncio.sleep(_BEAT_S)
            self._metrics.lag.observe(max(0.0, loop.time() - due))

    def _runs(self) -> list[RunStatus]:
        return read_runs(self._settings.qdrant, collection=self._settings.collection)

    async def _source_of(self, run: str) -> str:
        runs = await asyncio.to_thread(self._runs)
        found = next((each.source for each in runs if each.run == run), None)
        if found is None:
            raise HTTPException(404, f"there is no ingestion {run!r}; GET /v1/ingestions lists them")
        return found

    def _rejects(self, run: str, source: str, reason: str | None, wanted: slice) -> RejectsAnswer:
        counts: Counter[str] = Counter()
        shown: list[RejectAnswer] = []
        for each in read_rejects(self._settings.qdrant, collection=self._settings.collection, source=source):
            number = counts.total() if reason is None else counts[reason]
            counts[each.reason] += 1
            if reason in (None, each.reason) and wanted.start <= number < wanted.stop:
                address = self._keys.signed(f"/rejects/{run}/{_name_of(each)}.webp")
                shown.append(
                    RejectAnswer(
                        uri=each.uri,
                        stage=each.stage,
                        reason=each.reason,
                        detail=each.detail,
                        attempt=each.attempt,
                        thumbnail_url=address,
                    )
                )
        return RejectsAnswer(reasons=dict(counts.most_common()), rejects=shown)

    def _reject_of(self, source: str, name: str) -> RejectedImage:
        rejects = read_rejects(self._settings.qdrant, collection=self._settings.collection, source=source)
        found = next((each for each in rejects if _name_of(each) == name), None)
        if found is None:
            raise HTTPException(404, f"there is no reject {name!r} in this ingestion")
        return found


def _ingestion(run: RunStatus) -> IngestionAnswer:
    return IngestionAnswer(
        id=run.run,
        source=run.source,
        state=run.state,
        started_at=run.started_at,
        updated_at=run.updated_at,
        listed=run.listed,
        listed_all=run.listed_all,
        stored=run.stored,
        unchanged=run.unchanged,
        rejected=run.rejected,
        reasons=dict(run.reasons),
        rate=run.rate,
        eta_s=run.eta_s,
        busy=dict(run.busy),
        bottleneck=run.bottleneck,
        error=run.error,
    )


def _name_of(reject: RejectedImage) -> str:
    return hashlib.blake2b(reject.uri.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
