"""A Haystack retriever over a collection of images. Needs the extra ``haystack``.

ImageRetriever(search, limit=4).run("ein Hund im Schnee")["documents"]
"""

import asyncio
from dataclasses import asdict
from typing import Unpack

from connector.extras import advice
from connector.records import Hit
from connector.search.client import ImageSearch
from connector.search.hits import field_of
from connector.search.options import SearchArguments, SearchOptions
from connector.store.points import check_field

try:
    from haystack import Document, component
except ImportError as error:
    raise ImportError(advice("haystack", what="connector.integrations.haystack")) from error

LIMIT = 4
"""Documents where nothing else is said: what a prompt holds."""


@component
class ImageRetriever:
    """Finds images by text in any language: a component for pipelines, whose output is ``documents``.

    A document's id is the point's; its ``meta`` is what is known of the image, with ``relevance``. Its content is what
    the payload has under ``content``, such as ``meta.caption``, or else the image's address. Takes the options of
    ``SearchOptions``, and raises InvalidQuery as ``ImageSearch.text`` does.
    """

    def __init__(self, search: ImageSearch, *, content: str = "uri", **options: Unpack[SearchArguments]) -> None:
        options.setdefault("limit", LIMIT)
        self._search = search
        check_field(content, what="content")
        self._content = content
        self._options = SearchOptions(**options)

    @component.output_types(documents=list[Document])
    def run(self, query: str, limit: int | None = None) -> dict[str, list[Document]]:
        """The images nearest to a text; ``limit`` counts for this question alone."""
        asked: SearchArguments = self._options.arguments()
        if limit is not None:
            asked["limit"] = limit
        return {"documents": [self._document(hit) for hit in self._search.text(query, **asked)]}

    @component.output_types(documents=list[Document])
    async def run_async(self, query: str, limit: int | None = None) -> dict[str, list[Document]]:
        """The same, awaited: for asynchronous pipelines."""
        return await asyncio.to_thread(self.run, query, limit)

    def _document(self, hit: Hit) -> Document:
        text = field_of(hit.payload, self._content)
        content = text if isinstance(text, str) else hit.uri
        meta = {**hit.payload, "relevance": hit.relevance, "reasons": [*map(asdict, hit.reasons)]}
        return Document(id=hit.id, content=content, meta=meta, score=hit.score)
