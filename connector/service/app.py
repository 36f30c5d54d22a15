"""The service: REST over one collection, and the gallery at ``/``.

The one rule: the event loop never waits. Models, store and files are reached from threads; texts of many requests are
embedded together by ``TextBatcher``.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, File, Form, HTTPException, Query, Request, Response, UploadFile
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from pydantic import TypeAdapter, ValidationError

from connector.asking import MAX_LIMIT
from connector.blend import Blend, Weighted, Words, point, words
from connector.errors import InvalidQuery, PolyglanceError
from connector.records import Hit
from connector.search import ImageSearch
from connector.search_async import AsyncImageSearch
from connector.service.answers import (
    CollectionAnswer,
    CollectionsAnswer,
    CountAnswer,
    FacetAnswer,
    GroupAnswer,
    Health,
    HitAnswer,
    Options,
    Part,
    PointAnswer,
    ProblemAnswer,
    Search,
    SearchAnswer,
)
from connector.service.batching import TextBatcher
from connector.service.originals import MEDIA_TYPES, Originals
from connector.service.problems import answer_errors, problem, request_id
from connector.settings import Settings

log = logging.getLogger(__name__)

GALLERY = Path(__file__).parent / "gallery"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
"""Sent with the gallery and the pictures: nothing from elsewhere runs in them, and nothing frames them."""
_DOCUMENTED: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemAnswer} for status in (401, 404, 409, 413, 422, 429, 500, 502, 503)
}


class Service:
    """One open collection, answered over HTTP."""

    def __init__(self, search: ImageSearch, *, settings: Settings) -> None:
        self._search = AsyncImageSearch(search)
        self._batcher = TextBatcher(search.embed_texts, queue=settings.serve.queue)
        self._originals = Originals(serve=settings.serve, limits=settings.limits)
        self._collection = settings.collection
        self._ready = False
        self._unready: PolyglanceError | None = None

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Warm the text tower up, serve, and let go of the collection."""
        async with self._batcher:
            warming = asyncio.create_task(self._warm_up())
            try:
                yield
            finally:
                warming.cancel()
                await asyncio.wait([warming])
                await self._search.close()

    async def search(self, asked: Search) -> SearchAnswer:
        """Answer a question in words, by a stored picture, or by a mixture."""
        started = time.perf_counter()
        blend = _blend_of(asked)
        if asked.group_by is not None:
            groups = await self._search.groups(
                blend, by=asked.group_by, limit=asked.limit, size=asked.group_size, where=asked.where
            )
            shown = [GroupAnswer(value=each.value, hits=_hits(each.hits)) for each in groups]
            return SearchAnswer(hits=[], groups=shown, took_ms=_since(started))
        hits = await self._hits_of(blend, asked)
        return SearchAnswer(hits=_hits(hits), took_ms=_since(started))

    async def search_by_image(
        self, file: Annotated[UploadFile, File()], options: Annotated[str, Form()] = "{}"
    ) -> SearchAnswer:
        """Answer by a picture that is sent along; ``options`` is JSON with where, limit, offset and so on."""
        started = time.perf_counter()
        try:
            wanted = TypeAdapter(Options).validate_json(options)
        except ValidationError as error:
            raise InvalidQuery(f"options: {error.errors()[0]['msg']}") from error
        hits = await self._search.image(
            await file.read(),
            limit=wanted.limit,
            offset=wanted.offset,
            where=wanted.where,
            min_score=wanted.min_score,
            diversity=wanted.diversity,
        )
        return SearchAnswer(hits=_hits(hits), took_ms=_since(started))

    async def facets(
        self,
        field: str,
        of: str | None = None,
        where: str | None = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 10,
    ) -> FacetAnswer:
        """The most frequent values of a field: in the collection, or among the pictures nearest to the words ``of``."""
        counts = await self._search.facets(field, of=of, where=where, limit=limit)
        return FacetAnswer(field=field, counts=[CountAnswer(value=each.value, count=each.count) for each in counts])

    async def point(self, point_id: str) -> PointAnswer:
        """One stored picture with all that is known of it."""
        (found,) = await self._found(point_id)
        return PointAnswer.of(found)

    async def collections(self) -> CollectionsAnswer:
        """The collection that is served here, and its filterable fields."""
        info = await self._search.info()
        here = CollectionAnswer(
            name=self._collection,
            space=info.schema.fingerprint.space,
            points=info.points,
            current=True,
            fields=dict(info.schema.indexes),
        )
        return CollectionsAnswer(collections=[here])

    async def image(self, point_id: str) -> FileResponse:
        """The original of a picture from a folder; ranges are answered."""
        (found,) = await self._found(point_id)
        kind = MEDIA_TYPES.get(str(found.payload.get("format")))
        if kind is None:
            raise HTTPException(404, "this picture has no format that is handed out")
        path = await asyncio.to_thread(self._originals.path_of, found.payload)
        return FileResponse(path, media_type=kind, headers=HEADERS)

    async def thumbnail(self, point_id: str, request: Request) -> Response:
        """A small picture as WebP; 304 where the browser has it already."""
        (found,) = await self._found(point_id)
        made = await asyncio.to_thread(self._originals.thumbnail, found.id, found.payload)
        etag = f'"{made.etag}"'
        headers = {**HEADERS, "ETag": etag, "Cache-Control": "private, max-age=300"}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(made.data, media_type="image/webp", headers=headers)

    async def healthz(self) -> Health:
        """The service lives."""
        return Health(status="ok")

    async def readyz(self, response: Response) -> Health:
        """The text tower is warm and the collection answers; 503 before that, and where either cannot be."""
        if self._unready is not None:
            raise self._unready
        if self._ready:
            return Health(status="ok")
        response.status_code = 503
        return Health(status="starting")

    async def _hits_of(self, blend: Blend, asked: Options) -> list[Hit]:
        lone = blend.parts[0].part if len(blend.parts) == 1 else None
        if isinstance(lone, Words) and lone.text.strip():
            vector = await self._batcher.vector_of(lone.text)
            answers = await self._search.nearest(
                vector[None],
                limit=asked.limit,
                offset=asked.offset,
                where=asked.where,
                min_score=asked.min_score,
                diversity=asked.diversity,
            )
            return answers[0]
        return await self._search.blend(
            blend,
            limit=asked.limit,
            offset=asked.offset,
            where=asked.where,
            min_score=asked.min_score,
            diversity=asked.diversity,
        )

    async def _found(self, point_id: str) -> list[Any]:
        try:
            return await self._search.points([point_id])
        except InvalidQuery as error:
            raise HTTPException(404, str(error)) from error

    async def _warm_up(self) -> None:
        try:
            await self._search.info()
            await self._batcher.vector_of("warm-up")
        except PolyglanceError as error:
            log.error("not_ready %s", error)
            self._unready = error
        self._ready = True


def create_app(search: ImageSearch, *, settings: Settings) -> FastAPI:
    """The application over an open search, which it closes when it ends."""
    service = Service(search, settings=settings)
    app = FastAPI(
        title="polyglance",
        summary="Search your own pictures in any language.",
        lifespan=service.lifespan,
        docs_url=None,
        redoc_url=None,
    )
    answer_errors(app)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.serve.cors_origins),
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type"],
    )
    app.middleware("http")(_guard(settings))
    api = APIRouter(dependencies=[Depends(_key_check(settings))], responses=_DOCUMENTED)
    api.post("/v1/search")(service.search)
    api.post("/v1/search/image")(service.search_by_image)
    api.get("/v1/facets")(service.facets)
    api.get("/v1/points/{point_id}")(service.point)
    api.get("/v1/collections")(service.collections)
    api.get("/images/{point_id}", response_class=FileResponse)(service.image)
    app.include_router(api)
    app.get("/thumbnails/{point_id}.webp", response_class=Response, responses=_DOCUMENTED)(service.thumbnail)
    app.get("/healthz")(service.healthz)
    app.get("/readyz")(service.readyz)
    app.mount("/", StaticFiles(directory=GALLERY, html=True))
    return app


def _guard(settings: Settings) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    """Refuse requests that are too large, and name every answer's request."""

    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        length = request.headers.get("content-length", "0")
        if request.method == "POST" and not (length.isdecimal() and 0 < int(length) <= settings.serve.max_body_bytes):
            limit = settings.serve.max_body_bytes
            return problem(
                request, 413, "too_large", f"a body of a known length up to serve.max_body_bytes = {limit} is wanted."
            )
        answer = await go_on(request)
        answer.headers["X-Request-ID"] = request_id(request)
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    return guard


def _key_check(settings: Settings) -> Callable[[Request], None]:
    keys = [key.get_secret_value().encode() for key in settings.serve.api_keys]

    def check(request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        fits = [hmac.compare_digest(given, key) for key in keys]  # every one of them: the time tells nothing
        if keys and not any(fits):
            raise HTTPException(
                401, "send a key of serve.api_keys: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"}
            )

    return check


def _blend_of(asked: Search) -> Blend:
    given = [name for name in ("text", "like", "blend") if getattr(asked, name) is not None]
    if len(given) != 1:
        raise InvalidQuery(f"give exactly one of text, like and blend; this gives {' and '.join(given) or 'none'}.")
    if asked.blend is not None:
        return Blend(tuple(_weighted(part, number=number) for number, part in enumerate(asked.blend)))
    return words(asked.text) if asked.text is not None else point(asked.like or "")


def _weighted(part: Part, *, number: int) -> Weighted:
    if (part.text is None) == (part.like is None):
        raise InvalidQuery(f"part {number + 1} of the blend needs either text or like.")
    made = words(part.text) if part.text is not None else point(part.like or "")
    return Weighted(made.parts[0].part, part.weight)


def _hits(hits: "list[Hit] | tuple[Hit, ...]") -> list[HitAnswer]:
    return [HitAnswer.of_hit(hit) for hit in hits]


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)
