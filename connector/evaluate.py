"""How good are the answers on the user's own captions: recall@k and MRR by language, and what approximation costs.

The rule: a caption counts only where its picture is in the collection, and one that does not count is named.
"""

import csv
import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector.errors import InvalidQuery
from connector.records import Hit
from connector.search import ImageSearch

DEPTH = 100
"""Hits looked at; a picture that stands further down counts as not found."""
BATCH = 64
"""Captions asked at a time."""
KEYS = ("uri", "object_key", "filename")
"""Payload fields that a caption may name its picture by, beside the point's id."""


@dataclass(frozen=True, slots=True)
class Caption:
    """A text that describes a picture, and the language it is in."""

    image: str
    text: str
    language: str = "unknown"


@dataclass(frozen=True, slots=True)
class Score:
    """Means over a language's captions, each from 0 to 1.

    ``recall_1``, ``_5``, ``_10``: the share whose picture is among the first k, by exact search. ``mrr``: the mean of
    1/rank, 0 beyond rank 100. ``kept``: the share of the first ten of exact search that approximate search finds too.
    """

    language: str
    captions: int
    recall_1: float
    recall_5: float
    recall_10: float
    mrr: float
    kept: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores by language, the mean of the languages, and the pictures that captions name but nobody holds."""

    languages: tuple[Score, ...]
    mean: Score | None
    missing: tuple[str, ...]
    ambiguous: tuple[str, ...]


def read_captions(path: Path) -> list[Caption]:
    """Captions from JSONL or CSV with the columns image, caption and, where known, language. Raises InvalidQuery."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file) if path.suffix.lower() == ".csv" else _json_lines(file, path=path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidQuery(f"the captions {str(path)!r} cannot be read: {error}.") from error
    captions = [_caption(row, number=number, path=path) for number, row in enumerate(rows, 1)]
    if not captions:
        raise InvalidQuery(f"{path} holds no captions; each row has an image, a caption and, where known, a language.")
    return captions


def evaluate(
    search: ImageSearch, captions: Sequence[Caption], *, told: Callable[[int], None] = lambda _: None
) -> Evaluation:
    """Ask every caption and see where its picture stands. ``told`` is called with the number of captions behind us."""
    known = _points_of({caption.image for caption in captions}, search=search)
    asked = [caption for caption in captions if len(known.get(caption.image, ())) == 1]
    seen: dict[str, list[tuple[int | None, float]]] = defaultdict(list)
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        vectors = search.embed_texts([caption.text for caption in batch])
        exact = search.exact(vectors, limit=DEPTH)
        for caption, best, found in zip(batch, exact, search.nearest(vectors, limit=10), strict=True):
            (target,) = known[caption.image]
            seen[caption.language].append((_rank(target, best), _kept(best[:10], found)))
        told(start + len(batch))
    scores = tuple(_score(language, rows) for language, rows in sorted(seen.items()))
    return Evaluation(
        languages=scores,
        mean=_mean(scores),
        missing=tuple(sorted({c.image for c in captions if not known.get(c.image)})),
        ambiguous=tuple(sorted({c.image for c in captions if len(known.get(c.image, ())) > 1})),
    )


def _json_lines(file: Any, *, path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InvalidQuery(f"{path}, line {number}, is no JSON: {error}.") from error
        if not isinstance(row, dict):
            raise InvalidQuery(f"{path}, line {number}, is no object with image and caption.")
        yield row


def _caption(row: Mapping[str, Any], *, number: int, path: Path) -> Caption:
    image, text = row.get("image"), row.get("caption")
    if not (isinstance(image, str) and image and isinstance(text, str) and text.strip()):
        raise InvalidQuery(f"{path}, row {number}, needs an image and a caption; it has {sorted(map(str, row))}.")
    return Caption(image, text, str(row.get("language") or "unknown"))


def _points_of(images: set[str], *, search: ImageSearch) -> dict[str, set[str]]:
    """The points that each image names, by id or by one of ``KEYS``."""
    from qdrant_client.models import FieldCondition, Filter, HasIdCondition, MatchAny

    found: dict[str, set[str]] = defaultdict(set)
    names = sorted(images)
    for start in range(0, len(names), BATCH):
        some = names[start : start + BATCH]
        ids = {_as_id(image): image for image in some if _as_id(image)}
        named = [FieldCondition(key=key, match=MatchAny(any=some)) for key in KEYS]
        where = Filter(should=[*named, HasIdCondition(has_id=list(ids))] if ids else [*named])
        for point in search.each(where=where, fields=KEYS):
            for name in (ids.get(point.id), *(point.payload.get(key) for key in KEYS)):
                if name in some:
                    found[str(name)].add(point.id)
    return found


def _as_id(image: str) -> str | None:
    try:
        return str(uuid.UUID(image))
    except ValueError:
        return None


def _rank(target: str, hits: Sequence[Hit]) -> int | None:
    return next((place for place, hit in enumerate(hits, 1) if hit.id == target), None)


def _kept(exact: Sequence[Hit], approximate: Sequence[Hit]) -> float:
    return len({hit.id for hit in exact} & {hit.id for hit in approximate}) / max(1, len(exact))


def _score(language: str, rows: Sequence[tuple[int | None, float]]) -> Score:
    ranks = [rank for rank, _ in rows]

    def recall(k: int) -> float:
        return sum(rank is not None and rank <= k for rank in ranks) / len(rows)

    return Score(
        language=language,
        captions=len(rows),
        recall_1=recall(1),
        recall_5=recall(5),
        recall_10=recall(10),
        mrr=sum(1 / rank for rank in ranks if rank) / len(rows),
        kept=sum(kept for _, kept in rows) / len(rows),
    )


def _mean(scores: Sequence[Score]) -> Score | None:
    if not scores:
        return None

    def over(name: str) -> float:
        return float(sum(getattr(score, name) for score in scores) / len(scores))

    return Score(
        language="mean of languages",
        captions=sum(score.captions for score in scores),
        recall_1=over("recall_1"),
        recall_5=over("recall_5"),
        recall_10=over("recall_10"),
        mrr=over("mrr"),
        kept=over("kept"),
    )
