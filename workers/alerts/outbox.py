"""Outbox: tells of the images that fitted alerts when they came in, each once.

    collection: alerts_due ──► filter of the alert ──► told before? ──► target ──► ledger ──► alerts_due without it

The rule: the collection is the outbox. What is due was written together with the image's vector, and goes from there
only after every target has it. So nothing is lost, whoever is killed when and however long a webhook is down, and
memory holds a page of it.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from qdrant_client import models

from connector.alerts.alert import MOST_ALERTS, Alert, alerts_of, masked, strip_marks
from connector.errors import InvalidQuery, StoreRefused
from connector.printable import printable
from connector.records import StoredPoint
from connector.settings import Settings
from connector.store.engine import Engine
from connector.store.schema import CollectionSchema
from workers.alerts.ledger import Ledger
from workers.alerts.message import FIELDS, UNJUDGED, Message, TargetDown, message_of
from workers.alerts.tally import TALLY
from workers.alerts.targets import Target, open_target

log = logging.getLogger(__name__)

PAGE = 100
"""Images that are told of at a time."""
JUDGED_PAGE = 500
"""Images that are judged at a time, where nobody could when they came in."""


@dataclass(slots=True)
class Delivery:
    """What was told: ``sent`` images by alert, ``waiting`` those that are still to be told of, all alerts together.

    ``down`` says by target why it took no more; ``held`` by alert how many wait because the alert told of
    ``alerts.most`` in this run.
    """

    sent: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    down: dict[str, str] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)

    @property
    def told(self) -> int:
        """Images that were told of, once for each alert."""
        return self.sent.total()

    def as_json(self) -> dict[str, Any]:
        """The same for scripts."""
        return {
            "told": self.told,
            "waiting": self.waiting,
            "sent": dict(self.sent),
            "down": self.down,
            "held": self.held,
        }


class Outbox:
    """The outbox of one collection, for one run: of each alert at most ``alerts.most`` images are told of."""

    def __init__(self, engine: Engine, *, settings: Settings, ledger: Ledger) -> None:
        self._engine = engine
        self._settings = settings
        self._ledger = ledger
        self._targets: dict[str, Target] = {}
        self._opened = ExitStack()
        self.done = Delivery()

    def deliver(self, *, over: Callable[[], bool] = lambda: False) -> Delivery:
        """Tell of what is due now, until ``over``; what could not be told stays due. Raises StoreError."""
        schema, before = self._engine.info().schema, self.done.told
        self.done.down.clear()
        self.done.held.clear()
        if schema.alerts:
            self._judge(schema)
            alerts = {each.id: each for each in alerts_of(schema)}
            due = {str(each.value): each.count for each in self._engine.facet("alerts_due", limit=MOST_ALERTS)}
            for name in due.keys() - alerts.keys() - {UNJUDGED}:
                strip_marks(self._engine, name)  # of one that was removed while an image came in
            for name in [each for each in alerts if each in due]:
                if not over():
                    self._tell(alerts[name], schema=schema, over=over)
            self.done.waiting = self._engine.count(where=any_due())
            TALLY.note(told=self.done.told - before, failed=len(self.done.down), waiting=self.done.waiting)
        return self.done

    def close(self) -> None:
        """Let go of the connections."""
        self._opened.close()

    def _judge(self, schema: CollectionSchema) -> None:
        """Find out what images fit that came in when nobody could tell: the first of a collection."""
        where = models.Filter(must=[_holding("alerts_due", UNJUDGED)])
        judge = None
        start: str | None = None
        while True:
            page = self._engine.scroll(limit=JUDGED_PAGE, start=start, where=where, vectors=True)
            points = [each for each in page.points if each.vector is not None]
            if not points:
                return
            if judge is None:
                from workers.alerts.judge import judge_of  # with what it takes to embed questions

                judge = judge_of(self._engine, schema=schema, settings=self._settings)
            marks = judge.marks_of([(each.vector, each.payload) for each in points if each.vector is not None])
            if any(UNJUDGED in each.get("alerts_due", ()) for each in marks):
                return
            groups: dict[str, tuple[dict[str, object], list[str]]] = {}
            for point, told in zip(points, marks, strict=True):
                change: dict[str, object] = {"alerts": told.get("alerts", []), "alerts_due": told.get("alerts_due", [])}
                groups.setdefault(repr(change), (change, []))[1].append(point.id)
            for change, ids in groups.values():
                self._engine.set_payload(ids, change)
            if (start := page.next) is None:
                return

    def _tell(self, alert: Alert, *, schema: CollectionSchema, over: Callable[[], bool]) -> None:
        try:
            where = alert.matches(schema, due=True)
        except InvalidQuery as error:
            self.done.down[f"alert {alert.id}"] = str(error)
            return
        self._drop_unmatched(alert, where)
        while not over() and (left := self._settings.alerts.most - self.done.sent[alert.id]) > 0:
            points = self._engine.scroll(limit=min(PAGE, left), where=where, fields=FIELDS).points
            if not points:
                return
            if not self._tell_page(alert, points):
                return
        if not over() and (held := self._engine.count(where=where)):
            self.done.held[alert.id] = held

    def _drop_unmatched(self, alert: Alert, where: models.Filter) -> None:
        """What fits the question and not the filter is not told of."""
        if not alert.where:
            return
        others = models.Filter(must=[_holding("alerts_due", alert.id)], must_not=[where])
        while points := self._engine.scroll(limit=PAGE, where=others, fields=FIELDS).points:
            self._clear(alert, points)

    def _tell_page(self, alert: Alert, points: Sequence[StoredPoint]) -> bool:
        """Tell of images; False where a target is down, so that there is no use in going on."""
        found = {
            each.id: message_of(alert, collection=self._engine.collection, point=each.id, payload=each.payload)
            for each in points
        }
        elsewhere = self._told_elsewhere(alert, points)
        first: dict[str, Message] = {}
        for each in found.values():
            if each.payload.get("content_hash") not in elsewhere:
                first.setdefault(each.id, each)  # a content that lies in two places is one message
        taken = [self._taken(alert, target, [*first.values()]) for target in alert.notify if target != "mcp"]
        left = set(first).difference(set(first).intersection(*taken))
        done = [each for each in points if found[each.id].id not in left]
        self._clear(alert, done)
        self.done.sent[alert.id] += len(first) - len(left)
        return not left

    def _told_elsewhere(self, alert: Alert, points: Sequence[StoredPoint]) -> set[str]:
        """The contents of images that lie in another place too, and were told of there."""
        contents = [str(each.payload["content_hash"]) for each in points if "content_hash" in each.payload]
        among = models.FieldCondition(key="content_hash", match=models.MatchAny(any=contents))
        told = models.Filter(
            must=[alert.matches(self._engine.info().schema), among], must_not=[_holding("alerts_due", alert.id)]
        )
        found = self._engine.scroll(limit=10 * PAGE, where=told, fields=["content_hash"]).points
        return {str(each.payload["content_hash"]) for each in found}

    def _taken(self, alert: Alert, target: str, messages: Sequence[Message]) -> set[str]:
        """The ids of the messages that a target has by now."""
        name, taken = masked(target), set[str]()
        if name in self.done.down:
            return taken
        try:
            for ids in self._target(alert, target).tell(messages):
                taken.update(ids)
        except TargetDown as error:
            self.done.down[name] = str(error)
            log.warning("alert_target_down alert=%s target=%s: %s", alert.id, printable(name), printable(error))
        return taken

    def _target(self, alert: Alert, target: str) -> Target:
        key = f"{alert.guarded}:{target}"
        if key not in self._targets:
            self._targets[key] = open_target(
                target, alert=alert, settings=self._settings, ledger=self._ledger, opened=self._opened
            )
        return self._targets[key]

    def _clear(self, alert: Alert, points: Sequence[StoredPoint]) -> None:
        """Take images out of the outbox, but for those whose file was another one meanwhile: it is due by itself."""
        for rest, ids in _by_rest(points, without=alert.id).items():
            try:
                self._engine.set_payload(ids, {"alerts_due": [*rest]})
            except StoreRefused:  # one of them was deleted meanwhile
                there = [each.id for each in self._engine.retrieve(ids, fields=[])]
                if there:
                    self._engine.set_payload(there, {"alerts_due": [*rest]})
        read = {each.id: each for each in points}
        for each in self._engine.retrieve([*read], fields=["content_hash", "alerts"]):
            if each.payload.get("content_hash") != read[each.id].payload.get("content_hash"):
                self._engine.set_payload([each.id], {"alerts_due": each.payload.get("alerts", [])})


def any_due() -> models.Filter:
    """The images that are to be told of, or to be judged."""
    empty = models.IsEmptyCondition(is_empty=models.PayloadField(key="alerts_due"))
    return models.Filter(must_not=[empty])


def _holding(key: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _by_rest(points: Sequence[StoredPoint], *, without: str) -> Mapping[tuple[str, ...], list[str]]:
    """Ids by what else they are to be told for."""
    found: dict[tuple[str, ...], list[str]] = {}
    for each in points:
        rest = tuple(name for name in each.payload.get("alerts_due", ()) if name != without)
        found.setdefault(rest, []).append(each.id)
    return found
