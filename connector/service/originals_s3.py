"""Originals on S3. What boto3 raises while one is read is translated here.

The one rule: the first request says what there is and brings its head; the next ones insist on the same ETag.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from connector.errors import OriginalMissing, OriginalUnavailable
from connector.service.stored_file import BLOCK, HEAD, OpenedFile, Span
from connector.settings import S3Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

CONNECTIONS = 16
_GONE = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "404", "InvalidRange", "416"})
_CHANGED = frozenset({"PreconditionFailed", "412"})


class Bucket:
    """Reads objects of any bucket, with one client that is made when the first is asked for."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._payer: dict[str, Any] = {"RequestPayer": "requester"} if settings.requester_pays else {}
        self._lock = threading.Lock()
        self._opened: S3Client | None = None

    def find(self, uri: str, *, span: Span | None) -> OpenedFile:
        """An object, or a stretch of one. Raises OriginalMissing and OriginalUnavailable."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        asked: dict[str, Any] = {"Bucket": bucket, "Key": key, **self._payer}
        if span is not None:
            asked["IfMatch"] = span.version.object_etag
        start, most = (0, HEAD) if span is None else (span.start, min(HEAD, span.size))
        with _translated(uri):
            answer = self._client().get_object(**asked, Range=_range(start, start + most))
            with closing(answer["Body"]) as body:
                head = body.read()
        whole = int(answer["ContentRange"].rpartition("/")[2]) if "ContentRange" in answer else len(head)
        size = whole if span is None else span.size
        read_on = partial(self._read, {**asked, "IfMatch": answer["ETag"]}, uri, start)
        return OpenedFile(size=size, tag=answer["ETag"], head=head, read_on=read_on)

    def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            self._opened.close()

    def _read(self, asked: dict[str, Any], uri: str, base: int, start: int, stop: int) -> Iterator[bytes]:
        with _translated(uri):
            answer = self._client().get_object(**asked, Range=_range(base + start, base + stop))
            with closing(answer["Body"]) as body:
                yield from body.iter_chunks(BLOCK)

    def _client(self) -> "S3Client":
        from connector.remote.s3 import open_client, open_session

        with self._lock:
            if self._opened is None:
                self._opened = open_client(open_session(self._settings), self._settings, connections=CONNECTIONS)
            return self._opened


def _range(start: int, stop: int) -> str:
    return f"bytes={start}-{stop - 1}"


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    """What a caller is told is short: the whole answer, which may name keys and hosts, goes to the log."""
    import botocore.exceptions as botocore
    import urllib3.exceptions

    try:
        yield
    except botocore.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _GONE:
            raise OriginalMissing(f"{uri} is not there any more.") from error
        if code in _CHANGED:
            raise OriginalMissing(f"{uri} was changed after its images were ingested.") from error
        log.warning("original_refused uri=%s detail=%s", uri, error)
        raise OriginalUnavailable(f"{uri} cannot be read: S3 answers {code}.") from error
    except (botocore.BotoCoreError, urllib3.exceptions.HTTPError, OSError) as error:
        log.warning("original_unavailable uri=%s detail=%s", uri, error)
        raise OriginalUnavailable(f"{uri} cannot be read: {type(error).__name__}.") from error
