"""An original as an answer: whole, or the one range that was asked for (RFC 9110, section 14)."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import chain

from fastapi.responses import StreamingResponse
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response

from connector.service.originals import Original

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


async def answer(original: Original, *, asked: Headers) -> Response:
    """The answer to a request with these headers. The first block is read before the answer begins.

    Raises OriginalError, and 416 for a range that the file does not have.
    """
    etag = f'"{original.etag}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "private, max-age=300"}
    if etag in asked.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    start, stop = 0, original.size
    status = 200
    if asked.get("if-range", etag) == etag and (span := range_of(asked, size=original.size)):
        start, stop = span
        status = 206
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{original.size}"
    headers["Content-Length"] = str(stop - start)
    blocks = original.blocks(start, stop)
    first = await run_in_threadpool(next, blocks, b"")
    return StreamingResponse(
        _streamed(first, blocks), status_code=status, headers=headers, media_type=original.media_type
    )


def range_of(asked: Mapping[str, str], *, size: int) -> tuple[int, int] | None:
    """Start and stop of the range that was asked for; None for none, for several, and for what is no range."""
    match = _RANGE.fullmatch(asked.get("range", ""))
    first, last = match.groups() if match else ("", "")
    if not (first or last) or (first and last and int(last) < int(first)):
        return None
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= size:
        raise HTTPException(
            416, f"the picture has {size} bytes; {asked['range']} is not in it", {"Content-Range": f"bytes */{size}"}
        )
    return start, stop


def _streamed(first: bytes, blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    return iterate_in_threadpool(chain([first], blocks))
