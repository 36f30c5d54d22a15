"""Bring the words of a collection to what the settings say: of one that has none, or whose weights are others.

The rule: everything comes from the payloads that are stored, no image is read and nothing embedded. It may be stopped
and begun again at any time: what has its words already is compared, and not written.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from connector.store.engine import Engine
from connector.store.schema import Words

PAGE = 256
"""Points whose words are computed at a time."""


@dataclass(frozen=True, slots=True)
class WordsAdded:
    """What was done: of ``points`` that were looked at, ``changed`` had other words or none."""

    points: int
    changed: int


def add_words(engine: Engine, words: Words, *, on_progress: Callable[[int], None] = lambda _: None) -> WordsAdded:
    """Compute the words of every point anew, by ``words``; ``on_progress`` is called with the number of points done.

    Meanwhile others search and ingest: what they write has its words from the beginning. Raises CollectionMissing.
    """
    if engine.info().schema.words != words:
        engine.set_words(replace(words, complete=False))
    points = changed = 0
    start: str | None = None
    while True:
        page = engine.scroll(limit=PAGE, start=start, fields=[])
        changed += engine.index_words([point.id for point in page.points]) if page.points else 0
        points += len(page.points)
        on_progress(points)
        if page.next is None:
            break
        start = page.next
    engine.set_words(words)
    return WordsAdded(points=points, changed=changed)
