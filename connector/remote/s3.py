"""The one S3 client: the few requests we make of S3, or of a store that speaks its language, with typed answers.

The one rule: sources, run folders and the service's originals all come through ``S3Store``, so keys, retries and time
limits are set in one place. ``s3_retries`` says what is sent again, ``s3_errors`` translates, ``s3_bytes`` compares.
Where obstore is installed it reads the objects that nothing is wrong with: see ``s3_read``.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore import exceptions

from connector.errors import CannotRead, SourceError
from connector.extras import missing, require
from connector.printable import mask_credentials
from connector.remote.s3_bytes import Part, Readings, check_bytes, is_md5, is_opaque
from connector.remote.s3_errors import (
    FOREIGN,
    REQUEST_ERRORS,
    BodyBroken,
    BytesDiffer,
    error_code,
    is_answer,
    object_error,
    object_fault,
    source_error,
)
from connector.remote.s3_read import QuickReader, S3Object
from connector.remote.s3_retries import Retries
from connector.remote.s3_session import certificates_of, open_client, open_session
from connector.settings import S3Settings
from connector.version import Version

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3 import S3Client


_URI = re.compile(r"s3://(?P<bucket>[\w.-]+|arn:[^/@]+)(?:/(?P<key>.*))?", re.ASCII | re.IGNORECASE | re.DOTALL)
"""The bucket as boto3 takes it: a name or an ARN."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a listing names it."""

    key: str
    size: int
    version: Version


@dataclass(frozen=True, slots=True)
class Page:
    """Up to a thousand objects of a listing, and the sub-prefixes when a delimiter was given."""

    objects: tuple[Listed, ...]
    prefixes: tuple[str, ...]
    token: str | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object's bytes, or some of them, with the version they belong to and the user's metadata."""

    data: bytes
    version: Version
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ObjectRange:
    """Some of an object's bytes, the size of the whole, and the ETag that later ranges must insist on."""

    data: bytes
    size: int
    etag: str


class S3Store:
    """One client for all threads of a process. ``connections`` is the most requests that run at once."""

    def __init__(self, settings: S3Settings, *, connections: int) -> None:
        self._settings = settings
        session = open_session(settings)
        self._client = open_client(session, settings, connections=connections)
        self._retries = Retries(attempts=settings.attempts, total_s=settings.retry_s, is_alive=self._is_alive)
        self._quick = _quick_reader(session, settings, client=self._client)
        self._payer: dict[str, Any] = {"RequestPayer": "requester"} if settings.requester_pays else {}
        self._checked: dict[str, Any] = {"ChecksumMode": "ENABLED"} if settings.checksums != "ignore" else {}

    @property
    def throttled(self) -> int:
        """How many requests the store has refused so far because they were too many."""
        return self._retries.throttled

    def list_page(
        self, bucket: str, *, prefix: str, after: str = "", token: str | None = None, delimiter: str = ""
    ) -> Page:
        """The next objects under ``prefix`` whose key comes after ``after``. Raises SourceError."""
        request: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, **self._payer}
        if token is not None:
            request["ContinuationToken"] = token
        elif after:
            request["StartAfter"] = after
        if delimiter:
            request["Delimiter"] = delimiter
        try:
            answer = self._retries.ask(partial(self._client.list_objects_v2, **request), bucket=bucket)
        except REQUEST_ERRORS as error:
            raise source_error(error, where=f"s3://{bucket}/{prefix}", doing="list") from error
        return Page(
            objects=tuple(
                Listed(item["Key"], item["Size"], Version.of_object(etag=item.get("ETag"), size=item["Size"]))
                for item in answer.get("Contents", ())
            ),
            prefixes=tuple(item["Prefix"] for item in answer.get("CommonPrefixes", ())),
            token=answer.get("NextContinuationToken") if answer["IsTruncated"] else None,
        )

    def find(self, bucket: str, key: str) -> Listed | None:
        """The object of exactly this key, None where there is none or we may not know. Raises SourceError."""
        request = partial(self._client.head_object, Bucket=bucket, Key=key, **self._payer)
        try:
            answer = self._retries.ask(request, bucket=bucket)
        except REQUEST_ERRORS as error:
            if error_code(error) in ("404", "403", "400", "NoSuchKey", "AccessDenied"):
                return None  # an answer to HEAD has no body to say more; listing will
            raise source_error(error, where=f"s3://{bucket}/{key}", doing="look at") from error
        size = answer["ContentLength"]
        return Listed(key, size, Version.of_object(etag=answer.get("ETag"), size=size))

    def fetch(
        self,
        bucket: str,
        key: str,
        *,
        limit: int,
        stored_version: Version | None = None,
        listed: Version | None = None,
    ) -> Fetched | None:
        """An object's bytes, compared with what the store says of them; None where it still is ``stored_version``.

        ``listed`` is the version that a listing named. Raises CannotRead, too_large above ``limit`` bytes among
        others, and SourceError.
        """
        etag = None if stored_version is None else stored_version.object_etag
        request: dict[str, Any] = {"Bucket": bucket, "Key": key, **self._payer}
        if etag is not None:
            request["IfNoneMatch"] = etag

        def read() -> Fetched | None:
            fetched = self._fetch_once(request, limit=limit, etag=etag, listed=listed)
            if fetched and listed and fetched.version.object_etag == listed.object_etag and fetched.version != listed:
                raise BytesDiffer(f"{len(fetched.data)} bytes came; the listing has another size for the same ETag")
            return fetched

        return self._object(request, read)

    def fetch_span(
        self, bucket: str, key: str, *, start: int, stop: int, version: Version, parts: Sequence[Part] = ()
    ) -> bytes:
        """The bytes ``start:stop`` of an object while it is of ``version``. Raises CannotRead and SourceError.

        No store tells a sum of them: ``parts``, counted from ``start``, are compared with earlier readings. Where none
        was read before and the settings say so, all is read twice, and compared.
        """
        request = self._range_request(bucket, key, start=start, stop=stop, etag=version.object_etag)
        readings = Readings(parts)
        sure = parts and all(part.crc32 is not None for part in parts)
        again = self._settings.checksums == "twice" and not sure

        def read() -> Fetched:
            found = self._read(request, limit=stop - start)
            if len(found.data) == stop - start:
                readings.check(found.data)
            if again and self._read(request, limit=stop - start).data != found.data:
                raise BytesDiffer(f"bytes {start} to {stop} are others each time")
            return found

        fetched = self._object(request, read)
        if fetched is None or len(fetched.data) != stop - start:
            raise CannotRead(f"bytes {start} to {stop} of s3://{bucket}/{key} are not there", reason="read_error")
        return fetched.data

    def fetch_range(self, bucket: str, key: str, *, start: int, stop: int, etag: str | None = None) -> ObjectRange:
        """Up to ``stop`` of an object's bytes, from ``start``; of exactly this ``etag`` where one is given.

        Raises CannotRead, whatever the fault is.
        """
        request = self._range_request(bucket, key, start=start, stop=stop, etag=etag)

        def read() -> ObjectRange:
            answer = self._client.get_object(**request)
            with closing(answer["Body"]) as body:
                data = _whole(body)
            size = int(answer["ContentRange"].rpartition("/")[2]) if "ContentRange" in answer else len(data)
            return ObjectRange(data, size=size, etag=answer["ETag"])

        try:
            return self._retries.ask(read, bucket=bucket)
        except REQUEST_ERRORS as error:
            raise object_fault(error) from error

    def stream_range(self, bucket: str, key: str, *, start: int, stop: int, etag: str, block: int) -> Iterator[bytes]:
        """The bytes ``start:stop`` of an object of exactly this ``etag``, in blocks as they come.

        An answer that breaks off is gone on with where it did. Raises CannotRead.
        """
        at, fruitless = start, 0
        while at < stop:
            before = at
            request = self._range_request(bucket, key, start=at, stop=stop, etag=etag)
            try:
                answer = self._retries.ask(partial(self._client.get_object, **request), bucket=bucket)
            except REQUEST_ERRORS as error:
                raise object_fault(error) from error
            try:
                with closing(answer["Body"]) as body:
                    for data in body.iter_chunks(block):
                        at += len(data)
                        yield data
                if at == before:
                    raise EOFError(f"no byte came of {at} to {stop}")
            except (*FOREIGN, EOFError) as error:
                fruitless = 0 if at > before else fruitless + 1
                if fruitless >= self._settings.attempts:
                    raise object_fault(error) from error

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Write an object, in place of one of this key. Raises SourceError."""
        try:
            request = partial(self._client.put_object, Bucket=bucket, Key=key, Body=data, **self._payer)
            self._retries.ask(request, bucket=bucket)
        except REQUEST_ERRORS as error:
            raise source_error(error, where=f"s3://{bucket}/{key}", doing="write") from error

    def remove(self, bucket: str, key: str) -> None:
        """Delete an object; harmless where there is none. Raises SourceError."""
        try:
            request = partial(self._client.delete_object, Bucket=bucket, Key=key, **self._payer)
            self._retries.ask(request, bucket=bucket)
        except REQUEST_ERRORS as error:
            raise source_error(error, where=f"s3://{bucket}/{key}", doing="remove") from error

    def close(self) -> None:
        """Close the connections; whatever waits for the store gives up."""
        self._retries.close()
        self._client.close()

    def _range_request(self, bucket: str, key: str, *, start: int, stop: int, etag: str | None) -> dict[str, Any]:
        condition = {} if etag is None else {"IfMatch": etag}
        return {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{stop - 1}", **condition, **self._payer}

    def _is_alive(self, bucket: str) -> bool:
        """Whether the store answers at all, be it with a no."""
        try:
            self._client.head_bucket(Bucket=bucket)
        except FOREIGN as error:
            return is_answer(error)
        return True

    def _object(self, request: Mapping[str, Any], read: Callable[[], Fetched | None]) -> Fetched | None:
        try:
            return self._retries.ask(read, bucket=request["Bucket"])
        except REQUEST_ERRORS as error:
            if error_code(error) == "304":
                return None
            raise object_error(error, where=f"s3://{request['Bucket']}/{request['Key']}") from error

    def _fetch_once(
        self, request: Mapping[str, Any], *, limit: int, etag: str | None, listed: Version | None
    ) -> Fetched | None:
        """One attempt: by obstore where it can, else by boto3."""
        bucket, key = request["Bucket"], request["Key"]
        got = None
        if self._quick is not None and not (self._checked and listed and not is_md5(listed.object_etag, bucket=bucket)):
            got = self._quick.get(bucket, key, limit=limit, etag=etag)
        if self._quick is None or got is None:
            return self._read({**request, **self._checked}, limit=limit)
        if got.state == "failed":
            fetched = self._read({**request, **self._checked}, limit=limit)
            self._quick.surpassed()
            return fetched
        self._quick.succeeded()
        return _fetched(got, limit=limit)

    def _read(self, request: Mapping[str, Any], *, limit: int) -> Fetched:
        answer = self._client.get_object(**request)
        bucket, body, etag = request["Bucket"], answer["Body"], answer.get("ETag")
        with body:
            size = answer.get("ContentLength", 0)
            if size > limit:
                raise _too_large(size, limit=limit)
            data = _whole(body)
        if self._checked and "Range" not in request:
            if is_md5(etag, bucket=bucket, answer=answer):
                check_bytes(data, etag=etag)
            elif is_opaque(answer) and self._quick is not None:
                self._quick.leave(bucket)
        meta: dict[str, Any] = {name: _decoded(value) for name, value in answer.get("Metadata", {}).items()}
        if self._settings.tags and answer.get("TagCount"):
            meta["object_tags"] = self._tags(request)
        return Fetched(data, Version.of_object(etag=etag, size=len(data)), meta)

    def _tags(self, request: Mapping[str, Any]) -> dict[str, str]:
        answer = self._client.get_object_tagging(Bucket=request["Bucket"], Key=request["Key"], **self._payer)
        return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI. The key stands as it is: nothing in it is percent-encoded.

    Raises SourceError where there is no bucket.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        raise SourceError(
            f"{mask_credentials(uri)!r} names no bucket; an S3 address looks like s3://bucket/prefix. "
            "Keys come from the environment or s3.profile, never from an address."
        )
    return match["bucket"], match["key"] or ""


def _whole(body: Any) -> bytes:
    """The whole of an answer's body."""
    try:
        data: bytes = body.read()
    except exceptions.FlexibleChecksumError as error:
        raise BytesDiffer(str(error)) from error
    except FOREIGN as error:
        raise BodyBroken(error) from error
    return data


def _fetched(got: S3Object, *, limit: int) -> Fetched | None:
    if got.state == "too_large":
        raise _too_large(got.size, limit=limit)
    if got.data is None:
        return None
    meta = {name: _decoded(value) for name, value in (got.meta or {}).items()}
    return Fetched(got.data, Version.of_object(etag=got.etag, size=got.size), meta)


def _too_large(size: int, *, limit: int) -> CannotRead:
    return CannotRead(f"{size} bytes; limits.max_bytes is {limit}", reason="too_large")


def _quick_reader(session: "boto3.Session", settings: S3Settings, *, client: "S3Client") -> QuickReader | None:
    """obstore, where it is there and wanted; it knows no tags, and no virtual addressing at another vendor's."""
    endpoint = client.meta.endpoint_url
    elsewhere = not (urlsplit(endpoint).hostname or "").endswith(".amazonaws.com")
    if settings.reader == "boto3" or settings.tags or (settings.addressing == "virtual" and elsewhere):
        return None
    if settings.reader == "obstore":
        require("obstore", what="s3.reader = obstore")
    if missing("obstore"):
        return None
    trusted = certificates_of(settings)
    return QuickReader(
        settings,
        session=session,
        region=client.meta.region_name,
        endpoint=endpoint if elsewhere else None,
        certificates=trusted.read_bytes() if trusted else None,
    )


def _decoded(value: str) -> str:
    """Metadata that is not ASCII travels as an encoded word (RFC 2047)."""
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, ValueError):
        return value
