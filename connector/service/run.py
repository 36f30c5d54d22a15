"""Running the service: in this process, or in several that share one port.

The one rule: what was asked for by flag, variable or file is read once; the processes are handed the settings.
"""

import os
import tempfile
from functools import partial
from typing import cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from connector.process import Logs, usable_threads
from connector.search.client import ImageSearch
from connector.service.app import Extend, create_app
from connector.service.connections import HEADER_BYTES, BoundedProtocol, HalfOpen
from connector.service.metrics import FOLDER
from connector.settings import Settings

GRACE_S = 10
"""Seconds that open requests are given when the service is told to end."""
_HEALTH_S = 60
"""Seconds within which a process must answer its parent: loading a model keeps it busy."""


def run(search: ImageSearch, *, settings: Settings, extend: Extend | None = None) -> None:
    """Serve until the process is told to end; the search is closed then. ``extend`` is a function of a module."""
    if settings.serve.workers == 1:
        uvicorn.Server(_config(create_app(search, settings=settings, extend=extend), settings=settings)).run()
        return
    search.close()  # it has shown that the collection is there; each process opens its own
    with tempfile.TemporaryDirectory(prefix="polyglance-metrics-") as folder:
        os.environ[FOLDER] = folder
        config = _config(partial(open_app, settings, extend, Logs.here()), settings=settings)
        Multiprocess(config, sockets=[config.bind_socket()]).run()


def open_app(settings: Settings, extend: Extend | None, logs: Logs) -> ASGIApp:
    """The application of one of several processes, with its share of the cores."""
    logs.set_up()
    os.environ["OMP_NUM_THREADS"] = str(max(1, usable_threads() // settings.serve.workers))  # torch's too, once loaded
    return create_app(ImageSearch.open(settings=settings), settings=settings, extend=extend)


def _config(app: "ASGIApp | partial[ASGIApp]", *, settings: Settings) -> uvicorn.Config:
    serve = settings.serve
    half_open = HalfOpen(most=serve.half_open, header_timeout_s=serve.header_timeout_s)
    protocol = partial(BoundedProtocol, half_open=half_open, stall_timeout_s=serve.stall_timeout_s)
    return uvicorn.Config(
        app,
        factory=isinstance(app, partial),
        host=settings.serve.host,
        port=settings.serve.port,
        workers=settings.serve.workers,
        log_config=None,  # its lines go where all others go
        log_level="info",  # the address that it listens on
        access_log=False,  # the guard logs each request, without its query
        server_header=False,
        proxy_headers=False,  # what a request says of its caller is no proof that the caller is on this machine
        http=cast("type[BoundedProtocol]", protocol),
        ws="none",
        h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_graceful_shutdown=GRACE_S,
        timeout_worker_healthcheck=_HEALTH_S,
    )
