"""The books of an ingestion with rejects, as ``workers`` writes them down."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from connector.runs import REJECTS, STATUS, RejectedPicture, RunStatus, digest, runs_of
from connector.settings import Settings


def write_books(settings: Settings, photos: Path, reasons: Mapping[str, int]) -> None:
    """What an ingestion writes down, for ``connector.runs`` to read."""
    now = datetime.now(UTC).isoformat()
    source = photos.as_uri()
    status = RunStatus(
        run="0a1b2c3d4e5f",
        source=source,
        collection=settings.collection,
        state="done",
        started_at=now,
        updated_at=now,
        listed=6,
        listed_all=True,
        stored=3,
        rejected=3,
        reasons=reasons,
    )
    folder = runs_of(settings.qdrant, collection=settings.collection) / digest(source)
    (folder / REJECTS).mkdir(parents=True, exist_ok=True)
    (folder / STATUS).write_text(json.dumps(asdict(status)))
    told = [("cut.png", "truncated"), ("page.jpg", "not_an_image"), ("wide.png", "too_many_pixels")]
    lines = [
        json.dumps(asdict(RejectedPicture((photos / name).as_uri(), "decode", reason, f"{name} is {reason}")))
        for name, reason in told
    ]
    (folder / REJECTS / "0.jsonl").write_text("".join(f"{line}\n" for line in lines))
