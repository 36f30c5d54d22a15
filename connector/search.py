"""ImageSearch: ask a collection of pictures, in words of any language or by a picture.

The rule: opening loads no model. The first question in words loads the text tower, the first by picture the image
tower, and both stay until the search is closed.
"""

import math
import stat
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from connector.asking import GROUPED, MAX_LIMIT, Reach, Value, as_point_id, check_between, check_texts, values_of
from connector.blend import Blend, Part, Picture, Stored, Words, point, words
from connector.diversity import diverse_order
from connector.errors import CollectionMismatch, InvalidQuery
from connector.filters import parse_filter
from connector.qdrant.engine import CollectionInfo, Engine, NearestQuery
from connector.qdrant.open import open_engine
from connector.qdrant.points import SHORTEST, check_facet
from connector.qdrant.schema import Fingerprint
from connector.records import FacetCount, Hit, HitGroup, Pixels, StoredPoint, Vector, Vectors
from connector.settings import Settings
from connector.spaces.catalog import find_space

if TYPE_CHECKING:
    from PIL.Image import Image
    from qdrant_client.models import Filter

    from connector.spaces.image_tower import ImageTower
    from connector.spaces.text_tower import TextTower


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
        diversity: float = 0.0,
    ) -> list[Hit]:
        """The pictures nearest to a text in any language, best first. Raises InvalidQuery.

        ``diversity`` from 0 to 1 trades nearness for hits that do not repeat one another.
        """
        return self.texts([text], limit=limit, offset=offset, where=where, min_score=min_score, diversity=diversity)[0]

    def texts(
        self,
        texts: Sequence[str],
        *,
        limit: int = 10,
        offset: int = 0,
        where: "str | Filter | None" = None,
        min_score: float | None = None,
        diversity: float = 0.0,
    ) -> list[list[Hit]]:
        """An answer to each text, in one pass through the model and one call to the store. Raises InvalidQuery."""
        reach = Reach(limit, offset=offset, min_score=min_score, diversity=diversity)
        check_texts(texts)
        condition = self._condition(where)
        return self._nearest(self.embed_texts(texts), reach=reach, where=condition)

    def image(
        self,
        image: "str | Path | bytes | Image",
        *,
        limit: int = 10,
        offset: int = 0,
        where: "str | Filter | None" = None,
        min_score: float | None = None,
        diversity: float = 0.0,
    ) -> list[Hit]:
        """The pictures nearest to a picture: a path, an http(s) address, a file's bytes or a PIL image.

        Raises InvalidQuery for what cannot be read, and its subclass UnreadableImage for what is no picture. Addresses
        that are not public are refused, also behind a redirect.
        """
        reach = Reach(limit, offset=offset, min_score=min_score, diversity=diversity)
        condition = self._condition(where)
        return self._nearest(self.embed_image(image)[None], reach=reach, where=condition)[0]

    def like(
        self,
        point_id: str,
        *,
        limit: int = 10,
        offset: int = 0,
        where: "str | Filter | None" = None,
        min_score: float | None = None,
        diversity: float = 0.0,
    ) -> list[Hit]:
        """The pictures nearest to a stored one, itself left out. Raises InvalidQuery for an id that is not there."""
        return self.blend(
            point(point_id), limit=limit, offset=offset, where=where, min_score=min_score, diversity=diversity
        )

    def blend(
        self,
        blend: Blend,
        *,
        limit: int = 10,
        offset: int = 0,
        where: "str | Filter | None" = None,
        min_score: float | None = None,
        diversity: float = 0.0,
    ) -> list[Hit]:
        """The pictures nearest to a mixture of texts, pictures and stored points, these points left out.

        Such as ``words("a beach") + picture(photo) - 0.5 * words("people")``. Raises InvalidQuery, also where the
        parts cancel one another out.
        """
        reach = Reach(limit, offset=offset, min_score=min_score, diversity=diversity)
        condition = self._others(blend, where=self._condition(where))
        return self._nearest(self.embed_blend(blend)[None], reach=reach, where=condition)[0]

    def nearest(
        self,
        vectors: Vectors,
        *,
        limit: int = 10,
        offset: int = 0,
        where: "str | Filter | None" = None,
        min_score: float | None = None,
        diversity: float = 0.0,
    ) -> list[list[Hit]]:
        """An answer to each vector, (n, dims) float32, in one call to the store."""
        reach = Reach(limit, offset=offset, min_score=min_score, diversity=diversity)
        return self._nearest(vectors, reach=reach, where=self._condition(where))

    def exact(self, vectors: Vectors, *, limit: int = 10, where: "str | Filter | None" = None) -> list[list[Hit]]:
        """What ``nearest`` should answer: every vector is looked at, none through the graph or by its 4-bit code."""
        check_between("limit", limit, 1, MAX_LIMIT)
        query = NearestQuery(np.empty(0, dtype=np.float32), limit=limit, where=self._condition(where), exact=True)
        return self._answers(query, vectors)

    def each(
        self, *, where: "str | Filter | None" = None, fields: Sequence[str] | None = None
    ) -> Iterator[StoredPoint]:
        """Every picture that matches, in the order of the ids; ``fields`` limits the payload."""
        condition, start = self._condition(where), None
        while True:
            page = self._engine.scroll(limit=GROUPED, start=start, where=condition, fields=fields)
            yield from page.points
            if (start := page.next) is None:
                return

    def groups(
        self,
        blend: Blend | str,
        *,
        by: str,
        limit: int = 10,
        size: int = 3,
        where: "str | Filter | None" = None,
    ) -> list[HitGroup]:
        """The nearest pictures by the value of a field, such as ``by="folder"``: the group with the best hit first.

        At most ``limit`` groups of at most ``size`` hits, out of the ``GROUPED`` nearest pictures; a picture with
        several values stands in several groups. A text stands for ``words(text)``.
        """
        check_between("limit", limit, 1, MAX_LIMIT)
        check_between("size", size, 1, MAX_LIMIT)
        self._check_counted(by)
        asked = words(blend) if isinstance(blend, str) else blend
        grouped: dict[Value, list[Hit]] = {}
        for hit in self.blend(asked, limit=GROUPED, where=where):
            for value in values_of(hit.payload, by):
                grouped.setdefault(value, []).append(hit)
        return [HitGroup(value, tuple(hits[:size])) for value, hits in [*grouped.items()][:limit]]

    def facets(
        self, field: str, *, of: Blend | str | None = None, where: "str | Filter | None" = None, limit: int = 10
    ) -> list[FacetCount]:
        """The most frequent values of a field and their counts: in the collection, or among the nearest pictures.

        With ``of``, a text or a blend, the ``GROUPED`` nearest pictures are counted. Raises InvalidQuery.
        """
        check_between("limit", limit, 1, MAX_LIMIT)
        if of is None:
            return self._engine.facet(field, where=self._condition(where), limit=limit)
        self._check_counted(field)
        asked = words(of) if isinstance(of, str) else of
        hits = self.blend(asked, limit=GROUPED, where=where)
        counts = Counter(value for hit in hits for value in values_of(hit.payload, field))
        ranked = sorted(counts.items(), key=lambda each: (-each[1], str(each[0])))
        return [FacetCount(value, count) for value, count in ranked[:limit]]

    def count(self, *, where: "str | Filter | None" = None) -> int:
        """How many pictures match, exactly."""
        return self._engine.count(where=self._condition(where))

    def sample(self, limit: int = 10, *, where: "str | Filter | None" = None) -> list[StoredPoint]:
        """Pictures picked at random, others each time."""
        check_between("limit", limit, 1, MAX_LIMIT)
        return self._engine.sample(limit, where=self._condition(where))

    def ordered(
        self,
        by: str,
        *,
        descending: bool = True,
        limit: int = 10,
        offset: int = 0,
        where: "str | Filter | None" = None,
    ) -> list[StoredPoint]:
        """Pictures in the order of a number or a date, such as ``by="taken_at"``; those without it are left out."""
        check_between("limit", limit, 1, MAX_LIMIT)
        check_between("offset", offset, 0, MAX_LIMIT)
        return self._engine.ordered(by, descending=descending, limit=limit, offset=offset, where=self._condition(where))

    def points(self, ids: Sequence[str]) -> list[StoredPoint]:
        """The points of these ids, in their order. Raises InvalidQuery for one that is not there."""
        known = [as_point_id(each) for each in ids]
        found = {each.id: each for each in self._engine.retrieve(known)}
        for each in known:
            if each not in found:
                raise self._no_point(each)
        return [found[each] for each in known]

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """The vectors of texts in any language: (n, dims) float32, L2-normalised. Raises InvalidQuery."""
        check_texts(texts)
        tower = self._text()
        with self._speaking:
            return tower.embed(texts)

    def embed_image(self, image: "str | Path | bytes | Image") -> Vector:
        """The vector of a picture, as ``image`` takes it: (dims,) float32, L2-normalised. Raises InvalidQuery."""
        pixels = self._pixels_of(image)
        tower = self._image()
        with self._looking:
            vector: Vector = tower.embed(pixels[None])[0]  # (1, size, size, 3) -> (dims,)
        return vector

    def embed_blend(self, blend: Blend) -> Vector:
        """The vector of a mixture: (dims,) float32, L2-normalised. Raises InvalidQuery."""
        if not blend.parts:
            raise InvalidQuery("the blend has no parts; give words, a picture or a point.")
        for one in blend.parts:
            if not math.isfinite(one.weight):
                raise InvalidQuery(f"a part of the blend has the weight {one.weight}; a finite number is wanted.")
        total = sum(one.weight * self._vector_of(one.part) for one in blend.parts)
        length = float(np.linalg.norm(total))
        if length < SHORTEST:
            raise InvalidQuery("the parts of the blend cancel one another out; change a weight.")
        return np.asarray(total / length, dtype=np.float32)

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

    def _nearest(self, vectors: Vectors, *, reach: Reach, where: "Filter | None") -> list[list[Hit]]:
        query = NearestQuery(
            np.empty(0, dtype=np.float32),
            limit=reach.limit,
            offset=reach.offset,
            where=where,
            min_score=reach.min_score,
        )
        if not reach.diversity:
            return self._answers(query, vectors)
        wide = self._answers(replace(query, limit=reach.candidates, offset=0), vectors)
        return [self._diverse(hits, reach=reach) for hits in wide]

    def _answers(self, query: NearestQuery, vectors: Vectors) -> list[list[Hit]]:
        return self._engine.query([replace(query, vector=vector) for vector in vectors]) if len(vectors) else []

    def _diverse(self, hits: list[Hit], *, reach: Reach) -> list[Hit]:
        stored = self._engine.retrieve([hit.id for hit in hits], fields=[], vectors=True)
        vectors = {each.id: each.vector for each in stored if each.vector is not None}
        there = [hit for hit in hits if hit.id in vectors]  # one may be deleted meanwhile
        if not there:
            return []
        order = diverse_order(
            np.stack([vectors[hit.id] for hit in there]),
            scores=np.array([hit.score for hit in there], dtype=np.float32),
            diversity=reach.diversity,
            count=reach.offset + reach.limit,
        )
        return [there[row] for row in order[reach.offset :]]

    def _vector_of(self, part: Part) -> Vector:
        if isinstance(part, Words):
            vector: Vector = self.embed_texts([part.text])[0]
            return vector
        if isinstance(part, Picture):
            return self.embed_image(part.image)
        return self._stored_vector(as_point_id(part.point_id))

    def _others(self, blend: Blend, *, where: "Filter | None") -> "Filter | None":
        """The condition that leaves out the points that the blend itself names."""
        from qdrant_client.models import Filter, HasIdCondition

        named = [as_point_id(one.part.point_id) for one in blend.parts if isinstance(one.part, Stored)]
        if not named:
            return where
        return Filter(must=[where] if where else None, must_not=[HasIdCondition(has_id=list(named))])

    def _check_counted(self, field: str) -> None:
        check_facet(field, indexes=self._engine.info().schema.indexes)

    def _no_point(self, point_id: str) -> InvalidQuery:
        return InvalidQuery(f"collection {self._engine.collection!r} has no point {point_id}.")

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
        if isinstance(image, str) and image.startswith(("http://", "https://")):
            image = self._fetched(image)
        if isinstance(image, str | Path):
            image = self._bytes_of(Path(image))
        if not isinstance(image, bytes):
            raise InvalidQuery(f"the picture is {type(image).__name__}; a path, bytes or a PIL image is wanted.")
        return decode(image, size=size, max_pixels=self._settings.limits.max_pixels).pixels

    def _stored_vector(self, point_id: str) -> Vector:
        found = self._engine.retrieve([point_id], fields=[], vectors=True)
        if not found or found[0].vector is None:
            raise self._no_point(point_id)
        return np.asarray(found[0].vector, dtype=np.float32)

    def _fetched(self, url: str) -> bytes:
        from connector.net import Web, WebLimits

        with Web(WebLimits(max_bytes=self._settings.limits.max_bytes)) as web:
            page = web.get(url)
        return b"" if page is None else page.data

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
