"""The few requests we make of S3, or of a store that speaks its language, with typed answers.

The one rule: what boto3 raises is translated here and nowhere else. A fault of one object becomes ``CannotRead``,
what would stop every object becomes ``SourceError`` with what to do. boto3 repeats requests, we repeat broken bodies.
Where obstore is installed it reads the objects that nothing is wrong with: see ``s3_quick``.
"""

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import TYPE_CHECKING, Any, Literal, NoReturn
from urllib.parse import urlsplit

import boto3
import botocore.exceptions as botocore
import urllib3.exceptions
from botocore import UNSIGNED
from botocore.config import Config
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from connector.errors import CannotRead, ConfigError, ReadFault, SourceError
from connector.printable import mask_credentials
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
        raise ConfigError(f"the S3 settings cannot be used: {error}. Check s3.endpoint_url and s3.region.") from error


_FOREIGN = (botocore.BotoCoreError, botocore.ClientError, urllib3.exceptions.HTTPError, OSError)
_URI = re.compile(r"s3://(?P<bucket>[\w.-]+|arn:[^/@]+)(?:/(?P<key>.*))?", re.ASCII | re.IGNORECASE | re.DOTALL)
_SIGN_IN = "Sign in again or set new keys, then run the same command: what is stored stays stored."
_KEYS = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile (s3.profile), "
    "or send requests unsigned to a public bucket (s3.anonymous)."
)
_RIGHTS = (
    "The key needs s3:ListBucket and s3:GetObject here. Other keys come from s3.profile; a public bucket may want "
    "s3.anonymous, one that bills the reader s3.requester_pays."
)
_NAME = "Check the bucket's name, s3.endpoint_url and s3.profile."
_REGION = "Set s3.region to the region that the bucket is in."
_CLOCK = "Set this machine's clock right, then run the same command."
_NETWORK = "Check s3.endpoint_url and the network, then run the same command: what is stored stays stored."

_FATAL: Mapping[str, str] = {
    "ExpiredToken": _SIGN_IN,
    "ExpiredTokenException": _SIGN_IN,
    "TokenRefreshRequired": _SIGN_IN,
    "RequestExpired": _SIGN_IN,
    "InvalidToken": _SIGN_IN,
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "RequestTimeTooSkewed": _CLOCK,
    "NoSuchBucket": _NAME,
    "InvalidBucketName": _NAME,
}
"""Answers that every other object would get too, and what to do about them."""

_FAULTS: Mapping[str, ReadFault] = {
    "NoSuchKey": "missing",
    "NoSuchVersion": "missing",
    "404": "missing",
    "AccessDenied": "permission_denied",
    "AllAccessDisabled": "permission_denied",
    "403": "permission_denied",
    "InvalidObjectState": "archived",
    "PreconditionFailed": "changed_meanwhile",
    "412": "changed_meanwhile",
    "SlowDown": "throttled",
    "Throttling": "throttled",
    "ThrottlingException": "throttled",
    "RequestLimitExceeded": "throttled",
    "TooManyRequests": "throttled",
    "ServiceUnavailable": "throttled",
    "429": "throttled",
    "503": "throttled",
    "RequestTimeout": "timeout",
}
"""Answers that concern one object."""


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
        asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, **self._payer}
        if token is not None:
            asked["ContinuationToken"] = token
        elif after:
            asked["StartAfter"] = after
        if delimiter:
            asked["Delimiter"] = delimiter
        try:
            answer = self._client.list_objects_v2(**asked)
        except _FOREIGN as error:
            _stop(error, where=f"s3://{bucket}/{prefix}", doing="list")
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
        except _FOREIGN as error:
            if _code(error) in ("404", "403", "400", "NoSuchKey", "AccessDenied"):
                return None  # an answer to HEAD has no body to say more; listing will
            _stop(error, where=f"s3://{bucket}/{key}", doing="look at")
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
        asked: dict[str, Any] = {"Bucket": bucket, "Key": key, **self._payer}
        if etag is not None:
            asked["IfNoneMatch"] = etag
        return self._repeat(asked, limit=limit)

    def fetch_span(self, bucket: str, key: str, *, start: int, stop: int, version: Version) -> bytes:
        """The bytes ``start:stop`` of an object while it is of ``version``. Raises CannotRead and SourceError."""
        asked = {
            "Bucket": bucket,
            "Key": key,
            "Range": f"bytes={start}-{stop - 1}",
            "IfMatch": version.object_etag,
            **self._payer,
        }
        fetched = self._repeat(asked, limit=stop - start)
        if fetched is None or len(fetched.data) != stop - start:
            raise CannotRead(f"bytes {start} to {stop} of s3://{bucket}/{key} are not there", reason="read_error")
        return fetched.data

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Write an object, in place of one of this key. Raises SourceError."""
        try:
            self._client.put_object(Bucket=bucket, Key=key, Body=data, **self._payer)
        except _FOREIGN as error:
            _stop(error, where=f"s3://{bucket}/{key}", doing="write")

    def remove(self, bucket: str, key: str) -> None:
        """Delete an object; harmless where there is none. Raises SourceError."""
        try:
            self._client.delete_object(Bucket=bucket, Key=key, **self._payer)
        except _FOREIGN as error:
            _stop(error, where=f"s3://{bucket}/{key}", doing="remove")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _repeat(self, asked: dict[str, Any], *, limit: int) -> Fetched | None:
        where = f"s3://{asked['Bucket']}/{asked['Key']}"
        attempts = Retrying(
            stop=stop_after_attempt(self._settings.attempts),
            wait=wait_random_exponential(multiplier=0.05, max=5),
            retry=retry_if_exception_type(_BodyBroken),
            reraise=True,
        )
        try:
            fetched: Fetched | None = attempts(self._fetch_once, asked, limit=limit)
        except _BodyBroken as broken:
            raise CannotRead(str(broken), reason=_fault(broken.cause)) from broken.cause
        except _FOREIGN as error:
            if _code(error) == "304":
                return None
            if _is_fatal(error):
                _stop(error, where=where, doing="read")
            raise CannotRead(_message(error), reason=_fault(error)) from error
        return fetched

    def _fetch_once(self, asked: dict[str, Any], *, limit: int) -> Fetched:
        answer = self._client.get_object(**asked)
        body = answer["Body"]
        with body:
            size = answer.get("ContentLength", 0)
            if size > limit:
                raise _too_large(size, limit=limit)
            try:
                data = body.read()
            except _FOREIGN as error:
                raise _BodyBroken(error) from error
        meta: dict[str, Any] = {name: _decoded(value) for name, value in answer.get("Metadata", {}).items()}
        if self._settings.tags and answer.get("TagCount"):
            meta["object_tags"] = self._tags(asked)
        return Fetched(data, Version.of_object(etag=answer.get("ETag"), size=len(data)), meta)

    def _tags(self, asked: Mapping[str, Any]) -> dict[str, str]:
        answer = self._client.get_object_tagging(Bucket=asked["Bucket"], Key=asked["Key"], **self._payer)
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
    if importlib.util.find_spec("obstore") is None:
        if settings.reader == "obstore":
            raise ConfigError("s3.reader = obstore needs obstore: pip install 'polyglance[obstore]'.")
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


# ---- translation


def _code(error: Exception) -> str:
    if not isinstance(error, botocore.ClientError):
        return type(error).__name__
    return str(error.response.get("Error", {}).get("Code", ""))


def _is_fatal(error: Exception) -> bool:
    """Whether every other object would meet this too."""
    if isinstance(error, botocore.ClientError):
        return _code(error) in _FATAL
    if isinstance(error, botocore.BotoCoreError):
        return not isinstance(error, botocore.HTTPClientError | botocore.FlexibleChecksumError)
    return False


def _fault(error: Exception) -> ReadFault:
    if isinstance(error, botocore.ClientError):
        status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
        return _FAULTS.get(_code(error)) or _FAULTS.get(status, "read_error")
    if isinstance(error, botocore.ReadTimeoutError | TimeoutError):
        return "timeout"
    return "read_error"


def _message(error: Exception) -> str:
    if not isinstance(error, botocore.ClientError):
        return str(error)
    return f"{_code(error)}: {error.response.get('Error', {}).get('Message', 'no message')}"


def _stop(error: Exception, *, where: str, doing: str) -> NoReturn:
    if isinstance(error, botocore.ClientError):
        by_fault = {"permission_denied": _RIGHTS, "missing": _NAME}
        advice = _FATAL.get(_code(error)) or by_fault.get(_fault(error), _NETWORK)
    elif isinstance(error, botocore.NoCredentialsError | botocore.PartialCredentialsError):
        advice = _KEYS
    elif isinstance(error, botocore.ParamValidationError):
        advice = _NAME
    elif isinstance(error, botocore.ConnectionError | botocore.HTTPClientError):
        advice = _NETWORK
    else:  # what is left concerns credentials: single sign-on, roles, tokens
        advice = _SIGN_IN
    raise SourceError(f"cannot {doing} {where}: {_message(error)}. {advice}") from error
