"""AlertJudge: which alerts an image fits, told by the vector that ingestion has at hand: no image is looked at twice.

    points ──► questions x vectors, one product ──► relevance as in search ─┐
    payloads ──► the words of the questions in them ────────────────────────┴► alerts, alerts_due in the payload

The rule: what an image fits is written together with its vector, so that neither is there without the other, whatever
is killed when. An alert's filter is not looked at here: the store does so when the alert is told of (``outbox``).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from connector.alerts.alert import Alert, alerts_of
from connector.errors import ModelError
from connector.models.answering import model_in
from connector.records import ALERT_FIELDS, Payload, Point, Vector, Vectors
from connector.search.relevance import Calibration, KeptCalibration, Numbers, calibrate_text, hubness, usual_nearness
from connector.search.relevance_cohort import cohort_of
from connector.search.text_encoder import TextEncoder
from connector.settings import ModelSettings, Settings
from connector.store.engine import Engine
from connector.store.schema import CollectionSchema
from workers.alerts.ledger import alerts_folder
from workers.alerts.message import UNJUDGED
from workers.alerts.questions import KeptVectors
from workers.alerts.words import AlertWords

log = logging.getLogger(__name__)


class AlertJudge:
    """Marks points with the alerts that they fit. Used by one thread at a time.

    It is made for a collection's alerts and its space as they are now; ``is_of`` tells whether they still are.
    """

    def __init__(self, engine: Engine, *, schema: CollectionSchema, model: ModelSettings, folder: Path) -> None:
        """``model`` are the settings of the space that answers; ``folder`` keeps the vectors of the questions."""
        self._made_of = (dict(schema.alerts), schema.vector_name)
        self._alerts = alerts_of(schema)
        self._sending = {each.id for each in self._alerts if each.sends}
        self._engine = engine
        encoder = TextEncoder(model)
        kept = KeptVectors(encoder, model=model, fingerprint=schema.fingerprint, folder=folder)
        by_tower: dict[str, list[Alert]] = {}
        for each in self._alerts:
            by_tower.setdefault(encoder.tower_for(each.language), []).append(each)
        self._questions = [_Questions(some, tower=tower, kept=kept, engine=engine) for tower, some in by_tower.items()]
        self._words = None if schema.words is None else AlertWords(engine, alerts=self._alerts, schema=schema)

    def is_of(self, schema: CollectionSchema) -> bool:
        """Whether these are still the alerts and the space of the collection."""
        return self._made_of == (dict(schema.alerts), schema.vector_name)

    def __call__(self, points: Sequence[Point]) -> list[Point]:
        """The points with the alerts that they fit; one that says so already, because its content is not new, keeps it.

        Points need no mark where they fit nothing.
        """
        fresh = [each for each in points if "alerts" not in each.payload]
        marks: dict[str, Payload] = {}
        if fresh:
            found = self.marks_of([(each.vector, each.payload) for each in fresh])
            marks = {point.id: told for point, told in zip(fresh, found, strict=True)}
        return [replace(each, payload=_plain({**each.payload, **marks.get(each.id, {})})) for each in points]

    def marks_of(self, images: Sequence[tuple[Vector, Payload]]) -> list[dict[str, list[str]]]:
        """What the payload of each image, by its vector (dims,) and payload, says of the alerts; nothing for none."""
        vectors, payloads = np.stack([vector for vector, _ in images]), [payload for _, payload in images]
        found: list[set[str]] = [set() for _ in payloads]
        try:
            known = [self._see(each, vectors, found) for each in self._questions]
        except ModelError as error:  # no text tower here: whoever tells of alerts may have one
            log.warning("alerts_not_judged images=%d: %s", len(payloads), error)
            known = [False]
        if not all(known):
            return [{"alerts_due": [UNJUDGED]} for _ in payloads]
        if self._words is not None:
            for mine, payload in zip(found, payloads, strict=True):
                mine.update(self._words.fitting(payload))
        return [self._marks(each) for each in found]

    def _marks(self, fitting: set[str]) -> dict[str, list[str]]:
        due = fitting & self._sending
        return {name: sorted(ids) for name, ids in (("alerts", fitting), ("alerts_due", due)) if ids}

    def _see(self, questions: "_Questions", vectors: Vectors, found: list[set[str]]) -> bool:
        """Add what images fit by what they show; False where the collection is too small to tell."""
        pairs = questions.fitting(vectors)
        if pairs is None:
            return False
        for question, image in pairs:
            found[image].add(questions.alerts[question].id)
        return True


@dataclass(frozen=True, slots=True)
class _Levels:
    """What cosines are held against: ``mean``, ``deviation`` (q, 1) of the questions and ``cut`` (q, 1) in these units.

    ``cohort`` are the same of the questions that no image answers, and ``usual`` the deviation of their mean.
    """

    calibration: Calibration
    mean: Numbers
    deviation: Numbers
    cut: Numbers
    cohort: tuple[Numbers, Numbers]
    usual: float


class _Questions:
    """The questions of one text tower."""

    def __init__(self, alerts: Sequence[Alert], *, tower: str, kept: KeptVectors, engine: Engine) -> None:
        self.alerts = alerts
        self._texts = [each.question for each in alerts]
        self._least = np.array([[each.relevance] for each in alerts])
        self._embed = partial(kept.vectors, tower=tower)
        self._cohort_texts = cohort_of(tower)
        self._engine = engine
        self._calibration = KeptCalibration(self._calibrate, count=engine.count)
        self._vectors: Vectors | None = None
        self._cohort: Vectors | None = None
        self._levels: _Levels | None = None

    def fitting(self, vectors: Vectors) -> NDArray[np.int64] | None:
        """Which questions fit which of the images (n, dims): rows of a question's and an image's number.

        None while the collection is too small for a calibration.
        """
        levels = self._now()
        if levels is None:
            return None
        assert self._vectors is not None
        assert self._cohort is not None
        mean, deviation = levels.cohort
        off = hubness((self._cohort @ vectors.T - mean) / deviation, usual=levels.usual)  # (n,)
        cosines = self._vectors @ vectors.T  # (q, n)
        least = (levels.mean + levels.deviation * levels.cut).astype(np.float32)
        near = cosines >= least + levels.deviation.astype(np.float32) * off.astype(np.float32)
        return np.argwhere(near)

    def _now(self) -> _Levels | None:
        made = self._calibration.now()
        if made is None:
            return None
        if self._levels is None or self._levels.calibration is not made:
            self._levels = self._made(made)
        return self._levels

    def _calibrate(self) -> Calibration | None:
        self._cohort = self._embed(self._cohort_texts)
        return calibrate_text(self._engine, self._cohort)

    def _made(self, calibration: Calibration) -> _Levels:
        assert self._cohort is not None
        if self._vectors is None:
            self._vectors = self._embed(self._texts)
        background = calibration.background
        mean, deviation = background.levels(self._vectors)
        cohort = background.levels(self._cohort)
        cut = calibration.standard_at(self._least)
        return _Levels(calibration, mean, deviation, cut, cohort, usual_nearness(background, self._cohort))


def _plain(payload: Payload) -> Payload:
    """The payload without marks that say nothing."""
    return {name: value for name, value in payload.items() if value or name not in ALERT_FIELDS}


def judge_of(engine: Engine, *, schema: CollectionSchema, settings: Settings) -> AlertJudge:
    """The judge of a collection's alerts as they are now, in the space that answers."""
    model = model_in(settings.model, space=schema.vector_name, schema=schema)
    return AlertJudge(engine, schema=schema, model=model, folder=alerts_folder(settings) / "questions")
