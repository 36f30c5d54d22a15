"""The OpenAPI document is the service's word: whatever it allows is answered as it says, never with a fault."""

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.timeout(250)
def test_whatever_is_sent_no_answer_is_a_server_error(service: str) -> None:
    first = httpx.post(f"{service}/v1/images", files={"file": b"no image"}, timeout=120)  # loads the image tower
    assert first.json()["images"][0]["status"] == "rejected"
    schema = schemathesis.openapi.from_url(f"{service}/openapi.json")
    sent: dict[str, int] = {}
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def send(case: Case[Any]) -> None:
            case.call_and_validate(checks=CHECKS)
            sent[case.operation.label] = sent.get(case.operation.label, 0) + 1

        send()

    assert len(sent) == 38
    assert sum(sent.values()) > 150
