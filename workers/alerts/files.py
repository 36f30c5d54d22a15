"""Files that alerts are told in: JSON lines, and an RSS feed. Each holds a message once, whatever is killed when.

The rule: a file is its own proof. What is in it counts as told, also where a kill, or another machine that shares it,
left the ledger without a word of it; half a line is taken back.
"""

import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring
from filelock import FileLock, Timeout

from connector.files import replacing, write_synced
from workers.alerts.ledger import Ledger
from workers.alerts.message import Message, TargetDown

FEED_ITEMS = 100
"""Images of an RSS feed: the latest that were told of."""
NOTED = 1_000
"""Messages that are noted at a time."""
LOCKED_S = 10.0
"""Seconds to wait for another process that writes the same file."""


class LinesFile:
    """A file that a line of JSON is added to for each message."""

    def __init__(self, path: str, *, ledger: Ledger) -> None:
        self._path = Path(path)
        self._name = f"file:{path}"
        self._ledger = ledger

    def tell(self, messages: Sequence[Message]) -> Iterator[Sequence[str]]:
        """Add what is not in the file. Raises TargetDown."""
        with _alone_with(self._path):
            self._account()
            known = self._ledger.sent(self._name, [each.id for each in messages])
            new = [each for each in messages if each.id not in known]
            if new:
                with self._path.open("ab") as file:
                    file.write(b"".join(each.line() for each in new))
                    file.flush()
                    os.fsync(file.fileno())
                    self._ledger.note(self._name, [each.id for each in new], file=(str(self._path), file.tell()))
        yield [each.id for each in messages]

    def _account(self) -> None:
        """Note the messages that were written and not noted, by a process that was killed or on another machine."""
        with self._path.open("a+b") as file:
            size, known = file.seek(0, os.SEEK_END), self._ledger.accounted(str(self._path))
            if size == known:
                return
            file.seek(known if known < size else 0)
            whole = file.tell()
            ids: list[str] = []
            for line in file:
                if not line.endswith(b"\n"):  # half a line, of a process that was killed
                    file.truncate(whole)
                    break
                whole += len(line)
                ids += _id_in(line)
                if len(ids) >= NOTED:
                    self._ledger.note(self._name, ids)
                    ids = []
            self._ledger.note(self._name, ids, file=(str(self._path), whole))


def _id_in(line: bytes) -> list[str]:
    try:
        return [str(json.loads(line)["data"]["id"])]
    except (ValueError, TypeError, KeyError):  # a line of somebody else
        return []


class Feed:
    """An RSS 2.0 file with the latest images that were told of, replaced as a whole."""

    def __init__(self, path: str, *, ledger: Ledger) -> None:
        self._path = Path(path)
        self._name = f"rss:{path}"
        self._ledger = ledger

    def tell(self, messages: Sequence[Message]) -> Iterator[Sequence[str]]:
        """Put what it did not have yet on top. Raises TargetDown."""
        with _alone_with(self._path):
            items = self._items()
            known = self._ledger.sent(self._name, [each.id for each in messages])
            known |= {each.findtext("guid") or "" for each in items}
            new = [each for each in messages if each.id not in known]
            if new:
                self._write([*map(_item, reversed(new)), *items][:FEED_ITEMS])
            self._ledger.note(self._name, [each.id for each in messages])
        yield [each.id for each in messages]

    def _items(self) -> list[ET.Element]:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return []
        try:
            return fromstring(data, forbid_dtd=True).findall("channel/item")
        except (ET.ParseError, DefusedXmlException) as error:
            raise TargetDown(f"{self._path} is no RSS feed: {error}; name another file, or move it away") from error

    def _write(self, items: Sequence[ET.Element]) -> None:
        rss = ET.Element("rss", {"version": "2.0"})
        channel = ET.SubElement(rss, "channel")
        for name, text in (("title", "polyglance"), ("link", self._path.as_uri()), ("description", "New images")):
            ET.SubElement(channel, name).text = text
        channel.extend(items)
        with replacing(self._path) as draft:
            write_synced(draft, ET.tostring(rss, encoding="utf-8", xml_declaration=True))
            draft.chmod(self._path.stat().st_mode & 0o777 if self._path.exists() else 0o644)


def _item(message: Message) -> ET.Element:
    item = ET.Element("item")
    uri = str(message.payload.get("uri", ""))
    said = {
        "title": f"{message.alert.question}: {message.payload.get('filename', message.point)}",
        "link": uri,
        "guid": message.id,
        "pubDate": format_datetime(_moment(message.found_at)),
        "description": str(message.payload.get("title") or message.payload.get("description") or uri),
    }
    for name, text in said.items():
        each = ET.SubElement(item, name, {"isPermaLink": "false"} if name == "guid" else {})
        each.text = _xml_text(text)
    return item


def _xml_text(text: str) -> str:
    """A text without what XML cannot say."""
    return "".join(letter for letter in text if letter in "\t\n\r" or letter >= " ").encode(errors="replace").decode()


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@contextmanager
def _alone_with(path: Path) -> Iterator[None]:
    """Keep other processes that tell in this file out, and translate what the disk says."""
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCKED_S):
            yield
    except Timeout as error:
        raise TargetDown(f"{path} is written by another process") from error
    except OSError as error:
        raise TargetDown(f"{path} cannot be written: {error.strerror or error}") from error
