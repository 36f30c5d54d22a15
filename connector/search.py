"""ImageSearch: ask a collection of pictures, in words of any language or by a picture.

The rule: opening loads no model. The first question in words loads the text tower, the first by picture the image
tower, and both stay until the search is closed.
"""

import math
import stat
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from connector.errors import CollectionMismatch, InvalidQuery
from connector.filters import parse_filter
from connector.qdrant.engine import CollectionInfo, Engine, NearestQuery
from connector.qdrant.open import open_engine
from connector.qdrant.schema import Fingerprint
from connector.records import Hit, Pixels, Vector, Vectors
from connector.settings import Settings
from connector.spaces.catalog import find_space

if TYPE_CHECKING:
    from PIL.Image import Image
    from qdrant_client.models import Filter

    from connector.spaces.image_tower import ImageTower
    from connector.spaces.text_tower import TextTower

MAX_TEXT = 10_000
"""Characters in one question; the text towers read far fewer."""
MAX_LIMIT = 10_000
"""Hits in one answer, and the deepest offset."""


class ImageSearch:
    """An open collection of pictures. Safe to use from many threads; closed by ``with`` or ``close``."""

    def __init__(self, *, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._loading = threading.Lock()
        self._speaking = threading.Lock()  # a tower serves one caller at a time
        self._looking = threading.Lock()
        self._text_tower: TextTower | None = None
        self._image_tower: ImageTower | None = None

    @classmethod
    def open(
        cls,
        *,
        space: str | None = None,
        collection: str | None = None,
        settings: Settings | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> Self:
        """Open a collection; by default the one of the space, where the settings say.

        ``overrides`` maps dotted setting names to values, such as ``{"qdrant.url": "http://localhost:6333"}``.
        Raises CollectionMissing when nothing was ingested yet, CollectionMismatch when another space built the
        collection, ConfigError for settings that do not hold.
        """
        named = {"model.space": space, "qdrant.collection": collection}
        given = {**(overrides or {}), **{name: value for name, value in named.items() if value is not None}}
        if settings is not None and given:
            raise ValueError("give either settings, or space, collection and overrides")
        settings = settings or Settings.load(given)
        expected = find_space(settings.model.space)
        search = cls(settings=settings, engine=open_engine(settings.qdrant, collection=settings.collection))
        try:
            search._refuse_another(Fingerprint(space=expected.name, dims=expected.dims, image_size=expected.image_size))
        except BaseException:
            search.close()
            raise
        return search

    def text(
        self,
        text: str,
        *,
        limit: int = 10,
        offset: int = 0,
        where: "str | Filter | None" = None,
        min_score: float | None = None,
    ) -> list[Hit]:
        """The pictures nearest to a text in any language, best first. Raises InvalidQuery."""
        return self.texts([text], limit=limit, offset=offset, where=where, min_score=min_score)[0]

    def texts(
        self,
        texts: Sequence[str],
        *,
        limit: int = 10,
        offset: int = 0,
        where: "str | Filter | None" = None,
        min_score: float | None = None,
    ) -> list[list[Hit]]:
        """An answer to each text, in one pass through the model and one call to the store. Raises InvalidQuery."""
        if isinstance(texts, str):
            raise InvalidQuery("texts is one string, not a list of them; for a single text there is text().")
        for number, text in enumerate(texts):
            _check_text(text, number=number, of=len(texts))
        _check_reach(limit=limit, offset=offset, min_score=min_score)
        condition = self._condition(where)
        if not texts:
            return []
        tower = self._text()
        with self._speaking:
            vectors = tower.embed(texts)
        return self._nearest(vectors, limit=limit, offset=offset, where=condition, min_score=min_score)

    def image(
        self,
        image: "str | Path | bytes | Image",
        *,
        limit: int = 10,
        offset: int = 0,
        where: "str | Filter | None" = None,
        min_score: float | None = None,
    ) -> list[Hit]:
        """The pictures nearest to a picture: a path, a file's bytes or a PIL image.

        Raises InvalidQuery for what cannot be read, and its subclass UnreadableImage for what is no picture.
        """
        _check_reach(limit=limit, offset=offset, min_score=min_score)
        condition = self._condition(where)
        pixels = self._pixels_of(image)
        tower = self._image()
        with self._looking:
            vectors = tower.embed(pixels[None])  # (1, size, size, 3)
        return self._nearest(vectors, limit=limit, offset=offset, where=condition, min_score=min_score)[0]

    def like(
        self,
        point_id: str,
        *,
        limit: int = 10,
        offset: int = 0,
        where: "str | Filter | None" = None,
        min_score: float | None = None,
    ) -> list[Hit]:
        """The pictures nearest to a stored one, itself left out. Raises InvalidQuery for an id that is not there."""
        from qdrant_client.models import Filter, HasIdCondition

        _check_reach(limit=limit, offset=offset, min_score=min_score)
        known = _as_point_id(point_id)
        vector = self._stored_vector(known)
        itself = HasIdCondition(has_id=[known])
        condition = self._condition(where)
        others = Filter(must=[condition] if condition else None, must_not=[itself])
        return self._nearest(vector[None], limit=limit, offset=offset, where=others, min_score=min_score)[0]

    def info(self) -> CollectionInfo:
        """Schema and size of the collection."""
        return self._engine.info()

    def close(self) -> None:
        """Let go of the store."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _nearest(
        self, vectors: Vectors, *, limit: int, offset: int, where: "Filter | None", min_score: float | None
    ) -> list[list[Hit]]:
        return self._engine.query(
            [NearestQuery(vector, limit=limit, offset=offset, where=where, min_score=min_score) for vector in vectors]
        )

    def _condition(self, where: "str | Filter | None") -> "Filter | None":
        if where is None or not isinstance(where, str):
            return where
        return parse_filter(where, indexes=self._engine.info().schema.indexes)

    def _pixels_of(self, image: "str | Path | bytes | Image") -> Pixels:
        from PIL.Image import Image

        from connector.spaces.pixels import decode, prepare

        size = find_space(self._settings.model.space).image_size
        if isinstance(image, Image):
            return prepare(image, size=size)
        if isinstance(image, str | Path):
            image = self._bytes_of(Path(image))
        if not isinstance(image, bytes):
            raise InvalidQuery(f"the picture is {type(image).__name__}; a path, bytes or a PIL image is wanted.")
        return decode(image, size=size, max_pixels=self._settings.limits.max_pixels).pixels

    def _stored_vector(self, point_id: str) -> Vector:
        found = self._engine.retrieve([point_id], fields=[], vectors=True)
        if not found or found[0].vector is None:
            raise InvalidQuery(f"collection {self._engine.collection!r} has no point {point_id}.")
        return np.asarray(found[0].vector, dtype=np.float32)

    def _bytes_of(self, path: Path) -> bytes:
        limit = self._settings.limits.max_bytes
        try:
            found = path.stat()
            if stat.S_ISREG(found.st_mode) and found.st_size <= limit:
                return path.read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise InvalidQuery(f"the picture {str(path)!r} cannot be read: {error}.") from error
        if not stat.S_ISREG(found.st_mode):
            raise InvalidQuery(f"the picture {str(path)!r} is no file.")
        raise InvalidQuery(f"the picture {str(path)!r} has {found.st_size} bytes; limits.max_bytes allows {limit}.")

    def _text(self) -> "TextTower":
        with self._loading:
            if self._text_tower is None:
                from connector.spaces.text_tower import TextTower

                self._text_tower = TextTower.load(self._settings.model)
            return self._text_tower

    def _image(self) -> "ImageTower":
        with self._loading:
            if self._image_tower is None:
                from connector.spaces.image_tower import ImageTower

                tower = ImageTower.load(self._settings.model)
                self._refuse_another(tower.fingerprint)
                self._image_tower = tower
            return self._image_tower

    def _refuse_another(self, asked: Fingerprint) -> None:
        built = self._engine.info().schema.fingerprint
        differences = asked.differences(built)
        if differences:
            raise CollectionMismatch(
                f"collection {self._engine.collection!r} was built by space {built.space} ({built.dims} dims); the "
                f"settings ask for {asked.space} ({asked.dims}). What differs: {'; '.join(differences)}. "
                "Name another collection, or the space that built this one."
            )


def _check_text(text: str, *, number: int, of: int) -> None:
    which = "the text" if of == 1 else f"text {number + 1} of {of}"
    if not isinstance(text, str):
        raise InvalidQuery(f"{which} is {type(text).__name__}, not a string.")
    if not text.strip():
        raise InvalidQuery(f"{which} is empty; say what the picture shows.")
    if len(text) > MAX_TEXT:
        raise InvalidQuery(f"{which} has {len(text)} characters; {MAX_TEXT} are allowed.")


def _as_point_id(text: str) -> str:
    """The id in the one form that the store knows it by."""
    try:
        return str(uuid.UUID(text))
    except (ValueError, AttributeError, TypeError):
        raise InvalidQuery(f"{text!r} is no point id; one looks like {uuid.UUID(int=0)}.") from None


def _check_reach(*, limit: int, offset: int, min_score: float | None) -> None:
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidQuery(f"limit is {limit}; it must be between 1 and {MAX_LIMIT}.")
    if not 0 <= offset <= MAX_LIMIT:
        raise InvalidQuery(f"offset is {offset}; it must be between 0 and {MAX_LIMIT}.")
    if min_score is not None and math.isnan(min_score):
        raise InvalidQuery("min_score is not a number; a cosine lies between -1 and 1.")
