"""The routes of alerts: questions that stay asked, with what fitted them so far as a live album.

The rule: a caller may let a public webhook be told, and nothing of the service's machine: no file, no command.
"""

import asyncio
from typing import Annotated, Any

from fastapi import HTTPException, Path
from pydantic import BaseModel, ConfigDict, Field

from connector.alerts.alert import Alert, add_alert, counted_alerts, make_alert, remove_alert
from connector.errors import InvalidQuery
from connector.search.client import ImageSearch
from connector.search.options import MAX_TEXT
from connector.search.relevance import RELEVANT
from connector.service.answers import RequestModel

_ALERT: dict[str, Any] = {
    "id": "3f2a9c51d0e7",
    "question": "ein Hund am Strand",
    "where": "taken_at >= 2024",
    "relevance": 0.9,
    "language": "de",
    "notify": ["webhook:https://example.org/…"],
    "added_at": "2026-05-02T10:00:00+00:00",
    "matches": 12,
    "due": 0,
    "album": 'alerts == "3f2a9c51d0e7" and (taken_at >= 2024)',
}
AlertId = Annotated[str, Path(max_length=64, examples=[_ALERT["id"]])]


class AlertRequest(RequestModel):
    """A question that is to stay asked."""

    question: str = Field(max_length=MAX_TEXT, examples=["ein Hund am Strand"])
    """What new images are to show, in any language."""
    where: str | None = Field(default=None, max_length=10_000, examples=["width >= 64"])
    """Filter that they have to match."""
    relevance: float = Field(default=RELEVANT, gt=0, lt=1, examples=[0.9])
    """How sure it must be that an image fits."""
    language: str | None = Field(default=None, max_length=35, examples=["de"])
    """The language of the question."""
    notify: list[Annotated[str, Field(max_length=2_000)]] = Field(
        default_factory=list, max_length=8, examples=[["webhook:https://example.org/hook"]]
    )
    """Public webhooks, as ``webhook:URL``; without one the images are only kept together."""


class AlertAnswer(BaseModel):
    """A question that stays asked; ``album`` is the filter for the images that fitted it."""

    model_config = ConfigDict(json_schema_extra={"example": _ALERT})

    id: str
    question: str
    where: str | None
    relevance: float
    language: str | None
    notify: list[str]
    """Where it is told; of an address only the host."""
    added_at: str
    matches: int
    """Images that fitted it when they came in."""
    due: int
    """Those of them that are still to be told of."""
    album: str


class AlertsAnswer(BaseModel):
    """All questions that stay asked, the oldest first."""

    model_config = ConfigDict(json_schema_extra={"example": {"alerts": [_ALERT]}})

    alerts: list[AlertAnswer]


class RemovedAlertAnswer(BaseModel):
    """The question that is asked no longer."""

    model_config = ConfigDict(json_schema_extra={"example": {"removed": _ALERT["id"]}})

    removed: str


class Alerts:
    """The alerts of one collection."""

    def __init__(self, search: ImageSearch) -> None:
        self._search = search

    async def show(self) -> AlertsAnswer:
        """The questions that stay asked, each with how many images fitted it; ``album`` is a filter that finds them."""
        found = await asyncio.to_thread(lambda: counted_alerts(self._search.following.now().engine))
        return AlertsAnswer(alerts=[_answer(each.alert, matches=each.matches, due=each.due) for each in found])

    async def add(self, request: AlertRequest) -> AlertAnswer:
        """Let a question stay asked: every image that comes in and fits is told of, once.

        The same question with the same filter and language is the same alert; its relevance and webhooks are replaced.
        """
        return await asyncio.to_thread(self._add, request)

    async def remove(self, id: AlertId) -> RemovedAlertAnswer:
        """Ask a question no longer; images lose its mark, and what is still to be told is dropped."""
        try:
            gone = await asyncio.to_thread(lambda: remove_alert(self._search.following.now().engine, id))
        except InvalidQuery as error:
            raise HTTPException(404, str(error)) from error
        return RemovedAlertAnswer(removed=gone.id)

    def _add(self, request: AlertRequest) -> AlertAnswer:
        engine = self._search.following.now().engine
        schema = engine.info().schema
        alert = make_alert(
            request.question,
            schema=schema,
            where=request.where,
            relevance=request.relevance,
            language=request.language,
            notify=request.notify,
            guarded=True,
        )
        add_alert(engine, alert)
        known = {each.alert.id: each for each in counted_alerts(engine)} if alert.id in schema.alerts else {}
        return _answer(alert, matches=known[alert.id].matches if known else 0, due=known[alert.id].due if known else 0)


def _answer(alert: Alert, *, matches: int, due: int) -> AlertAnswer:
    told: dict[str, Any] = alert.shown()
    del told["guarded"]
    return AlertAnswer(**told, matches=matches, due=due, album=alert.expression())
