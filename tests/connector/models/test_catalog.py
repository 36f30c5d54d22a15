import dataclasses

import pytest

from connector.errors import ConfigError
from connector.models.catalog import SPACES, find_space
from connector.settings import ModelSettings


def test_the_default_space_is_known() -> None:
    space = find_space(ModelSettings().space)

    assert (space.name, space.dims, space.image_size) == ("clip-vit-b-32", 512, 224)
    assert ModelSettings().text_tower in space.text_models


def test_an_unknown_space_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="unknown space 'maxi'; known: clip-vit-b-32, mini"):
        find_space("maxi")


@pytest.mark.parametrize("name", SPACES)
def test_every_space_is_whole(name: str) -> None:
    space = find_space(name)

    assert space.name == name
    assert space.dims > 0
    assert space.image_size > 0
    assert "multilingual" in space.text_models
    assert space.languages
    assert space.licence
    assert all(0 < value < 1 for value in (*space.mean, *space.std))


def test_the_catalogue_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        SPACES["mine"] = find_space("mini")  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        find_space("mini").dims = 7  # type: ignore[misc]
