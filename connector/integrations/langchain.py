"""A LangChain retriever over a collection of images. Needs the extra ``langchain``.

ImageRetriever(search=search, limit=4).invoke("ein Hund im Schnee")
"""

import asyncio
from dataclasses import asdict
from functools import partial
from typing import Any, Unpack

from connector.extras import advice
from connector.records import Hit
from connector.search.client import ImageSearch
from connector.search.hits import field_of
from connector.search.options import SearchArguments, SearchOptions
from connector.store.points import check_field

try:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
except ImportError as error:
    raise ImportError(advice("langchain", what="connector.integrations.langchain")) from error

LIMIT = 4
"""Documents where nothing else is said: what a prompt holds."""


class ImageRetriever(BaseRetriever):
    """Finds images by text in any language; each is a document.

    A document's ``id`` is the point's; its ``metadata`` is what is known of the image, with ``score``, ``relevance``
    and ``reasons``. Its text is what the payload has under ``content``, such as ``meta.caption``, or the image's
    address. Takes the options of ``SearchOptions``, as ``invoke`` does for one question, and raises InvalidQuery as
    ``ImageSearch.text`` does.
    """

    search: ImageSearch
    content: str = "uri"
    options: SearchOptions

    def __init__(
        self,
        *,
        search: ImageSearch,
        content: str = "uri",
        name: str | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **options: Unpack[SearchArguments],
    ) -> None:
        check_field(content, what="content")
        options.setdefault("limit", LIMIT)
        fields = {"search": search, "content": content, "name": name, "tags": tags, "metadata": metadata}
        super().__init__(**fields, options=SearchOptions(**options))

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Unpack[SearchArguments]
    ) -> list[Document]:
        del run_manager  # no step here has steps of its own
        asked: SearchArguments = {**self.options.arguments(), **options}
        hits = self.search.text(query, **asked)
        return [document_of(hit, content=self.content) for hit in hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Unpack[SearchArguments]
    ) -> list[Document]:
        work = partial(self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **options)
        return await asyncio.to_thread(work)


def document_of(hit: Hit, *, content: str) -> Document:
    """An image as a document, whose text is what the payload has under ``content``, or else the image's address."""
    text = field_of(hit.payload, content)
    reasons = [asdict(each) for each in hit.reasons]
    metadata: dict[str, Any] = {**hit.payload, "score": hit.score, "relevance": hit.relevance, "reasons": reasons}
    return Document(id=hit.id, page_content=text if isinstance(text, str) else hit.uri, metadata=metadata)
