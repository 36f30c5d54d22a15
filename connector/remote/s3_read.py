"""Objects read by obstore, which takes a tenth of boto3's processor time for each (extra ``obstore``).

The one rule: this reads what can be read at once, and nothing more. Whatever else happens (a fault, a key that
obstore spells otherwise) is left to boto3, which repeats, waits and translates.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from connector.settings import S3Settings

if TYPE_CHECKING:
    import boto3
    from obstore.store import S3Store as Bucket

_PLAIN_KEY = re.compile(r"(?!.*(//|(^|/)\.{1,2}(/|$)))[\w!.'()* /-]*[\w!.'()* -]", re.ASCII)
"""Keys that obstore sends as they are: it would clean up doubled slashes and dots, and escape some letters twice."""
_MAX_FAULTS = 8
"""Faults in a row after which obstore is not asked again: a bucket elsewhere, a proxy it does not know."""


@dataclass(frozen=True, slots=True)
class S3Object:
    """What obstore read; ``data`` is None where the object is larger than allowed or did not change."""

    state: Literal["read", "unchanged", "too_large"]
    size: int = 0
    etag: str | None = None
    data: bytes | None = None
    meta: dict[str, str] | None = None


class QuickReader:
    """Reads objects of any bucket by obstore. Safe to use from many threads."""

    def __init__(self, settings: S3Settings, *, session: "boto3.Session", region: str, endpoint: str | None) -> None:
        self._settings = settings
        self._session = session
        self._region = region
        self._endpoint = endpoint
        self._buckets: dict[str, Bucket] = {}
        self._faults = 0

    def get(self, bucket: str, key: str, *, limit: int, etag: str | None) -> S3Object | None:
        """An object's bytes, unless its ETag is still ``etag`` or it is larger than ``limit``; None: ask boto3."""
        import obstore
        from obstore.exceptions import BaseError, NotModifiedError

        if self._faults >= _MAX_FAULTS or not _PLAIN_KEY.fullmatch(key):
            return None
        try:
            answer = obstore.get(self._bucket(bucket), key, options={} if etag is None else {"if_none_match": etag})
            size = answer.meta["size"]
            if size > limit:
                return S3Object("too_large", size=size)
            data = bytes(answer.bytes())
        except NotModifiedError:
            return S3Object("unchanged")
        except (BaseError, OSError, ValueError):  # OSError: no such object; ValueError: no credentials, for one
            self._faults += 1
            return None
        self._faults = 0
        if len(data) != size:
            return None
        meta = {name: value for name, value in answer.attributes.items() if name not in _HEADERS}
        return S3Object("read", size=size, etag=answer.meta.get("e_tag"), data=data, meta=meta)

    def _bucket(self, name: str) -> "Bucket":
        if name not in self._buckets:
            from obstore.auth.boto3 import Boto3CredentialProvider
            from obstore.store import S3Store as Bucket

            given: dict[str, Any] = {"region": self._region}
            if self._endpoint is not None:
                given["endpoint"] = self._endpoint
            if self._settings.addressing != "path" and self._endpoint is None:
                given["virtual_hosted_style_request"] = True
            if self._settings.requester_pays:
                given["request_payer"] = True
            if self._settings.anonymous:
                given["skip_signature"] = True
            else:
                given["credential_provider"] = Boto3CredentialProvider(self._session)
            self._buckets[name] = Bucket(
                name,
                client_options={
                    "allow_http": True,
                    "connect_timeout": timedelta(seconds=self._settings.connect_timeout_s),
                    "read_timeout": timedelta(seconds=self._settings.read_timeout_s),
                    "timeout": timedelta(seconds=10 * self._settings.read_timeout_s),
                },
                retry_config={"max_retries": 0},
                **given,
            )
        return self._buckets[name]


_HEADERS = frozenset(
    {
        "Content-Disposition",
        "Content-Encoding",
        "Content-Language",
        "Content-Type",
        "Cache-Control",
        "Storage-Class",
    }
)
"""What obstore names beside the user's metadata."""
