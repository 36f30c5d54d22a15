"""The changes of a bucket, by the notifications that it sends to an SQS queue.

Three shapes are read: S3's own events, the same wrapped by SNS, and EventBridge's. The rule: a message is deleted once
what it told is in the collection; a watcher that dies meanwhile gets it again.
"""

import json
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus, urlsplit

import botocore.exceptions as botocore

from connector.errors import SourceError
from connector.printable import mask_credentials
from connector.remote.s3_session import open_session
from connector.settings import S3Settings
from workers.records import Ref
from workers.sources.s3 import S3Source
from workers.watch.changes import Change, Changes
from workers.watch.watch import ScanResult

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

log = logging.getLogger(__name__)

POLL_S = 3
"""Seconds that one question to the queue waits for messages; so long a clean stop may take."""

INVISIBLE_S = 900
"""Seconds for which a message that was received is kept from others; what takes longer is looked at twice."""

AT_ONCE = 10
"""Messages in one answer, and receipts in one deletion, at most: SQS's own limit."""

LONGEST_PAUSE_S = 60.0
"""Seconds between two questions to a queue that does not answer."""

ANY_REGION = "us-east-1"
"""What a queue that is not AWS's is asked with: such servers know no regions, but boto3 wants one."""

_FOREIGN = (botocore.BotoCoreError, botocore.ClientError)


class QueueFeed:
    """Tells what changes in the bucket of ``source``. Raises SourceError where the queue cannot be asked."""

    def __init__(self, source: S3Source, *, url: str, settings: S3Settings) -> None:
        self._source = source
        self._url = url
        self._listers = settings.listers
        self._client = _connect(url, settings)
        self._ask()

    def watch(self, changes: Changes, *, over: threading.Event) -> None:
        """Put changes down as they come; a queue that does not answer is asked again."""
        pause = 1.0
        changes.listening.set()
        while changes.room() and not over.is_set():
            try:
                changes.add(self._receive())
                pause = 1.0
            except _FOREIGN as error:
                log.warning("sqs_failed queue=%s again_in_s=%.0f: %s", self._url, pause, error)
                over.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    def scan(self, uris: Sequence[str]) -> ScanResult:
        """Look at these objects now."""
        ours = [uri for uri in uris if self._source.covers(uri)]
        with ThreadPoolExecutor(self._listers, thread_name_prefix="look") as pool:
            found = [*pool.map(self._source.scan, ours)]
        refs: list[Ref] = [ref for ref in found if ref is not None]
        return ScanResult(lambda: iter(refs), [uri for uri, ref in zip(ours, found, strict=True) if ref is None])

    def done(self, changes: Sequence[Change]) -> None:
        """Delete the messages; one that cannot be deleted comes again and does no harm."""
        receipts = list(dict.fromkeys(change.receipt for change in changes if change.receipt is not None))
        for start in range(0, len(receipts), AT_ONCE):
            batch = receipts[start : start + AT_ONCE]
            try:
                self._client.delete_message_batch(
                    QueueUrl=self._url,
                    Entries=[{"Id": str(number), "ReceiptHandle": each} for number, each in enumerate(batch)],
                )
            except _FOREIGN as error:
                log.warning("sqs_not_deleted queue=%s messages=%d: %s", self._url, len(batch), error)

    def _ask(self) -> None:
        try:
            self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        except _FOREIGN as error:
            said = mask_credentials(f"the queue {self._url} cannot be asked: {error}.")
            raise SourceError(
                f"{said} Check its address, and that the key may receive and delete its messages "
                "(sqs:ReceiveMessage, sqs:DeleteMessage, sqs:GetQueueAttributes)."
            ) from error

    def _receive(self) -> list[Change]:
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=AT_ONCE,
            WaitTimeSeconds=POLL_S,
            VisibilityTimeout=INVISIBLE_S,
        )
        received: list[Change] = []
        for message in answer.get("Messages", ()):
            receipt = message["ReceiptHandle"]
            try:
                uris = [*parse_message(message["Body"])]
            except ValueError as error:
                log.warning("sqs_message_ignored queue=%s id=%s: %s", self._url, message["MessageId"], error)
                continue
            received += [Change(uri, receipt) for uri in uris or [self._source.root]]
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


def _connect(url: str, settings: S3Settings) -> "SQSClient":
    """A client for this queue; its address tells the region, and the host where it is not AWS's."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    aws = host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    session = open_session(settings)
    named = host.split(".")[1] if aws and host.startswith("sqs.") else None
    try:
        region = named or session.region_name or (None if aws else ANY_REGION)
        return session.client(
            "sqs", region_name=region, endpoint_url=None if aws else f"{parts.scheme}://{parts.netloc}"
        )
    except (botocore.BotoCoreError, ValueError) as error:
        raise SourceError(f"the queue {url} cannot be asked: {error}. Check s3.profile and s3.region.") from error
