"""A LlamaIndex retriever over a collection of images. Needs the extra ``llamaindex``.

ImageRetriever(search, limit=4).retrieve("ein Hund im Schnee")
"""

import asyncio
from dataclasses import asdict
from typing import Unpack

from connector.extras import advice
from connector.search.client import ImageSearch
from connector.search.hits import field_of
from connector.search.options import SearchArguments, SearchOptions
from connector.store.points import check_field

try:
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle
except ImportError as error:
    raise ImportError(advice("llamaindex", what="connector.integrations.llamaindex")) from error

LIMIT = 4
"""Nodes where nothing else is said: what a prompt holds."""


class ImageRetriever(BaseRetriever):
    """Finds images by text in any language; each is an ``ImageNode`` with its score.

    A node's id is the point's; its ``metadata`` is what is known of the image, with ``relevance``, and its
    ``image_url`` the image's address. Its text is what the payload has under ``content``, such as ``meta.caption``, or
    else the address. Takes the options of ``SearchOptions``, and raises InvalidQuery as ``ImageSearch.text`` does.
    """

    def __init__(self, search: ImageSearch, *, content: str = "uri", **options: Unpack[SearchArguments]) -> None:
        super().__init__()
        options.setdefault("limit", LIMIT)
        self._search = search
        check_field(content, what="content")
        self._content = content
        self._options = SearchOptions(**options)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        nodes = []
        for hit in self._search.text(query_bundle.query_str, **self._options.arguments()):
            text = field_of(hit.payload, self._content)
            node = ImageNode(
                id_=hit.id,
                text=text if isinstance(text, str) else hit.uri,
                image_url=hit.uri,
                metadata={**hit.payload, "relevance": hit.relevance, "reasons": [*map(asdict, hit.reasons)]},
            )
            nodes.append(NodeWithScore(node=node, score=hit.score))
        return nodes

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)
