"""TextEncoder: the text towers of one space, loaded when first wanted, and the vectors they gave last.

The rule: a vector is remembered by its tower and its text, so that nothing is embedded twice while it is remembered.
"""

import threading
from collections.abc import Callable, Sequence
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


class TextEncoder:
    """The towers and their vectors. Safe to use from many threads; one text tower serves one of them at a time."""

    def __init__(self, settings: ModelSettings, *, load: "Callable[[str], TextTower] | None" = None) -> None:
        self._settings = settings
        self._load = load or self._from_weights
        self._space = find_space(settings.space)
        self._loading = threading.Lock()
        self._embedding = threading.Lock()
        self._remembering = threading.Lock()
        self._towers: dict[str, TextTower] = {}
        self._choices: dict[str, str] = {}
        self._vectors: LRUCache[tuple[str, str], Vector] = LRUCache(maxsize=REMEMBERED)

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
            loaded = self._tower(tower)
            with self._embedding:
                vectors = loaded.embed(new)
            made = dict(zip(new, vectors, strict=True))
            known |= made
            with self._remembering:
                self._vectors.update({(tower, text): vector.copy() for text, vector in made.items()})
        return np.stack([known[text] for text in texts]) if texts else np.empty((0, self._space.dims), np.float32)

    def _tower(self, name: str) -> "TextTower":
        with self._loading:
            if name not in self._towers:
                self._towers[name] = self._load(name)
            return self._towers[name]

    def _from_weights(self, name: str) -> "TextTower":
        from connector.models.text_tower import TextTower

        return TextTower.load(self._settings, tower=name)

    def _is_present(self, tower: str) -> bool:
        from connector.models.text_tower import is_tower_present

        return is_tower_present(self._settings, space=self._space, tower=tower)
