"""What boto3, botocore and urllib3 raise, translated: a fault of one object, or what would stop every object.

The one rule: nobody else looks into their errors. A fault of one object becomes ``CannotRead`` with a typed reason,
what every other object would meet too becomes ``SourceError`` with what to do.
"""

from collections.abc import Mapping

import botocore.exceptions as botocore
import urllib3.exceptions

from connector.errors import CannotRead, ReadFault, SourceError
from connector.printable import mask_credentials, printable

FOREIGN = (botocore.BotoCoreError, botocore.ClientError, urllib3.exceptions.HTTPError, OSError)
"""What a request may raise."""

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


def error_code(error: Exception) -> str:
    if not isinstance(error, botocore.ClientError):
        return type(error).__name__
    return str(error.response.get("Error", {}).get("Code", ""))


def _is_fatal(error: Exception) -> bool:
    """Whether every other object would meet this too."""
    if isinstance(error, botocore.ClientError):
        return error_code(error) in _FATAL
    if isinstance(error, botocore.BotoCoreError):
        return not isinstance(error, botocore.HTTPClientError | botocore.FlexibleChecksumError)
    return False


def _reason(error: Exception) -> ReadFault:
    if isinstance(error, botocore.ClientError):
        status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
        return _FAULTS.get(error_code(error)) or _FAULTS.get(status, "read_error")
    if isinstance(error, botocore.ReadTimeoutError | TimeoutError):
        return "timeout"
    return "read_error"


def _message(error: Exception) -> str:
    if not isinstance(error, botocore.ClientError):
        return str(error)
    return f"{error_code(error)}: {error.response.get('Error', {}).get('Message', 'no message')}"


def source_error(error: Exception, *, where: str, doing: str) -> SourceError:
    """The error that ends a run, with what to do before the next."""
    message = printable(mask_credentials(_message(error)))
    return SourceError(f"cannot {doing} {where}: {message}. {_advice(error)}")


def object_error(error: Exception, *, where: str) -> CannotRead | SourceError:
    """The error of reading one object: its own fault, or one that every other object would meet too."""
    return source_error(error, where=where, doing="read") if _is_fatal(error) else object_fault(error)


def object_fault(error: Exception) -> CannotRead:
    """The fault of one object."""
    return CannotRead(_message(error), reason=_reason(error))


def _advice(error: Exception) -> str:
    if isinstance(error, botocore.ClientError):
        by_fault = {"permission_denied": _RIGHTS, "missing": _NAME}
        return _FATAL.get(error_code(error)) or by_fault.get(_reason(error), _NETWORK)
    if isinstance(error, botocore.NoCredentialsError | botocore.PartialCredentialsError):
        return _KEYS
    if isinstance(error, botocore.ParamValidationError):
        return _NAME
    if isinstance(error, botocore.ConnectionError | botocore.HTTPClientError):
        return _NETWORK
    return _SIGN_IN  # what is left concerns credentials: single sign-on, roles, tokens
