"""The OpenAPI document is the service's word: whatever it allows is answered, and never with a fault of ours."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok


@pytest.mark.timeout(250)
def test_whatever_is_sent_no_answer_is_a_server_error(service: str) -> None:
    schema = schemathesis.openapi.from_url(f"{service}/openapi.json")
    sent: dict[str, int] = {}
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def send(case: Case[Any]) -> None:
            case.call_and_validate(checks=[not_a_server_error])
            sent[case.operation.label] = sent.get(case.operation.label, 0) + 1

        send()

    assert len(sent) == 20
    assert sum(sent.values()) > 150
