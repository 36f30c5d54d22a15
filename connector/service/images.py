"""The routes that show one stored image: what is known of it, its original, its thumbnail, its tags.

The one rule: files are read a few at a time in threads of their own, so that slow stores hold up no question, and
whoever hangs up frees a thread only when it has ended.
"""

from typing import Annotated, Any

from anyio import to_thread
from fastapi import HTTPException, Path, Request, Response

from connector.errors import InvalidQuery, UnreadableImage
from connector.records import Payload, StoredPoint
from connector.search.async_client import AsyncImageSearch
from connector.service.admission import ImageAdmission
from connector.service.answers import ChangeRequest, PointAnswer, TagsRequest
from connector.service.keys import Keys
from connector.service.metrics import Metrics
from connector.service.originals import Original, Originals, answer
from connector.service.roots import Roots
from connector.service.thumbnails import Thumbnails

PointId = Annotated[str, Path(examples=["1f0b6d53-5f0c-5f7e-9d0e-0a4d5e1c2b3a"])]


class Images:
    """Shows the images of one collection."""

    def __init__(
        self,
        search: AsyncImageSearch,
        *,
        admission: ImageAdmission,
        originals: Originals,
        roots: Roots,
        thumbnails: Thumbnails,
        keys: Keys,
        metrics: Metrics,
    ) -> None:
        self._search = search
        self._originals = originals
        self._roots = roots
        self._thumbnails = thumbnails
        self._keys = keys
        self._metrics = metrics
        self._admission = admission

    async def point(self, point_id: PointId) -> PointAnswer:
        """One stored image with all that is known of it."""
        return PointAnswer.of(await self._found(point_id), addresses=self._keys.addresses)

    async def tag(self, point_id: PointId, tags: TagsRequest) -> PointAnswer:
        """Give an image these tags, in place of those it has; needs a key of ``serve.api_keys``."""
        found = await self._found(point_id)
        await self._search.set_payload(found.id, {"tags": [*dict.fromkeys(tags.tags)]})
        return PointAnswer.of(await self._found(point_id), addresses=self._keys.addresses)

    async def change(self, point_id: PointId, change: ChangeRequest) -> PointAnswer:
        """Change the user's metadata of an image key by key, and its tags; needs a key of ``serve.api_keys``."""
        found = await self._found(point_id)
        wanted: dict[str, Any] = {"meta": change.meta} if change.meta else {}
        if change.tags is not None:
            wanted["tags"] = [*dict.fromkeys(change.tags)]
        if not wanted:
            raise InvalidQuery("nothing is to be changed; give meta, tags or both.")
        await self._search.set_payload(found.id, wanted)
        return PointAnswer.of(await self._found(point_id), addresses=self._keys.addresses)

    async def image(self, point_id: PointId, request: Request) -> Response:
        """The original of an image, from where it was ingested; one range of it where that is asked for."""
        found = await self._found(point_id)
        original = await self._admission.run(lambda _: self._found_original(found.payload))
        policy = self._keys.sharing(request, within="same-origin")
        return await answer(original, asked=request.headers, policy=policy)

    async def thumbnail(self, point_id: PointId, request: Request) -> Response:
        """A small image as WebP; 304 where the browser has it already."""
        found = await self._found(point_id)
        etag = f'"{self._thumbnails.etag_of(found.id, found.payload)}"'
        policy = self._keys.sharing(request, within="same-site")  # Qdrant's dashboard has another port
        headers = {"ETag": etag, "Cache-Control": "private, max-age=300", "Cross-Origin-Resource-Policy": policy}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        try:
            await to_thread.run_sync(self._roots.check, found.payload.get("uri"))
            made = await self._thumbnails.get(found.id, found.payload)
        except UnreadableImage as error:
            raise HTTPException(404, f"no thumbnail can be made ({error.reason}): {error}") from error
        self._metrics.thumbnails.labels(made.origin).inc()
        return Response(made.data, media_type="image/webp", headers=headers)

    def _found_original(self, payload: Payload) -> Original:
        self._roots.check(payload.get("uri"))
        return self._originals.find(payload)

    async def _found(self, point_id: str) -> StoredPoint:
        try:
            return (await self._search.points([point_id]))[0]
        except InvalidQuery as error:
            raise HTTPException(404, str(error)) from error
