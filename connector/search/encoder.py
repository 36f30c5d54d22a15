"""QueryEncoder: texts, images and weighted queries of them -> vectors, in the space of one collection.

The rule: no model is loaded before a question needs its half of the space; then it stays.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from connector.errors import CollectionMismatch, InvalidQuery
from connector.images.load import IMAGES, ImageLoader
from connector.models.catalog import find_space
from connector.records import Vector, Vectors
from connector.search.options import as_point_id, check_language, check_texts, is_number, shown
from connector.search.query import ImagePart, Part, PointPart, Query, TextPart
from connector.search.text_encoder import TextEncoder
from connector.settings import Settings
from connector.store.engine import Engine
from connector.store.points import SHORTEST
from connector.store.schema import Fingerprint, pixels_advice

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

    from connector.models.image_tower import ImageTower

log = logging.getLogger(__name__)


class QueryEncoder:
    """Makes the vectors of queries: (n, dims) float32, L2-normalised. Safe to use from many threads."""

    def __init__(self, settings: Settings, *, engine: Engine, text_encoder: TextEncoder, loader: ImageLoader) -> None:
        self._settings = settings
        self._space = find_space(settings.model.space)
        self._engine = engine
        self._loader = loader
        self._text_encoder = text_encoder
        self._loading = threading.Lock()
        self._image_lock = threading.Lock()  # a tower serves one caller at a time
        self._image_tower: ImageTower | None = None
        self._advised = False

    def texts(self, texts: Sequence[str], *, language: str | None) -> Vectors:
        """The vectors of texts by the tower for their language. Raises InvalidQuery."""
        check_texts(texts)
        return self._text_encoder.embed(texts, tower=self._text_encoder.tower_for(language))

    def text_parts(self, parts: Sequence[TextPart]) -> Vectors:
        """The vectors of texts that may have a language each: all of one tower go through it together."""
        towers = [self._text_encoder.tower_for(each.language) for each in parts]
        vectors = np.empty((len(parts), self._space.dims), dtype=np.float32)
        for tower in {*towers}:
            rows = [number for number, each in enumerate(towers) if each == tower]
            vectors[rows] = self._text_encoder.embed([parts[number].text for number in rows], tower=tower)
        return vectors

    def images(self, images: "Sequence[str | Path | bytes | Image]") -> Vectors:
        """The vectors of images. Raises InvalidQuery that names the image."""
        size, resizing = self._space.image_size, self._space.image.resizing
        found = [np.empty((0, self._space.dims), dtype=np.float32)]
        for start in range(0, len(images), IMAGES):
            some = images[start : start + IMAGES]
            pixels = np.stack([self._loader.read(each, size=size, resizing=resizing) for each in some])
            tower = self._tower()
            with self._image_lock:
                found.append(tower.embed(pixels))  # (some, size, size, 3) -> (some, dims)
        return np.concatenate(found)

    def queries(self, queries: Sequence[Query]) -> Vectors:
        """The vectors of queries of any parts. Raises InvalidQuery."""
        check_queries(queries)
        return weighted_sums(queries, texts=self.text_parts, images=self.images, points=self.points)

    def points(self, ids: Sequence[str]) -> Vectors:
        """The vectors of points. Raises InvalidQuery for one that is not there."""
        found = {each.id: each.vector for each in self._engine.retrieve([*set(ids)], fields=[], vectors=True)}
        for each in ids:
            if each not in found:
                raise no_point(each, collection=self._engine.collection)
            if found[each] is None:
                raise InvalidQuery(
                    f"point {each} of collection {self._engine.collection!r} has no vector: another program took it "
                    "away. Ingest its image again, or ask by another one."
                )
        return np.asarray([found[each] for each in ids], dtype=np.float32)

    @property
    def sees(self) -> bool:
        """Whether the image tower is loaded."""
        return self._image_tower is not None

    def load_images(self) -> None:
        """Load the image tower now. Raises ModelError and CollectionMismatch."""
        self._tower()

    def score_scale(self) -> float:
        """What the space's model was trained to multiply cosines by before it chose among texts."""
        from connector.models.score import score_scale

        return score_scale(self._settings.model)

    def _tower(self) -> "ImageTower":
        with self._loading:
            if self._image_tower is None:
                from connector.models.image_tower import ImageTower

                tower = ImageTower.load(self._settings.model)
                self._check_fingerprint(tower.fingerprint)
                self._image_tower = tower
            return self._image_tower

    def _check_fingerprint(self, wanted: Fingerprint) -> None:
        schema = self._engine.info().schema
        built = schema.fingerprint
        if schema.second is not None and schema.second.space == wanted.space:
            built = schema.second.fingerprint
        differences = wanted.differences(built)
        if differences:
            raise CollectionMismatch(
                f"collection {self._engine.collection!r} was built by space {built.space} ({built.dims} dims); the "
                f"settings ask for {wanted.space} ({wanted.dims}). What differs: {'; '.join(differences)}. "
                "Name another collection, or the space that built this one."
            )
        if not self._advised and (advice := pixels_advice(built, collection=self._engine.collection)):
            log.warning("pixels_differ %s", advice)
            self._advised = True


def no_point(point_id: str, *, collection: str) -> InvalidQuery:
    """The error for an id that no point has."""
    return InvalidQuery(f"collection {collection!r} has no point {point_id}.")


P = TypeVar("P", TextPart, ImagePart, PointPart)


def weighted_sums(
    queries: Sequence[Query],
    *,
    texts: Callable[[Sequence[TextPart]], Vectors],
    images: "Callable[[Sequence[str | Path | bytes | Image]], Vectors]",
    points: Callable[[Sequence[str]], Vectors],
) -> Vectors:
    """One vector for each query: (queries, dims) float32, L2-normalised. Raises InvalidQuery.

    The three callables make the vectors of the parts: (n, dims) for n of them.
    """
    if not queries:
        return texts([])
    parts = [one.part for query in queries for one in query.parts]
    vectors: dict[int, Vector] = {
        **_each(parts, TextPart, texts),
        **_each(parts, ImagePart, lambda some: images([each.image for each in some])),
        **_each(parts, PointPart, lambda some: points([as_point_id(each.point_id) for each in some])),
    }
    start, rows = 0, []
    for query in queries:
        end = start + len(query.parts)
        rows.append(_sum(query, np.stack([vectors[number] for number in range(start, end)])))
        start = end
    return np.stack(rows)


def named_points(query: Query) -> list[str]:
    """The ids of the stored points among a query's parts."""
    return [as_point_id(one.part.point_id) for one in query.parts if isinstance(one.part, PointPart)]


def check_queries(queries: Sequence[Query]) -> None:
    """Raise InvalidQuery for queries without parts, texts that ask nothing, malformed ids, and weights that are none.

    What only a file, a model or the store can tell is not looked at.
    """
    for query in queries:
        _check_query(query)
    parts = [one.part for query in queries for one in query.parts]
    check_texts([part.text for part in parts if isinstance(part, TextPart)])
    for part in parts:
        if isinstance(part, TextPart):
            check_language(part.language)
        elif isinstance(part, PointPart):
            as_point_id(part.point_id)


def check_words(query: Query, *, mode: str) -> None:
    """Raise InvalidQuery for a query whose parts do not suit mode ``words`` or ``hybrid``."""
    texts = [one for one in query.parts if isinstance(one.part, TextPart) and one.weight > 0]
    if not texts:
        raise InvalidQuery(f"mode {mode} needs a text to be like; ask with mode visual, or none.")
    if mode == "words" and len(texts) < len(query.parts):
        raise InvalidQuery(
            "mode words takes texts alone, none of them to push away from; ask with mode hybrid or visual."
        )


def _check_query(query: Query) -> None:
    if not isinstance(query, Query):
        raise InvalidQuery(f"the query is {type(query).__name__}; a text, or text(), image() and point() is wanted.")
    if not query.parts:
        raise InvalidQuery("the query has no parts; give a text, an image or a point.")
    for one in query.parts:
        if not is_number(one.weight):
            raise InvalidQuery(f"a part of the query has the weight {shown(one.weight)}; a finite number is wanted.")


def _each(parts: Sequence[Part], kind: type[P], embed: Callable[[Sequence[P]], Vectors]) -> dict[int, Vector]:
    """The vectors of the parts of one kind, by the parts' numbers."""
    chosen = [(number, part) for number, part in enumerate(parts) if isinstance(part, kind)]
    vectors: Iterable[Vector] = embed([part for _, part in chosen]) if chosen else ()
    return {number: vector for (number, _), vector in zip(chosen, vectors, strict=True)}


def _sum(query: Query, vectors: Vectors) -> Vector:
    """The weighted sum of a query's parts, (parts, dims), at length 1."""
    weights = np.array([float(one.weight) for one in query.parts])
    weights /= max(float(np.abs(weights).max()), np.finfo(float).tiny)  # only their ratios count; none overflows
    total = weights @ vectors.astype(np.float64)
    length = float(np.linalg.norm(total))
    if length < SHORTEST:
        raise InvalidQuery("the parts of the query cancel one another out; change a weight.")
    return np.asarray(total / length, dtype=np.float32)
