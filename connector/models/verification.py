"""Spaces whose declaration nobody could hold against the model's files: refused until `polyglance space check` has.

The rule: the check loads both towers as declared, which compares every tensor's name and shape, and then has the text
tower find six drawn cards by their captions: a wrong pooling or preparation loads all the same, and finds nothing.
"""

import hashlib

import numpy as np

from connector.errors import ModelError
from connector.models.declaration import Space
from connector.models.user_notes import note, noted
from connector.records import Pixels, Vectors

CHECKED = "checked-spaces.json"

CARDS = (
    "a red circle",
    "a blue square",
    "a green triangle",
    "a black and white checkerboard",
    "a yellow star",
    "a completely black image",
)
"""What the cards show, in the order of ``draw_cards``."""
LEAST = 5
"""Cards that must be found first; at random five of six are, once in a thousand times."""


def check_verified(space: Space) -> None:
    """Raise ModelError where a space's declaration could not be verified and was not checked here."""
    if space.unverified is not None and _key(space) not in noted(CHECKED):
        raise ModelError(
            f"the declaration of space {space.name} could not be verified: {space.unverified}. "
            f"`polyglance space check {space.given}` holds it against the model's files, once these are here "
            f"(`polyglance space pull {space.given}`)."
        )


def verify(space: Space, *, cards: Vectors, captions: Vectors) -> None:
    """Note that a space's towers find what they read, by their vectors. Raises ModelError where they do not.

    ``cards`` is of ``draw_cards``, ``captions`` of ``CARDS``: (6, dims) each, L2-normalised.
    """
    found = cards_found(cards=cards, captions=captions)
    if found < LEAST:
        raise ModelError(
            f"the towers of space {space.name} load as declared, but find only {found} of {len(CARDS)} drawn cards by "
            f"their captions, {LEAST} are wanted: {space.unverified or 'something in its declaration'} may be wrong."
        )
    note(CHECKED, _key(space))


def cards_found(*, cards: Vectors, captions: Vectors) -> int:
    """How many of the captions have their own card nearest."""
    return int(((captions @ cards.T).argmax(axis=1) == np.arange(len(CARDS))).sum())


def draw_cards(size: int) -> Pixels:
    """The cards: (6, size, size, 3) uint8, a shape in the middle of a white ground."""
    y, x = (np.indices((size, size)) + 0.5) / size * 2 - 1  # from -1 to 1, y downwards
    radius, angle = np.hypot(x, y), np.arctan2(x, -y)
    spike = np.abs((angle / (2 * np.pi) * 5 + 0.5) % 1 - 0.5) * 2  # 0 at a star's points, 1 between them
    cells = (np.floor((x + 1) * 4) + np.floor((y + 1) * 4)) % 2 == 0
    drawn = (
        (radius < 0.6, (220, 20, 30)),
        ((np.abs(x) < 0.55) & (np.abs(y) < 0.55), (20, 50, 220)),
        ((y < 0.55) & (np.abs(x) < (y + 0.7) / 2), (20, 160, 40)),
        (cells, (0, 0, 0)),
        (radius < 0.8 - 0.5 * spike**0.7, (250, 210, 20)),
        (np.ones_like(cells), (0, 0, 0)),
    )
    cards = np.full((len(drawn), size, size, 3), 255, dtype=np.uint8)
    for card, (inside, colour) in zip(cards, drawn, strict=True):
        card[inside] = colour
    return cards


def _key(space: Space) -> str:
    return f"{space.name} {hashlib.sha256(space.model_dump_json().encode()).hexdigest()}"
