"""Targets: where alerts are told: a webhook, a command, and the files of ``files``.

The rule: a target takes messages one after the other and says which it has; what it has not stays due. A file and a
feed hold each message once, whatever is killed when; a webhook and a command may be told again, by the same id.
"""

import base64
import hashlib
import hmac
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Protocol

from connector.alert_settings import key_bytes
from connector.alerts.alert import Alert, kind_of
from connector.printable import printable
from connector.remote.http import CannotFetch, WebClient, parse_url
from connector.settings import Settings
from connector.store.open import capabilities_of
from workers.alerts.files import Feed, LinesFile
from workers.alerts.ledger import Ledger
from workers.alerts.message import Message, TargetDown

OUTPUT = 400
"""Characters of a failed command's output that are repeated."""


class Target(Protocol):
    """Somewhere that alerts are told."""

    def tell(self, messages: Sequence[Message]) -> Iterator[Sequence[str]]:
        """Tell messages; gives the ids of those that are taken and noted, as they are. Raises TargetDown."""


class Each:
    """A target that is told one message at a time."""

    def __init__(self, name: str, tell: Callable[[Message], None], *, ledger: Ledger) -> None:
        self._name = name
        self._tell = tell
        self._ledger = ledger

    def tell(self, messages: Sequence[Message]) -> Iterator[Sequence[str]]:
        """Tell what was not told before, and note each at once."""
        known = self._ledger.sent(self._name, [each.id for each in messages])
        for each in messages:
            if each.id not in known:
                self._tell(each)
                self._ledger.note(self._name, [each.id])
            yield [each.id]


class Webhook:
    """An http(s) address, called as the Standard Webhooks specification has it; no redirect is followed."""

    def __init__(self, url: str, *, settings: Settings, guarded: bool) -> None:
        web = settings.web.model_copy(
            update={
                "allow_private": settings.web.allow_private or not guarded,
                "attempts": settings.alerts.attempts,
                "timeout_s": settings.alerts.timeout_s,
                "connect_timeout_s": min(settings.web.connect_timeout_s, settings.alerts.timeout_s),
            }
        )
        self._url = url
        self._client = WebClient(web, max_bytes=64 * 1024, connections=1)
        key = settings.alerts.signing_key
        self._key = None if key is None else key_bytes(key)

    def __call__(self, message: Message) -> None:
        """Send a message. Raises TargetDown."""
        body, now = message.line().rstrip(b"\n"), str(int(time.time()))
        headers = {"content-type": "application/json", "webhook-id": message.id, "webhook-timestamp": now}
        if self._key is not None:
            headers["webhook-signature"] = signature(self._key, message.id, now, body)
        try:
            self._client.post(self._url, body, headers=headers)
        except CannotFetch as error:
            raise TargetDown(str(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def signature(key: bytes, message: str, timestamp: str, body: bytes) -> str:
    """The header ``webhook-signature`` (Standard Webhooks 1.0.0, symmetric): v1 and the HMAC-SHA256 in base64."""
    signed = hmac.new(key, b".".join([message.encode(), timestamp.encode(), body]), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


class Command:
    """A program of this machine, which reads the message from its standard input."""

    def __init__(self, line: str, *, settings: Settings) -> None:
        self._words = shlex.split(line)
        self._timeout_s = settings.alerts.timeout_s

    def __call__(self, message: Message) -> None:
        """Call it. Raises TargetDown."""
        named = {"POLYGLANCE_ALERT_MESSAGE": message.id, "POLYGLANCE_ALERT_QUESTION": message.alert.question}
        try:
            done = subprocess.run(
                self._words,
                input=message.line(),
                capture_output=True,
                timeout=self._timeout_s,
                env={**os.environ, **named},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TargetDown(f"{self._words[0]} did not end within {self._timeout_s:g} s") from error
        except OSError as error:
            raise TargetDown(f"{self._words[0]} cannot be called: {error}") from error
        if done.returncode:
            said = printable(done.stderr.decode(errors="replace").strip()[-OUTPUT:])
            raise TargetDown(f"{self._words[0]} ended with {done.returncode}: {said or 'it said nothing'}")


def _named(variable: str) -> str:
    """The address that a variable of the environment holds."""
    try:
        return str(parse_url(os.environ[variable]))
    except KeyError as error:
        raise TargetDown(f"{variable}, which holds the webhook's address, is not set on this machine") from error
    except CannotFetch as error:
        raise TargetDown(f"{variable} holds no address of a webhook") from error


def open_target(target: str, *, alert: Alert, settings: Settings, ledger: Ledger, opened: ExitStack) -> Target:
    """The target of an alert by its name, for as long as ``opened`` lasts.

    Raises TargetDown where this machine may not tell it.
    """
    kind, _, rest = target.partition(":")
    if kind == "webhook":
        if rest.startswith("env:"):
            rest = _named(rest.removeprefix("env:"))
        webhook = opened.enter_context(closing(Webhook(rest, settings=settings, guarded=alert.guarded)))
        return Each(target, webhook, ledger=ledger)
    if not (settings.alerts.local or capabilities_of(settings.qdrant).in_process):
        raise TargetDown(
            f"{kind}: is told on this machine only with alerts.local = true, because whoever writes into the "
            "collection on the server names the file or the command"
        )
    match kind:
        case "command":
            return Each(target, Command(rest, settings=settings), ledger=ledger)
        case "file":
            return LinesFile(rest, ledger=ledger)
        case "rss":
            return Feed(rest, ledger=ledger)
    raise TargetDown(f"{kind_of(target)}: another version of polyglance knows what that is")
