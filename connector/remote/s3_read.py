"""Objects read by obstore, which takes a tenth of boto3's processor time for each (extra ``obstore``).

The one rule: this reads what can be read at once, and nothing more. Whatever else happens (a fault, a key that
obstore spells otherwise, an ETag that proves nothing) is left to boto3. Where boto3 reads what obstore cannot, time
after time, obstore stands back for a while, and comes back.
"""

import logging
import re
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from connector.printable import mask_credentials, printable
from connector.remote.s3_bytes import check_bytes, is_md5
from connector.remote.s3_errors import Busy, BytesDiffer
from connector.settings import S3Settings

if TYPE_CHECKING:
    import boto3
    from obstore.store import ClientConfig
    from obstore.store import S3Store as Bucket

_PLAIN_KEY = re.compile(r"(?!.*(//|(^|/)\.{1,2}(/|$)))[\w!.'()* /-]*[\w!.'()* -]", re.ASCII)
"""Keys that obstore sends as they are: it would clean up doubled slashes and dots, and escape some letters twice."""
_BUSY = re.compile(r"status code: (429|503)|<Code>(SlowDown|Throttling|TooManyRequests)", re.ASCII)

MAX_FAULTS = 8
"""Objects in a row that boto3 read and obstore did not, after which obstore stands back."""
SKIPPED = (64, 4096)
"""Objects left to boto3 before obstore is tried again: the first time, and at most; doubled in between."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class S3Object:
    """What obstore read; ``data`` is None where the object is too large or did not change, or could not be read."""

    state: Literal["read", "unchanged", "too_large", "failed"]
    size: int = 0
    etag: str | None = None
    data: bytes | None = None
    meta: dict[str, str] | None = None


class QuickReader:
    """Reads objects of any bucket by obstore. Safe to use from many threads.

    ``certificates`` (PEM) are trusted beside the system's.
    """

    def __init__(
        self,
        settings: S3Settings,
        *,
        session: "boto3.Session",
        region: str,
        endpoint: str | None,
        certificates: bytes | None,
    ) -> None:
        self._settings = settings
        self._session = session
        self._region = region
        self._endpoint = endpoint
        self._certificates = certificates
        self._buckets: dict[str, Bucket] = {}
        self._lock = threading.Lock()
        self._faults = 0
        self._last_fault = ""
        self._skip = 0
        self._skips = SKIPPED[0]
        self._opaque: set[str] = set()

    def get(self, bucket: str, key: str, *, limit: int, etag: str | None) -> S3Object | None:
        """An object's bytes, unless its ETag is still ``etag`` or it is larger than ``limit``; None: it is boto3's.

        Raises Busy where the store asks for fewer requests.
        """
        import obstore
        from obstore.exceptions import BaseError, NotModifiedError

        if not _PLAIN_KEY.fullmatch(key) or bucket in self._opaque or not self._turn():
            return None
        try:
            answer = obstore.get(self._bucket(bucket), key, options={} if etag is None else {"if_none_match": etag})
            size, found = answer.meta["size"], answer.meta.get("e_tag")
            if size > limit:
                return S3Object("too_large", size=size)
            if self._settings.checksums != "ignore" and not is_md5(found, bucket=bucket):
                return None
            data = bytes(answer.bytes())
            if len(data) != size:
                raise BytesDiffer(f"{len(data)} bytes came of {size}")
            if self._settings.checksums != "ignore":
                check_bytes(data, etag=found)
        except NotModifiedError:
            return S3Object("unchanged")
        except (BaseError, OSError, ValueError, BytesDiffer) as error:
            # OSError: no such object; ValueError: no credentials, for one
            if _BUSY.search(str(error)):
                raise Busy(_first_line(error)) from error
            self._last_fault = _first_line(error)
            return S3Object("failed")
        meta = {name: value for name, value in answer.attributes.items() if name not in _HEADERS}
        return S3Object("read", size=size, etag=found, data=data, meta=meta)

    def succeeded(self) -> None:
        """Hear that an object was read by obstore."""
        if self._faults or self._skips != SKIPPED[0]:
            with self._lock:
                came_back = self._faults >= MAX_FAULTS
                self._faults, self._skips = 0, SKIPPED[0]
            if came_back:
                log.warning("s3_reader_changed reader=obstore")

    def surpassed(self) -> None:
        """Hear that boto3 read an object that obstore could not."""
        with self._lock:
            self._faults += 1
            if self._faults < MAX_FAULTS:
                return
            self._skip, self._skips = self._skips, min(2 * self._skips, SKIPPED[1])
            first = self._faults == MAX_FAULTS
        if first:
            log.warning("s3_reader_changed reader=boto3 objects=%d error=%s", self._skip, self._last_fault)

    def leave(self, bucket: str) -> None:
        """Leave a bucket to boto3: its ETags look like MD5 sums and are none."""
        if bucket not in self._opaque:
            self._opaque.add(bucket)
            log.warning("s3_reader_changed reader=boto3 bucket=%s error='encrypted: ETags prove nothing'", bucket)

    def _turn(self) -> bool:
        """Whether the next object is obstore's."""
        if not self._skip:
            return True
        with self._lock:
            self._skip = max(0, self._skip - 1)
        return False

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
            trusted: ClientConfig = {}
            if self._certificates is not None:
                trusted["root_certificate"] = self._certificates
            self._buckets[name] = Bucket(
                name,
                client_options={
                    "allow_http": True,
                    "connect_timeout": timedelta(seconds=self._settings.connect_timeout_s),
                    "read_timeout": timedelta(seconds=self._settings.read_timeout_s),
                    "timeout": timedelta(seconds=10 * self._settings.read_timeout_s),
                    **trusted,
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


def _first_line(error: Exception) -> str:
    return printable(mask_credentials(str(error).partition("\n")[0][:500]))
