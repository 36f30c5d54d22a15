"""A LangChain retriever over a collection of images. Needs the extra ``langchain``.

ImageRetriever(search=search, limit=4).invoke("ein Hund im Schnee")
"""

import asyncio
from typing import Any

from connector.records import Hit
from connector.search.client import ImageSearch
from connector.search.retrieval import field_of

try:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
except ImportError as error:
    raise ImportError(
        "connector.integrations.langchain needs one more package: pip install 'polyglance[langchain]'"
    ) from error


class ImageRetriever(BaseRetriever):
    """Finds images by words in any language; each is a document.

    A document's ``id`` is the point's; its ``metadata`` is what is known of the image, with ``score`` and
    ``relevance``. Its text is what the payload has under ``content``, such as ``meta.caption``, or else the image's
    address. Raises InvalidQuery as ``ImageSearch.text`` does.
    """

    search: ImageSearch
    limit: int = 4
    where: str | None = None
    min_score: float | None = None
    diversity: float = 0.0
    relevant: bool = False
    content: str = "uri"

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        del run_manager  # no step here has steps of its own
        hits = self.search.text(
            query,
            limit=self.limit,
            where=self.where,
            min_score=self.min_score,
            diversity=self.diversity,
            relevant=self.relevant,
        )
        return [self._document(hit) for hit in hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        return await asyncio.to_thread(self._get_relevant_documents, query, run_manager=run_manager.get_sync())

    def _document(self, hit: Hit) -> Document:
        text = field_of(hit.payload, self.content)
        metadata: dict[str, Any] = {**hit.payload, "score": hit.score, "relevance": hit.relevance}
        return Document(id=hit.id, page_content=text if isinstance(text, str) else hit.uri, metadata=metadata)
