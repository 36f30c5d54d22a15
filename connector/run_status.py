"""Where ingestion runs stand: what ``workers`` writes down of each, as anybody may read it.

A run's folder lies under ``runs_of``; ``status.json`` in it is replaced as a whole every few seconds, so that it can be
read at any time, by another process and by the service.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from connector.settings import QdrantSettings
from connector.store.open import file_name_of
from connector.sums import without_sum

log = logging.getLogger(__name__)

State = Literal["running", "done", "stopped", "failed", "broken"]
"""``stopped`` by a person, ``failed`` with an error, ``broken``: it says it runs, but has not been heard of."""

STATUS = "status.json"
REJECTS = "rejects"
SILENCE = timedelta(seconds=60)
"""A running run that wrote nothing for so long is broken."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run, as it last wrote. Times are UTC in ISO 8601; ``rate`` is images per second, ``eta_s`` seconds.

    ``listed`` grows until ``listed_all``; ``busy`` is, by stage, the share of the time that its threads worked;
    ``passed_over`` counts, by suffix, the files that were not listed; ``throttled`` the requests that S3 refused
    because they were too many; ``ocr`` what became of the text in images.
    """

    run: str
    source: str
    collection: str
    state: State
    started_at: str
    updated_at: str
    host: str = ""
    pid: int = 0
    listed: int = 0
    listed_all: bool = False
    stored: int = 0
    unchanged: int = 0
    rejected: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    passed_over: Mapping[str, int] = field(default_factory=dict)
    throttled: int = 0
    ocr: Mapping[str, int] = field(default_factory=dict)
    rate: float = 0.0
    eta_s: float | None = None
    busy: Mapping[str, float] = field(default_factory=dict)
    bottleneck: str | None = None
    error: str | None = None

    @property
    def done(self) -> int:
        """Images that have their outcome."""
        return self.stored + self.unchanged + self.rejected

    @classmethod
    def read(cls, data: bytes, *, now: datetime) -> "RunStatus | None":
        """What a ``status.json`` says, with ``broken`` found out; None where it is not one of ours."""
        known = {each.name for each in fields(cls)}
        try:
            value: Any = json.loads(data)
            status = cls(**{name: each for name, each in value.items() if name in known})
            recording = datetime.fromisoformat(status.updated_at)
        except (ValueError, TypeError, AttributeError):
            return None
        if status.state == "running" and now - recording > SILENCE:
            return cls(**{**{name: getattr(status, name) for name in known}, "state": "broken"})
        return status


@dataclass(frozen=True, slots=True)
class RejectedImage:
    """An image that a run could not ingest: where it is, at which stage it failed and why."""

    uri: str
    stage: str
    reason: str
    detail: str
    attempt: int = 1


def runs_of(qdrant: QdrantSettings, *, collection: str) -> Path:
    """The folder of all runs into one collection of one store."""
    return qdrant.path / ".runs" / file_name_of(qdrant, collection=collection)


def digest(text: str) -> str:
    """A short name for a long text."""
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def read_runs(qdrant: QdrantSettings, *, collection: str) -> list[RunStatus]:
    """The last run of every source into this collection that kept its files on this machine, the newest first."""
    now = datetime.now(UTC)
    found = (RunStatus.read(path.read_bytes(), now=now) for path in _statuses(qdrant, collection=collection))
    return sorted((status for status in found if status), key=lambda status: status.started_at, reverse=True)


def read_rejects(qdrant: QdrantSettings, *, collection: str, source: str) -> Iterator[RejectedImage]:
    """The rejects of a source's last run, as far as they are written down."""
    folder = runs_of(qdrant, collection=collection) / digest(source) / REJECTS
    for path in sorted(folder.glob("*.jsonl")):
        for value in parse_lines(path.read_bytes()):
            yield RejectedImage(value["uri"], value["stage"], value["reason"], value["detail"], value["attempt"])


def parse_lines(data: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file of lines; a last line that a crash left half written is none.

    A line that is not what was written is left out, which is said in the log.
    """
    for line in data.split(b"\n")[:-1]:
        try:
            if line:
                yield without_sum(line)
        except ValueError as error:
            log.warning("reject_unreadable %s; the next run of its source tries the image again", error)


def _statuses(qdrant: QdrantSettings, *, collection: str) -> list[Path]:
    return sorted(runs_of(qdrant, collection=collection).glob(f"*/{STATUS}"))
