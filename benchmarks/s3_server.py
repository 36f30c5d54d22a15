"""A read-only S3 over a folder, quick enough not to be what is measured.

    python -m benchmarks.s3_server FOLDER [COPIES [REFUSED]]

It knows ListObjectsV2, HeadObject and GetObject (with ranges) in path style, and checks no signature. Of all requests
it answers the share REFUSED, drawn from a seed, with SlowDown. It prints its port and serves until its input closes.
"""

import asyncio
import bisect
import hashlib
import random
import sys
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "bucket"


class Bucket:
    """The files of a folder as objects; bytes are kept in memory, as they would be in a store's cache."""

    def __init__(self, folder: Path, *, copies: int, refused: float = 0.0) -> None:
        self._refused = refused
        self._random = random.Random(17)
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.jpg"))}
        self._files = {f"{copy:04d}/{name}": data for copy in range(copies) for name, data in files.items()}
        self._keys = sorted(self._files)
        sums = {id(data): hashlib.md5(data, usedforsecurity=False).hexdigest() for data in files.values()}
        self._etags = {key: sums[id(data)] for key, data in self._files.items()}

    def answer(self, method: str, target: str, headers: dict[str, str]) -> bytes:
        """The whole HTTP answer to a request."""
        if self._random.random() < self._refused:
            return _response(503, b"<Error><Code>SlowDown</Code></Error>", kind="application/xml")
        address = urlsplit(target)
        key = unquote(address.path).removeprefix(f"/{BUCKET}").removeprefix("/")
        if not key:
            return _response(200, self._listing(parse_qs(address.query)), kind="application/xml")
        data = self._files.get(key)
        if data is None:
            return _response(404, b"<Error><Code>NoSuchKey</Code></Error>", kind="application/xml")
        start, stop = _span(headers.get("range"), len(data))
        status = 206 if "range" in headers else 200
        return _response(status, data[start:stop], kind="image/jpeg", etag=self._etags[key], with_body=method == "GET")

    def _listing(self, query: dict[str, list[str]]) -> bytes:
        prefix, after = query.get("prefix", [""])[0], query.get("start-after", [""])[0]
        after = query.get("continuation-token", [after])[0]
        first = max(bisect.bisect_left(self._keys, prefix), bisect.bisect_right(self._keys, after))
        limit = int(query.get("max-keys", ["1000"])[0])
        delimiter = query.get("delimiter", [""])[0]
        keys, common, last = self._take(first, prefix=prefix, delimiter=delimiter, limit=limit)
        more = last is not None
        return (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><IsTruncated>{str(more).lower()}</IsTruncated><KeyCount>{len(keys)}</KeyCount>"
            + "".join(
                f"<Contents><Key>{escape(key)}</Key><Size>{len(self._files[key])}</Size>"
                f'<ETag>"{self._etags[key]}"</ETag></Contents>'
                for key in keys
            )
            + "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in common)
            + (f"<NextContinuationToken>{escape(last or '')}</NextContinuationToken>" if more else "")
            + "</ListBucketResult>"
        ).encode()

    def _take(self, first: int, *, prefix: str, delimiter: str, limit: int) -> tuple[list[str], list[str], str | None]:
        keys: list[str] = []
        common: list[str] = []
        position = first
        while position < len(self._keys) and self._keys[position].startswith(prefix):
            key = self._keys[position]
            if len(keys) + len(common) == limit:
                return keys, common, self._keys[position - 1]
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if not found:
                keys.append(key)
                position += 1
                continue
            common.append(prefix + head + delimiter)
            position = bisect.bisect_left(self._keys, common[-1] + "\U0010ffff")
        return keys, common, None


def _span(header: str | None, size: int) -> tuple[int, int]:
    if header is None:
        return 0, size
    start, _, stop = header.removeprefix("bytes=").partition("-")
    return int(start), min(size, int(stop) + 1 if stop else size)


def _response(status: int, body: bytes, *, kind: str, etag: str = "", with_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f'ETag: "{etag}"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n'
    )
    return head.encode() + (body if with_body else b"")


async def serve(bucket: Bucket) -> None:
    """Serve on a free port of the loopback, until standard input closes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                method, target, _ = first.split(" ")
                writer.write(bucket.answer(method, target, headers))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    folder, copies, refused = [*sys.argv[1:], *("1", "0")[len(sys.argv) - 2 :]]
    asyncio.run(serve(Bucket(Path(folder), copies=int(copies), refused=float(refused))))
