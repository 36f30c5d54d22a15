"""Message: that an image fits an alert, as a webhook, a command, a file and a feed are told of it.

The rule: a message has one id, of the alert, the collection and the image's content, however often it is sent.
"""

import json
import uuid
from dataclasses import dataclass
from typing import Any

from connector.alerts.alert import Alert
from connector.records import Payload

UNJUDGED = "?"
"""In ``alerts_due``: nobody could tell yet what the image fits, and the outbox is to find out."""


class TargetDown(Exception):
    """A target that does not take a message now: why, for a person. What it was to take stays due."""


@dataclass(frozen=True, slots=True)
class Message:
    """That an image fits an alert. ``id`` is the same however often it is told: of alert, collection and content."""

    id: str
    alert: Alert
    collection: str
    point: str
    payload: Payload
    found_at: str

    def body(self) -> dict[str, Any]:
        """The message as JSON: what the Standard Webhooks specification asks for, and the image under ``data``."""
        alert = self.alert
        return {
            "type": "alert.matched",
            "timestamp": self.found_at,
            "data": {
                "id": self.id,
                "collection": self.collection,
                "alert": {"id": alert.id, "question": alert.question, "where": alert.where, "least": alert.relevance},
                "image": {
                    "id": self.point,
                    **{name: self.payload[name] for name in SHOWN if name in self.payload},
                },
            },
        }

    def line(self) -> bytes:
        """The message as one line."""
        return json.dumps(self.body(), ensure_ascii=False).encode() + b"\n"


SHOWN = (
    *("uri", "filename", "folder", "format", "width", "height", "content_hash", "taken_at", "place", "location"),
    *("tags", "title", "description", "tenant", "ingested_at", "thumbnail_url", "meta"),
)
"""What a message says of an image."""
FIELDS = (*SHOWN, "alerts", "alerts_due")
"""What of a payload has to be read to tell of it."""


def message_of(alert: Alert, *, collection: str, point: str, payload: Payload) -> Message:
    """What is to be told of a stored image."""
    content = str(payload.get("content_hash") or point)
    named = f"polyglance:{collection}:{alert.id}:{content}"
    found_at = str(payload.get("ingested_at", ""))
    return Message(f"msg_{uuid.uuid5(uuid.NAMESPACE_URL, named).hex}", alert, collection, point, payload, found_at)
