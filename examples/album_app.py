"""An application with an album of its own: images are uploaded, searched and removed over HTTP.

    uvicorn --app-dir examples album_app:app

The collection is open for as long as the application lives; another process may search it meanwhile. A service with
keys, quotas and a gallery is there ready made: `polyglance serve`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Request, UploadFile

from polyglance import AsyncCollection, InvalidQuery

SPACE = os.environ.get("POLYGLANCE_MODEL__SPACE", "mini")


@asynccontextmanager
async def album_open(app: FastAPI) -> AsyncIterator[None]:
    """Have the collection open while the application runs."""
    async with await AsyncCollection.open("example-album", space=SPACE) as album:
        app.state.album = album
        yield


app = FastAPI(title="An album", lifespan=album_open)


def album_of(request: Request) -> AsyncCollection:
    """The application's collection."""
    album: AsyncCollection = request.app.state.album
    return album


@app.post("/photos", status_code=201)
async def add(request: Request, photo: UploadFile, album: Annotated[str, "the user's own"] = "") -> dict[str, str]:
    """Add an image; it is found as soon as this answers."""
    try:
        data = await photo.read()
        return {"id": await album_of(request).add(data, meta={"album": album, "name": photo.filename})}
    except InvalidQuery as error:
        raise HTTPException(422, str(error)) from error


@app.get("/photos")
async def search(request: Request, text: str, where: str | None = None, limit: int = 10) -> list[dict[str, Any]]:
    """Images by text in any language."""
    try:
        hits = await (await album_of(request).search()).text(text, where=where, limit=limit)
    except InvalidQuery as error:
        raise HTTPException(422, str(error)) from error
    return [{"id": hit.id, "score": hit.score, **hit.payload.get("meta", {})} for hit in hits]


@app.delete("/photos/{id}", status_code=204)
async def remove(request: Request, id: str) -> None:
    """Remove an image."""
    if not await album_of(request).delete(id):
        raise HTTPException(404, f"there is no photo {id}")
