"""ImageSearch: ask a collection of images, by text in any language, by images, or by both.

The rule: opening loads no model. The first question by text loads the text tower, the first by image the image
tower, and both stay until the search is closed.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, get_args

import numpy as np

from connector.errors import InvalidQuery, StoreRefused
from connector.models.catalog import find_space
from connector.records import FacetCount, Hit, StoredPoint, Vector, Vectors
from connector.search.encoder import check_queries, no_point
from connector.search.hits import HitGroups, Hits, counted, grouped
from connector.search.options import (
    GROUPED,
    MAX_LIMIT,
    Modality,
    PageArguments,
    PageOptions,
    SearchArguments,
    SearchOptions,
    Where,
    as_point_id,
    check_between,
    check_texts,
    order_of,
    shown,
)
from connector.search.pages import ListingPage, listing_page
from connector.search.query import Query, as_query
from connector.search.query import image as image_query
from connector.search.query import point as point_query
from connector.search.query import text as text_query
from connector.search.relevance import RelevanceModel
from connector.search.retrieval import Answering, Following, HybridAnswers, Pinned, Retriever
from connector.search.understanding import QuestionReader, ReadQuery
from connector.settings import Settings
from connector.settings_sources import named_overrides
from connector.store.engine import CollectionInfo, Engine, NearestQuery, pages
from connector.store.open import open_engine
from connector.store.points import check_changes, check_facet, check_payload
from connector.store.schema import FIXED_FIELDS

if TYPE_CHECKING:
    from PIL.Image import Image


class ImageSearch:
    """An open collection of images. Safe to use from many threads; closed by ``with`` or ``close``."""

    def __init__(self, *, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        self.following: Following | Pinned = Following(settings, engine=engine, make_hybrid=_hybrid)
        self.reader = QuestionReader(engine)

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
        given = named_overrides(overrides, space=space, collection=collection, settings=settings)
        settings = settings or Settings.load(given)
        find_space(settings.model.space)  # before anything is opened
        search = cls(settings=settings, engine=open_engine(settings.qdrant, collection=settings.collection))
        try:
            search.following.now()
        except BaseException:
            search.close()
            raise
        return search

    def pinned(self, space: str | None = None) -> Self:
        """The same search in the space that answers now, or in one of the collection's: for questions that go together.

        It is closed with this one. Its questions raise SpaceChanged once the collection has no vectors of that space.
        """
        return self._in(self.following.now() if space is None else self.following.made_for(space))

    def _in(self, here: Answering) -> Self:
        pinned = copy.copy(self)
        pinned.following = Pinned(here)
        return pinned

    def score_scale(self) -> float:
        """What cosines are multiplied by before a softmax chooses among labels. Raises ModelError."""
        return self.following.now().encoder.score_scale()

    def text(self, text: str, **options: Unpack[SearchArguments]) -> Hits:
        """The images nearest to a text in any language, best first. Raises InvalidQuery.

        The options are those of ``SearchOptions``, here as in every method that takes a question.
        """
        return self.texts([text], **options)[0]

    def texts(self, texts: Sequence[str], **options: Unpack[SearchArguments]) -> list[Hits]:
        """An answer to each text, in one pass through the model and one call to the store. Raises InvalidQuery."""
        check_texts(texts)
        return self.queries([text_query(each) for each in texts], **options)

    def image(self, image: "str | Path | bytes | Image", **options: Unpack[SearchArguments]) -> Hits:
        """The images nearest to an image: a path, an http(s) address, a file's bytes or a PIL image.

        Raises InvalidQuery for what cannot be read, and its subclass UnreadableImage for what is no image. Addresses
        that are not public are refused, also behind a redirect, unless ``web.allow_networks`` names them; how long a
        fetch may take and what it may cost is what the settings ``web.*`` and ``limits.max_bytes`` say.
        """
        return self.query(image_query(image), **options)

    def like(self, point_id: str, **options: Unpack[SearchArguments]) -> Hits:
        """The images nearest to a stored one, itself left out. Raises InvalidQuery for an id that is not there."""
        return self.query(point_query(point_id), **options)

    def query(self, query: Query | str, **options: Unpack[SearchArguments]) -> Hits:
        """The images nearest to weighted texts, images and stored points, these points left out.

        Such as ``text("a beach") + image(photo) - 0.5 * text("people")``; a string stands for ``text(...)``. Raises
        InvalidQuery, also where the parts cancel one another out.
        """
        return self.queries([query], **options)[0]

    def queries(self, queries: Sequence[Query | str], **options: Unpack[SearchArguments]) -> list[Hits]:
        """An answer to each of many queries of any parts, in one call to the store. Raises InvalidQuery.

        All their texts go through the model together. ``language`` is that of the texts that name none.
        """
        wanted = SearchOptions(**options)
        made = self._read(queries, options=wanted)
        return self.following.ask(lambda here: here.answers(made, options=wanted))

    def check(self, queries: Sequence[Query | str], **options: Unpack[SearchArguments]) -> list[Query]:
        """The queries that ``queries`` would compare, each text with its language. Raises InvalidQuery as it would.

        No model is asked, and the store only for the fields that it was not asked for before.
        """
        wanted = SearchOptions(**options)
        made = self._read(queries, options=wanted)
        self.following.now().retriever.condition(wanted.where)
        return [each.query for each in made if each.query is not None]

    def nearest(
        self, vectors: Vectors, *, modality: Modality | None = None, **options: Unpack[SearchArguments]
    ) -> list[Hits]:
        """An answer to each vector, (n, dims) float32, in one call to the store.

        Vectors that were embedded before are of the space of then: embed and ask through one ``pinned`` search.
        ``modality`` says whether they were made of texts (in a ``language``, where it was given for them) or of
        images; without it hits have no relevance.
        """
        wanted = SearchOptions(**options)
        if modality not in (None, *get_args(Modality)):
            raise InvalidQuery(f"modality is {shown(modality)}; 'text', 'image' or None is wanted.")
        if wanted.mode not in (None, "visual"):
            raise InvalidQuery(f"mode is {shown(wanted.mode)}, and a vector has no words; ask with text() for that.")
        here = self.following.now()
        calibration = here.text_encoder.tower_for(wanted.language) if modality == "text" else modality
        where = [here.retriever.condition(wanted.where)] * len(vectors)
        calibrations = [calibration] * len(vectors)
        if wanted.ranks_anew:
            return here.hybrid.answers(vectors, words=None, options=wanted, where=where, calibrations=calibrations)
        return here.retriever.nearest(vectors, options=wanted, where=where, calibrations=calibrations)

    def exact(self, vectors: Vectors, **options: Unpack[PageArguments]) -> list[Hits]:
        """What ``nearest`` should answer: every vector is looked at, none through the graph or by its 4-bit code."""
        wanted = PageOptions(**options)
        query = NearestQuery(np.empty(0, dtype=np.float32), limit=wanted.limit, offset=wanted.offset, exact=True)
        retriever = self.following.now().retriever
        where = [retriever.condition(wanted.where)] * len(vectors)
        return [*map(Hits, retriever.answers(query, vectors, where=where))]

    def each(
        self, *, where: Where = None, fields: Sequence[str] | None = None, vectors: bool = False
    ) -> Iterator[StoredPoint]:
        """Every image that matches, in the order of the ids, a page at a time; ``fields`` limits the payload."""
        here = self.following.now()
        condition = here.retriever.condition(where)
        for some in pages(here.engine, limit=GROUPED, where=condition, fields=fields, vectors=vectors):
            yield from some

    def page(
        self,
        *,
        where: Where = None,
        order_by: str | None = None,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
        limit: int = GROUPED,
        cursor: str | None = None,
    ) -> ListingPage:
        """A page of all images that match, in the order of the ids, or of a number or date; ``next`` continues it.

        ``order_by="-taken_at"`` begins with the latest; images without the field are left out then. ``fields`` limits
        the payload. Raises InvalidQuery.
        """
        here = self.following.now()
        condition = here.retriever.condition(where)
        return listing_page(
            here.engine,
            where=condition,
            order_by=order_by,
            fields=fields,
            vectors=vectors,
            limit=limit,
            cursor=cursor,
        )

    def groups(self, query: Query | str, *, by: str, size: int = 3, **options: Unpack[SearchArguments]) -> HitGroups:
        """The nearest images by the value of a field, such as ``by="folder"``: the group with the best hit first.

        ``limit`` and ``offset`` count groups, of at most ``size`` hits, out of the ``GROUPED`` nearest images; an image
        with several values stands in several groups. A string stands for ``text(...)``.
        """
        wanted = SearchOptions(**options)
        check_between("size", size, 1, MAX_LIMIT)
        check_facet(by, indexes=self._engine.info().schema.indexes)
        found, hits = self.following.ask(lambda here: self._in(here)._hits_to_group(query, options=wanted))
        groups = HitGroups(grouped(hits, by=by, size=size)[wanted.offset : wanted.offset + wanted.limit])
        groups.understood = found.understood
        return groups

    def facets(
        self, field: str, *, of: Query | str | None = None, **options: Unpack[SearchArguments]
    ) -> list[FacetCount]:
        """The most frequent values of a field and their counts: in the collection, or among the nearest images.

        With ``of``, a text or a query, the ``GROUPED`` nearest images are counted, or those of them that are
        ``relevant``; without it only ``where`` chooses the images. ``limit`` and ``offset`` count values. Raises
        InvalidQuery.
        """
        wanted = SearchOptions(**options)
        end = wanted.offset + wanted.limit
        if of is None:
            counts = self._engine.facet(field, where=self.following.now().retriever.condition(wanted.where), limit=end)
        else:
            check_facet(field, indexes=self._engine.info().schema.indexes)
            counts = counted(self._grouped_hits(of, options=wanted), field=field)
        return counts[wanted.offset : end]

    def count(self, *, where: Where = None) -> int:
        """How many images match, exactly."""
        return self._engine.count(where=self.following.now().retriever.condition(where))

    def sample(self, limit: int = 10, *, where: Where = None) -> list[StoredPoint]:
        """Images picked at random, others each time."""
        wanted = PageOptions(limit=limit, where=where)
        return self._engine.sample(wanted.limit, where=self.following.now().retriever.condition(wanted.where))

    def ordered(self, order_by: str, **options: Unpack[PageArguments]) -> list[StoredPoint]:
        """Images in the order of a number or a date: ``"width"`` the least first, ``"-taken_at"`` the latest.

        Those without the field are left out.
        """
        order, wanted = order_of(order_by), PageOptions(**options)
        return self._engine.ordered(
            order.key,
            descending=order.descending,
            limit=wanted.limit,
            offset=wanted.offset,
            where=self.following.now().retriever.condition(wanted.where),
        )

    def points(self, ids: Sequence[str], *, vectors: bool = False) -> list[StoredPoint]:
        """The points of these ids, in their order. Raises InvalidQuery for one that is not there."""
        known = [as_point_id(each) for each in ids]
        found = {each.id: each for each in self.following.now().engine.retrieve(known, vectors=vectors)}
        for each in known:
            if each not in found:
                raise no_point(each, collection=self._engine.collection)
        return [found[each] for each in known]

    def embed_texts(self, texts: Sequence[str], *, language: str | None = None) -> Vectors:
        """The vectors of texts in any language: (n, dims) float32, L2-normalised. Raises InvalidQuery."""
        return self.following.now().encoder.texts(texts, language=language)

    def embed_image(self, image: "str | Path | bytes | Image") -> Vector:
        """The vector of an image, as ``image`` takes it: (dims,) float32, L2-normalised. Raises InvalidQuery."""
        vector: Vector = self.following.now().encoder.images([image])[0]
        return vector

    def embed_images(self, images: "Sequence[str | Path | bytes | Image]") -> Vectors:
        """The vectors of images: (n, dims) float32, L2-normalised. Raises InvalidQuery that names the image."""
        return self.following.now().encoder.images(images)

    def embed_query(self, query: Query) -> Vector:
        """The vector of a query: (dims,) float32, L2-normalised. Raises InvalidQuery."""
        vector: Vector = self.following.now().encoder.queries([query])[0]
        return vector

    def embed_queries(self, queries: Sequence[Query]) -> Vectors:
        """The vectors of queries: (n, dims) float32, L2-normalised. Raises InvalidQuery."""
        return self.following.now().encoder.queries(queries)

    def set_payload(self, point_id: str, payload: Mapping[str, Any]) -> None:
        """Change what is known of a stored image, such as ``{"tags": ["dog"], "meta": {"rating": 5}}``.

        Each field replaces the one there; the keys of ``meta`` are merged into those there, None takes one away. Raises
        InvalidQuery for an id that is not there, for what is not plain JSON, and for a change that the schema does not
        allow: of what the image and its places decide (``uri``, ``content_hash``, …), of a type, or of a field that it
        does not have. A value that is there already is no change, and is written again.
        """
        known = as_point_id(point_id)
        try:
            check_payload(payload, ids=[known])
        except ValueError as error:
            raise InvalidQuery(f"{error}.") from error
        fixed = FIXED_FIELDS.intersection(payload)
        there = self.points([known])[0].payload
        changes = {name: value for name, value in payload.items() if name not in fixed or there.get(name) != value}
        check_changes(changes, indexes=self._engine.info().schema.indexes)
        if fields := {name: value for name, value in payload.items() if name != "meta"}:
            self._write(known, fields)
        if meta := payload.get("meta"):
            merged = {**(there.get("meta") or {}), **meta}
            self._write(known, {"meta": {name: value for name, value in merged.items() if value is not None}})

    def set_labels(self, point_id: str, changes: Mapping[str, Any]) -> None:
        """Write the ``tags`` and ``labels`` of a classification beside whatever stands there, the schema unasked."""
        self._write(as_point_id(point_id), {name: changes[name] for name in ("tags", "labels") if name in changes})

    def _write(self, known: str, fields: Mapping[str, Any]) -> None:
        try:
            self._engine.set_payload([known], dict(fields))
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
        self.following.close()
        self._engine.close()

    def _checked(self, queries: Sequence[Query | str], *, options: SearchOptions) -> list[Query]:
        if isinstance(queries, str | Query):
            raise InvalidQuery("queries is a single one, not a list of them; for that there is query().")
        made = [as_query(each, language=options.language) for each in queries]
        check_queries(made)
        self.following.now().retriever.check_mode(options.mode, queries=made)
        return made

    def _read(self, queries: Sequence[Query | str], *, options: SearchOptions) -> list[ReadQuery]:
        made = self._checked(queries, options=options)
        return [self.reader.read(each, options=options) for each in made]

    def _hits_to_group(self, query: Query | str, *, options: SearchOptions) -> tuple[Hits, Sequence[Hit]]:
        """The nearest images, and those of them that do not repeat one another where that is wanted."""
        found = self._grouped_hits(query, options=options)
        if not options.diversity:
            return found, found
        retriever = self.following.now().retriever
        return found, retriever.diverse(found, diversity=options.diversity, count=len(found))

    def _grouped_hits(self, query: Query | str, *, options: SearchOptions) -> Hits:
        """The ``GROUPED`` nearest images in the order of their scores, whatever part of the groups is wanted."""
        nearest = replace(options, limit=GROUPED, offset=0, diversity=0.0)
        return self.query(query, **nearest.arguments())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _hybrid(engine: Engine, relevance: RelevanceModel, retriever: Retriever) -> HybridAnswers:
    from connector.search.hybrid import HybridRetriever  # only where words or another order are wanted

    return HybridRetriever(engine, relevance=relevance, retriever=retriever)
