"""How good are the answers on the user's own captions: recall@k and MRR by language and mode.

The rule: a caption counts only where its image is in the collection, and one that does not count is named.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from connector.records import Hit
from connector.search.captions import Caption
from connector.search.client import ImageSearch
from connector.search.options import Mode
from connector.store.points import point_id_of, sent_id

DEPTH = 100
"""Hits looked at; an image that stands further down counts as not found."""
BATCH = 64
"""Captions asked at a time."""
KEYS = ("uri", "object_key", "filename")
"""Payload fields that a caption may name its image by, beside the point's id."""


@dataclass(frozen=True, slots=True)
class Recall:
    """What one way of asking finds: ``recall_1``, ``_5``, ``_10`` and ``mrr`` as in ``Score``, beyond rank 10 all 0."""

    recall_1: float
    recall_5: float
    recall_10: float
    mrr: float


@dataclass(frozen=True, slots=True)
class Score:
    """Means over a language's captions, each from 0 to 1.

    ``recall_1``, ``_5``, ``_10``: the share whose image is among the first k, by exact search. ``mrr``: the mean of
    1/rank, 0 beyond rank 100. ``approximate_10``: recall@10 by approximate search, which is what ``search`` uses;
    ``kept``: the share of the first ten of exact search that approximate search finds too. ``words`` and ``hybrid``:
    what the modes of these names find, which need no exact search; None where the collection has no words.
    """

    language: str
    captions: int
    recall_1: float
    recall_5: float
    recall_10: float
    mrr: float
    approximate_10: float
    kept: float
    words: Recall | None = None
    hybrid: Recall | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores by language, the mean of the languages, and the images that captions name but nobody holds."""

    languages: tuple[Score, ...]
    mean: Score | None
    missing: tuple[str, ...]
    ambiguous: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """One caption: its image's rank by exact search, whether approximate search has it too, and ``Score.kept``.

    ``ranks`` are those by the modes ``words`` and ``hybrid``, within ten.
    """

    rank: int | None
    found: bool
    kept: float
    ranks: Mapping[Mode, int | None]


def evaluate(
    search: ImageSearch, captions: Sequence[Caption], *, on_progress: Callable[[int], None] = lambda _: None
) -> Evaluation:
    """Ask every caption and see where its image stands. ``on_progress`` is called with the number of captions done."""
    search = search.pinned()
    known = _points_of({caption.image for caption in captions}, search=search)
    asked = [caption for caption in captions if len(known.get(caption.image, ())) == 1]
    modes: tuple[Mode, ...] = ("words", "hybrid") if search.info().schema.words else ()
    seen: dict[str, list[_Seen]] = defaultdict(list)
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        vectors = search.embed_texts([caption.text for caption in batch])
        exact = search.exact(vectors, limit=DEPTH)
        found = search.nearest(vectors, limit=10)
        by_mode = {mode: search.texts([caption.text for caption in batch], limit=10, mode=mode) for mode in modes}
        for number, caption in enumerate(batch):
            (target,) = known[caption.image]
            best, near = exact[number], found[number]
            row = _Seen(
                _rank(target, best),
                found=_rank(target, near) is not None,
                kept=_kept(best[:10], near),
                ranks={mode: _rank(target, answers[number]) for mode, answers in by_mode.items()},
            )
            seen[caption.language].append(row)
        on_progress(start + len(batch))
    scores = tuple(_score(language, rows) for language, rows in sorted(seen.items()))
    return Evaluation(
        languages=scores,
        mean=_mean(scores),
        missing=tuple(sorted({c.image for c in captions if not known.get(c.image)})),
        ambiguous=tuple(sorted({c.image for c in captions if len(known.get(c.image, ())) > 1})),
    )


def _points_of(images: set[str], *, search: ImageSearch) -> dict[str, set[str]]:
    """The points that each image names, by id or by one of ``KEYS``."""
    from qdrant_client import models

    found: dict[str, set[str]] = defaultdict(set)
    names = sorted(images)
    for start in range(0, len(names), BATCH):
        some = names[start : start + BATCH]
        ids = {point_id: image for image in some if (point_id := _as_id(image))}
        named = [models.FieldCondition(key=key, match=models.MatchAny(any=some)) for key in KEYS]
        where = models.Filter(should=[*named, models.HasIdCondition(has_id=[*map(sent_id, ids)])] if ids else [*named])
        for point in search.each(where=where, fields=KEYS):
            for name in (ids.get(point.id), *(point.payload.get(key) for key in KEYS)):
                if name in some:
                    found[str(name)].add(point.id)
    return found


def _as_id(image: str) -> str | None:
    try:
        return point_id_of(image)
    except ValueError:
        return None


def _rank(target: str, hits: Sequence[Hit]) -> int | None:
    return next((place for place, hit in enumerate(hits, 1) if hit.id == target), None)


def _kept(exact: Sequence[Hit], approximate: Sequence[Hit]) -> float:
    return len({hit.id for hit in exact} & {hit.id for hit in approximate}) / max(1, len(exact))


def _score(language: str, rows: Sequence[_Seen]) -> Score:
    exact = _recall([row.rank for row in rows])
    modes = {mode: _recall([row.ranks[mode] for row in rows]) for mode in rows[0].ranks}
    return Score(
        language=language,
        captions=len(rows),
        **asdict(exact),
        approximate_10=fmean(row.found for row in rows),
        kept=fmean(row.kept for row in rows),
        words=modes.get("words"),
        hybrid=modes.get("hybrid"),
    )


def _recall(ranks: Sequence[int | None]) -> Recall:
    def within(k: int) -> float:
        return fmean(rank is not None and rank <= k for rank in ranks)

    return Recall(within(1), within(5), within(10), mrr=fmean(1 / rank if rank else 0 for rank in ranks))


def _mean(scores: Sequence[Score]) -> Score | None:
    if not scores:
        return None
    shares = ("recall_1", "recall_5", "recall_10", "mrr", "approximate_10", "kept")
    return Score(
        language="mean",
        captions=sum(score.captions for score in scores),
        **{name: fmean(getattr(score, name) for score in scores) for name in shares},
        words=_mean_recall([score.words for score in scores if score.words]),
        hybrid=_mean_recall([score.hybrid for score in scores if score.hybrid]),
    )


def _mean_recall(recalls: Sequence[Recall]) -> Recall | None:
    names = ("recall_1", "recall_5", "recall_10", "mrr")
    return Recall(*(fmean(getattr(each, name) for each in recalls) for name in names)) if recalls else None
