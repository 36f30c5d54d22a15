"""The routes that ask: search, classify, facets.

The one rule: a question of words alone waits for the next pass of the text tower, together with others; whatever
embeds images takes turns, since one image keeps the model busy.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import File, Form, UploadFile
from fastapi import Query as Parameter
from pydantic import TypeAdapter, ValidationError

from connector.errors import InvalidQuery
from connector.records import Hit
from connector.search.async_client import AsyncImageSearch
from connector.search.classify import Label, classify
from connector.search.client import ImageSearch
from connector.search.options import MAX_LIMIT, check_texts
from connector.search.query import Query, TextPart, WeightedPart, image, point, text
from connector.service.answers import (
    Classification,
    Classify,
    ClassifyAnswer,
    ClassifyStored,
    CountAnswer,
    FacetAnswer,
    GroupAnswer,
    HitAnswer,
    LabelAnswer,
    Options,
    Part,
    Search,
    SearchAnswer,
)
from connector.service.batching import AdmissionQueue, TextBatcher
from connector.service.keys import Keys
from connector.settings import ServeSettings

T = TypeVar("T")


class Questions:
    """Answers what is asked of one collection."""

    def __init__(self, search: ImageSearch, *, batcher: TextBatcher, keys: Keys, serve: ServeSettings) -> None:
        self._blocking = search
        self._search = AsyncImageSearch(search)
        self._batcher = batcher
        self._keys = keys
        self._admission = AdmissionQueue(at_once=1, queue=serve.queue)

    async def search(self, asked: Search) -> SearchAnswer:
        """The images nearest to a text, to a stored image, or to a mixture, best first; or groups of them."""
        started = time.perf_counter()
        query = _query_of(asked)
        if asked.group_by is not None:
            groups = await self._search.groups(
                query,
                by=asked.group_by,
                limit=asked.limit,
                size=asked.group_size,
                where=asked.where,
                relevant=asked.relevant,
            )
            shown = [GroupAnswer(value=each.value, hits=self._hits(each.hits)) for each in groups]
            return SearchAnswer(hits=[], groups=shown, took_ms=_since(started))
        return SearchAnswer(hits=self._hits(await self._nearest(query, asked)), took_ms=_since(started))

    async def search_by_image(
        self, file: Annotated[UploadFile, File()], options: Annotated[str, Form(examples=['{"limit": 5}'])] = "{}"
    ) -> SearchAnswer:
        """The images nearest to one that is sent along; ``options`` is JSON with where, limit, offset and so on."""
        started = time.perf_counter()
        wanted = _parsed(TypeAdapter(Options), options)
        async with self._admission.slot():
            hits = await self._search.image(
                await file.read(),
                limit=wanted.limit,
                offset=wanted.offset,
                where=wanted.where,
                min_score=wanted.min_score,
                diversity=wanted.diversity,
                relevant=wanted.relevant,
            )
        return SearchAnswer(hits=self._hits(hits), took_ms=_since(started))

    async def classify(self, asked: ClassifyStored) -> ClassifyAnswer:
        """Which of these labels, in any language, fits each of these stored images best."""
        return await self._classified([point(each) for each in asked.ids], asked, names=asked.ids)

    async def classify_image(
        self,
        file: Annotated[UploadFile, File()],
        options: Annotated[str, Form(examples=['{"labels": ["Hund", "Katze"], "language": "de"}'])],
    ) -> ClassifyAnswer:
        """Which of the labels fits an image that is sent along; ``options`` is JSON with labels and so on."""
        wanted = _parsed(TypeAdapter(Classify), options)
        return await self._classified([image(await file.read())], wanted, names=[None])

    async def facets(
        self,
        field: Annotated[str, Parameter(examples=["folder"])],
        of: Annotated[str | None, Parameter(examples=["am Strand"])] = None,
        where: Annotated[str | None, Parameter(examples=["width >= 64"])] = None,
        limit: Annotated[int, Parameter(ge=1, le=MAX_LIMIT)] = 10,
    ) -> FacetAnswer:
        """The most frequent values of a field: in the collection, or among the images nearest to the words ``of``."""
        counts = await self._search.facets(field, of=of, where=where, limit=limit)
        return FacetAnswer(field=field, counts=[CountAnswer(value=each.value, count=each.count) for each in counts])

    async def _nearest(self, query: Query, asked: Options) -> list[Hit]:
        lone = query.parts[0].part if len(query.parts) == 1 else None
        if isinstance(lone, TextPart) and lone.language is None:
            check_texts([lone.text])  # here: what is wrong with one text is no concern of the others in its batch
            vector = await self._batcher.vector_of(lone.text)
            answers = await self._search.nearest(
                vector[None],
                limit=asked.limit,
                offset=asked.offset,
                where=asked.where,
                min_score=asked.min_score,
                diversity=asked.diversity,
                relevant=asked.relevant,
                asked="words",
            )
            return answers[0]
        return await self._search.query(
            query,
            limit=asked.limit,
            offset=asked.offset,
            where=asked.where,
            min_score=asked.min_score,
            diversity=asked.diversity,
            relevant=asked.relevant,
        )

    async def _classified(
        self, images: Sequence[Query], asked: Classify, *, names: Sequence[str | None]
    ) -> ClassifyAnswer:
        chosen = asked.templates or None
        async with self._admission.slot():
            found = await asyncio.to_thread(
                classify, self._blocking, images, labels=asked.labels, language=asked.language, templates=chosen
            )
        return ClassifyAnswer(
            images=[
                Classification(id=name, labels=[*map(_label, best)]) for name, best in zip(names, found, strict=True)
            ]
        )

    def _hits(self, hits: Sequence[Hit]) -> list[HitAnswer]:
        return [HitAnswer.of_hit(hit, sign=self._keys.signed) for hit in hits]


def _label(found: Label) -> LabelAnswer:
    return LabelAnswer(name=found.name, probability=found.probability, score=found.score)


def _parsed(adapter: TypeAdapter[T], options: str) -> T:
    try:
        return adapter.validate_json(options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["options", *map(str, first["loc"])])
        raise InvalidQuery(f"{where}: {first['msg']}.") from error


def _query_of(asked: Search) -> Query:
    given = [name for name in ("text", "like", "blend") if getattr(asked, name) is not None]
    if len(given) != 1:
        raise InvalidQuery(f"give exactly one of text, like and blend; this gives {' and '.join(given) or 'none'}.")
    if asked.query is not None:
        parts = enumerate(asked.query)
        return Query(tuple(_weighted(part, number=number, language=asked.language) for number, part in parts))
    return text(asked.text, language=asked.language) if asked.text is not None else point(asked.like or "")


def _weighted(part: Part, *, number: int, language: str | None) -> WeightedPart:
    if (part.text is None) == (part.like is None):
        raise InvalidQuery(f"part {number + 1} of the blend needs either text or like.")
    made = text(part.text, language=language) if part.text is not None else point(part.like or "")
    return WeightedPart(made.parts[0].part, part.weight)


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)
