"""Relevance: how sure it is that a hit fits its question, from 0 to 1, alike in every language, tower and collection.

Raw cosines have no zero. Three steps give them one; docs/relevance.md has the sources and what each was measured to do:

1. Z-norm: a cosine is counted in deviations above the question's mean cosine to a sample of the collection.
2. The best of many: the same for a cohort of questions that no image answers, each with its best hit. These bests
   follow a Gumbel distribution; relevance is 1/2 where one such question in fifty comes as near.
3. Hubs: an image near to all of the cohort is near to everything; that much is taken off wherever it is a hit.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from connector.errors import InvalidQuery
from connector.records import Hit, Vector, Vectors
from connector.search.query import Query, TextPart
from connector.search.relevance_cohort import cohort_of
from connector.search.text_encoder import TextEncoder
from connector.store.engine import Engine, NearestQuery

SAMPLE = 512
"""Images in the background sample: a question's mean cosine is then known to a twentieth of its deviation."""
LEAST_SAMPLE = 32
"""With fewer images there is no background to tell a hit from, and relevance is None."""
RELEVANT = 0.5
"""The relevance from which a hit fits rather than not."""
CHANCE = 0.02
"""The share of unanswerable questions whose best hit would have a relevance of 1/2 or more."""
QUANTILES = (0.1, 0.8)
"""Where the distribution of the best hits of unanswerable questions is taken from."""
HUB = 4.0
"""Deviations above the sample's mean from which nearness to the whole cohort makes an image a hub."""
NEAREST = 4
"""Hits of each unanswerable question that are looked at."""
REFRESH_S = 60.0
"""How often the collection's size is looked at."""
GROWN = 1.5
"""Growing or shrinking by this factor makes a new calibration."""

IMAGE = "image"
"""The calibration of queries by images; those by texts are named by their text tower."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Background:
    """A sample of the collection: (n, dims), and its deviation in a direction that means nothing."""

    sample: Vectors
    deviation: float

    @classmethod
    def of(cls, sample: Vectors) -> Self | None:
        """The background that a sample makes; None where it is too small, or all its images are alike."""
        if len(sample) < LEAST_SAMPLE:
            return None
        deviation = float(np.sqrt(sample.var(axis=0).mean()))
        return cls(sample, deviation) if deviation > 1e-6 else None

    def standard(self, questions: Vectors, cosines: NDArray[np.floating[Any]]) -> Numbers:
        """Cosines (n, k) of n questions, in deviations above what each has to the sample: (n, k).

        The deviation lies between the question's own and that of any direction: what has much kin in the collection
        has a wide one of its own, and would lose by it.
        """
        mean, deviation = self.levels(questions)
        return np.asarray((cosines - mean) / deviation)

    def levels(self, questions: Vectors) -> tuple[Numbers, Numbers]:
        """What the cosines of n questions are counted from, and in which unit: (n, 1) each."""
        background = (questions @ self.sample.T).astype(np.float64)  # (n, sample)
        variance = (background.var(axis=1, keepdims=True) + self.deviation**2) / 2
        return background.mean(axis=1, keepdims=True), np.sqrt(variance)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns the cosines of one kind of question to one collection into relevance.

    ``mode`` and ``scale`` are those of the Gumbel distribution of the best hit where none fits; ``hubs`` says by point
    what is taken off.
    """

    background: Background
    mode: float
    scale: float
    hubs: Mapping[str, float] = field(default_factory=dict)

    def with_relevance(self, question: Vector, hits: Sequence[Hit]) -> list[Hit]:
        """The hits of a question, (dims,), with their relevance."""
        if not hits:
            return []
        cosines = np.array([[hit.score for hit in hits]])
        off = np.array([self.hubs.get(hit.id, 0.0) for hit in hits])
        found = self.relevance(self.background.standard(question[None], cosines)[0] - off)
        return [
            Hit(hit.id, hit.score, hit.payload, round(each, 4), hit.reasons)
            for hit, each in zip(hits, found.tolist(), strict=True)
        ]

    def relevance(self, standard: Numbers) -> Numbers:
        """1 / (1 + p / CHANCE), where p is nearly the chance that an unanswerable question's best hit is as near."""
        surprise = np.log(CHANCE) + (standard - self.mode) / self.scale
        return np.asarray(1 / (1 + np.exp(-np.clip(surprise, -50, 50))))

    def standard_at(self, relevance: Numbers) -> Numbers:
        """The standard cosine from which an image has so much relevance: ``relevance`` the other way round."""
        surprise = np.log(relevance) - np.log1p(-relevance)
        return np.asarray(self.mode + self.scale * (surprise - np.log(CHANCE)))


def fits(hit: Hit) -> bool:
    """Whether a hit with a relevance fits its question rather than not."""
    return hit.relevance is not None and hit.relevance >= RELEVANT


def calibrate_text(engine: Engine, cohort: Vectors) -> Calibration | None:
    """The calibration for questions by text; ``cohort`` (n, dims) are the vectors of unanswerable ones.

    None where the collection holds too few images.
    """
    background = Background.of(background_sample(engine))
    if background is None:
        return None
    answers = engine.query([NearestQuery(question, limit=NEAREST) for question in cohort])
    ids = [*dict.fromkeys(hit.id for hits in answers for hit in hits)]
    vectors = {each.id: each.vector for each in engine.retrieve(ids, fields=[], vectors=True)}
    near = {point: vector for point, vector in vectors.items() if vector is not None}
    if not near:  # all were deleted meanwhile
        return None
    standard = background.standard(cohort, cohort @ np.stack([*near.values()]).T)  # (n, near)
    off = hubness(standard, usual=usual_nearness(background, cohort))
    mode, scale = gumbel((standard - off).max(axis=1))
    hubs = {point: float(much) for point, much in zip(near, off, strict=True) if much > 0}
    return Calibration(background, mode=mode, scale=scale, hubs=hubs)


def usual_nearness(background: Background, cohort: Vectors) -> float:
    """How far the nearness to a whole cohort (n, dims) usually varies: the deviation of its mean in the sample."""
    return float(background.standard(cohort, cohort @ background.sample.T).mean(axis=0).std())


def hubness(standard: Numbers, *, usual: float) -> Numbers:
    """How much of a hub each image is: (k,), of the cohort's ``standard`` cosines to them, (n, k); mostly 0.

    What its mean over the cohort has beyond ``HUB`` times what is ``usual``.
    """
    return np.asarray(np.maximum(0.0, standard.mean(axis=0) - HUB * usual))


def calibrate_images(engine: Engine) -> Calibration | None:
    """The calibration for images as questions: their kind of unanswerable one is an image of the sample.

    Its best hit among the others of the sample is what chance gives. None where the collection is too small.
    """
    background = Background.of(background_sample(engine))
    if background is None:
        return None
    standard = background.standard(background.sample, background.sample @ background.sample.T)
    np.fill_diagonal(standard, -np.inf)
    mode, scale = gumbel(standard.max(axis=1))
    return Calibration(background, mode=mode, scale=scale)


def background_sample(engine: Engine) -> Vectors:
    """The first points in the order of the ids, (n, dims).

    Ids are hashes of addresses (UUIDv5), so these are drawn fairly, the same for every reader and kept by the
    collection itself.
    """
    page = engine.scroll(limit=SAMPLE, fields=[], vectors=True)
    vectors = [point.vector for point in page.points if point.vector is not None]
    return np.stack(vectors) if vectors else np.empty((0, 0), dtype=np.float32)


def gumbel(best: Numbers) -> tuple[float, float]:
    """Mode and scale of a Gumbel distribution, from two of its quantiles: mode - scale * ln(-ln p).

    What lies above the upper one is left out, because some image may answer such a question after all.
    """
    below, above = np.quantile(best, QUANTILES)
    low, high = -np.log(-np.log(QUANTILES))
    scale = max(float((above - below) / (high - low)), 1e-3)
    return float(below - scale * low), scale


class KeptCalibration:
    """A calibration that is made when first wanted, and anew once the collection has grown or shrunk a lot.

    Safe to use from many threads: while one makes it anew, the others go on with the old one.
    """

    def __init__(
        self,
        make: Callable[[], Calibration | None],
        *,
        count: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._count = count
        self._clock = clock
        self._exclusive = threading.Lock()
        self._made: Calibration | None = None
        self._points = 0
        self._checked_at = -np.inf

    def now(self) -> Calibration | None:
        """The calibration; None while the collection holds too few images for one."""
        if self._made is None:
            with self._exclusive:
                if self._made is None:
                    self._refresh()
        elif self._clock() - self._checked_at > REFRESH_S and self._exclusive.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._exclusive.release()
        return self._made

    def _refresh(self) -> None:
        points = self._count()
        if self._made is None or not self._points / GROWN < points < self._points * GROWN:
            self._made = self._make() if points >= LEAST_SAMPLE else None
            self._points = points
        self._checked_at = self._clock()


class RelevanceModel:
    """The calibrations of one collection: one for each text tower and one for images, made when first wanted."""

    def __init__(self, engine: Engine, *, text_encoder: TextEncoder) -> None:
        self._engine = engine
        self._text_encoder = text_encoder
        self._exclusive = threading.Lock()
        self._calibrations: dict[str, KeptCalibration] = {}

    def with_relevance(
        self, hits: Sequence[Hit], *, vector: Vector, calibration: str | None, relevant: bool
    ) -> list[Hit]:
        """Hits of a question, (dims,), with their relevance where it can be told; only those that fit, if wanted.

        ``calibration`` is a text tower or ``IMAGE``, None where what made the vector is not known. Raises InvalidQuery
        where only those that fit are wanted and nothing tells them.
        """
        if not hits:
            return []
        made = self._calibration(calibration).now() if calibration is not None else None
        if made is not None:
            found = made.with_relevance(vector, hits)
            return [hit for hit in found if fits(hit)] if relevant else found
        if not relevant:
            return [*hits]
        if calibration is None:
            raise InvalidQuery(
                "which hits are relevant depends on what made the vectors; give modality='text' or modality='image'."
            )
        raise InvalidQuery(
            f"which hits are relevant is told from {LEAST_SAMPLE} images on, not all alike; collection "
            f"{self._engine.collection!r} holds {self._engine.count()}. Ask without relevant."
        )

    def prepare(self, query: Query) -> None:
        """Make the calibration that fits a query now."""
        self._calibration(self.calibration_for(query)).now()

    def calibration_for(self, query: Query) -> str:
        """The calibration that fits a query: that of its first text's tower; of images, where it has no text."""
        texts = (one.part for one in query.parts if isinstance(one.part, TextPart))
        first = next(texts, None)
        return IMAGE if first is None else self._text_encoder.tower_for(first.language)

    def _calibration(self, name: str) -> KeptCalibration:
        with self._exclusive:
            if name not in self._calibrations:
                self._calibrations[name] = KeptCalibration(
                    partial(_calibrate, name, engine=self._engine, text_encoder=self._text_encoder),
                    count=self._engine.count,
                )
            return self._calibrations[name]


def _calibrate(name: str, *, engine: Engine, text_encoder: TextEncoder) -> Calibration | None:
    """A calibration by its name; no method, or whoever keeps it would be kept by it."""
    if name == IMAGE:
        return calibrate_images(engine)
    return calibrate_text(engine, text_encoder.embed(cohort_of(name), tower=name))
