"""The REST side of the stand-in: routes, keys, the body limit, and faults on the wire."""

import json
import math
import random
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import TypeAdapter, ValidationError
from qdrant_client import models

from tests.qdrant_standin import snapshots
from tests.qdrant_standin.faults import Broken, Fault, Script
from tests.qdrant_standin.keys import Access, Keys, Right
from tests.qdrant_standin.store import Store
from tests.qdrant_standin.strict import Refusal

BODY_LIMIT = 32 * 1024 * 1024
NO_VECTOR = "data did not match any variant of untagged enum VectorStruct"
VERSION = {
    "title": "qdrant - vector search engine",
    "version": "1.19.0",
    "commit": "74f3e85b9473c62560006c043e13737ce6b48412",
}
_NULLS_OF_AN_INDEX: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"integer": ("lookup", "range", "is_principal"), "float": ("is_principal",), "datetime": ("is_principal",)}
)
PAGE = b"<html><head><title>Welcome</title></head><body>Sign in to the network</body></html>"

Act = Callable[[Store, dict[str, str], Any], Any]


@dataclass(frozen=True)
class Route:
    """One operation: how it is asked for over REST, the right it takes, and what it does."""

    method: str
    path: str
    operation: str
    right: Right
    body: Any
    act: Act

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """The path's parameters, or None where this is another route."""
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(self.path))
        found = re.fullmatch(pattern, path) if method == self.method else None
        return None if found is None else {name: unquote(value) for name, value in found.groupdict().items()}


def _updated(operation: int) -> models.UpdateResult:
    return models.UpdateResult(operation_id=operation, status=models.UpdateStatus.COMPLETED)


def _points(body: Any) -> list[models.PointStruct]:
    if isinstance(body, models.PointsBatch):
        raise Refusal(501, "points in columns are unknown to the stand-in")
    return list(body.points)


def _ids(body: models.SetPayload) -> list[models.ExtendedPointId]:
    if body.points is None:
        raise Refusal(501, "payload by filter is unknown to the stand-in")
    return body.points


C = "/collections/{collection_name}"
ROUTES: tuple[Route, ...] = (
    Route(
        "PUT", C, "create_collection", "make", models.CreateCollection,
        lambda s, p, b: s.create_collection(p["collection_name"], b),
    ),
    Route(
        "PATCH", C, "update_collection", "manage", models.UpdateCollection,
        lambda s, p, b: s.update_collection(p["collection_name"], b),
    ),
    Route("DELETE", C, "delete_collection", "manage", None, lambda s, p, _: s.delete_collection(p["collection_name"])),
    Route("GET", "/collections", "get_collections", "read", None, lambda s, _, __: s.collections()),
    Route("GET", C, "get_collection", "read", None, lambda s, p, _: s.get_collection(p["collection_name"])),
    Route(
        "GET", f"{C}/exists", "collection_exists", "read", None,
        lambda s, p, _: models.CollectionExistence(exists=s.collection_exists(p["collection_name"])),
    ),
    Route(
        "PUT", f"{C}/index", "create_index", "write", models.CreateFieldIndex,
        lambda s, p, b: _updated(s.create_index(p["collection_name"], b.field_name, b.field_schema)),
    ),
    Route(
        "POST", "/collections/aliases", "aliases", "make", models.ChangeAliasesOperation,
        lambda s, _, b: s.change_aliases(b.actions),
    ),
    Route("GET", "/aliases", "list_aliases", "list", None, lambda s, _, __: s.list_aliases()),
    Route(
        "PUT", f"{C}/points", "upsert", "write", models.PointInsertOperations,
        lambda s, p, b: _updated(s.upsert(p["collection_name"], _points(b))),
    ),
    Route(
        "POST", f"{C}/points/delete", "delete", "write", models.PointsSelector,
        lambda s, p, b: _updated(s.delete(p["collection_name"], b)),
    ),
    Route(
        "POST", f"{C}/points/payload", "set_payload", "write", models.SetPayload,
        lambda s, p, b: _updated(s.set_payload(p["collection_name"], _ids(b), b.payload, b.key)),
    ),
    Route(
        "POST", f"{C}/points/payload/clear", "clear_payload", "write", models.PointsSelector,
        lambda s, p, b: _updated(s.clear_payload(p["collection_name"], b)),
    ),
    Route(
        "PUT", f"{C}/vectors/{{vector_name}}", "create_vector_name", "manage", models.VectorNameConfig,
        lambda s, p, b: _updated(s.create_vector_name(p["collection_name"], p["vector_name"], b)),
    ),
    Route(
        "DELETE", f"{C}/vectors/{{vector_name}}", "delete_vector_name", "manage", None,
        lambda s, p, _: _updated(s.delete_vector_name(p["collection_name"], p["vector_name"])),
    ),
    Route(
        "PUT", f"{C}/points/vectors", "update_vectors", "write", models.UpdateVectors,
        lambda s, p, b: _updated(s.update_vectors(p["collection_name"], b.points, b.update_filter)),
    ),
    Route(
        "POST", f"{C}/points/batch", "update_batch", "write", models.UpdateOperations,
        lambda s, p, b: [*map(_updated, s.update_batch(p["collection_name"], b.operations))],
    ),
    Route(
        "POST", f"{C}/points/vectors/delete", "delete_vectors", "write", models.DeleteVectors,
        lambda s, p, b: _updated(s.delete_vectors(p["collection_name"], b.points or [], b.vector)),
    ),
    Route(
        "POST", f"{C}/points", "retrieve", "read", models.PointRequest,
        lambda s, p, b: s.retrieve(p["collection_name"], b),
    ),
    Route(
        "POST", f"{C}/points/scroll", "scroll", "read", models.ScrollRequest,
        lambda s, p, b: s.scroll(p["collection_name"], b),
    ),
    Route(
        "POST", f"{C}/points/count", "count", "read", models.CountRequest,
        lambda s, p, b: models.CountResult(count=s.count(p["collection_name"], b)),
    ),
    Route(
        "POST", f"{C}/facet", "facet", "read", models.FacetRequest,
        lambda s, p, b: s.facet(p["collection_name"], b),
    ),
    Route(
        "POST", f"{C}/points/query/batch", "query", "read", models.QueryRequestBatch,
        lambda s, p, b: s.query(p["collection_name"], b.searches),
    ),
)  # fmt: skip


@dataclass
class Exchange:
    """A request and its answer, kept for checking against Qdrant's OpenAPI document."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    status: int
    answer: Any


class RestServer(ThreadingHTTPServer):
    """Serves the store; ``exchanges`` fills up while ``recording``."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, *, store: Store, script: Script, keys: Keys) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.store = store
        self.script = script
        self.keys = keys
        self.recording = False
        self.exchanges: list[Exchange] = []

    @property
    def port(self) -> int:
        """The port that was chosen."""
        return int(self.server_address[1])

    def use_tls(self, certificate: Path) -> None:
        """Speak https from now on; ``certificate`` holds the key and the chain."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news: faults make them do so."""


class _Handler(BaseHTTPRequestHandler):
    server: RestServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: what matters is counted."""

    def do_GET(self) -> None:
        self._serve()

    do_PUT = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815  (http.server's names)

    def _serve(self) -> None:
        started = time.monotonic()
        url = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if url.path.startswith("/_standin/"):
            return self._send(200, {"result": self._control(url.path, raw)})
        if (self.command, url.path) == ("GET", "/"):
            return self._send(200, VERSION)
        if "/snapshots" in url.path:
            return self._serve_snapshots(url.path, raw)
        route, params = _find(self.command, url.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body: Any = json.loads(raw) if raw and len(raw) <= BODY_LIMIT else None
        headers: dict[str, str] = {}
        try:
            status, answer = 200, self._answer(route, params, query=query, body=body, size=len(raw))
        except Broken as broken:
            return self._break(broken.fault)
        except Refusal as refusal:
            status, answer = refusal.status, {"status": {"error": refusal.message}}
            if refusal.retry_after is not None:
                headers["Retry-After"] = str(refusal.retry_after)
        if status == 401:  # Qdrant answers these in plain text
            return self._send_bytes(status, answer["status"]["error"].encode(), headers, kind="text/plain")
        answer["time"] = time.monotonic() - started
        if self.server.recording and route is not None:
            self.server.exchanges.append(Exchange(self.command, route.path, query, body, status, answer))
        return self._send(status, answer, headers)

    def _answer(
        self, route: Route | None, params: dict[str, str], *, query: dict[str, str], body: Any, size: int
    ) -> dict[str, Any]:
        access: Access = self.server.keys.identify({name.lower(): value for name, value in self.headers.items()})
        if route is None:
            raise Refusal(501, f"{self.command} {self.path} is unknown to the stand-in")
        if size > BODY_LIMIT:
            raise Refusal(400, f"JSON payload ({size} bytes) is larger than allowed (limit: {BODY_LIMIT} bytes).")
        parsed = _parse(route, body)
        access.check(route.right, collection=params.get("collection_name", ""))

        def act() -> Any:
            if "timeout" in query:
                self.server.store.check_timeout(params["collection_name"], int(query["timeout"]))
            return route.act(self.server.store, params, parsed)

        return {"result": as_answered(self.server.script.play(route.operation, act)), "status": "ok"}

    def _serve_snapshots(self, path: str, raw: bytes) -> None:
        """Snapshots, whose bodies are files and no JSON."""
        name = unquote(path.split("/")[2])
        try:
            access: Access = self.server.keys.identify({key.lower(): value for key, value in self.headers.items()})
            access.check("manage", collection=name)
            answer = snapshots.serve(self.server.store, self.command, path, raw)
        except Refusal as refusal:
            return self._send(refusal.status, {"status": {"error": refusal.message}, "time": 0.0})
        if isinstance(answer, bytes):
            return self._send_bytes(200, answer, {}, kind="application/octet-stream")
        return self._send(200, {"result": answer, "status": "ok", "time": 0.0})

    def _break(self, fault: Fault) -> None:
        match fault.kind:
            case "status":
                headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
                self._send(fault.status, {"status": {"error": fault.message}, "time": 0.0}, headers)
            case "html":
                self._send_bytes(200, PAGE, {}, kind="text/html")
            case "half":
                self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"result": {"status": "comp')
                self._hang_up()
            case "drop" | "late":
                self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def _control(self, path: str, raw: bytes) -> Any:
        """What tests ask of the stand-in itself: load a script, read the counts, show statuses, record."""
        asked: Any = json.loads(raw) if raw else {}
        match path.removeprefix("/_standin/"):
            case "script":
                self.server.script.load([Fault(**fault) for fault in asked["faults"]], seed=asked["seed"])
            case "counts":
                return self.server.script.counts()
            case "room":
                self.server.store.room = asked["room"]
            case "statuses":
                self.server.store.play_statuses(asked["collection"], asked["statuses"])
            case "record":
                self.server.exchanges.clear()
                self.server.recording = True
            case "exchanges":
                self.server.recording = False
                return [vars(exchange) for exchange in self.server.exchanges]
        return None

    def _send(self, status: int, answer: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send_bytes(status, json.dumps(answer).encode(), headers or {}, kind="application/json")

    def _send_bytes(self, status: int, content: bytes, headers: dict[str, str], *, kind: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _find(method: str, path: str) -> tuple[Route | None, dict[str, str]]:
    for route in sorted(ROUTES, key=lambda route: "{" in route.path):
        params = route.match(method, path)
        if params is not None:
            return route, params
    return None, {}


def _parse(route: Route, body: Any) -> Any:
    if route.body is None:
        return None
    try:
        parsed = TypeAdapter(route.body).validate_python(body)
    except ValidationError as error:
        in_a_vector = any({"points", "vector"} <= {*each["loc"]} for each in error.errors())
        raise Refusal(
            400, f"Format error in JSON body: {NO_VECTOR if in_a_vector else error.errors()[0]['msg']}"
        ) from error
    if isinstance(parsed, models.PointsList) and any(_has_nan(point.vector) for point in parsed.points):
        raise Refusal(400, f"Format error in JSON body: {NO_VECTOR}")
    return parsed


def _has_nan(vectors: Any) -> bool:
    values = vectors.values() if isinstance(vectors, dict) else [vectors]
    return any(isinstance(value, float) and math.isnan(value) for vector in values for value in vector)


def as_answered(result: Any) -> Any:
    """A result as the server writes it: what it leaves out, what it says is null, payload keys in no stable order."""
    plain = TypeAdapter(Any).dump_python(result, mode="json", exclude_none=True)
    match result:
        case models.ScrollResult():
            plain.setdefault("next_page_offset", None)
        case models.CollectionInfo():
            _name_nulls(plain)
    _shuffle_payloads(plain)
    return plain


def _name_nulls(info: dict[str, Any]) -> None:
    optimizers = info["config"]["optimizer_config"]
    for name in ("max_segment_size", "memmap_threshold", "max_optimization_threads", "prevent_unoptimized"):
        optimizers.setdefault(name, None)
    for index in info["payload_schema"].values():
        for name in _NULLS_OF_AN_INDEX.get(index["data_type"], ()):
            index.get("params", {}).setdefault(name, None)


def _shuffle_payloads(node: Any) -> None:
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _shuffle_payloads(part)
    if isinstance(node, dict) and isinstance(node.get("payload"), dict):
        pairs = list(node["payload"].items())
        random.shuffle(pairs)
        node["payload"] = dict(pairs)
