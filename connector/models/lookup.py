"""Finding a model: a folder, or what the Hugging Face hub's cache holds or can download.

The rule: what is on this machine is found by its files alone; torch and the hub's client, which take seconds to
import, are for loading and for downloading (``connector.models.hub``).
"""

import re
from pathlib import Path

from huggingface_hub import constants

from connector.errors import ModelError
from connector.models.declaration import ImageSpec, TextSpec
from connector.models.weights import Half, check_folder, digest, local_folder, module_folders

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def find_model(tower: ImageSpec | TextSpec) -> Path:
    """The folder of a tower's model: itself where it is a folder, else the hub's copy, downloaded where need be.

    The folder is checked for what a model of its family has. Raises ModelError that says what is missing, where it was
    looked for, and how to get it.
    """
    if not is_on_hub(tower):
        return check_folder(local_folder(tower.model), tower, half=half_of(tower))
    if (found := _cached(tower)) is not None:
        return found
    from connector.models.hub import download

    return check_folder(download(tower, half=half_of(tower)), tower, half=half_of(tower))


def is_on_hub(tower: ImageSpec | TextSpec) -> bool:
    """Whether a tower's model is one of the hub's, not a folder."""
    return not local_folder(tower.model).exists() and _HUB_NAME.fullmatch(tower.model) is not None


def is_present(tower: ImageSpec | TextSpec) -> bool:
    """Whether ``find_model`` would find it without a network."""
    try:
        if is_on_hub(tower):
            return _cached(tower) is not None
        check_folder(local_folder(tower.model), tower, half=half_of(tower))
    except ModelError:
        return False
    return True


def weights_of(tower: ImageSpec | TextSpec) -> str | None:
    """The digest of a model's weights, None where it is not on this machine; nothing is loaded or downloaded.

    Raises ModelError where its files cannot be read.
    """
    return tower_digest(find_model(tower), tower) if is_present(tower) else None


def tower_digest(folder: Path, tower: ImageSpec | TextSpec) -> str:
    """The digest of the weights in a tower's folder."""
    return digest(module_folders(folder)[0], name=tower.weights)


def half_of(tower: ImageSpec | TextSpec) -> Half:
    """Which half of a space a tower is."""
    return "image" if isinstance(tower, ImageSpec) else "text"


def snapshot(tower: ImageSpec | TextSpec) -> Path | None:
    """The folder where the hub's cache keeps a model, whole or not; None where it has none."""
    kept = Path(constants.HF_HUB_CACHE) / f"models--{tower.model.replace('/', '--')}"
    try:
        commit = tower.revision or (kept / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    folder = kept / "snapshots" / commit
    return folder if folder.is_dir() else None


def _cached(tower: ImageSpec | TextSpec) -> Path | None:
    """The hub cache's copy where it is whole; a half-finished download counts as none."""
    folder = snapshot(tower)
    try:
        return None if folder is None else check_folder(folder, tower, half=half_of(tower))
    except ModelError:
        return None
