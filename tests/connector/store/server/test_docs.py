"""What docs/dashboard.md tells people to paste is taken by the strict stand-in, and means what the page says."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from qdrant_client import models

from connector.filters.parse import parse_filter
from connector.store.schema import CollectionSchema, Fingerprint
from connector.store.server.engine import ServerEngine
from tests.qdrant_standin.openapi import ROOT
from tests.qdrant_standin.standin import Standin

PAGE = (ROOT / "docs" / "dashboard.md").read_text()
SCHEMA = CollectionSchema(Fingerprint(space="clip-vit-b-32", dims=512, image_size=224))
NAME = "images-clip-vit-b-32"

REQUESTS = re.findall(r"```http\n(\w+) (\S+)\n(.+?)```", PAGE, flags=re.DOTALL)
FILTERS = re.findall(r"^`([^`]+)`:\n\n```json\n(.+?)```", PAGE, flags=re.DOTALL | re.MULTILINE)
IMAGES = re.findall(r"```json visualize\n(.+?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def described(standin: Standin) -> Iterator[ServerEngine]:
    """The collection that the page speaks of."""
    engine = ServerEngine.connect(standin.settings("rest"), collection=NAME)
    engine.create(SCHEMA)
    yield engine
    engine.drop()
    engine.close()


def test_the_page_has_blocks_of_every_kind() -> None:
    assert len(REQUESTS) >= 4
    assert len(FILTERS) >= 3
    assert len(IMAGES) >= 2
    assert PAGE.count("```") == 2 * (len(REQUESTS) + len(FILTERS) + len(IMAGES))


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS, ids=lambda part: part.split("/")[-1][:20])
def test_a_request_of_the_page_is_answered(
    described: ServerEngine, standin: Standin, method: str, path: str, body: str
) -> None:
    assert described.collection in path
    answer = httpx.request(method, f"{standin.url}/{path}", json=json.loads(body), timeout=60)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(("expression", "pasted"), FILTERS, ids=lambda part: part[:20])
def test_a_filter_of_the_page_is_what_the_expression_becomes(
    described: ServerEngine, expression: str, pasted: str
) -> None:
    where = models.Filter.model_validate_json(pasted)
    assert described.count(where=where) == 0
    compiled = parse_filter(expression, indexes=SCHEMA.indexes)
    assert json.loads(pasted) == compiled.model_dump(mode="json", exclude_none=True)


@pytest.mark.parametrize("pasted", IMAGES, ids=range(len(IMAGES)))
def test_an_image_of_the_page_names_a_vector_and_an_indexed_field(described: ServerEngine, pasted: str) -> None:
    asked: dict[str, Any] = json.loads(pasted)
    assert asked["using"] == SCHEMA.vector_name
    assert asked["color_by"]["payload"] in SCHEMA.indexes
    assert asked["limit"] <= 10_000
    described.count(where=models.Filter.model_validate(asked.get("filter", {})))
