"""What runs out on a server: room on its disk, a quota, and the requests that strict mode allows a minute."""

import math
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from qdrant_client import models

from tests.qdrant_standin.strict import Refusal

Room = Literal["free", "low", "none", "quota"]
"""``low``: collections can still be made, and nothing written; ``none``: those neither; ``quota``: a set limit."""

FULL_DISK = "Service internal error: No space left on device: WAL buffer size exceeds available disk space"
NO_ROOM_AT_ALL = "Service internal error: No space left on device (os error 28)"
QUOTA = (
    "Insufficient storage: Disk usage is at 74% of total capacity, exceeding the configured limit of 1%. Help: Reduce "
    "disk usage (e.g. delete points or drop collections), or raise `max_disk_usage_percent` in the global quota config."
)
QUOTA_METADATA = (("qdrant-insufficient-storage", "1"),)
"""What gRPC sends after a refusal by quota, and after no other."""

_STOPPED: Mapping[Room, frozenset[str]] = MappingProxyType(
    {
        "free": frozenset(),
        "low": frozenset({"upsert", "delete", "set_payload", "create_index"}),
        "none": frozenset({"upsert", "delete", "set_payload", "create_index", "create_collection"}),
        "quota": frozenset({"upsert", "set_payload", "create_index"}),
    }
)


def check_room(operation: str, *, room: Room) -> None:
    """Raise Refusal for what a server without room refuses: deleting points too, unless it is only a quota."""
    if operation not in _STOPPED[room]:
        return
    if room == "quota":
        raise Refusal(507, QUOTA, trailing=QUOTA_METADATA)
    raise Refusal(500, NO_ROOM_AT_ALL if operation == "create_collection" else FULL_DISK)


class RateLimiter:
    """Strict mode's tokens for one collection: as many a minute as it allows, and no more at once."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, kind: Literal["Read", "Write"], tokens: int, *, strict: models.StrictModeConfig | None) -> None:
        """Raise Refusal where there are fewer tokens than an operation costs."""
        limit = (strict.read_rate_limit if kind == "Read" else strict.write_rate_limit) if strict else None
        if limit is None or not (strict and strict.enabled):
            return
        if tokens > limit:
            raise Refusal(
                429,
                f"Rate limiting exceeded: {kind} rate limit exceeded, request larger than rate limiter capacity, "
                "please try to split your request",
            )
        now = time.monotonic()
        left, then = self._left.get(kind, (float(limit), now))
        left = min(float(limit), left + (now - then) * limit / 60)
        if left < tokens:
            seconds = math.ceil((tokens - left) * 60 / limit)
            raise Refusal(
                429,
                f"Rate limiting exceeded: {kind} rate limit exceeded: Operation requires {tokens} tokens but only "
                f"{left:.1f} were available. Retry after {seconds}s",
                retry_after=seconds,
            )
        self._left[kind] = (left - tokens, now)
