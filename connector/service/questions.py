"""The routes that ask: search, classify, facets.

The one rule: texts wait for the next pass of the text tower, together with those of other requests; whatever embeds
images or labels is work for an AdmissionQueue, which knows when it has really ended.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import Depends, File, Form, UploadFile
from fastapi import Query as Parameter
from pydantic import TypeAdapter, ValidationError

from connector.errors import InvalidQuery
from connector.records import Hit, Vectors
from connector.search.async_client import AsyncImageSearch
from connector.search.classify import Label, Labels
from connector.search.client import ImageSearch
from connector.search.hits import Hits
from connector.search.options import SearchOptions
from connector.search.query import PointPart, Query, TextPart, WeightedPart, feedback, point, text
from connector.service.admission import AdmissionQueue, ImageAdmission, Slot
from connector.service.answers import (
    ChipAnswer,
    Classification,
    ClassifyAnswer,
    ClassifyRequest,
    ClassifyStoredRequest,
    CountAnswer,
    FacetAnswer,
    GroupAnswer,
    HitAnswer,
    ImageSearchRequest,
    LabelAnswer,
    SearchAnswer,
    SearchRequest,
    WeightedPartRequest,
)
from connector.service.keys import Keys

T = TypeVar("T")


SHARP = 512
"""The longer side that an image sent along is decoded for at most, whatever the space."""


AS_FILE = {"type": "string", "format": "binary"}
"""Said of a file in the OpenAPI document beside its media type: generators of clients look for it."""


class Questions:
    """Answers what is asked of one collection."""

    def __init__(
        self,
        search: ImageSearch,
        *,
        async_search: AsyncImageSearch,
        admission: ImageAdmission,
        labelling: AdmissionQueue,
        keys: Keys,
    ) -> None:
        self._blocking = search
        self._search = async_search
        self._keys = keys
        self._admission = admission
        self._labelling = labelling

    async def search(self, request: SearchRequest) -> SearchAnswer:
        """The images nearest to a text, to a stored image, or to a query of several, best first; or groups of them."""
        started = time.perf_counter()
        query, options = _query_of(request), request.arguments()
        if request.group_by is not None:
            groups = await self._search.groups(query, by=request.group_by, size=request.group_size, **options)
            answers = [GroupAnswer(value=each.value, hits=self._hits(each.hits)) for each in groups]
            chips = [*map(ChipAnswer.of, groups.understood)]
            return SearchAnswer(hits=[], groups=answers, understood=chips, took_ms=_since(started))
        hits = await self._search.query(query, **options)
        chips = [*map(ChipAnswer.of, hits.understood)]
        return SearchAnswer(hits=self._hits(hits), understood=chips, took_ms=_since(started))

    async def search_by_image(
        self,
        file: Annotated[UploadFile, File(json_schema_extra=AS_FILE)],
        options: Annotated[str, Form(examples=['{"limit": 5}'])] = "{}",
    ) -> SearchAnswer:
        """The images nearest to one that is sent along; ``options`` is JSON with where, limit, offset and so on."""
        started = time.perf_counter()
        wanted = parsed(TypeAdapter(ImageSearchRequest), options)
        data = await file.read()

        def search(slot: Slot) -> Hits:
            with self._admission.decoding(data, size=SHARP, slot=slot):
                return self._blocking.image(data, **wanted.arguments())

        hits = await self._admission.run(search)
        return SearchAnswer(hits=self._hits(hits), took_ms=_since(started))

    async def classify(self, request: ClassifyStoredRequest) -> ClassifyAnswer:
        """Which of these labels, in any language, fits each of these stored images best."""
        search = await asyncio.to_thread(self._blocking.pinned)
        vectors = await asyncio.to_thread(search.embed_queries, [point(each) for each in request.ids])
        return await self._classified(vectors, request, search=search, names=request.ids)

    async def classify_image(
        self,
        file: Annotated[UploadFile, File(json_schema_extra=AS_FILE)],
        options: Annotated[str, Form(examples=['{"labels": ["Hund", "Katze"], "language": "de"}'])],
    ) -> ClassifyAnswer:
        """Which of the labels fits an image that is sent along; ``options`` is JSON with labels and so on."""
        wanted = parsed(TypeAdapter(ClassifyRequest), options)
        data = await file.read()
        search = await asyncio.to_thread(self._blocking.pinned)

        def embed(slot: Slot) -> Vectors:
            with self._admission.decoding(data, size=SHARP, slot=slot):
                return search.embed_images([data])

        return await self._classified(await self._admission.run(embed), wanted, search=search, names=[None])

    async def facets(
        self,
        field: Annotated[str, Parameter(examples=["folder"])],
        options: Annotated[SearchOptions, Depends()],
        of: Annotated[str | None, Parameter(examples=["am Strand"])] = None,
    ) -> FacetAnswer:
        """The most frequent values of a field: in the collection, or among the images nearest to the text ``of``."""
        counts = await self._search.facets(field, of=of, **options.arguments())
        return FacetAnswer(field=field, counts=[CountAnswer(value=each.value, count=each.count) for each in counts])

    async def _classified(
        self, vectors: Vectors, request: ClassifyRequest, *, search: ImageSearch, names: Sequence[str | None]
    ) -> ClassifyAnswer:
        def compare(slot: Slot) -> list[tuple[Label, ...]]:
            chosen = request.templates or None
            labels = Labels.embedded(
                search, request.labels, language=request.language, templates=chosen, check=slot.check
            )
            return labels.ranked(vectors)

        found = await self._labelling.run(compare)
        return ClassifyAnswer(
            images=[
                Classification(id=name, labels=[*map(_label, best)]) for name, best in zip(names, found, strict=True)
            ]
        )

    def _hits(self, hits: Sequence[Hit]) -> list[HitAnswer]:
        return [HitAnswer.of_hit(hit, addresses=self._keys.addresses) for hit in hits]


def _label(found: Label) -> LabelAnswer:
    return LabelAnswer(name=found.name, probability=found.probability, score=found.score)


def parsed(adapter: TypeAdapter[T], options: str) -> T:
    """What a form's JSON says. Raises InvalidQuery."""
    try:
        return adapter.validate_json(options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["options", *map(str, first["loc"])])
        raise InvalidQuery(f"{where}: {first['msg']}.") from error


def _query_of(request: SearchRequest) -> Query:
    given = [name for name in ("text", "like", "query") if getattr(request, name) is not None]
    if len(given) != 1:
        raise InvalidQuery(f"give exactly one of text, like and query; this gives {' and '.join(given) or 'none'}.")
    if request.query is not None:
        asked = Query(tuple(_weighted(part, number=number) for number, part in enumerate(request.query, 1)))
    else:
        asked = text(request.text) if request.text is not None else point(request.like or "")
    return feedback(asked, more=request.more_like or (), less=request.less_like or ())


def _weighted(part: WeightedPartRequest, *, number: int) -> WeightedPart:
    if (part.text is None) == (part.point is None):
        raise InvalidQuery(f"part {number} of the query needs either text or point.")
    made = TextPart(part.text, part.language) if part.text is not None else PointPart(part.point or "")
    return WeightedPart(made, part.weight)


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)
