"""The service: REST over one collection, and the gallery at ``/``.

The one rule: the event loop never waits. Models, store and files are reached from threads; texts of many requests are
embedded together by ``TextBatcher``; ``Guard`` stands around every request.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from connector.search.async_client import AsyncImageSearch, embed_parts
from connector.search.batching import TextBatcher
from connector.search.client import ImageSearch
from connector.service.admission import AdmissionQueue, ImageAdmission
from connector.service.alerts import Alerts
from connector.service.answers import ProblemAnswer
from connector.service.guard import Guard, HeadAsGet, KeyCheck
from connector.service.images import Images
from connector.service.keys import Keys
from connector.service.listing import Listing
from connector.service.metrics import Metrics
from connector.service.operations import Operations
from connector.service.originals import Originals
from connector.service.problems import answer_errors
from connector.service.questions import Questions
from connector.service.roots import Roots
from connector.service.thumbnails import Thumbnails
from connector.settings import Settings

IMAGES = 8
"""Files read and decoded at once, as far as their bytes allow."""
GALLERY = Path(__file__).parent / "gallery"
_MEANINGS = {
    400: "The body cannot be read as what it says it is.",
    401: "A key is wanted.",
    403: "This key may not do that.",
    404: "There is no such thing here.",
    409: "Another space built the collection.",
    413: "The body is too large.",
    415: "The body is of another kind.",
    421: "The service is not called by this name.",
    422: "The question cannot be answered as asked.",
    429: "Too many wait; ask again after Retry-After seconds.",
    500: "A defect.",
    502: "The store or an image's source refused.",
    503: "The store, the model or time is not there; ask again.",
    507: "The store has no room.",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemAnswer, "description": meaning} for status, meaning in _MEANINGS.items()
}
_WEBP: dict[int | str, dict[str, Any]] = {
    200: {"description": "A small image.", "content": {"image/webp": {}}},
    304: {"description": "The caller has it already."},
}
_ORIGINAL: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": {"image/*": {}}},
    206: {"description": "The range that was asked for.", "content": {"image/*": {}}},
    304: {"description": "The caller has it already."},
    416: {"model": ProblemAnswer, "description": "The file has no such range."},
}


class Service:
    """The parts of the service over one open collection, which it closes."""

    def __init__(self, search: ImageSearch, *, settings: Settings) -> None:
        serve = settings.serve
        self.settings = settings
        self.search = search
        self.extension: AbstractAsyncContextManager[None] = nullcontext()
        self.metrics = Metrics()
        self.keys = Keys(serve)
        self._originals = Originals(settings)
        self.roots = Roots(settings)
        self._admission = ImageAdmission(
            threads=IMAGES,
            queue=serve.queue,
            file_bytes=settings.limits.max_bytes,
            decode_bytes=serve.decode_bytes,
            metrics=self.metrics,
        )
        self._labelling = AdmissionQueue(threads=1, queue=serve.queue, name="labels")
        batcher = TextBatcher(
            partial(embed_parts, search),
            queue=serve.queue,
            batch=serve.batch,
            on_batch=self.metrics.note_batch,
            on_depth=self.metrics.waiting.set,
        )
        self.async_search = AsyncImageSearch(search, batcher=batcher)
        thumbnails = Thumbnails(self._originals, admission=self._admission, serve=serve, limits=settings.limits)
        self.questions = Questions(
            search,
            async_search=self.async_search,
            admission=self._admission,
            labelling=self._labelling,
            keys=self.keys,
        )
        self.listing = Listing(self.async_search, keys=self.keys)
        self.alerts = Alerts(search)
        self.images = Images(
            self.async_search,
            admission=self._admission,
            originals=self._originals,
            roots=self.roots,
            thumbnails=thumbnails,
            keys=self.keys,
            metrics=self.metrics,
        )
        self.operations = Operations(
            self.async_search,
            thumbnails=thumbnails,
            keys=self.keys,
            metrics=self.metrics,
            settings=settings,
        )

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Warm up, serve, and let go of the collection.

        A lone process answers at once and says that it is not ready; one of many takes no caller before it is.
        """
        async with self.extension, self._serving(app):
            yield

    @asynccontextmanager
    async def _serving(self, app: FastAPI) -> AsyncIterator[None]:
        _make_routes(app)
        readiness = self.operations.readiness
        warming = asyncio.create_task(readiness.warm_up())
        measuring = asyncio.create_task(self.operations.measure_lag())
        watching = asyncio.create_task(readiness.watch())
        try:
            if self.settings.serve.workers > 1:
                await warming
            yield
        finally:
            tasks = [warming, measuring, watching]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await readiness.close()
            for queue in (self._admission, self._labelling):
                await asyncio.to_thread(queue.close)  # its work is done, or given up at its next piece
            self._originals.close()
            await self.async_search.close()


Extend: TypeAlias = Callable[[FastAPI, Service], AbstractAsyncContextManager[None]]
"""Brings routes of a package above ours into the application; the context is open for as long as it serves."""


def create_app(search: ImageSearch, *, settings: Settings, extend: Extend | None = None) -> FastAPI:
    """The application over an open search, which it closes when it ends."""
    service = Service(search, settings=settings)
    app = FastAPI(
        title="polyglance",
        summary="Search your own images in any language.",
        lifespan=service.lifespan,
        docs_url=None,
        redoc_url=None,
    )
    answer_errors(app)
    app.add_middleware(HeadAsGet)
    app.add_middleware(KeyCheck, keys=service.keys)
    app.add_middleware(Guard, serve=settings.serve, metrics=service.metrics)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.serve.cors_origins),
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Range"],
        expose_headers=["X-Request-ID", "Retry-After", "ETag", "Content-Range"],
    )
    _add_routes(app, service)
    if extend is not None:
        service.extension = extend(app, service)
    app.mount("/", StaticFiles(directory=GALLERY, html=True))
    return app


def _make_routes(app: FastAPI) -> None:
    """Have FastAPI make now what it else makes at the first request, beside threads that import and parse too.

    Two threads that parse Python at once break CPython 3.11 (its issue 106905): the request would end in status 500.
    """
    nowhere = {"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": [], "query_string": b""}
    for route in app.routes:
        route.matches({**nowhere})


def _add_routes(app: FastAPI, service: Service) -> None:
    keys, questions, images, running = service.keys, service.questions, service.images, service.operations
    reading = APIRouter(dependencies=[Depends(keys.may_read)], responses=PROBLEMS)
    reading.post("/v1/search", tags=["ask"])(questions.search)
    reading.post("/v1/search/image", tags=["ask"])(questions.search_by_image)
    reading.post("/v1/classify", tags=["ask"])(questions.classify)
    reading.post("/v1/classify/image", tags=["ask"])(questions.classify_image)
    reading.get("/v1/facets", tags=["ask"])(questions.facets)
    reading.get("/v1/images", tags=["browse"])(service.listing.page)
    reading.get("/v1/count", tags=["browse"])(service.listing.count)
    reading.get("/v1/sample", tags=["browse"])(service.listing.sample)
    reading.get("/v1/points/{point_id}", tags=["images"])(images.point)
    reading.get("/v1/alerts", tags=["alerts"])(service.alerts.show)
    reading.get("/v1/collections", tags=["operate"])(running.collections)
    reading.get("/v1/ingestions", tags=["operate"])(running.ingestions)
    reading.get("/v1/rejects", tags=["operate"])(running.rejects)
    reading.get("/metrics", tags=["operate"], response_class=Response)(running.metrics)
    writing = APIRouter(dependencies=[Depends(keys.may_write)], responses=PROBLEMS)
    writing.put("/v1/points/{point_id}/tags", tags=["images"])(images.tag)
    writing.patch("/v1/points/{point_id}", tags=["images"])(images.change)
    writing.post("/v1/alerts", tags=["alerts"], status_code=201)(service.alerts.add)
    writing.delete("/v1/alerts/{id}", tags=["alerts"])(service.alerts.remove)
    seeing = APIRouter(responses=PROBLEMS, default_response_class=Response, tags=["images"])
    original, thumbnail = [Depends(keys.may_see)], [Depends(keys.may_see_thumbnail)]
    lasting = [Depends(keys.may_see_lasting)]
    seeing.get("/images/{point_id}", dependencies=original, responses=_ORIGINAL)(images.image)
    seeing.get("/thumbnails/{point_id}.webp", dependencies=thumbnail, responses=_WEBP)(images.thumbnail)
    seeing.get("/thumbnails/{signature}/{point_id}.webp", dependencies=lasting, responses=_WEBP)(images.thumbnail)
    seeing.get("/rejects/{run}/{reject}.webp", dependencies=original, responses=_WEBP)(running.reject_thumbnail)
    for router in (reading, writing, seeing):
        app.include_router(router)
    app.get("/healthz", tags=["operate"])(running.healthz)
    app.get("/readyz", tags=["operate"], responses={503: {"description": "Starting, or why it cannot start."}})(
        running.readyz
    )
    for page in ("duplicates", "ingestions"):
        app.get(f"/{page}", include_in_schema=False, response_class=FileResponse)(partial(_page, f"{page}.html"))


async def _page(name: str) -> FileResponse:
    return FileResponse(GALLERY / name)
