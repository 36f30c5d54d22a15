"""Embedding: texts, pictures and mixtures of them -> vectors, in the space of one collection.

The rule: no model is loaded before somebody asks for its half of the space; then it stays.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from connector.asking import check_texts
from connector.blend import Blend, Words
from connector.errors import CollectionMismatch, InvalidQuery
from connector.mixing import mixed
from connector.pictures import PICTURES, read_picture
from connector.qdrant.engine import Engine
from connector.qdrant.schema import Fingerprint
from connector.records import Vectors
from connector.settings import Settings
from connector.spaces.catalog import find_space
from connector.speaking import Speaking

if TYPE_CHECKING:
    from PIL.Image import Image

    from connector.spaces.image_tower import ImageTower


class Embedding:
    """Makes the vectors of questions: (n, dims) float32, L2-normalised. Safe to use from many threads."""

    def __init__(self, settings: Settings, *, engine: Engine, speaking: Speaking) -> None:
        self._settings = settings
        self._space = find_space(settings.model.space)
        self._engine = engine
        self._speaking = speaking
        self._loading = threading.Lock()
        self._looking = threading.Lock()  # a tower serves one caller at a time
        self._image_tower: ImageTower | None = None

    def texts(self, texts: Sequence[str], *, language: str | None) -> Vectors:
        """The vectors of texts by the tower for their language. Raises InvalidQuery."""
        check_texts(texts)
        return self._speaking.embed(texts, tower=self._speaking.tower_for(language))

    def words(self, said: Sequence[Words]) -> Vectors:
        """The vectors of texts that may have a language each: all of one tower go through it together."""
        check_texts([each.text for each in said])
        towers = [self._speaking.tower_for(each.language) for each in said]
        vectors = np.empty((len(said), self._space.dims), dtype=np.float32)
        for tower in {*towers}:
            rows = [number for number, each in enumerate(towers) if each == tower]
            vectors[rows] = self._speaking.embed([said[number].text for number in rows], tower=tower)
        return vectors

    def images(self, images: "Sequence[str | Path | bytes | Image]") -> Vectors:
        """The vectors of pictures. Raises InvalidQuery that names the picture."""
        size, limits = self._space.image_size, self._settings.limits
        found = [np.empty((0, self._space.dims), dtype=np.float32)]
        for start in range(0, len(images), PICTURES):
            some = images[start : start + PICTURES]
            pixels = np.stack([read_picture(each, size=size, limits=limits) for each in some])
            tower = self._tower()
            with self._looking:
                found.append(tower.embed(pixels))  # (some, size, size, 3) -> (some, dims)
        return np.concatenate(found)

    def blends(self, blends: Sequence[Blend]) -> Vectors:
        """The vectors of mixtures. Raises InvalidQuery."""
        return mixed(blends, said=self.words, pictures=self.images, stored=self.stored)

    def stored(self, ids: Sequence[str]) -> Vectors:
        """The vectors of points. Raises InvalidQuery for one that is not there."""
        found = {each.id: each.vector for each in self._engine.retrieve([*set(ids)], fields=[], vectors=True)}
        for each in ids:
            if found.get(each) is None:
                raise no_point(each, collection=self._engine.collection)
        return np.asarray([found[each] for each in ids], dtype=np.float32)

    def refuse_another(self) -> None:
        """Raise CollectionMismatch where the collection was built by another space than the settings ask for."""
        space = self._space
        self._refuse(Fingerprint(space=space.name, dims=space.dims, image_size=space.image_size))

    def _tower(self) -> "ImageTower":
        with self._loading:
            if self._image_tower is None:
                from connector.spaces.image_tower import ImageTower

                tower = ImageTower.load(self._settings.model)
                self._refuse(tower.fingerprint)
                self._image_tower = tower
            return self._image_tower

    def _refuse(self, asked: Fingerprint) -> None:
        built = self._engine.info().schema.fingerprint
        differences = asked.differences(built)
        if differences:
            raise CollectionMismatch(
                f"collection {self._engine.collection!r} was built by space {built.space} ({built.dims} dims); the "
                f"settings ask for {asked.space} ({asked.dims}). What differs: {'; '.join(differences)}. "
                "Name another collection, or the space that built this one."
            )


def no_point(point_id: str, *, collection: str) -> InvalidQuery:
    """The error for an id that no point has."""
    return InvalidQuery(f"collection {collection!r} has no point {point_id}.")
