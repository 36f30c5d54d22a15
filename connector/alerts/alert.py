"""Alert: a question that stays asked; whoever brings an image in that fits it is to say so (docs/alerts.md).

The rule: alerts stand in the collection's own metadata, so that every worker on every machine knows them; and which
images fitted one stands in the payload of these images, written together with their vectors.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from connector.errors import InvalidQuery
from connector.filters.parse import as_filter
from connector.remote.http import parse_url
from connector.search.options import check_language, check_texts, is_number, shown
from connector.search.relevance import RELEVANT
from connector.store.engine import Engine
from connector.store.schema import CollectionSchema

if TYPE_CHECKING:
    from qdrant_client.models import Filter

Kind: TypeAlias = Literal["webhook", "command", "file", "rss", "mcp"]
"""How an alert may be told of; by ``mcp`` nothing is sent, agents ask for what there is."""
KINDS: tuple[Kind, ...] = get_args(Kind)
MOST_ALERTS = 10_000
"""Alerts of one collection: their questions are held against every image that comes."""
MOST_TARGETS = 8
PAGE = 500
"""Points that are changed at a time."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A question that stays asked. ``notify`` are targets such as ``webhook:https://example.org/hook``.

    An image fits from ``relevance`` on, 0 to 1, if it matches the filter ``where``. ``guarded``: it was set up by a
    user of the service, so what it calls must be public.
    """

    id: str
    question: str
    added_at: str
    where: str | None = None
    relevance: float = RELEVANT
    language: str | None = None
    notify: tuple[str, ...] = ()
    guarded: bool = False

    @property
    def sends(self) -> bool:
        """Whether anything is sent: to where somebody listens."""
        return any(kind_of(each) != "mcp" for each in self.notify)

    def as_json(self) -> dict[str, Any]:
        """What is kept of it under its id."""
        told = asdict(self)
        del told["id"]
        return {name: value for name, value in told.items() if value is not None}

    def shown(self) -> dict[str, Any]:
        """What anybody may see of it: an address or a command may hold a secret, and is named by its beginning."""
        return {**asdict(self), "notify": [*map(masked, self.notify)]}

    def matches(self, schema: CollectionSchema, *, due: bool = False) -> "Filter":
        """The filter for the images that fitted it, or for those of them that are to be told of."""
        from qdrant_client import models

        key = "alerts_due" if due else "alerts"
        must: list[Any] = [models.FieldCondition(key=key, match=models.MatchValue(value=self.id))]
        if self.where:
            must.append(as_filter(self.where, indexes=schema.indexes))
        return models.Filter(must=must)

    def expression(self) -> str:
        """The same filter as a line, for the gallery and for whoever asks."""
        mine = f'alerts == "{self.id}"'
        return f"{mine} and ({self.where})" if self.where else mine


@dataclass(frozen=True, slots=True)
class AlertCount:
    """An alert with the images that fitted it so far, and those of them that are still to be told of."""

    alert: Alert
    matches: int
    due: int


def alerts_of(schema: CollectionSchema) -> list[Alert]:
    """The alerts of a collection, the oldest first; what another version wrote and this one cannot read is left out."""
    found = []
    for name, told in schema.alerts.items():
        known = {key: value for key, value in told.items() if key in Alert.__slots__}
        if "question" in known and "added_at" in known:
            found.append(Alert(name, **{**known, "notify": tuple(known.get("notify", ()))}))
    return sorted(found, key=lambda each: (each.added_at, each.id))


def find_alert(schema: CollectionSchema, name: str, *, collection: str) -> Alert:
    """An alert by its id. Raises InvalidQuery."""
    for each in alerts_of(schema):
        if each.id == name:
            return each
    known = ", ".join(sorted(schema.alerts)[:10]) or "none"
    raise InvalidQuery(f"collection {collection!r} has no alert {shown(name)}; it has {known}.")


def make_alert(
    question: str,
    *,
    schema: CollectionSchema,
    where: str | None = None,
    relevance: float = RELEVANT,
    language: str | None = None,
    notify: Sequence[str] = (),
    guarded: bool = False,
) -> Alert:
    """An alert that holds. The same question with the same filter and language is the same alert, by its id.

    Raises InvalidQuery for a question that asks nothing, an unknown field, a relevance that is none, and targets
    that cannot be.
    """
    check_texts([question])
    check_language(language)
    where = where.strip() or None if where else None
    if where:
        as_filter(where, indexes=schema.indexes)
    if not is_number(relevance) or not 0 < relevance < 1:
        raise InvalidQuery(f"relevance is {shown(relevance)}; a number above 0 and below 1 is wanted, such as 0.9.")
    local = [each for each in notify if guarded and not each.startswith(("webhook:http", "mcp"))]
    if local:
        raise InvalidQuery(f"notify is {shown(local[0])}; what the service sets up is told by webhook:http… or mcp.")
    if len(notify) > MOST_TARGETS:
        raise InvalidQuery(f"{len(notify)} targets are too many for one alert; {MOST_TARGETS} may be.")
    told = json.dumps([question, where, language], ensure_ascii=False)
    return Alert(
        hashlib.blake2b(told.encode(), digest_size=6).hexdigest(),
        question,
        datetime.now(UTC).isoformat(timespec="seconds"),
        where=where,
        relevance=float(relevance),
        language=language,
        notify=tuple(dict.fromkeys(map(checked_target, notify))),
        guarded=guarded,
    )


def add_alert(engine: Engine, alert: Alert) -> None:
    """Let a question stay asked: from now on, of images that come in. One of the same id is replaced.

    Raises InvalidQuery where there are too many, StoreError.
    """
    schema = engine.info().schema
    if alert.id not in schema.alerts and len(schema.alerts) >= MOST_ALERTS:
        raise InvalidQuery(f"collection {engine.collection!r} has {MOST_ALERTS:,} alerts, which is all there may be.")
    engine.create(schema)  # a collection of before gets the indexes
    engine.set_alerts({alert.id: alert.as_json()})


def remove_alert(engine: Engine, name: str) -> Alert:
    """Ask a question no longer, and take its marks from the images. Raises InvalidQuery, StoreError."""
    schema = engine.info().schema
    alert = find_alert(schema, name, collection=engine.collection)
    engine.set_alerts({name: None})
    strip_marks(engine, name)
    return alert


def strip_marks(engine: Engine, name: str) -> None:
    """Take the marks of an alert from all images."""
    from qdrant_client import models

    match = models.MatchValue(value=name)
    for key in ("alerts_due", "alerts"):
        where = models.Filter(must=[models.FieldCondition(key=key, match=match)])
        while points := engine.scroll(limit=PAGE, where=where, fields=[key]).points:
            without: dict[tuple[str, ...], list[str]] = {}
            for each in points:
                without.setdefault(tuple(x for x in each.payload[key] if x != name), []).append(each.id)
            for rest, ids in without.items():
                engine.set_payload(ids, {key: [*rest]})


def counted_alerts(engine: Engine) -> list[AlertCount]:
    """Every alert with its counts, in one question to the store for all that have no filter."""
    schema = engine.info().schema
    alerts = alerts_of(schema)
    if not alerts:
        return []
    plain = {
        key: {str(each.value): each.count for each in engine.facet(key, limit=MOST_ALERTS)}
        for key in ("alerts", "alerts_due")
    }
    return [
        AlertCount(
            each,
            engine.count(where=each.matches(schema)) if each.where else plain["alerts"].get(each.id, 0),
            engine.count(where=each.matches(schema, due=True)) if each.where else plain["alerts_due"].get(each.id, 0),
        )
        for each in alerts
    ]


def kind_of(target: str) -> str:
    """How a target is told: what stands before its colon."""
    return target.partition(":")[0]


def checked_target(target: str) -> str:
    """A target as it is kept. Raises InvalidQuery that says how one looks."""
    kind, _, rest = target.strip().partition(":")
    if kind not in KINDS or (not rest and kind != "mcp"):
        raise InvalidQuery(
            f"notify is {shown(target)}; one looks like webhook:https://example.org/hook, command:notify-send, "
            "file:alerts.jsonl, rss:alerts.xml or mcp."
        )
    if kind == "webhook":
        return target.strip() if _NAMED.fullmatch(rest) else f"webhook:{parse_url(rest)}"
    if kind == "command":
        _check_command(rest)
        return f"command:{rest}"
    return kind if kind == "mcp" else f"{kind}:{Path(rest).expanduser().absolute()}"


_NAMED = re.compile(r"env:[A-Za-z_]\w*")
"""A webhook whose address stands in a variable of the environment of whoever tells, because it is a secret."""


def _check_command(line: str) -> None:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise InvalidQuery(f"the command {shown(line)} cannot be taken apart: {error}.") from error
    if not words:
        raise InvalidQuery("command: names no program; one looks like command:notify-send.")


def masked(target: str) -> str:
    """A target as anybody may see it."""
    kind, _, rest = target.partition(":")
    if kind == "webhook" and not _NAMED.fullmatch(rest):
        parts = urlsplit(rest)
        hidden = "/…" if parts.path not in ("", "/") or parts.query else ""
        return f"webhook:{parts.scheme}://{parts.netloc}{hidden}"
    if kind == "command":
        first, *others = shlex.split(rest)
        return f"command:{first}{' …' if others else ''}"
    return target
