"""The embedding spaces: those that polyglance brings, a TOML file each in `spaces`, and those of the user's files."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from connector.errors import ConfigError
from connector.models.declaration import ImageSpec, Space, TextSpec, read_space
from connector.models.weights import is_mclip, local_folder
from connector.settings import ModelSettings
from connector.store.schema import Fingerprint

SPACES = Path(__file__).parent / "spaces"
BEST_TOWERS: Mapping[str, str] = MappingProxyType({"en": "english"})
"""The text tower to prefer where the language is known, in spaces that have it: CLIP's own was trained on English."""


@cache
def space_names() -> tuple[str, ...]:
    """The names of the spaces that polyglance brings."""
    return tuple(sorted(file.stem for file in SPACES.glob("*.toml")))


def find_space(name: str) -> Space:
    """The space of a name, or the one that a file ``*.toml`` declares.

    Raises ConfigError that lists the known ones, or says what is wrong with the file.
    """
    if not name.endswith(".toml"):
        return _brought(name)
    space = read_space(_file(name))
    if space.name in space_names():
        raise ConfigError(f"{name}: {space.name} is a space that polyglance brings; give the file another name.")
    return space


def _file(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError as error:  # ~somebody of whom this machine knows nothing
        raise ConfigError(f"{name} cannot be read: {error}") from error


@cache
def _brought(name: str) -> Space:
    if name not in space_names():
        if (folder := _file(name)).is_dir():
            raise ConfigError(
                f"{name} is a folder; a space is declared by a file beside it, such as "
                f"{folder.name or 'my-space'}.toml with model = the folder (docs/spaces.md)."
            )
        known = ", ".join(space_names())
        raise ConfigError(f"unknown space {name!r}; known: {known}; or give a file, such as ./my-space.toml.")
    return read_space(SPACES / f"{name}.toml")


def image_tower_of(model: ModelSettings, *, space: Space) -> ImageSpec:
    """The image tower of a space, with ``model.image_model`` in place of its model where that is set."""
    return space.image if model.image_model is None else _moved(space.image, model.image_model)


def text_tower_of(model: ModelSettings, *, space: Space, name: str | None = None) -> TextSpec:
    """A text tower, by default that of ``model.text_tower``. Raises ConfigError for one that the space does not have.

    Where no tower was set and the space has none that is called multilingual, its first one speaks.
    ``model.text_model`` stands in for the model of the tower that the settings name; ``model.image_model`` for one that
    is the text half of the image model.
    """
    name = name or model.text_tower
    tower = space.text.get(name)
    if tower is None and name == model.text_tower and "text_tower" not in model.model_fields_set:
        tower = next(iter(space.text.values()))  # nobody asked for multilingual by name
    if model.text_model is not None and name == model.text_tower:
        return _moved(tower or TextSpec(family="sentence-transformers", model="."), model.text_model)
    if tower is None:
        raise ConfigError(f"space {space.name} has no text tower {name!r}; it has: {', '.join(space.text)}.")
    if model.image_model is not None and tower.model == space.image.model:
        return _moved(tower, model.image_model)
    return tower


def fingerprint_of(space: Space) -> Fingerprint:
    """What a collection of this space remembers, but for the weights."""
    return Fingerprint(
        space=space.name, dims=space.dims, image_size=space.image_size, preparation=space.image.preparation
    )


T = TypeVar("T", ImageSpec, TextSpec)


def _moved(tower: T, model: str) -> T:
    """The same tower by another model's files: those that were declared prove nothing of them."""
    moved = tower.model_copy(update={"model": model, "revision": None, "sha256": None})
    if isinstance(moved, TextSpec) and moved.family == "sentence-transformers" and is_mclip(local_folder(model)):
        return find_space("clip-vit-b-32").text["xlm-roberta-large"].model_copy(update={"model": model})
    return moved
