"""Both spaces of a collection asked the same: how much their answers have in common, and a page to look at them.

The rule: one question is asked in both spaces by what is seen alone, embedded by the towers of each. Words answer alike
in both, and would hide what differs.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import Environment

from connector.errors import ConfigError, InvalidQuery
from connector.images.load import read_file
from connector.images.shrink import shrink
from connector.records import Hit, StoredPoint, local_path, masked_uri, shown_name
from connector.search.captions import Caption
from connector.search.client import ImageSearch
from connector.search.evaluate import Evaluation, evaluate
from connector.search.hits import Hits
from connector.search.query import Query, point, text
from connector.settings import LimitsSettings

LIMIT = 10
QUESTIONS = 50
"""Questions that are made of the collection where none are given."""
ASKED = 16
"""Questions of one call."""
SAMPLED = 512
SHOWN = 30
"""Questions on the page; those whose answers have the least in common come first."""
THUMBNAIL_PX = 120
_TEXTS = ("title", "description")


@dataclass(frozen=True, slots=True)
class Compared:
    """One question and its hits in both spaces; ``overlap`` is the share of the first ten that both have."""

    question: str
    old: Sequence[Hit]
    new: Sequence[Hit]

    @property
    def overlap(self) -> float:
        """Hits that both have, of those that the longer answer has."""
        return self.common / max(1, self.most)

    @property
    def common(self) -> int:
        """How many hits both have."""
        return len({hit.id for hit in self.old} & {hit.id for hit in self.new})

    @property
    def most(self) -> int:
        """How many hits the longer answer has."""
        return max(len(self.old), len(self.new))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Answers of the space ``old``, which answers, and of ``new``, beside one another.

    ``made_of`` says what the questions are: ``given``, ``captions`` of the collection's own images, or stored
    ``images``. ``recall`` is that of both spaces on captions, where some were given.
    """

    old: str
    new: str
    made_of: str
    questions: Sequence[Compared]
    recall: tuple[Evaluation, Evaluation] | None = None

    @property
    def overlap(self) -> float:
        """The mean overlap of the questions."""
        return fmean(each.overlap for each in self.questions)


def compare(
    search: ImageSearch,
    *,
    questions: Sequence[str] = (),
    captions: Sequence[Caption] = (),
    on_progress: Callable[[int], None] = lambda _: None,
) -> Comparison:
    """Ask both spaces of a search's collection. ``on_progress`` is called with the number of questions done.

    Raises ConfigError where the collection has one space, InvalidQuery for questions that are none, StoreError.
    """
    schema = search.info().schema
    if schema.second is None:
        raise ConfigError(f"the collection has the vectors of {schema.fingerprint.space} alone; nothing is to compare.")
    old, new = (search.pinned(space) for space in (schema.fingerprint.space, schema.second.space))
    asked, made_of = _questions(search, given=questions or [each.text for each in captions[:QUESTIONS]])
    compared: list[Compared] = []
    for start in range(0, len(asked), ASKED):
        some = asked[start : start + ASKED]
        queries = [query for _, query in some]
        answers = zip(_answers(old, queries), _answers(new, queries), strict=True)
        compared += [Compared(name, *both) for (name, _), both in zip(some, answers, strict=True)]
        on_progress(len(compared))
    recall = (evaluate(old, captions), evaluate(new, captions)) if captions else None
    return Comparison(schema.fingerprint.space, schema.second.space, made_of, compared, recall)


def _answers(search: ImageSearch, queries: Sequence[Query]) -> list[Hits]:
    return search.queries(queries, limit=LIMIT, mode="visual", understand=False)


def _questions(search: ImageSearch, *, given: Sequence[str]) -> tuple[list[tuple[str, Query]], str]:
    """Questions with their names: the given ones, else captions of stored images, else these images themselves."""
    if given:
        return [(each, text(each)) for each in given], "given"
    sample = search.sample(min(SAMPLED, max(1, search.count())))
    told = {caption: text(caption) for each in sample if (caption := _caption(each))}
    if told:
        return [*told.items()][:QUESTIONS], "captions"
    if not sample:
        raise InvalidQuery("the collection holds no image; there is nothing to compare.")
    return [(shown_name(each.payload, point_id=each.id), point(each.id)) for each in sample[:QUESTIONS]], "images"


def _caption(stored: StoredPoint) -> str | None:
    meta = stored.payload.get("meta")
    values: list[Any] = [stored.payload.get(name) for name in _TEXTS]
    values += [meta.get("caption"), meta.get("name")] if isinstance(meta, dict) else []
    return next((each.strip() for each in values if isinstance(each, str) and each.strip()), None)


def write_page(comparison: Comparison, *, to: Path) -> None:
    """Write one HTML page of both answers side by side; its images are in it."""
    template = (files("workers.migrate") / "page.html.j2").read_text(encoding="utf-8")
    shown = sorted(comparison.questions, key=lambda each: each.overlap)[:SHOWN]
    small: dict[str, str | None] = {}
    rows = [
        {
            "question": masked_uri(each.question),
            "common": each.common,
            "most": each.most,
            "sides": [
                (name, [_figure(hit, other, small=small) for hit in hits])
                for name, hits, other in (
                    (comparison.old, each.old, each.new),
                    (comparison.new, each.new, each.old),
                )
            ],
        }
        for each in shown
    ]
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    to.write_text(page.render(comparison=comparison, rows=rows), encoding="utf-8")


def _figure(hit: Hit, other: Sequence[Hit], *, small: dict[str, str | None]) -> dict[str, object]:
    if hit.id not in small:
        small[hit.id] = _thumbnail(hit.uri)
    name = masked_uri(hit.uri).rsplit("/", 1)[-1] or hit.id
    common = any(each.id == hit.id for each in other)
    return {"name": name, "score": hit.score, "image": small[hit.id], "common": common}


def _thumbnail(uri: str) -> str | None:
    """A ``data:`` URI of a small WebP, None for what is no image in a local file."""
    path, limits = local_path(uri), LimitsSettings()
    if path is None:
        return None
    try:
        data = shrink(read_file(path, limits=limits), size=THUMBNAIL_PX, max_pixels=limits.max_pixels)
    except InvalidQuery:
        return None
    return f"data:image/webp;base64,{base64.b64encode(data).decode('ascii')}"
