"""A model's folder on this machine: its modules, its weights, their digest; and what to do where there is none."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from connector.errors import ModelError
from connector.settings_sources import variable_of

Half = Literal["image", "text"]
"""Which tower a model is wanted for; also names the setting: model.image_model, model.text_model."""

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def is_mclip(folder: Path) -> bool:
    """Whether a folder holds a text model in the layout of M-CLIP, see ``connector.models.text_models``."""
    try:
        return "modelBase" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def digest(folder: Path) -> str:
    """The first 16 hex digits of the SHA-256 over a folder's weight files, in the order of their names."""
    sha = hashlib.sha256()
    for file in weight_files(folder):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()[:16]


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights of one module: safetensors where there are any, else the old pickles."""
    found: list[list[Path]] = [sorted(folder.glob(pattern)) for pattern in _WEIGHTS]
    return next((files for files in found if files), [])


def module_folders(folder: Path) -> list[Path]:
    """Where each module of a sentence-transformers model lies, in the order they run; M-CLIP's models are one.

    Raises ModelError where ``modules.json`` is missing or cannot be read.
    """
    listing = folder / "modules.json"
    if is_mclip(folder) and not listing.exists():
        return [folder]
    try:
        modules: list[dict[str, Any]] = json.loads(listing.read_text(encoding="utf-8"))
        return [folder / module["path"] for module in modules]
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder} is not a sentence-transformers model: it has no modules.json. Name the folder that holds it."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{listing} cannot be read: {error}. Fetch the model again.") from error


def ways_out(half: Half, *, name: str | None) -> str:
    """What a user can do where a model is not there; ``name`` is what the hub calls it."""
    fetch = f"Where there is a network, run `hf download {name}`; or set" if name else "Set"
    variable = variable_of(f"model.{half}_model")
    return f"{fetch} {variable}=/path/to/folder to use a copy; or use --space mini, which is bundled and works without."
