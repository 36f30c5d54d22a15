"""TextEncoder: the text towers of one space, loaded when first wanted, and the vectors they gave last.

The rule: a vector is remembered by its tower and its text, so that nothing is embedded twice while it is remembered;
and whoever has many texts takes turns with the others, a small batch each, in the order in which they came.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from cachetools import LRUCache

from connector.models.catalog import BEST_TOWERS, find_space
from connector.records import Vector, Vectors
from connector.search.options import check_language
from connector.settings import ModelSettings

if TYPE_CHECKING:
    from connector.models.text_tower import TextTower

REMEMBERED = 4_096
"""Vectors that are remembered: some 10 MB at 512 dims."""
TURN_TEXTS, TURN_LETTERS = 64, 4_096
"""What is embedded in one turn at most: a question waits for no more, and so many keep a processor busy."""
READ = 512
"""Letters of one text that count: the towers cut off what is longer than some 128 word pieces."""


def _shared_out(texts: Sequence[str]) -> Iterator[list[str]]:
    """Texts turn by turn, each padded to its longest; like lengths go together, since they pad one another least."""
    some: list[str] = []
    for text in sorted(texts, key=len):
        if some and (len(some) == TURN_TEXTS or (len(some) + 1) * min(len(text), READ) > TURN_LETTERS):
            yield some
            some = []
        some.append(text)
    if some:
        yield some


class Turns:
    """A lock that is handed on in the order in which it was asked for: who lets go and asks again comes last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._taken = False

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn and have it within the block."""
        with self._lock:
            mine = threading.Event() if self._taken else None
            self._taken = True
            if mine is not None:
                self._waiting.append(mine)
        if mine is not None:
            self._wait(mine)
        try:
            yield
        finally:
            self._hand_on()

    def _wait(self, mine: threading.Event) -> None:
        try:
            mine.wait()
        except BaseException:  # Ctrl-C: the turn that may have come meanwhile is the next one's
            with self._lock:
                waiting = mine in self._waiting
                if waiting:
                    self._waiting.remove(mine)
            if not waiting:
                self._hand_on()
            raise

    def _hand_on(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False


class TextEncoder:
    """The towers and their vectors. Safe to use from many threads; one text tower serves one of them at a time."""

    def __init__(self, settings: ModelSettings, *, load: "Callable[[str], TextTower] | None" = None) -> None:
        self._settings = settings
        self._load = load  # never a method of its own: a cycle would keep the towers until the garbage is collected
        self._space = find_space(settings.space)
        self._loading = threading.Lock()
        self.turns = Turns()
        self._remembering = threading.Lock()
        self._towers: dict[str, TextTower] = {}
        self._choices: dict[str, str] = {}
        self._vectors: LRUCache[tuple[str, str], Vector] = LRUCache(maxsize=REMEMBERED)

    @property
    def is_loaded(self) -> bool:
        """Whether any tower is."""
        return bool(self._towers)

    def tower_for(self, language: str | None) -> str:
        """The name of the tower for a language tag such as ``en`` or ``zh-TW``; None means that it is not known.

        The one that knows the language best where its weights are on this machine, else the one of the settings.
        Raises InvalidQuery for what is no tag.
        """
        if language is None:
            return self._settings.text_tower
        check_language(language)
        best = BEST_TOWERS.get(language.split("-")[0].lower())
        if best is None:
            return self._settings.text_tower
        with self._loading:
            if best not in self._choices:
                self._choices[best] = best if self._is_present(best) else self._settings.text_tower
            return self._choices[best]

    def embed(self, texts: Sequence[str], *, tower: str) -> Vectors:
        """The vectors of texts by one of the towers: (n, dims) float32, L2-normalised."""
        with self._remembering:
            known = {text: vector for text in texts if (vector := self._vectors.get((tower, text))) is not None}
        new = [*dict.fromkeys(text for text in texts if text not in known)]
        if new:
            made = self._made(new, tower=self._tower(tower))
            known |= made
            with self._remembering:
                self._vectors.update({(tower, text): vector.copy() for text, vector in made.items()})
        return np.stack([known[text] for text in texts]) if texts else np.empty((0, self._space.dims), np.float32)

    def _made(self, texts: Sequence[str], *, tower: "TextTower") -> dict[str, Vector]:
        made: dict[str, Vector] = {}
        for some in _shared_out(texts):
            with self.turns.turn():
                made.update(zip(some, tower.embed(some), strict=True))
        return made

    def _tower(self, name: str) -> "TextTower":
        with self._loading:
            if name not in self._towers:
                self._towers[name] = (self._load or self._from_weights)(name)
            return self._towers[name]

    def _from_weights(self, name: str) -> "TextTower":
        from connector.models.text_tower import TextTower

        return TextTower.load(self._settings, tower=name)

    def _is_present(self, tower: str) -> bool:
        from connector.models.text_tower import is_tower_present

        return is_tower_present(self._settings, space=self._space, tower=tower)
