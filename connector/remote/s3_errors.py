"""What boto3, botocore and urllib3 raise, translated: a fault of one object, or what would stop every object.

The one rule: nobody else looks into their errors. A fault of one object becomes ``CannotRead`` with a typed reason,
what every other object would meet too becomes ``SourceError`` with what to do.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import botocore.exceptions as botocore
import urllib3.exceptions

from connector.errors import CannotRead, ReadFault, SourceError
from connector.printable import mask_credentials, printable

FOREIGN = (botocore.BotoCoreError, botocore.ClientError, urllib3.exceptions.HTTPError, OSError)
"""What boto3 may raise of a request."""

Trouble: TypeAlias = Literal["throttled", "store", "object"]
"""What may pass: too many requests, a store that is not there, an object whose bytes came wrong."""


class BodyBroken(Exception):
    """An answer that began well and ended too early or not at all."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class BytesDiffer(Exception):
    """Bytes that are not what the store says of them."""


class Busy(Exception):
    """The store asked obstore for fewer requests."""


class StoreAway(Exception):
    """Nobody got an answer for so long; ``cause`` is the last failure."""

    def __init__(self, cause: BaseException, *, seconds: float) -> None:
        super().__init__(f"{message_of(cause)} Gave up after {seconds:.0f} s (s3.retry_s)")
        self.cause = cause


REQUEST_ERRORS = (*FOREIGN, BodyBroken, BytesDiffer, Busy, StoreAway)
"""What a request may raise once it was sent as often as it may be."""

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
_SLOWER = (
    "The store asks for fewer requests. Lower s3.listers and ingest.readers or wait a while, "
    "then run the same command: what is stored stays stored."
)
_CERTIFICATE = (
    "Where an authority of your own signed the store's certificate, name its file (PEM) in s3.ca_file; "
    "where the store speaks plain HTTP, s3.endpoint_url begins with http://."
)

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
    "InvalidRange": "missing",
    "416": "missing",
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


def error_code(error: BaseException) -> str:
    if not isinstance(error, botocore.ClientError):
        return type(error).__name__
    return str(error.response.get("Error", {}).get("Code", ""))


def is_answer(error: BaseException) -> bool:
    """Whether the store said this itself, and can be asked other things."""
    return isinstance(error, botocore.ClientError) and trouble_of(error) is None


def trouble_of(error: BaseException) -> Trouble | None:
    """What kind of trouble it is that may pass; None where asking again gives the same answer."""
    match error:
        case BytesDiffer():
            return "object"
        case Busy():
            return "throttled"
        case BodyBroken():
            return "store"
        case botocore.ClientError():
            if _reason(error) == "throttled":
                return "throttled"
            return "store" if _status(error) in (500, 502, 504) or error_code(error) in _PASSING else None
        case botocore.FlexibleChecksumError():
            return "object"
        case botocore.IncompleteReadError():
            return "store"
        case botocore.SSLError():
            return None if _is_certificate(error) else "store"
        case botocore.HTTPClientError() | botocore.ConnectionError() | urllib3.exceptions.HTTPError() | OSError():
            return "store"
    return None


_PASSING = ("RequestTimeout", "RequestTimeoutException", "InternalError")


def retry_after(error: BaseException) -> float:
    """Seconds that the store asks to be left alone for, 0 where it does not say."""
    if not isinstance(error, botocore.ClientError):
        return 0.0
    said = str(error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after", ""))
    return min(float(said), LONGEST_ASKED_S) if said.isdecimal() else 0.0


LONGEST_ASKED_S = 300.0
"""No store is left alone for longer, whatever it asks for."""


def _is_certificate(error: BaseException) -> bool:
    """Whether TLS failed for good: a certificate nobody trusts, or a server that speaks no TLS."""
    return any(word in str(error) for word in ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "doesn't match"))


def _is_fatal(error: BaseException) -> bool:
    """Whether every other object would meet this too."""
    if isinstance(error, StoreAway):
        return True
    if isinstance(error, botocore.ClientError):
        return error_code(error) in _FATAL
    return isinstance(error, botocore.BotoCoreError) and trouble_of(error) is None


def _status(error: botocore.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _reason(error: BaseException) -> ReadFault:
    match error:
        case StoreAway() | BodyBroken():
            return _reason(error.cause)
        case BytesDiffer() | botocore.FlexibleChecksumError():
            return "checksum_mismatch"
        case Busy():
            return "throttled"
        case botocore.ClientError():
            return _FAULTS.get(error_code(error)) or _FAULTS.get(str(_status(error)), "read_error")
        case botocore.ReadTimeoutError() | urllib3.exceptions.ReadTimeoutError() | TimeoutError():
            return "timeout"
    return "read_error"


def message_of(error: BaseException) -> str:
    """What the store, or whoever did not reach it, said."""
    if not isinstance(error, botocore.ClientError):
        return str(error)
    return f"{error_code(error)}: {error.response.get('Error', {}).get('Message', 'no message')}"


def source_error(error: BaseException, *, where: str, doing: str) -> SourceError:
    """The error that ends a run, with what to do before the next."""
    message = printable(mask_credentials(message_of(error)))
    return SourceError(f"cannot {doing} {where}: {message}. {_advice(error)}")


def object_error(error: BaseException, *, where: str) -> CannotRead | SourceError:
    """The error of reading one object: its own fault, or one that every other object would meet too."""
    return source_error(error, where=where, doing="read") if _is_fatal(error) else object_fault(error)


def object_fault(error: BaseException) -> CannotRead:
    """The fault of one object."""
    return CannotRead(message_of(error), reason=_reason(error))


def _advice(error: BaseException) -> str:
    if isinstance(error, StoreAway):
        return _advice(error.cause)
    if _reason(error) == "throttled":
        return _SLOWER
    if isinstance(error, botocore.ClientError):
        by_fault = {"permission_denied": _RIGHTS, "missing": _NAME}
        return _FATAL.get(error_code(error)) or by_fault.get(_reason(error), _NETWORK)
    if isinstance(error, botocore.NoCredentialsError | botocore.PartialCredentialsError):
        return _KEYS
    if isinstance(error, botocore.ParamValidationError):
        return _NAME
    if isinstance(error, botocore.SSLError) and _is_certificate(error):
        return _CERTIFICATE
    if isinstance(error, BodyBroken | OSError | urllib3.exceptions.HTTPError):
        return _NETWORK
    if isinstance(error, botocore.ConnectionError | botocore.HTTPClientError):
        return _NETWORK
    return _SIGN_IN  # what is left concerns credentials: single sign-on, roles, tokens
