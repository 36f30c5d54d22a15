"""The one S3 client: the few requests we make of S3, or of a store that speaks its language, with typed answers.

The one rule: sources, run folders and the service's originals all come through ``S3Store``, so keys, retries and time
limits are set in one place. boto3 repeats requests, we repeat broken bodies; ``s3_errors`` translates. Where obstore is
installed it reads the objects that nothing is wrong with: see ``s3_read``.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import boto3
import botocore.exceptions as botocore
from botocore import UNSIGNED
from botocore.config import Config
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from connector.errors import CannotRead, ConfigError, SourceError
from connector.extras import missing, require
from connector.printable import mask_credentials
from connector.remote.s3_errors import FOREIGN, error_code, object_error, object_fault, source_error
from connector.remote.s3_read import QuickReader, S3Object
from connector.settings import S3Settings
from connector.version import Version

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def open_session(settings: S3Settings) -> boto3.Session:
    """Where keys and region come from. Raises ConfigError for a profile that is not configured."""
    try:
        return boto3.Session(profile_name=settings.profile, region_name=settings.region)
    except botocore.ProfileNotFound as error:
        known = ", ".join(boto3.Session().available_profiles) or "none"
        raise ConfigError(f"s3.profile {settings.profile!r} is not configured; known profiles: {known}.") from error


def open_client(session: boto3.Session, settings: S3Settings, *, connections: int) -> "S3Client":
    """A client for at most ``connections`` requests at once. Raises ConfigError for settings that cannot be used."""
    # Other vendors' stores stumble over the checksums that boto3 asks of AWS by default.
    checksums: Literal["when_supported", "when_required"] = (
        "when_supported" if settings.endpoint_url is None else "when_required"
    )
    config = Config(
        signature_version=UNSIGNED if settings.anonymous else None,
        max_pool_connections=connections,
        connect_timeout=settings.connect_timeout_s,
        read_timeout=settings.read_timeout_s,
        retries={"total_max_attempts": settings.attempts, "mode": settings.retry_mode},
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
        s3={"addressing_style": settings.addressing},
    )
    try:
        return session.client("s3", config=config, endpoint_url=settings.endpoint_url)
    except (botocore.BotoCoreError, ValueError) as error:
        raise ConfigError(
            f"the S3 settings cannot be used: {mask_credentials(str(error))}. Check s3.endpoint_url and s3.region."
        ) from error


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


class _BodyBroken(Exception):
    """An answer that began well and ended too early or not at all; worth asking again."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class S3Store:
    """One client for all threads of a process. ``connections`` is the most requests that run at once."""

    def __init__(self, settings: S3Settings, *, connections: int) -> None:
        self._settings = settings
        session = open_session(settings)
        self._client = open_client(session, settings, connections=connections)
        self._quick = _quick_reader(session, settings, client=self._client)
        self._payer: dict[str, Any] = {"RequestPayer": "requester"} if settings.requester_pays else {}

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
            answer = self._client.list_objects_v2(**request)
        except FOREIGN as error:
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
        try:
            answer = self._client.head_object(Bucket=bucket, Key=key, **self._payer)
        except FOREIGN as error:
            if error_code(error) in ("404", "403", "400", "NoSuchKey", "AccessDenied"):
                return None  # an answer to HEAD has no body to say more; listing will
            raise source_error(error, where=f"s3://{bucket}/{key}", doing="look at") from error
        size = answer["ContentLength"]
        return Listed(key, size, Version.of_object(etag=answer.get("ETag"), size=size))

    def fetch(self, bucket: str, key: str, *, limit: int, stored_version: Version | None = None) -> Fetched | None:
        """An object's bytes; None where it still is what ``stored_version`` says.

        Raises CannotRead, too_large above ``limit`` bytes among others, and SourceError.
        """
        etag = None if stored_version is None else stored_version.object_etag
        got = self._quick and self._quick.get(bucket, key, limit=limit, etag=etag)
        if got:
            return _fetched(got, limit=limit)
        request: dict[str, Any] = {"Bucket": bucket, "Key": key, **self._payer}
        if etag is not None:
            request["IfNoneMatch"] = etag
        return self._repeat(request, limit=limit)

    def fetch_span(self, bucket: str, key: str, *, start: int, stop: int, version: Version) -> bytes:
        """The bytes ``start:stop`` of an object while it is of ``version``. Raises CannotRead and SourceError."""
        request = self._range_request(bucket, key, start=start, stop=stop, etag=version.object_etag)
        fetched = self._repeat(request, limit=stop - start)
        if fetched is None or len(fetched.data) != stop - start:
            raise CannotRead(f"bytes {start} to {stop} of s3://{bucket}/{key} are not there", reason="read_error")
        return fetched.data

    def fetch_range(self, bucket: str, key: str, *, start: int, stop: int, etag: str | None = None) -> ObjectRange:
        """Up to ``stop`` of an object's bytes, from ``start``; of exactly this ``etag`` where one is given.

        Raises CannotRead, whatever the fault is.
        """
        request = self._range_request(bucket, key, start=start, stop=stop, etag=etag)
        try:
            answer = self._client.get_object(**request)
            with closing(answer["Body"]) as body:
                data = body.read()
        except FOREIGN as error:
            raise object_fault(error) from error
        size = int(answer["ContentRange"].rpartition("/")[2]) if "ContentRange" in answer else len(data)
        return ObjectRange(data, size=size, etag=answer["ETag"])

    def stream_range(self, bucket: str, key: str, *, start: int, stop: int, etag: str, block: int) -> Iterator[bytes]:
        """The bytes ``start:stop`` of an object of exactly this ``etag``, in blocks as they come. Raises CannotRead."""
        request = self._range_request(bucket, key, start=start, stop=stop, etag=etag)
        try:
            with closing(self._client.get_object(**request)["Body"]) as body:
                yield from body.iter_chunks(block)
        except FOREIGN as error:
            raise object_fault(error) from error

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Write an object, in place of one of this key. Raises SourceError."""
        try:
            self._client.put_object(Bucket=bucket, Key=key, Body=data, **self._payer)
        except FOREIGN as error:
            raise source_error(error, where=f"s3://{bucket}/{key}", doing="write") from error

    def remove(self, bucket: str, key: str) -> None:
        """Delete an object; harmless where there is none. Raises SourceError."""
        try:
            self._client.delete_object(Bucket=bucket, Key=key, **self._payer)
        except FOREIGN as error:
            raise source_error(error, where=f"s3://{bucket}/{key}", doing="remove") from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _range_request(self, bucket: str, key: str, *, start: int, stop: int, etag: str | None) -> dict[str, Any]:
        condition = {} if etag is None else {"IfMatch": etag}
        return {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{stop - 1}", **condition, **self._payer}

    def _repeat(self, request: dict[str, Any], *, limit: int) -> Fetched | None:
        where = f"s3://{request['Bucket']}/{request['Key']}"
        attempts = Retrying(
            stop=stop_after_attempt(self._settings.attempts),
            wait=wait_random_exponential(multiplier=0.05, max=5),
            retry=retry_if_exception_type(_BodyBroken),
            reraise=True,
        )
        try:
            fetched: Fetched | None = attempts(self._fetch_once, request, limit=limit)
        except _BodyBroken as broken:
            raise object_fault(broken.cause) from broken.cause
        except FOREIGN as error:
            if error_code(error) == "304":
                return None
            raise object_error(error, where=where) from error
        return fetched

    def _fetch_once(self, request: dict[str, Any], *, limit: int) -> Fetched:
        answer = self._client.get_object(**request)
        body = answer["Body"]
        with body:
            size = answer.get("ContentLength", 0)
            if size > limit:
                raise _too_large(size, limit=limit)
            try:
                data = body.read()
            except FOREIGN as error:
                raise _BodyBroken(error) from error
        meta: dict[str, Any] = {name: _decoded(value) for name, value in answer.get("Metadata", {}).items()}
        if self._settings.tags and answer.get("TagCount"):
            meta["object_tags"] = self._tags(request)
        return Fetched(data, Version.of_object(etag=answer.get("ETag"), size=len(data)), meta)

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


def _fetched(got: S3Object, *, limit: int) -> Fetched | None:
    if got.state == "too_large":
        raise _too_large(got.size, limit=limit)
    if got.data is None:
        return None
    meta = {name: _decoded(value) for name, value in (got.meta or {}).items()}
    return Fetched(got.data, Version.of_object(etag=got.etag, size=got.size), meta)


def _too_large(size: int, *, limit: int) -> CannotRead:
    return CannotRead(f"{size} bytes; limits.max_bytes is {limit}", reason="too_large")


def _quick_reader(session: boto3.Session, settings: S3Settings, *, client: "S3Client") -> QuickReader | None:
    """obstore, where it is there and wanted; it knows no tags, and no virtual addressing at another vendor's."""
    endpoint = client.meta.endpoint_url
    elsewhere = not (urlsplit(endpoint).hostname or "").endswith(".amazonaws.com")
    if settings.reader == "boto3" or settings.tags or (settings.addressing == "virtual" and elsewhere):
        return None
    if settings.reader == "obstore":
        require("obstore", what="s3.reader = obstore")
    if missing("obstore"):
        return None
    return QuickReader(
        settings, session=session, region=client.meta.region_name, endpoint=endpoint if elsewhere else None
    )


def _decoded(value: str) -> str:
    """Metadata that is not ASCII travels as an encoded word (RFC 2047)."""
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, ValueError):
        return value
