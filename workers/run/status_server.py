"""A small HTTP server beside the work: ``/metrics`` for Prometheus, ``/healthz`` for whoever restarts what hangs.

``/readyz`` tells whether the store answers, which no restart of this process mends.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from connector.errors import ConfigError
from connector.settings import IngestSettings

log = logging.getLogger(__name__)

Health = Callable[[], Mapping[str, object]]
"""What ``/healthz`` says; its status is 200 where ``healthy`` is true, and 503 else."""

Ready = Callable[[], Mapping[str, object]]
"""What ``/readyz`` says; its status is 200 where ``ready`` is true, and 503 else."""

LONGEST_REQUEST_S = 10.0
"""Seconds of silence after which a caller is hung up on."""


@contextmanager
def serving(
    settings: IngestSettings, *, registry: CollectorRegistry, health: Health, ready: Ready = lambda: {"ready": True}
) -> Iterator[str]:
    """Serve for as long as the block runs; gives the address. Raises ConfigError where the port cannot be had."""
    try:
        server = _Server((settings.metrics_host, settings.metrics_port or 0), _Handler)
    except OSError as error:
        raise ConfigError(
            f"nothing can be served on {settings.metrics_host}:{settings.metrics_port}: {error.strerror}. Name another "
            "port with --metrics-port, or 0 for a free one."
        ) from error
    server.registry, server.health, server.ready = registry, health, ready
    thread = threading.Thread(target=server.serve_forever, name="status", kwargs={"poll_interval": 0.1})
    thread.start()
    try:
        yield f"http://{settings.metrics_host}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    registry: CollectorRegistry
    health: Health
    ready: Ready


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = LONGEST_REQUEST_S

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(self.server.registry))
            case "/healthz":
                self._tell(self.server.health(), well="healthy")
            case "/readyz":
                self._tell(self.server.ready(), well="ready")
            case _:
                self._answer(404, "text/plain", b"there are /metrics, /healthz and /readyz\n")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _tell(self, said: Mapping[str, object], *, well: str) -> None:
        self._answer(200 if said[well] else 503, "application/json", json.dumps(said).encode() + b"\n")

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        log.debug("status_request " + format, *args)
