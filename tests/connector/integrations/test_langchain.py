"""The LangChain retriever, used as LangChain uses it."""

import asyncio

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from connector import ImageSearch, InvalidQuery
from connector.integrations.langchain import ImageRetriever

SEEN = [{"field": "seen", "words": ()}]


def test_documents_are_the_hits(search: ImageSearch) -> None:
    hits = search.text("ein Hund", limit=3, where="width > 10")

    documents = ImageRetriever(search=search, limit=3, where="width > 10").invoke("ein Hund")

    assert [each.id for each in documents] == [hit.id for hit in hits]
    assert documents[0].page_content == hits[0].uri
    known = {"score": hits[0].score, "relevance": hits[0].relevance, "reasons": SEEN}
    assert documents[0].metadata == {**hits[0].payload, **known}


def test_a_question_may_have_options_of_its_own(search: ImageSearch) -> None:
    retriever = ImageRetriever(search=search, limit=3, where="width > 10")
    hits = search.text("ein Hund", limit=1, where="width > 10")

    assert [each.id for each in retriever.invoke("ein Hund", limit=1)] == [hit.id for hit in hits]
    assert [each.id for each in asyncio.run(retriever.ainvoke("ein Hund", limit=1))] == [hit.id for hit in hits]
    assert retriever.invoke("ein Hund", where="width > 100000") == []
    with pytest.raises(InvalidQuery, match="limit is 0"):
        retriever.invoke("ein Hund", limit=0)


def test_a_field_of_the_payload_can_be_the_text(search: ImageSearch) -> None:
    (named,) = ImageRetriever(search=search, limit=1, content="meta.name").invoke("red sailboat")
    (nameless,) = ImageRetriever(search=search, limit=1, content="meta.nothing").invoke("red sailboat")
    assert named.page_content == named.metadata["meta"]["name"]
    assert nameless.page_content == nameless.metadata["uri"]


def test_it_works_in_chains_in_batches_and_awaited(search: ImageSearch) -> None:
    retriever = ImageRetriever(search=search, limit=2)
    first = [each.id for each in retriever.invoke("кошка")]

    def names(documents: list[Document]) -> list[str | None]:
        return [each.id for each in documents]

    assert (retriever | RunnableLambda(names)).invoke("кошка") == first
    assert [[each.id for each in some] for some in retriever.batch(["кошка", "кошка"])] == [first, first]
    assert [each.id for each in asyncio.run(retriever.ainvoke("кошка"))] == first


def test_what_is_wrong_is_told(search: ImageSearch) -> None:
    with pytest.raises(InvalidQuery, match=r"content: .* The nearest one is 'title'"):
        ImageRetriever(search=search, content="titel")
    with pytest.raises(InvalidQuery, match="the text is empty"):
        ImageRetriever(search=search).invoke(" ")
    with pytest.raises(InvalidQuery, match="The nearest one is 'width'"):
        ImageRetriever(search=search, where="widht > 1").invoke("x")
