"""Qdrant's own OpenAPI document as a judge of what we send and of what the stand-in answers.

The document is not part of this repository: ``POLYGLANCE_TEST_QDRANT_OPENAPI`` names it, or it lies beside the
repository at ``../shared/data/qdrant-openapi-1.19.json``.
"""

import json
import os
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
VARIABLE = "POLYGLANCE_TEST_QDRANT_OPENAPI"


def find_document() -> Path | None:
    """Where the document lies, or None where this machine has none."""
    named = os.environ.get(VARIABLE)
    path = Path(named) if named else ROOT.parent / "shared" / "data" / "qdrant-openapi-1.19.json"
    return path if path.is_file() else None


class Judge:
    """Checks one exchange against the document; finds problems as readable lines."""

    def __init__(self, document: Path) -> None:
        whole: dict[str, Any] = as_json_schema(json.loads(document.read_text(encoding="utf-8")))
        self._paths: dict[str, Any] = whole["paths"]
        self._components: dict[str, Any] = whole["components"]

    def problems(self, exchange: dict[str, Any]) -> list[str]:
        """What the document has against this request and this answer."""
        operation = self._paths.get(exchange["path"], {}).get(exchange["method"].lower())
        if operation is None:
            return [f"{exchange['method']} {exchange['path']} is not in the document"]
        return [
            *self._query_problems(operation, exchange),
            *self._body_problems(operation, exchange),
            *self._answer_problems(operation, exchange),
        ]

    def _query_problems(self, operation: dict[str, Any], exchange: dict[str, Any]) -> list[str]:
        known = {p["name"]: p["schema"] for p in operation.get("parameters", []) if p["in"] == "query"}
        found = [f"query: {name} is not in the document" for name in exchange["query"] if name not in known]
        for name, text in exchange["query"].items():
            value: Any = json.loads(text) if text in ("true", "false") or text.isdigit() else text
            found += self._against(known.get(name, {}), value, at=f"query {name}")
        return found

    def _body_problems(self, operation: dict[str, Any], exchange: dict[str, Any]) -> list[str]:
        if "requestBody" not in operation:
            return [] if exchange["body"] is None else ["request: a body where the document has none"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        return self._against(schema, exchange["body"], at="request")

    def _answer_problems(self, operation: dict[str, Any], exchange: dict[str, Any]) -> list[str]:
        answers = operation["responses"]
        answer = answers["200"] if exchange["status"] == 200 else answers["4XX"]
        return self._against(answer["content"]["application/json"]["schema"], exchange["answer"], at="answer")

    def _against(self, schema: dict[str, Any], value: object, *, at: str) -> list[str]:
        validator = Draft202012Validator({**schema, "components": self._components})
        return [f"{at}: {error.json_path}: {error.message[:300]}" for error in validator.iter_errors(value)]


def as_json_schema(node: Any) -> Any:
    """OpenAPI 3.0's ``nullable`` in the words of JSON Schema.

    A bare ``{"nullable": true}`` among alternatives would let everything pass: it means null and nothing else.
    """
    if isinstance(node, list):
        return [as_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    plain = {key: as_json_schema(value) for key, value in node.items() if key != "nullable"}
    if node.get("nullable") is not True:
        return plain
    if not plain:
        return {"type": "null"}
    if "enum" in plain:
        plain["enum"] = [*plain["enum"], None]
    return {**plain, "type": [plain["type"], "null"]} if "type" in plain else {"anyOf": [plain, {"type": "null"}]}
