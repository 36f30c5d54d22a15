"""ImageSearch: ask a collection of images, in words of any language or by an image.

The rule: opening loads no model. The first question in words loads the text tower, the first by image the image
tower, and both stay until the search is closed.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from connector.errors import InvalidQuery, StoreRefused
from connector.models.catalog import find_space
from connector.records import FacetCount, Hit, HitGroup, StoredPoint, Vector, Vectors
from connector.search.encoder import QueryEncoder, no_point
from connector.search.options import GROUPED, MAX_LIMIT, QueryKind, Reach, as_point_id, check_between, check_texts
from connector.search.query import Query, as_query
from connector.search.query import image as image_query
from connector.search.query import point as point_query
from connector.search.relevance import RelevanceModel
from connector.search.retrieval import Retriever, counted, grouped
from connector.search.text_encoder import TextEncoder
from connector.settings import Settings
from connector.store.engine import CollectionInfo, Engine, NearestQuery
from connector.store.open import open_engine
from connector.store.points import check_facet

if TYPE_CHECKING:
    from PIL.Image import Image
    from qdrant_client.models import Filter


class ImageSearch:
    """An open collection of images. Safe to use from many threads; closed by ``with`` or ``close``."""

    def __init__(self, *, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        self._text_encoder = TextEncoder(settings.model)
        self._relevance = RelevanceModel(engine, text_encoder=self._text_encoder)
        self._encoder = QueryEncoder(settings, engine=engine, text_encoder=self._text_encoder)
        self._retriever = Retriever(engine, relevance=self._relevance)

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
        find_space(settings.model.space)  # before anything is opened
        search = cls(settings=settings, engine=open_engine(settings.qdrant, collection=settings.collection))
        try:
            search._encoder.refuse_another()
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
        relevant: bool = False,
        language: str | None = None,
    ) -> list[Hit]:
        """The images nearest to a text in any language, best first. Raises InvalidQuery.

        ``diversity`` from 0 to 1 trades nearness for hits that do not repeat one another. ``relevant`` leaves out what
        does not fit (``Hit.relevance`` below 0.5): nothing comes where nothing fits. ``language``, such as ``en``, lets
        the text tower speak that knows that one best.
        """
        return self.texts(
            [text],
            limit=limit,
            offset=offset,
            where=where,
            min_score=min_score,
            diversity=diversity,
            relevant=relevant,
            language=language,
        )[0]

    def texts(
        self,
        texts: Sequence[str],
        *,
        limit: int = 10,
        offset: int = 0,
        where: "str | Filter | None" = None,
        min_score: float | None = None,
        diversity: float = 0.0,
        relevant: bool = False,
        language: str | None = None,
    ) -> list[list[Hit]]:
        """An answer to each text, in one pass through the model and one call to the store. Raises InvalidQuery."""
        reach = Reach(limit, offset=offset, min_score=min_score, diversity=diversity, relevant=relevant)
        check_texts(texts)
        condition = self._retriever.condition(where)
        vectors = self.embed_texts(texts, language=language)
        by = [self._text_encoder.tower_for(language)] * len(texts)
        return self._retriever.nearest(vectors, reach=reach, where=[condition] * len(texts), by=by)

    def image(
        self,
        image: "str | Path | bytes | Image",
        *,
        limit: int = 10,
        offset: int = 0,
        where: "str | Filter | None" = None,
        min_score: float | None = None,
        diversity: float = 0.0,
        relevant: bool = False,
    ) -> list[Hit]:
        """The images nearest to an image: a path, an http(s) address, a file's bytes or a PIL image.

        Raises InvalidQuery for what cannot be read, and its subclass UnreadableImage for what is no image. Addresses
        that are not public are refused, also behind a redirect, unless ``web.allow_networks`` names them; how long a
        fetch may take and what it may cost is what the settings ``web.*`` and ``limits.max_bytes`` say.
        """
        return self.queries(
            [image_query(image)],
            limit=limit,
            offset=offset,
            where=where,
            min_score=min_score,
            diversity=diversity,
            relevant=relevant,
        )[0]

    def like(
        self,
        point_id: str,
        *,
        limit: int = 10,
        offset: int = 0,
        where: "str | Filter | None" = None,
        min_score: float | None = None,
        diversity: float = 0.0,
        relevant: bool = False,
    ) -> list[Hit]:
        """The images nearest to a stored one, itself left out. Raises InvalidQuery for an id that is not there."""
        return self.query(
            point_query(point_id),
            limit=limit,
            offset=offset,
            where=where,
            min_score=min_score,
            diversity=diversity,
            relevant=relevant,
        )

    def query(
        self,
        query: Query,
        *,
        limit: int = 10,
        offset: int = 0,
        where: "str | Filter | None" = None,
        min_score: float | None = None,
        diversity: float = 0.0,
        relevant: bool = False,
    ) -> list[Hit]:
        """The images nearest to a mixture of texts, images and stored points, these points left out.

        Such as ``text("a beach") + image(photo) - 0.5 * text("people")``. Raises InvalidQuery, also where the
        parts cancel one another out.
        """
        return self.queries(
            [query],
            limit=limit,
            offset=offset,
            where=where,
            min_score=min_score,
            diversity=diversity,
            relevant=relevant,
        )[0]

    def queries(
        self,
        queries: Sequence[Query | str],
        *,
        limit: int = 10,
        offset: int = 0,
        where: "str | Filter | None" = None,
        min_score: float | None = None,
        diversity: float = 0.0,
        relevant: bool = False,
    ) -> list[list[Hit]]:
        """An answer to each of many questions of any kind, in one call to the store. Raises InvalidQuery.

        All their words go through the model together. A text stands for ``text(...)``.
        """
        reach = Reach(limit, offset=offset, min_score=min_score, diversity=diversity, relevant=relevant)
        condition = self._retriever.condition(where)
        made = [as_query(each) for each in queries]
        vectors = self.embed_queries(made)
        where_each = [self._retriever.others(each, where=condition) for each in made]
        return self._retriever.nearest(
            vectors, reach=reach, where=where_each, by=[self._relevance.made_by(each) for each in made]
        )

    def nearest(
        self,
        vectors: Vectors,
        *,
        limit: int = 10,
        offset: int = 0,
        where: "str | Filter | None" = None,
        min_score: float | None = None,
        diversity: float = 0.0,
        relevant: bool = False,
        asked: QueryKind | None = None,
        language: str | None = None,
    ) -> list[list[Hit]]:
        """An answer to each vector, (n, dims) float32, in one call to the store.

        ``asked`` says whether they were made of words (of a ``language``, where it was given for them) or of images;
        without it hits have no relevance.
        """
        reach = Reach(limit, offset=offset, min_score=min_score, diversity=diversity, relevant=relevant)
        conditions = [self._retriever.condition(where)] * len(vectors)
        by = self._text_encoder.tower_for(language) if asked == "words" else asked
        return self._retriever.nearest(vectors, reach=reach, where=conditions, by=[by] * len(vectors))

    def exact(self, vectors: Vectors, *, limit: int = 10, where: "str | Filter | None" = None) -> list[list[Hit]]:
        """What ``nearest`` should answer: every vector is looked at, none through the graph or by its 4-bit code."""
        check_between("limit", limit, 1, MAX_LIMIT)
        query = NearestQuery(np.empty(0, dtype=np.float32), limit=limit, exact=True)
        return self._retriever.answers(query, vectors, where=[self._retriever.condition(where)] * len(vectors))

    def each(
        self, *, where: "str | Filter | None" = None, fields: Sequence[str] | None = None, vectors: bool = False
    ) -> Iterator[StoredPoint]:
        """Every image that matches, in the order of the ids, a page at a time; ``fields`` limits the payload."""
        condition, start = self._retriever.condition(where), None
        while True:
            page = self._engine.scroll(limit=GROUPED, start=start, where=condition, fields=fields, vectors=vectors)
            yield from page.points
            if (start := page.next) is None:
                return

    def groups(
        self,
        query: Query | str,
        *,
        by: str,
        limit: int = 10,
        size: int = 3,
        where: "str | Filter | None" = None,
        relevant: bool = False,
    ) -> list[HitGroup]:
        """The nearest images by the value of a field, such as ``by="folder"``: the group with the best hit first.

        At most ``limit`` groups of at most ``size`` hits, out of the ``GROUPED`` nearest images; an image with
        several values stands in several groups. A text stands for ``text(...)``.
        """
        check_between("limit", limit, 1, MAX_LIMIT)
        check_between("size", size, 1, MAX_LIMIT)
        check_facet(by, indexes=self._engine.info().schema.indexes)
        asked = as_query(query)
        hits = self.query(asked, limit=GROUPED, where=where, relevant=relevant)
        return grouped(hits, by=by, limit=limit, size=size)

    def facets(
        self,
        field: str,
        *,
        of: Query | str | None = None,
        where: "str | Filter | None" = None,
        limit: int = 10,
        relevant: bool = False,
    ) -> list[FacetCount]:
        """The most frequent values of a field and their counts: in the collection, or among the nearest images.

        With ``of``, a text or a blend, the ``GROUPED`` nearest images are counted, or those of them that are
        ``relevant``. Raises InvalidQuery.
        """
        check_between("limit", limit, 1, MAX_LIMIT)
        if of is None:
            return self._engine.facet(field, where=self._retriever.condition(where), limit=limit)
        check_facet(field, indexes=self._engine.info().schema.indexes)
        asked = as_query(of)
        hits = self.query(asked, limit=GROUPED, where=where, relevant=relevant)
        return counted(hits, field=field, limit=limit)

    def count(self, *, where: "str | Filter | None" = None) -> int:
        """How many images match, exactly."""
        return self._engine.count(where=self._retriever.condition(where))

    def sample(self, limit: int = 10, *, where: "str | Filter | None" = None) -> list[StoredPoint]:
        """Images picked at random, others each time."""
        check_between("limit", limit, 1, MAX_LIMIT)
        return self._engine.sample(limit, where=self._retriever.condition(where))

    def ordered(
        self,
        by: str,
        *,
        descending: bool = True,
        limit: int = 10,
        offset: int = 0,
        where: "str | Filter | None" = None,
    ) -> list[StoredPoint]:
        """Images in the order of a number or a date, such as ``by="taken_at"``; those without it are left out."""
        check_between("limit", limit, 1, MAX_LIMIT)
        check_between("offset", offset, 0, MAX_LIMIT)
        return self._engine.ordered(
            by, descending=descending, limit=limit, offset=offset, where=self._retriever.condition(where)
        )

    def points(self, ids: Sequence[str], *, vectors: bool = False) -> list[StoredPoint]:
        """The points of these ids, in their order. Raises InvalidQuery for one that is not there."""
        known = [as_point_id(each) for each in ids]
        found = {each.id: each for each in self._engine.retrieve(known, vectors=vectors)}
        for each in known:
            if each not in found:
                raise no_point(each, collection=self._engine.collection)
        return [found[each] for each in known]

    def embed_texts(self, texts: Sequence[str], *, language: str | None = None) -> Vectors:
        """The vectors of texts in any language: (n, dims) float32, L2-normalised. Raises InvalidQuery."""
        return self._encoder.texts(texts, language=language)

    def embed_image(self, image: "str | Path | bytes | Image") -> Vector:
        """The vector of an image, as ``image`` takes it: (dims,) float32, L2-normalised. Raises InvalidQuery."""
        vector: Vector = self._encoder.images([image])[0]
        return vector

    def embed_images(self, images: "Sequence[str | Path | bytes | Image]") -> Vectors:
        """The vectors of images: (n, dims) float32, L2-normalised. Raises InvalidQuery that names the image."""
        return self._encoder.images(images)

    def embed_query(self, query: Query) -> Vector:
        """The vector of a mixture: (dims,) float32, L2-normalised. Raises InvalidQuery."""
        vector: Vector = self._encoder.queries([query])[0]
        return vector

    def embed_queries(self, queries: Sequence[Query]) -> Vectors:
        """The vectors of mixtures: (n, dims) float32, L2-normalised. Raises InvalidQuery."""
        return self._encoder.queries(queries)

    def set_payload(self, point_id: str, payload: Mapping[str, Any]) -> None:
        """Merge ``payload`` by its top-level keys into a stored image's own, such as ``{"tags": ["dog"]}``.

        Raises InvalidQuery for an id that is not there and for what is not plain JSON.
        """
        known = as_point_id(point_id)
        try:
            self._engine.set_payload(known, dict(payload))
        except ValueError as error:
            raise InvalidQuery(f"{error}.") from error
        except StoreRefused:
            self.points([known])  # that it is not there is the usual reason
            raise

    def info(self) -> CollectionInfo:
        """Schema and size of the collection."""
        return self._engine.info()

    def close(self) -> None:
        """Close the connections to the store and to the web."""
        self._encoder.close()
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
