"""The servers that the engine contract runs against, as factories for its ``ENGINES``.

The stand-in by gRPC and by REST, always; a real Qdrant server by both where ``POLYGLANCE_TEST_QDRANT_URL`` names one
(with ``POLYGLANCE_TEST_QDRANT_API_KEY`` and ``POLYGLANCE_TEST_QDRANT_GRPC_PORT`` where they are needed).
"""

import os
import uuid
from collections.abc import Callable

import pytest
from pydantic import SecretStr

from connector.settings import QdrantSettings
from connector.store.engine import Engine
from connector.store.server.engine import ServerEngine
from tests.qdrant_standin.standin import Standin, Transport

URL = "POLYGLANCE_TEST_QDRANT_URL"
API_KEY = "POLYGLANCE_TEST_QDRANT_API_KEY"
GRPC_PORT = "POLYGLANCE_TEST_QDRANT_GRPC_PORT"

EngineFactory = Callable[[], Engine]


def standin_by_grpc(request: pytest.FixtureRequest) -> EngineFactory:
    """Engines on one new collection of the stand-in, over gRPC."""
    return _on_the_standin(request, transport="grpc")


def standin_by_rest(request: pytest.FixtureRequest) -> EngineFactory:
    """Engines on one new collection of the stand-in, over REST."""
    return _on_the_standin(request, transport="rest")


def server_by_grpc(request: pytest.FixtureRequest) -> EngineFactory:
    """Engines on one new collection of a real server, over gRPC; the collection is dropped after the test."""
    return _on_a_server(request, transport="grpc")


def server_by_rest(request: pytest.FixtureRequest) -> EngineFactory:
    """Engines on one new collection of a real server, over REST; the collection is dropped after the test."""
    return _on_a_server(request, transport="rest")


def _on_the_standin(request: pytest.FixtureRequest, *, transport: Transport) -> EngineFactory:
    standin: Standin = request.getfixturevalue("standin")
    name: str = request.getfixturevalue("collection")
    return lambda: ServerEngine.connect(standin.settings(transport), collection=name)


def _on_a_server(request: pytest.FixtureRequest, *, transport: Transport) -> EngineFactory:
    url = os.environ.get(URL)
    if not url:
        pytest.skip(f"no Qdrant server: set {URL} to run this against one")
    key = os.environ.get(API_KEY)
    settings = QdrantSettings(
        url=url,
        grpc_port=int(os.environ.get(GRPC_PORT, "6334")),
        transport=transport,
        api_key=SecretStr(key) if key else None,
    )
    name = f"polyglance-test-{uuid.uuid4()}"

    def drop() -> None:
        engine = ServerEngine.connect(settings, collection=name)
        engine.drop()
        engine.close()

    request.addfinalizer(drop)
    return lambda: ServerEngine.connect(settings, collection=name)
