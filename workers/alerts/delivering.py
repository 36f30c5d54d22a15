"""Delivering: tells of what is due in a thread of its own, beside an ingestion, which never waits for it.

The rule: whatever goes wrong here ends up in the report and in the log, and is tried again; it stops no ingestion.
"""

import logging
import threading
import time
from contextlib import closing
from types import TracebackType
from typing import Self

from connector.errors import PolyglanceError
from connector.printable import printable
from connector.settings import Settings
from connector.store.open import open_engine
from workers.alerts.ledger import telling
from workers.alerts.outbox import Delivery, Outbox

log = logging.getLogger(__name__)

PAUSE_S = 1.0
"""Seconds between two looks at what is due."""
LOOK_S = 0.2
"""Seconds between two tries while another process of this machine tells."""
LONGEST_PAUSE_S = 60.0
"""The same while nothing takes anything."""
LOCAL = "alerts"
"""In ``Delivery.down``: what failed was on our side."""


class Delivering:
    """Tells of a collection's alerts for as long as the block lasts, and at its end what is still due.

    Leaving takes ``alerts.wait_s`` at most, and what a target was just called for.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ending = threading.Event()
        self._until = float("inf")
        self._thread = threading.Thread(target=self._work, name="alerts", daemon=True)
        self.delivery = Delivery()

    def start(self) -> None:
        """Begin to tell; ``end`` has to follow."""
        self._thread.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(wait_s=self._settings.alerts.wait_s if error is None else 0.0)

    def end(self, *, wait_s: float) -> None:
        """Tell what is due for so many seconds more, and end."""
        self._until = time.monotonic() + wait_s
        self._ending.set()
        self._thread.join()

    def _over(self) -> bool:
        return time.monotonic() > self._until

    def _work(self) -> None:
        while not self._over():
            try:
                if self._told_to_the_end():
                    return
            except PolyglanceError as error:
                log.warning("alerts_not_told again_in_s=%.0f: %s", PAUSE_S, printable(error))
                self.delivery.down[LOCAL] = str(error)
            except Exception as error:
                log.exception("alerts_not_told")
                self.delivery.down[LOCAL] = repr(error)
                return
            if self.delivery.down and self._ending.wait(PAUSE_S):
                return

    def _told_to_the_end(self) -> bool:
        """Tell until the end; False while another process of this machine does."""
        settings = self._settings
        with telling(settings) as ledger:
            if ledger is None:
                threading.Event().wait(LOOK_S)
                return self._over()
            with (
                closing(open_engine(settings.qdrant, collection=settings.collection)) as engine,
                closing(Outbox(engine, settings=settings, ledger=ledger)) as outbox,
            ):
                self.delivery = outbox.done
                pause = PAUSE_S
                while not self._ending.wait(pause):
                    outbox.deliver(over=self._over)
                    pause = min(2 * pause, LONGEST_PAUSE_S) if outbox.done.down else PAUSE_S
                outbox.deliver(over=self._over)
        return True


def deliver(settings: Settings, *, most: int | None = None) -> Delivery | None:
    """Tell of what is due now; None where another process of this machine is at it. Raises StoreError, IngestError."""
    if most is not None:
        settings = settings.model_copy(update={"alerts": settings.alerts.model_copy(update={"most": most})})
    with (
        telling(settings) as ledger,
        closing(open_engine(settings.qdrant, collection=settings.collection)) as engine,
    ):
        if ledger is None:
            return None
        with closing(Outbox(engine, settings=settings, ledger=ledger)) as outbox:
            return outbox.deliver()
