"""TextStage: from the bytes of an image to what its payload says of the text in it.

The rule: an image is never lost for its text. What cannot be read is counted by its reason, stored without text, and
read by the next ``polyglance ocr``.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import numpy as np
from PIL import Image

from connector.errors import ModelError, UnreadableImage
from connector.images.decode import upright
from connector.ocr_settings import OcrSettings
from connector.process import usable_cores
from connector.records import OCR_FIELDS, Pixels
from workers.ocr.process import ReaderProcess, Unread
from workers.ocr.reader import Line, check_reader

log = logging.getLogger(__name__)

MOST_PROCESSES = 4
"""Processes that read where the settings leave it open: each takes some 400 MiB."""
GIVEN_UP = 3
"""Images in a row that no answer came for, after which a stage reads no more: the reader hangs."""
SIDES = 50
"""Width over height, or the reverse, above which an image is not read: it would be a line of dots."""

Outcome: TypeAlias = Literal["text", "no_text", "no_document", "known"]
"""What became of an image that was looked at: there is text; there is none; the quick look told no document; what the
collection knew of it was kept."""
OUTCOMES: tuple[Outcome, ...] = ("text", "no_text", "no_document", "known")
UNREAD = ("not_loaded", "timeout", "crashed", "failed", "undecodable", "given_up")
"""Why an image was stored without being read; ``polyglance ocr`` tries it again."""

Fields: TypeAlias = Mapping[str, Any]
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def _now() -> datetime:
    return datetime.now(UTC)


class TextStage:
    """Reads images in several threads, each with a process of its own. Safe to use from them."""

    def __init__(
        self, settings: OcrSettings, *, max_pixels: int, only_documents: bool, clock: Callable[[], datetime] = _now
    ) -> None:
        """Raises ConfigError and ModelError where the reader is not there."""
        self.model = check_reader(settings)
        self.threads = settings.processes or min(MOST_PROCESSES, usable_cores())
        self._settings = settings
        self._max_pixels = max_pixels
        self._clock = clock
        self._only_documents = only_documents
        self._lock = threading.Lock()
        self._in_a_row = 0

    @contextmanager
    def reading(self) -> Iterator[ReaderProcess]:
        """A process for one thread, for as long as the block runs."""
        process = ReaderProcess(self._settings)
        try:
            yield process
        finally:
            process.close()

    def known(self, payload: Fields) -> Fields | None:
        """What a payload knows of the text already, by this very reader; None where the image is to be read."""
        found = payload.get("ocr")
        if not isinstance(found, Mapping) or self._read_by() != {name: found.get(name) for name in ("reader", "model")}:
            return None
        if found.get("skipped") and not self._only_documents:
            return None
        return {name: payload[name] for name in OCR_FIELDS if name in payload}

    def of(self, data: bytes, *, known: Fields, process: ReaderProcess) -> tuple[str, Fields]:
        """What became of an image (``OUTCOMES`` or ``UNREAD``), and the fields for its payload; none where unread.

        ``known`` is what the collection holds of these very bytes. Raises nothing.
        """
        if (kept := self.known(known)) is not None:
            return "known", kept
        try:
            return self.read(data, process=process)
        except Unread as unread:
            log.warning("text_unread reason=%s %s", unread.reason, unread)
            return unread.reason, {}

    def read(self, data: bytes, *, process: ReaderProcess) -> tuple[Outcome, Fields]:
        """What became of an image, and the fields for its payload. Raises Unread."""
        if self._in_a_row >= GIVEN_UP:
            raise Unread("given_up", f"no answer came for {GIVEN_UP} images in a row")
        pixels = self.pixels(data)
        try:
            process.start()
            found = self._looked_at(pixels, process)
        except ModelError as error:
            self._note(answered=False)
            raise Unread("not_loaded", str(error)) from error
        except Unread as unread:
            self._note(answered=unread.reason == "failed")
            raise
        self._note(answered=True)
        return found

    def _looked_at(self, pixels: Pixels, process: ReaderProcess) -> tuple[Outcome, Fields]:
        how = {**self._read_by(), "read_at": self._clock().isoformat()}
        if self._only_documents and not process.is_document(pixels):
            return "no_document", {"ocr": {**how, "skipped": "no_document"}}
        text, said = self._text(process.read(pixels))
        return ("text", {"ocr_text": text, "ocr": {**how, **said}}) if text else ("no_text", {"ocr": {**how, **said}})

    def _text(self, lines: Sequence[Line]) -> tuple[str, dict[str, Any]]:
        kept = [Line(text, line.confidence) for line in lines if (text := _CONTROL.sub("", line.text).strip())]
        kept = [line for line in kept if line.confidence >= self._settings.least_confidence]
        whole = "\n".join(line.text for line in kept)
        said: dict[str, Any] = {"lines": len(kept)}
        if kept:
            said["confidence"] = round(sum(line.confidence for line in kept) / len(kept), 3)
        if len(whole) > self._settings.max_chars:
            said["cut"] = True
        return whole[: self._settings.max_chars], said

    def pixels(self, data: bytes) -> Pixels:
        """(h, w, 3) uint8 RGB, upright, no larger than ``ocr.max_side``."""
        most = self._settings.max_side
        try:
            image = upright(data, size=most // 2, max_pixels=self._max_pixels)
        except UnreadableImage as error:
            raise Unread("undecodable", str(error)) from error
        if max(image.size) > SIDES * min(image.size):
            raise Unread("undecodable", f"{image.width}x{image.height} is too narrow to hold text")
        if (factor := most / max(image.size)) < 1:
            size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
            image = image.resize(size, Image.Resampling.LANCZOS)
        return np.asarray(image.convert("RGB"))

    def _read_by(self) -> dict[str, str]:
        return {"reader": self._settings.reader, "model": self.model}

    def _note(self, *, answered: bool) -> None:
        with self._lock:
            self._in_a_row = 0 if answered else self._in_a_row + 1
