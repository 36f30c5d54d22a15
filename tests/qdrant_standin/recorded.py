"""What a real Qdrant 1.19.0 server answered, request by request, and what an answer of the stand-in lacks of it.

The recordings are not part of this repository: ``POLYGLANCE_TEST_QDRANT_RECORDINGS`` names their folder, or they lie
beside the repository in ``../shared/data``. What may differ is listed here, each with its reason, and nothing else may.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.qdrant_standin.openapi import ROOT

VARIABLE = "POLYGLANCE_TEST_QDRANT_RECORDINGS"
ROUNDING = 2e-3
"""Scores and vectors: the server multiplies 16-bit floats in an order of its own."""
WRITTEN_AT_ONCE = "polyglance-test-f66e8201-b2fd-461d-afce-5e8107d48238"
"""The one collection that several threads wrote and read at once: an answer was recorded when it came, not when it was
made. How many points there were, which of them were nearest, and the number of each write may be a few batches off."""


@dataclass(frozen=True)
class Exchange:
    """One request and its answer, with its place in the recording."""

    line: int
    method: str
    path: str
    body: Any
    status: int
    answer: Any

    def __str__(self) -> str:
        return f"line {self.line}: {self.method} {self.path}"


def find_recording(name: str) -> Path | None:
    """Where ``qdrant-1.19-NAME.jsonl`` lies, or None where this machine has none."""
    folder = Path(os.environ.get(VARIABLE) or ROOT.parent / "shared" / "data")
    path = folder / f"qdrant-1.19-{name}.jsonl"
    return path if path.is_file() else None


def exchanges(recording: Path) -> Iterator[Exchange]:
    """The exchanges in the order in which they were answered."""
    with recording.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            yield Exchange(number, **json.loads(line))


def differences(recorded: Exchange, *, status: int, answer: Any) -> list[str]:
    """What tells an answer from the recorded one, as readable lines; empty for one that is as good."""
    if status != recorded.status:
        return [f"status: {recorded.status} recorded, {status} here"]
    theirs, ours = (_comparable(recorded, one) for one in (recorded.answer, answer))
    return list(_differences(theirs, ours, at="answer"))


def _comparable(recorded: Exchange, answer: Any) -> Any:
    """The answer without what may differ."""
    if not isinstance(answer, dict):
        return answer
    answer = {name: value for name, value in answer.items() if name != "time"}
    if WRITTEN_AT_ONCE in recorded.path:
        return _shape(answer)
    searches = recorded.body.get("searches") if isinstance(recorded.body, dict) else None
    if not searches or recorded.status != 200:
        return answer
    return {**answer, "result": [_arbitrary(*pair) for pair in zip(searches, answer["result"], strict=True)]}


def _arbitrary(search: dict[str, Any], result: dict[str, Any]) -> Any:
    """A result whose points, or whose order among equals, the server may pick: what every such pick has in common."""
    query = search.get("query")
    if not isinstance(query, dict) or "nearest" in query:
        return result
    if "sample" in query:  # other points each time
        return {"points": _shape(result["points"])}
    key = query["order_by"]["key"]  # images of one width come in any order
    return {"points": [{"order_value": p["order_value"], key: p["payload"][key]} for p in result["points"]]}


def _shape(value: Any) -> Any:
    """The names and types of a value, of a list those of any one element."""
    if isinstance(value, dict):
        return {name: _shape(part) for name, part in value.items() if name != "meta"}
    if isinstance(value, list):
        return [json.loads(text) for text in sorted({json.dumps(_shape(part), sort_keys=True) for part in value})]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def _differences(theirs: Any, ours: Any, *, at: str) -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in sorted({*theirs, *ours}):
            if name not in theirs or name not in ours:
                yield f"{at}.{name}: only {'recorded' if name in theirs else 'here'}"
            else:
                yield from _differences(theirs[name], ours[name], at=f"{at}.{name}")
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for place, pair in enumerate(zip(theirs, ours, strict=True)):
            yield from _differences(*pair, at=f"{at}[{place}]")
    elif isinstance(theirs, float) and isinstance(ours, int | float) and not isinstance(ours, bool):
        if abs(theirs - ours) > ROUNDING:
            yield f"{at}: {theirs} recorded, {ours} here"
    elif type(theirs) is not type(ours) or theirs != ours:
        yield f"{at}: {str(theirs)[:200]!r} recorded, {str(ours)[:200]!r} here"
