"""A LangChain vector store over a collection: images are added, deleted and asked for. Needs the extra ``langchain``.

ImageStore(collection).add_images(["~/Pictures/dog.jpg"], metadatas=[{"album": "Norderney"}])
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NoReturn

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from connector.errors import ConfigError, IngestError
from connector.integrations.langchain import LIMIT, document_of
from connector.records import masked_uri
from connector.store.points import check_field
from workers.collection.client import Collection


class ImageStore(VectorStore):
    """Documents are images, as of ``ImageRetriever``; ``content`` names the field of the payload that is their text."""

    def __init__(self, collection: Collection, *, content: str = "uri") -> None:
        self._collection = collection
        check_field(content, what="content")
        self._content = content

    def add_images(
        self, uris: Sequence[str], metadatas: Sequence[dict[str, Any]] | None = None, ids: Sequence[str] | None = None
    ) -> list[str]:
        """Add images by paths or addresses; returns their ids. Raises as ``Collection.add`` does.

        Where some cannot be read the others are stored, and IngestError names the first.
        """
        added = self._collection.add(list(uris), meta=metadatas, id=ids)
        if added.rejects:
            first, count = added.rejects[0], len(added.rejects)
            raise IngestError(
                f"{count} of {len(uris)} images were not stored, such as {masked_uri(first.uri)}: {first.detail}"
            )
        return [each for each in added.ids if each is not None]

    async def aadd_images(
        self, uris: Sequence[str], metadatas: Sequence[dict[str, Any]] | None = None, ids: Sequence[str] | None = None
    ) -> list[str]:
        """As ``add_images``, in a thread."""
        return await asyncio.to_thread(self.add_images, uris, metadatas, ids)

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Remove the images of these ids, or all that match ``where``."""
        self._collection.delete(ids, **kwargs)
        return True

    def similarity_search(self, query: str, k: int = LIMIT, **kwargs: Any) -> list[Document]:
        """The ``k`` images nearest to a text in any language; takes the options of ``SearchOptions``."""
        hits = self._collection.search.text(query, **{"limit": k, **kwargs})
        return [document_of(hit, content=self._content) for hit in hits]

    @classmethod
    def from_texts(cls, *_: Any, **__: Any) -> NoReturn:
        """Raises ConfigError: a collection holds images."""
        raise ConfigError("a collection holds images, and no texts; add_images takes paths and addresses.")
