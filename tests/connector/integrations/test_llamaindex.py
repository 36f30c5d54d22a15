"""The LlamaIndex retriever, used as LlamaIndex uses it."""

import asyncio

import pytest
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import ImageNode, NodeWithScore

from connector import ImageSearch, InvalidQuery
from connector.integrations.llamaindex import ImageRetriever

SEEN = [{"field": "seen", "words": ()}]


def test_nodes_are_the_hits(search: ImageSearch) -> None:
    hits = search.text("ein Hund", limit=3, where="width > 10")
    retriever = ImageRetriever(search, limit=3, where="width > 10")

    nodes = retriever.retrieve("ein Hund")

    assert [each.node_id for each in nodes] == [hit.id for hit in hits]
    assert [each.score for each in nodes] == [hit.score for hit in hits]
    assert isinstance(nodes[0].node, ImageNode)
    assert (nodes[0].text, nodes[0].node.image_url) == (hits[0].uri, hits[0].uri)
    assert nodes[0].metadata == {**hits[0].payload, "relevance": hits[0].relevance, "reasons": SEEN}
    assert _ids(asyncio.run(retriever.aretrieve("ein Hund"))) == [hit.id for hit in hits]


def test_a_field_of_the_payload_can_be_the_text(search: ImageSearch) -> None:
    (named,) = ImageRetriever(search, limit=1, content="meta.name").retrieve("red sailboat")
    assert named.text == named.metadata["meta"]["name"]


def test_it_answers_in_a_query_engine(search: ImageSearch) -> None:
    retriever = ImageRetriever(search, limit=2, content="meta.name")
    synthesizer = get_response_synthesizer(llm=MockLLM())
    answer = RetrieverQueryEngine(retriever, response_synthesizer=synthesizer).query("кошка")
    assert _ids(answer.source_nodes) == _ids(retriever.retrieve("кошка"))


def test_what_is_wrong_is_told(search: ImageSearch) -> None:
    with pytest.raises(InvalidQuery, match=r"content: .* The nearest one is 'title'"):
        ImageRetriever(search, content="titel")
    with pytest.raises(InvalidQuery, match="the text is empty"):
        ImageRetriever(search).retrieve(" ")
    with pytest.raises(InvalidQuery, match="The nearest one is 'width'"):
        ImageRetriever(search, where="widht > 1").retrieve("x")


def _ids(nodes: list[NodeWithScore]) -> list[str]:
    return [each.node_id for each in nodes]
