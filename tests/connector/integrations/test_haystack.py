"""The Haystack retriever, used as Haystack uses it."""

import asyncio

import pytest
from haystack import Pipeline
from haystack.components.joiners import DocumentJoiner

from connector import ImageSearch, InvalidQuery
from connector.integrations.haystack import ImageRetriever

SEEN = [{"field": "seen", "words": ()}]


def test_documents_are_the_hits(search: ImageSearch) -> None:
    hits = search.text("ein Hund", limit=3, where="width > 10")
    retriever = ImageRetriever(search, limit=3, where="width > 10")

    documents = retriever.run("ein Hund")["documents"]

    assert [each.id for each in documents] == [hit.id for hit in hits]
    assert [each.score for each in documents] == [hit.score for hit in hits]
    assert documents[0].content == hits[0].uri
    assert documents[0].meta == {**hits[0].payload, "relevance": hits[0].relevance, "reasons": SEEN}
    assert [each.id for each in retriever.run("ein Hund", limit=1)["documents"]] == [hits[0].id]


def test_it_works_in_pipelines_and_awaited(search: ImageSearch) -> None:
    retriever = ImageRetriever(search, limit=2, content="meta.name")
    first = [each.content for each in retriever.run("кошка")["documents"]]
    pipeline = Pipeline()
    pipeline.add_component("images", retriever)
    pipeline.add_component("joined", DocumentJoiner())
    pipeline.connect("images.documents", "joined.documents")
    asked = {"images": {"query": "кошка"}}
    for answer in (pipeline.run(asked), asyncio.run(pipeline.run_async(asked))):
        assert [each.content for each in answer["joined"]["documents"]] == first


def test_what_is_wrong_is_told(search: ImageSearch) -> None:
    with pytest.raises(InvalidQuery, match=r"content: .* The nearest one is 'title'"):
        ImageRetriever(search, content="titel")
    with pytest.raises(InvalidQuery, match="the text is empty"):
        ImageRetriever(search).run(" ")
    with pytest.raises(InvalidQuery, match="limit is 0"):
        ImageRetriever(search).run("x", limit=0)
    with pytest.raises(InvalidQuery, match="The nearest one is 'width'"):
        ImageRetriever(search, where="widht > 1").run("x")
