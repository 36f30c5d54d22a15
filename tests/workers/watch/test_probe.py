"""Whether a watcher can work is told by its store, looked at all the time, and not by its last pass."""

import json
from contextlib import closing
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry

from connector import Settings
from connector.store.schema import CollectionSchema, Fingerprint
from connector.store.server.engine import ServerEngine
from tests.qdrant_standin.standin import running
from tests.watch_scene import until
from workers.run.status_server import serving
from workers.watch.probe import Probe

SCHEMA = CollectionSchema(Fingerprint("mini", dims=8, image_size=64))


def ready(url: str) -> tuple[int, str]:
    """The status of ``/readyz``, and the error that it tells."""
    try:
        with urlopen(f"{url}/readyz", timeout=10) as answer:
            return answer.status, str(json.load(answer)["error"])
    except HTTPError as answer:
        return answer.code, str(json.load(answer)["error"])


@pytest.mark.slow
def test_it_follows_a_deleted_collection_and_a_dead_server() -> None:
    registry = CollectorRegistry()
    with running() as standin:
        settings = Settings.model_validate(
            {"model": {"space": "mini"}, "qdrant": standin.settings("grpc").model_dump() | {"collection": "watched"}}
        )
        probe = Probe(settings, registry=registry)
        ingest = settings.ingest.model_copy(update={"metrics_port": 0})
        with (
            closing(ServerEngine.connect(settings.qdrant, collection="watched")) as engine,
            serving(ingest, registry=registry, health=lambda: {"healthy": True}, ready=probe.ready) as url,
            probe.looking(),
        ):
            assert url is not None
            assert ready(url)[0] == 200
            until(lambda: ready(url)[0] == 503)
            assert "watched" in ready(url)[1]
            engine.create(SCHEMA)
            until(lambda: ready(url)[0] == 200)
            standin.process.kill()
            until(lambda: ready(url)[0] == 503)
            assert registry.get_sample_value("polyglance_watch_ready") == 0
