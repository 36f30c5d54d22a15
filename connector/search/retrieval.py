"""Retriever: vectors and filters -> hits; Answering: queries -> hits in one space; Following: in the one that answers.

The rule: a question goes through one ``Answering`` from its text to its hits, so no answer mixes two spaces. When the
collection answers by another space, its models are loaded beside the old ones first; whoever asks meanwhile is answered
by the old space, whose vectors are still there.
"""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

import numpy as np

from connector.errors import InvalidQuery, PolyglanceError, SpaceChanged, StoreError
from connector.filters.parse import as_filter
from connector.images.load import ImageLoader
from connector.models.answering import check_space, model_in
from connector.models.catalog import find_space, fingerprint_of
from connector.records import Hit, Vectors
from connector.search.encoder import QueryEncoder, check_words, named_points
from connector.search.fusion import diverse_order
from connector.search.hits import Hits
from connector.search.options import Mode, SearchOptions, narrowed
from connector.search.query import Query, QueryWords, TextPart, WeightedPart, words_of_query
from connector.search.relevance import REFRESH_S, RelevanceModel
from connector.search.text_encoder import TextEncoder
from connector.search.understanding import ReadQuery, where_of
from connector.settings import FieldType, Settings
from connector.store.engine import FOLLOW_S, Engine, NearestQuery
from connector.store.in_space import in_space
from connector.store.points import sent_id
from connector.store.schema import CollectionSchema

if TYPE_CHECKING:
    from qdrant_client.models import Filter

log = logging.getLogger(__name__)

NO_WORDS = (
    "collection {!r} has no words, for it was made before they were indexed: it is searched by what is seen alone. "
    "`polyglance collection words` adds them, from what is stored."
)
AGAIN_S = 60.0
"""Seconds after which models that could not be loaded are tried again."""
CHANGES = 3
"""Times that a question is asked anew because its space is gone."""
T = TypeVar("T")
QUICK = 500
"""Characters of a filter that is read in a moment, some tenths of a millisecond."""


class Retriever:
    """Asks the store of one collection. Safe to use from many threads."""

    def __init__(self, engine: Engine, *, relevance: RelevanceModel) -> None:
        self._engine = engine
        self._relevance = relevance
        self._indexes: Mapping[str, FieldType] | None = None
        self._has_words = False
        self._looked_at = -math.inf

    def has_words(self) -> bool:
        """Whether words of the collection's images can be asked for; a collection may get them at any time."""
        if not self._has_words and time.monotonic() - self._looked_at > REFRESH_S:
            self._has_words = self._engine.info().schema.words is not None
            if not self._has_words and self._looked_at < 0:
                log.warning("no_words %s", NO_WORDS.format(self._engine.collection))
            self._looked_at = time.monotonic()
        return self._has_words

    def check_mode(self, mode: Mode | None, *, queries: Sequence[Query]) -> None:
        """Raise InvalidQuery where the mode asks for words that the collection or a query does not have."""
        if mode in (None, "visual"):
            return
        if not self.has_words():
            raise InvalidQuery(NO_WORDS.format(self._engine.collection))
        for each in queries:
            check_words(each, mode=mode)

    def condition(self, where: "str | Filter | None") -> "Filter | None":
        """The Qdrant filter of a question. Raises InvalidQuery for a field that the collection does not index."""
        if where is None:
            return None
        known = self._indexes
        try:
            return as_filter(where, indexes=known or {})
        except InvalidQuery:  # the fields are asked for once, and again where one is missing: it may be new
            self._indexes = indexes = self._engine.info().schema.indexes
            if indexes == known:
                raise
            return as_filter(where, indexes=indexes)

    def is_quick(self, where: "str | Filter | None") -> bool:
        """Whether ``condition`` takes a filter at once: a short one, of fields that the store was asked for before."""
        if where is None or self._indexes is None or not isinstance(where, str) or len(where) > QUICK:
            return where is None
        try:
            as_filter(where, indexes=self._indexes)
        except InvalidQuery:  # the field may be new, which the store has to tell
            return False
        return True

    def excluding_parts(self, query: Query, *, where: "Filter | None") -> "Filter | None":
        """The condition that also leaves out the points that the query itself names."""
        named = named_points(query)
        if not named:
            return where
        from qdrant_client import models  # here: it takes a second to import

        return models.Filter(
            must=[where] if where else None, must_not=[models.HasIdCondition(has_id=[*map(sent_id, named)])]
        )

    def nearest(
        self,
        vectors: Vectors,
        *,
        options: SearchOptions,
        where: "Sequence[Filter | None]",
        calibrations: Sequence[str | None],
    ) -> list[Hits]:
        """An answer to each vector under its own condition, and by its own calibration of ``RelevanceModel``."""
        query = NearestQuery(
            np.empty(0, dtype=np.float32), limit=options.limit, offset=options.offset, min_score=options.min_score
        )
        if options.diversity:
            query = replace(query, limit=options.candidates, offset=0)
        found = zip(vectors, calibrations, self.answers(query, vectors, where=where), strict=True)
        answers = [
            self._relevance.with_relevance(hits, vector=vector, calibration=each, relevant=options.relevant)
            for vector, each, hits in found
        ]
        if not options.diversity:
            return [Hits(hits) for hits in answers]
        count = options.offset + options.limit
        diverse = (self.diverse(hits, diversity=options.diversity, count=count) for hits in answers)
        return [Hits(hits[options.offset :]) for hits in diverse]

    def newest(self, where: "Filter | None", *, options: SearchOptions) -> list[Hit]:
        """Images that match, the latest first, those without a date last; nothing is compared, so the score is 0."""
        start, limit = options.offset, options.limit
        found = self._engine.ordered("taken_at", descending=True, limit=limit, offset=start, where=where)
        if missing := limit - len(found):
            dated, undated = self.condition("exists(taken_at)"), self.condition("not exists(taken_at)")
            passed = max(0, start - self._engine.count(where=narrowed(where, dated)))
            found = [
                *found,
                *self._engine.scroll(limit=passed + missing, where=narrowed(where, undated)).points[passed:],
            ]
        return [Hit(each.id, 0.0, each.payload) for each in found]

    def answers(self, query: NearestQuery, vectors: Vectors, *, where: "Sequence[Filter | None]") -> list[list[Hit]]:
        """What the store answers to ``query`` with each vector under its own condition."""
        if not len(vectors):
            return []
        pairs = zip(vectors, where, strict=True)
        return self._engine.query([replace(query, vector=vector, where=condition) for vector, condition in pairs])

    def diverse(
        self, hits: Sequence[Hit], *, diversity: float, count: int, scores: Sequence[float] | None = None
    ) -> list[Hit]:
        """At most ``count`` of the hits, in an order in which they do not repeat one another.

        ``scores`` are what each is worth, from 0 to 1; by default its cosine.
        """
        worth = [hit.score for hit in hits] if scores is None else scores
        stored = self._engine.retrieve([hit.id for hit in hits], fields=[], vectors=True)
        vectors = {each.id: each.vector for each in stored if each.vector is not None}
        left = [
            (hit, share) for hit, share in zip(hits, worth, strict=True) if hit.id in vectors
        ]  # or deleted meanwhile
        if not left:
            return []
        order = diverse_order(
            np.stack([vectors[hit.id] for hit, _ in left]),
            scores=np.array([share for _, share in left], dtype=np.float32),
            diversity=diversity,
            count=count,
        )
        return [left[row][0] for row in order]


class HybridAnswers(Protocol):
    """Answers by what is seen and by words (``connector.search.hybrid``)."""

    def answers(
        self,
        vectors: Vectors | None,
        *,
        words: Sequence[QueryWords | None] | None,
        options: SearchOptions,
        where: "Sequence[Filter | None]",
        calibrations: Sequence[str | None],
    ) -> list[Hits]:
        """An answer to each question. Raises InvalidQuery."""


MakeHybrid: TypeAlias = "Callable[[Engine, RelevanceModel, Retriever], HybridAnswers]"


class Answering:
    """The encoders, the relevance and the retrieval of one space. No model is loaded before it is needed."""

    def __init__(self, settings: Settings, *, engine: Engine, loader: ImageLoader, make_hybrid: MakeHybrid) -> None:
        self._make_hybrid = make_hybrid
        self.space = find_space(settings.model.space).name
        self.engine = in_space(engine, self.space)
        self.text_encoder = TextEncoder(settings.model)
        self.relevance = RelevanceModel(self.engine, text_encoder=self.text_encoder)
        self.encoder = QueryEncoder(settings, engine=self.engine, text_encoder=self.text_encoder, loader=loader)
        self.retriever = Retriever(self.engine, relevance=self.relevance)

    @cached_property
    def hybrid(self) -> HybridAnswers:
        """Retrieval by what is seen and by words, made when it is first wanted."""
        return self._make_hybrid(self.engine, self.relevance, self.retriever)

    def answers(self, made: Sequence[ReadQuery], *, options: SearchOptions) -> list[Hits]:
        """An answer to each query, by what is seen, by words, or by both. Raises InvalidQuery and SpaceChanged."""
        condition = self.retriever.condition(options.where)
        where = [narrowed(condition, self.retriever.condition(where_of(each.chips))) for each in made]
        compared = [(each.query, by) for each, by in zip(made, where, strict=True) if each.query is not None]
        found = iter(
            self._compared([query for query, _ in compared], where=[by for _, by in compared], options=options)
        )
        answers = []
        for each, by in zip(made, where, strict=True):
            hits = Hits(self.retriever.newest(by, options=options)) if each.query is None else next(found)
            hits.understood, hits.space = each.chips, self.space
            answers.append(hits)
        return answers

    def _compared(
        self, queries: Sequence[Query], *, where: "Sequence[Filter | None]", options: SearchOptions
    ) -> list[Hits]:
        """An answer to each query under its own condition."""
        where = [self.retriever.excluding_parts(query, where=by) for query, by in zip(queries, where, strict=True)]
        calibrations = [self.relevance.calibration_for(query) for query in queries]
        words = [None if options.mode == "visual" else words_of_query(query) for query in queries]
        reads = any(each and each.text for each in words) and (options.mode is not None or self.retriever.has_words())
        vectors = None if options.mode == "words" else self.encoder.queries(queries)
        if vectors is not None and not reads and not options.ranks_anew:
            return self.retriever.nearest(vectors, options=options, where=where, calibrations=calibrations)
        asked = words if reads else None
        return self.hybrid.answers(vectors, words=asked, options=options, where=where, calibrations=calibrations)

    def warm_up(self, like: "Answering") -> None:
        """Load what another one has loaded, and learn what is relevant. Raises ModelError."""
        if like.text_encoder.is_loaded:
            question = Query((WeightedPart(TextPart("warm-up")),))
            self.encoder.queries([question])
            self.relevance.prepare(question)
        if like.encoder.sees:
            self.encoder.load_images()


class Following:
    """The ``Answering`` of the space that a collection answers by now. Safe to use from many threads."""

    def __init__(self, settings: Settings, *, engine: Engine, make_hybrid: MakeHybrid) -> None:
        self._make_hybrid = make_hybrid
        self._settings = settings
        self._engine = engine
        self._looking = threading.Lock()
        self._here: Answering | None = None
        self._looked_at = 0.0
        self._refused_at = float("-inf")
        self._loading: threading.Thread | None = None
        self._loader = ImageLoader(limits=settings.limits, web=settings.web)
        self._making = threading.Lock()
        self._made: dict[str, Answering] = {}
        self._closed = False

    def now(self) -> Answering:
        """What answers; looked up again every ``FOLLOW_S``. Raises CollectionMismatch, StoreError and ConfigError."""
        if self._here is None:
            self.look_again()
        elif time.monotonic() - self._looked_at > FOLLOW_S and self._looking.acquire(blocking=False):
            try:
                with contextlib.suppress(StoreError):  # the question itself tells
                    self._look()
            finally:
                self._looking.release()
        assert self._here is not None
        return self._here

    def ask(self, ask: Callable[[Answering], T]) -> T:
        """Ask in the space that answers, and anew in another one where that is gone meanwhile."""
        for _ in range(CHANGES):
            try:
                return ask(self.now())
            except SpaceChanged:
                self.look_again()
        return ask(self.now())

    def look_again(self) -> None:
        """Look now, as after SpaceChanged. Raises as ``now`` does."""
        with self._looking:
            self._look()

    def close(self) -> None:
        """Wait for models that are being loaded, let go of all, and close the connections."""
        with self._looking:
            self._closed = True
            loading = self._loading
        if loading is not None:
            loading.join()
        with self._making:
            self._made = {}  # the models go with the last question that is under way
        self._here = None
        self._loader.close()

    def _look(self) -> None:
        schema, here = self._engine.info().schema, self._here
        self._looked_at = time.monotonic()
        self._forget_all_but(schema.dims)
        if here is None:
            asked = fingerprint_of(find_space(self._settings.model.space))
            check_space(asked, schema=schema, collection=self._engine.collection)
        if here is not None and here.space == schema.fingerprint.space:
            return
        if here is None or here.space not in schema.dims:
            self._change(self._in(schema.fingerprint.space, schema))
        elif self._loading is None and time.monotonic() - self._refused_at > AGAIN_S and not self._closed:
            self._loading = threading.Thread(target=self._load, args=(schema, here), name="next space")
            self._loading.start()

    def made_for(self, space: str) -> Answering:
        """What answers in one of the collection's spaces, whichever answers now. Raises SpaceChanged."""
        schema = self._engine.info().schema
        schema.vector_in(space, collection=self._engine.collection)
        return self._in(space, schema)

    def _in(self, space: str, schema: CollectionSchema) -> Answering:
        """What answers in a space, with the models that it has loaded; made when it is first wanted."""
        with self._making:
            if space not in self._made:
                model = model_in(self._settings.model, space=space, schema=schema)
                settings = self._settings.model_copy(update={"model": model})
                self._made[space] = Answering(
                    settings, engine=self._engine, loader=self._loader, make_hybrid=self._make_hybrid
                )
            return self._made[space]

    def _forget_all_but(self, spaces: Container[str]) -> None:
        """Let go of the models of spaces that were dropped, once the questions under way have ended."""
        with self._making:
            self._made = {name: made for name, made in self._made.items() if name in spaces}

    def _load(self, schema: CollectionSchema, here: Answering) -> None:
        """Change to the space that answers once its models are ready; until then the old one answers."""
        try:
            made = self._in(schema.fingerprint.space, schema)
            made.warm_up(here)
            self._change(made)
        except PolyglanceError as error:
            self._refused_at = time.monotonic()
            log.error("space_not_followed collection=%s: %s", self._engine.collection, error)
        finally:
            self._loading = None

    def _change(self, made: Answering) -> None:
        if self._here is not None:
            log.info("space_followed collection=%s space=%s", self._engine.collection, made.space)
        self._here = made


class Pinned:
    """One ``Answering``, whatever the collection answers by meanwhile."""

    def __init__(self, here: Answering) -> None:
        self._pinned = here

    def now(self) -> Answering:
        """The one."""
        return self._pinned

    def made_for(self, space: str) -> Answering:
        """The same, where it is of this space. Raises SpaceChanged."""
        if space != self._pinned.space:
            raise SpaceChanged(f"this search stays in space {self._pinned.space}; it does not answer in {space}.")
        return self._pinned

    def ask(self, ask: Callable[[Answering], T]) -> T:
        """Ask there."""
        return ask(self._pinned)

    def close(self) -> None:
        """Nothing: it belongs to another search."""
