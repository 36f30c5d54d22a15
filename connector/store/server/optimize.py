"""Wait until a Qdrant server has built its search graph: it does so by itself, and goes on when nobody waits.

The one rule: an engine that is closed ends the wait at once, and nothing of the server's work.
"""

import logging

from qdrant_client import models
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_result,
    stop_after_delay,
    stop_any,
    stop_when_event_set,
    wait_exponential,
)
from tenacity.nap import sleep_using_event

from connector.errors import StoreRefused, StoreUnavailable
from connector.settings import QdrantSettings
from connector.store.server import management
from connector.store.server import schema as server_schema
from connector.store.server.calls import Calls

log = logging.getLogger(__name__)


def build_graph(calls: Calls, *, settings: QdrantSettings) -> None:
    """Switch indexing on and wait for the graph. Raises StoreRefused where it failed, StoreUnavailable at last."""
    management.end_bulk_load(calls, _info(calls, "reading the schema"))
    if _info(calls, "reading the schema").status is models.CollectionStatus.GREY:  # as after a restart: it needs a push
        management.change(calls, doing="starting the optimizers")
    info = Retrying(
        retry=retry_if_result(server_schema.still_optimizing),
        wait=wait_exponential(multiplier=settings.retry_first_s, max=10.0),
        stop=stop_any(stop_after_delay(settings.optimize_wait_s), stop_when_event_set(calls.closing)),
        sleep=sleep_using_event(calls.closing),
        before_sleep=_say_progress,
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )(_info, calls, "waiting for the optimizers")
    if info.status is models.CollectionStatus.RED:
        raise StoreRefused(
            f"the optimizer of collection {calls.collection!r} failed: {server_schema.optimizer_error(info)}"
        )
    if server_schema.still_optimizing(info):
        raise StoreUnavailable(
            f"collection {calls.collection!r} was still {info.status.value} after {settings.optimize_wait_s:g} s, "
            f"{server_schema.progress(info)}. The server goes on by itself; "
            "`polyglance collection optimize` waits again."
        )


def _info(calls: Calls, doing: str) -> models.CollectionInfo:
    return calls.ask(lambda client: client.get_collection(calls.collection), doing=doing)


def _say_progress(state: RetryCallState) -> None:
    assert state.outcome is not None
    info = state.outcome.result()
    log.info("collection_optimizing status=%s progress=%r", info.status.value, server_schema.progress(info))
