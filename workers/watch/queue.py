"""The changes of a bucket, by the notifications that it sends to an SQS queue.

Three shapes are read: S3's own events, the same wrapped by SNS, and EventBridge's. The rule: a message is deleted once
what it told is in the collection; a watcher that dies meanwhile gets it again.
"""

import json
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote_plus

from connector.errors import SourceError
from connector.remote.sqs import AT_ONCE, Queue
from connector.settings import S3Settings
from workers.records import Ref
from workers.sources.s3 import S3Source
from workers.sources.source import is_image_name
from workers.watch.changes import Change, Changes
from workers.watch.watch import ScanResult

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 60.0
"""Seconds between two questions to a queue that does not answer."""


class QueueFeed:
    """Tells what changes in the bucket of ``source``. Raises SourceError where the queue cannot be asked."""

    def __init__(self, source: S3Source, *, url: str, settings: S3Settings) -> None:
        self._source = source
        self._url = url
        self._listers = settings.listers
        self._queue = Queue(url, settings=settings)

    def watch(self, changes: Changes, *, over: threading.Event) -> None:
        """Put changes down as they come; a queue that does not answer is asked again."""
        pause = 1.0
        changes.listening.set()
        while changes.room() and not over.is_set():
            try:
                changes.add(self._receive())
                pause = 1.0
            except SourceError as error:
                log.warning("sqs_failed queue=%s again_in_s=%.0f: %s", self._url, pause, error)
                over.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    def scan(self, uris: Sequence[str]) -> ScanResult:
        """Look at these objects now. Other objects say nothing of images: a bucket has no folders."""
        images = [uri for uri in uris if self._source.covers(uri) and is_image_name(uri)]
        sidecars = [uri for uri in uris if self._source.belongs(uri)]
        with ThreadPoolExecutor(self._listers, thread_name_prefix="look") as pool:
            found = dict(zip([*images, *sidecars], pool.map(self._source.scan, [*images, *sidecars]), strict=True))
        refs: dict[str, Ref] = {ref.uri: ref for each in found.values() for ref in each}
        return ScanResult(lambda: iter(refs.values()), [uri for uri in images if not found[uri]])

    def done(self, changes: Sequence[Change]) -> None:
        """Delete the messages; one that cannot be deleted comes again and does no harm."""
        receipts = list(dict.fromkeys(change.receipt for change in changes if change.receipt is not None))
        for start in range(0, len(receipts), AT_ONCE):
            batch = receipts[start : start + AT_ONCE]
            try:
                self._queue.delete(batch)
            except SourceError as error:
                log.warning("sqs_not_deleted queue=%s messages=%d: %s", self._url, len(batch), error)

    def _receive(self) -> list[Change]:
        received: list[Change] = []
        for message in self._queue.receive():
            try:
                uris = [*parse_message(message.body)]
            except ValueError as error:
                log.warning("sqs_message_ignored queue=%s id=%s: %s", self._url, message.id, error)
                continue
            received += [Change(uri, message.receipt) for uri in uris or [self._source.root]]
        return received


def parse_message(body: str) -> Iterator[str]:
    """The S3 URIs that a message tells about; none for S3's test message. Raises ValueError for any other message."""
    try:
        said = json.loads(body)
        if "TopicArn" in said:  # SNS wraps what S3 said
            said = json.loads(said["Message"])
        if said.get("Event") == "s3:TestEvent":
            return
        if said.get("source") == "aws.s3":  # EventBridge: the key stands as it is
            yield _uri(said["detail"], key=said["detail"]["object"]["key"])
            return
        for record in said["Records"]:
            yield _uri(record["s3"], key=unquote_plus(record["s3"]["object"]["key"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no event of S3, SNS or EventBridge ({error!r}): {body[:200]!r}") from error


def _uri(detail: Mapping[str, Any], *, key: str) -> str:
    return f"s3://{detail['bucket']['name']}/{key}"
