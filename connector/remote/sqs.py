"""One SQS queue: its messages, received and deleted, and its errors in our words.

The one rule: what boto3 raises of a queue ends here, as ``SourceError`` with what to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.config import Config

from connector.errors import SourceError
from connector.printable import mask_credentials, printable
from connector.remote.s3_errors import FOREIGN, message_of
from connector.remote.s3_session import certificates_of, open_session
from connector.settings import S3Settings

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

POLL_S = 3
"""Seconds that one question to the queue waits for messages; so long a clean stop may take."""

INVISIBLE_S = 900
"""Seconds for which a message that was received is kept from others; what takes longer is looked at twice."""

AT_ONCE = 10
"""Messages in one answer, and receipts in one deletion, at most: SQS's own limit."""

ANY_REGION = "us-east-1"
"""What a queue that is not AWS's is asked with: such servers know no regions, but boto3 wants one."""

_ADVICE = (
    "Check its address, s3.profile and s3.region, and that the key may receive and delete its messages "
    "(sqs:ReceiveMessage, sqs:DeleteMessage, sqs:GetQueueAttributes)."
)


@dataclass(frozen=True, slots=True)
class Message:
    """A message, and the receipt that deletes it."""

    id: str
    body: str
    receipt: str


class Queue:
    """A queue by its address. Every call raises SourceError where the queue does not do what was asked."""

    def __init__(self, url: str, *, settings: S3Settings) -> None:
        self.url = url
        try:
            self._client = _connect(url, settings)
            self._client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        except (*FOREIGN, ValueError) as error:
            raise self._error(error, doing="asked") from error

    def receive(self) -> list[Message]:
        """Up to ten messages; an empty list after ``POLL_S`` seconds without any."""
        try:
            answer = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=AT_ONCE,
                WaitTimeSeconds=POLL_S,
                VisibilityTimeout=INVISIBLE_S,
            )
        except FOREIGN as error:
            raise self._error(error, doing="asked") from error
        return [Message(each["MessageId"], each["Body"], each["ReceiptHandle"]) for each in answer.get("Messages", ())]

    def delete(self, receipts: Sequence[str]) -> None:
        """Delete up to ``AT_ONCE`` messages."""
        entries = [{"Id": str(number), "ReceiptHandle": each} for number, each in enumerate(receipts)]
        try:
            answer = self._client.delete_message_batch(QueueUrl=self.url, Entries=entries)  # type: ignore[arg-type]
        except FOREIGN as error:
            raise self._error(error, doing="rid of its messages") from error
        if failed := answer.get("Failed"):
            raise SourceError(f"{len(failed)} messages of {self.url} were not deleted: {failed[0].get('Message')}.")

    def _error(self, error: BaseException, *, doing: str) -> SourceError:
        said = printable(mask_credentials(f"the queue {self.url} cannot be {doing}: {message_of(error)}."))
        return SourceError(f"{said} {_ADVICE}")


def _connect(url: str, settings: S3Settings) -> "SQSClient":
    """A client for this queue; its address tells the region, and the host where it is not AWS's."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    aws = host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    session = open_session(settings)
    trusted = certificates_of(settings)
    named = host.split(".")[1] if aws and host.startswith("sqs.") else None
    return session.client(
        "sqs",
        region_name=named or session.region_name or (None if aws else ANY_REGION),
        endpoint_url=None if aws else f"{parts.scheme}://{parts.netloc}",
        verify=str(trusted) if trusted else None,
        config=Config(
            connect_timeout=settings.connect_timeout_s, read_timeout=max(settings.read_timeout_s, 2.0 * POLL_S)
        ),
    )
