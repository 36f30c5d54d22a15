"""Images and sidecars that stream by in any order, held until what belongs together has met.

The rule: memory is bounded. Above ``MEMBERS`` or ``BYTES`` the older half of the images goes on with what has come by;
a sidecar that found no image is counted, and the first is named in the log.
"""

import logging
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from workers.sources.passed_over import LONE_SIDECAR, PassedOver
from workers.sources.sidecars import Beside, BrokenSidecar, Sidecars, kind_of
from workers.sources.source import readable

log = logging.getLogger(__name__)

MEMBERS = 16_384
"""Images and sidecars held at once."""
BYTES = 32 * 1024 * 1024
"""Bytes of sidecars held at once."""

T = TypeVar("T")


class SidecarWindow(Generic[T]):
    """What of one archive is held: images, each a ``T`` by its name, and sidecars by theirs."""

    def __init__(self, archive: str, *, passed_over: PassedOver) -> None:
        self._archive = archive
        self._passed_over = passed_over
        self._images: deque[tuple[bytes, T]] = deque()
        self._sidecars: dict[bytes, bytes] = {}
        self._bytes = 0
        self._beside = Beside()
        self._matched: set[bytes] = set()
        self._lone: list[bytes] = []
        self._broken: dict[str, str] = {}

    @property
    def full(self) -> bool:
        """Whether the older half has to go."""
        return len(self._images) + len(self._sidecars) > MEMBERS or self._bytes > BYTES

    def add_image(self, name: bytes, image: T) -> None:
        """Hold an image."""
        self._images.append((name, image))
        self._beside.add_image(name)

    def add_sidecar(self, name: bytes, text: bytes) -> None:
        """Hold a sidecar; of two with one name the last one counts."""
        if name in self._sidecars:
            self._drop_sidecar(name)
        self._sidecars[name] = text
        self._bytes += len(text)
        self._beside.add_sidecar(name)

    def older_half(self) -> Iterator[tuple[T, Sidecars]]:
        """The images that came first, with what their sidecars say; sidecars that came long ago are forgotten."""
        yield from self._give(len(self._images) // 2 + 1)
        for name in [*self._sidecars][: len(self._sidecars) // 4 + 1]:
            if name not in self._matched:
                self._lone.append(name)
                self._passed_over.note_kind(LONE_SIDECAR)
            self._matched.discard(name)
            self._drop_sidecar(name)

    def rest(self) -> Iterator[tuple[T, Sidecars]]:
        """All images that are left; then what found no image is counted and said."""
        yield from self._give(len(self._images))
        for name in self._sidecars.keys() - self._matched:
            self._passed_over.note_kind(LONE_SIDECAR)
            self._lone.append(name)
        if self._lone:
            first = readable(min(self._lone))
            log.warning("sidecars_without_image tar=%s count=%d first=%s", self._archive, len(self._lone), first)
        if self._broken:
            broken, why = next(iter(self._broken.items()))
            count = len(self._broken)
            log.warning("sidecars_ignored tar=%s count=%d first=%s detail=%s", self._archive, count, broken, why)

    def _give(self, count: int) -> Iterator[tuple[T, Sidecars]]:
        given = [self._images.popleft() for _ in range(min(count, len(self._images)))]
        for name, image in given:
            yield image, self._read(name)
        for name, _ in given:
            self._beside.drop_image(name)

    def _read(self, image: bytes) -> Sidecars:
        """What an image's sidecars say; what cannot be used is noted."""
        found = Sidecars()
        for name in self._beside.belonging_to(image):
            self._matched.add(name)
            try:
                found.add(self._sidecars[name], kind=kind_of(name) or ".txt")
            except BrokenSidecar as error:
                self._broken[readable(name)] = str(error)
        return found

    def _drop_sidecar(self, name: bytes) -> None:
        self._bytes -= len(self._sidecars.pop(name))
        self._beside.drop_sidecar(name)
