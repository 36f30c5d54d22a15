"""Weighing: hits get their relevance, by the calibration that belongs to what their question was made by."""

import threading
from collections.abc import Sequence

from connector.asking import PICTURE
from connector.blend import Blend, Words
from connector.cohort import cohort_of
from connector.errors import InvalidQuery
from connector.qdrant.engine import Engine
from connector.records import Hit, Vector
from connector.relevance import (
    LEAST_SAMPLE,
    Calibration,
    KeptCalibration,
    calibrate_pictures,
    calibrate_words,
    fits,
)
from connector.speaking import Speaking


class Weighing:
    """The calibrations of one collection: one for each text tower and one for pictures, made when first wanted."""

    def __init__(self, engine: Engine, *, speaking: Speaking) -> None:
        self._engine = engine
        self._speaking = speaking
        self._alone = threading.Lock()
        self._calibrations: dict[str, KeptCalibration] = {}

    def weighed(self, hits: Sequence[Hit], *, vector: Vector, by: str | None, relevant: bool) -> list[Hit]:
        """Hits of a question, (dims,), with their relevance where it can be told; only those that fit, if wanted.

        ``by`` is a text tower or ``PICTURE``, None where it is not known. Raises InvalidQuery where only those that
        fit are wanted and nothing tells them.
        """
        if not hits:
            return []
        calibration = self._calibration(by).now() if by is not None else None
        if calibration is not None:
            found = calibration.weighed(vector, hits)
            return [hit for hit in found if fits(hit)] if relevant else found
        if not relevant:
            return [*hits]
        if by is None:
            raise InvalidQuery("which hits are relevant depends on asked; give asked='words' or asked='picture'.")
        raise InvalidQuery(
            f"which hits are relevant is told from {LEAST_SAMPLE} pictures on, not all alike; collection "
            f"{self._engine.collection!r} holds {self._engine.count()}. Ask without relevant."
        )

    def made_by(self, blend: Blend) -> str:
        """What a blend is weighed by: the tower of its first words; where it is all pictures, as a picture."""
        said = (one.part for one in blend.parts if isinstance(one.part, Words))
        first = next(said, None)
        return PICTURE if first is None else self._speaking.tower_for(first.language)

    def _calibration(self, by: str) -> KeptCalibration:
        with self._alone:
            if by not in self._calibrations:
                self._calibrations[by] = KeptCalibration(lambda: self._calibrate(by), count=self._engine.count)
            return self._calibrations[by]

    def _calibrate(self, by: str) -> Calibration | None:
        if by == PICTURE:
            return calibrate_pictures(self._engine)
        return calibrate_words(self._engine, self._speaking.embed(cohort_of(by), tower=by))
