"""What a service that also writes has beside one that only asks: images added and removed, ingestions, duplicates.

The one rule: nothing is loaded for them before the first image comes.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import StreamingResponse

from connector.service.admission import AdmissionQueue
from connector.service.app import PROBLEMS, Service
from workers.collection.client import Collection
from workers.service.duplicates import Duplicates
from workers.service.ingesting import Ingesting
from workers.service.uploads import Uploads
from workers.service.writing import Writing

WAITING = 16
"""Requests that wait for others to be worked on; each holds its images in memory."""
WEB = ("http://", "https://")
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


def writing(app: FastAPI, service: Service) -> AbstractAsyncContextManager[None]:
    """Add the routes that write; the context lasts as long as the service."""
    uploads = Uploads(service.settings)
    collection = Collection(service.settings, home=uploads.folder)
    queue = AdmissionQueue(threads=1, queue=WAITING, name="adding")
    routes = Writing(
        collection, search=service.search, uploads=uploads, roots=service.roots, queue=queue, keys=service.keys
    )
    service.roots.name(uploads.folder.as_uri(), *WEB)
    router = APIRouter(dependencies=[Depends(service.keys.may_write)], responses=PROBLEMS, tags=["write"])
    router.post("/v1/images")(routes.add)
    router.post("/v1/images/addresses")(routes.add_addresses)
    router.delete("/v1/images")(routes.delete)
    ingesting = Ingesting(service.settings, roots=service.roots, search=service.async_search)
    router.post("/v1/ingestions", status_code=202)(ingesting.begin)
    router.delete("/v1/ingestions/{id}", status_code=202)(ingesting.cancel)
    reading = APIRouter(dependencies=[Depends(service.keys.may_read)], responses=PROBLEMS, tags=["write"])
    reading.get("/v1/ingestions/{id}")(ingesting.look)
    reading.get("/v1/ingestions/{id}/events", response_class=StreamingResponse, responses=_EVENTS)(ingesting.follow)
    duplicates = Duplicates(
        service.settings, collection=collection, search=service.async_search, queue=queue, keys=service.keys
    )
    router.post("/v1/duplicates", status_code=202)(duplicates.begin)
    router.delete("/v1/duplicates/{id}", status_code=202)(duplicates.cancel)
    router.post("/v1/not-same")(duplicates.decide_not_same)
    reading.get("/v1/duplicates")(duplicates.all)
    reading.get("/v1/duplicates/{id}")(duplicates.look)
    reading.get("/v1/duplicates/{id}/groups")(duplicates.groups)
    reading.get("/v1/duplicates/{id}/events", response_class=StreamingResponse, responses=_EVENTS)(duplicates.follow)
    app.include_router(router)
    app.include_router(reading)

    @asynccontextmanager
    async def open_for_as_long() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.to_thread(ingesting.jobs.close)
            await asyncio.to_thread(duplicates.jobs.close)
            await asyncio.to_thread(queue.close)
            await asyncio.to_thread(collection.close)

    return open_for_as_long()
