"""The published weights of every space, where they are on this machine: what random-weight twins cannot show.

``POLYGLANCE_TEST_MODELS`` names a folder that holds models by their names on the hub, or the last part of them
(``siglip2-base-patch32-256``); what the hub's cache holds is found without it. ``python -m benchmarks.bench_published``
compares recall on published captions with published figures.
"""

import os
from pathlib import Path

import pytest

from connector.models.catalog import find_space, space_names
from connector.models.declaration import ImageSpec, Space, TextSpec
from connector.models.image_tower import ImageTower
from connector.models.lookup import is_present
from connector.models.text_tower import TextTower
from connector.models.verification import CARDS, cards_found, draw_cards
from connector.settings import ModelSettings

VARIABLE = "POLYGLANCE_TEST_MODELS"
SAME = (("a dog in the snow", "ein Hund im Schnee"), ("a red car", "une voiture rouge"), ("two cats", "dos gatos"))
"""What means the same, in two languages."""


def found(tower: ImageSpec | TextSpec) -> str | None:
    """Where a tower's model is: a folder of the variable's, else its name where the hub's cache has it."""
    root = os.environ.get(VARIABLE)
    for name in (tower.model, tower.model.rpartition("/")[2]) if root else ():
        if is_present(tower.model_copy(update={"model": str(Path(str(root)) / name), "revision": None})):
            return str(Path(str(root)) / name)
    return tower.model if is_present(tower) else None


def there(name: str, *, tower: str) -> tuple[Space, str, str]:
    """A space and where its image tower and one of its text towers are; skipped where they are not."""
    space = find_space(name)
    image, text = found(space.image), found(space.text[tower])
    if image is None or text is None:
        lacking = space.image.model if image is None else space.text[tower].model
        pytest.skip(f"{lacking} is not on this machine; {VARIABLE}=/path/to/folder names a folder that holds it")
    return space, image, text


PUBLISHED = [name for name in space_names() if not Path(find_space(name).image.model).is_dir()]  # nor bundled
PAIRS = [(name, tower) for name in PUBLISHED for tower in find_space(name).text]


@pytest.mark.weights
@pytest.mark.parametrize(("name", "tower"), PAIRS)
def test_published_towers_find_what_they_read(name: str, tower: str) -> None:
    space, image_model, text_model = there(name, tower=tower)
    trusted = space.model_copy(update={"unverified": None, "commercial": True})
    settings = ModelSettings(space=name, image_model=image_model, text_model=text_model, text_tower=tower)
    image, text = ImageTower.load(settings, declared=trusted), TextTower.load(settings, declared=trusted)

    drawn = image.embed(draw_cards(space.image_size))
    assert cards_found(cards=drawn, captions=text.embed(CARDS)) == len(CARDS)
    if space.text[tower].languages != "English":
        first, second = (text.embed([pair[side] for pair in SAME]) for side in (0, 1))
        cosines = first @ second.T
        assert cosines.argmax(axis=1).tolist() == list(range(len(SAME)))
