"""Finding a model's folder: a local one, or one the Hugging Face hub's cache holds or can download.

The rule: what is on this machine is found by its files alone; torch and the hub's client, which take seconds to
import, are for loading and for downloading (``connector.models.hub``).
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import constants

from connector.errors import ModelError
from connector.settings_sources import variable_of

Half = Literal["image", "text"]
"""Which tower a model is wanted for; also names the setting: model.image_model, model.text_model."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def find_model(name: str, *, half: Half) -> Path:
    """The folder of a model: ``name`` itself where it is a folder, else the hub's copy, downloaded where need be.

    The folder is checked for what every sentence-transformers model has. Raises ModelError that says what is missing,
    where it was looked for, and how to get it.
    """
    folder = Path(name).expanduser()
    if folder.exists() or not _HUB_NAME.fullmatch(name):
        return _check_folder(folder, half=half)
    if (found := _cached(name, half=half)) is not None:
        return found
    from connector.models.hub import download

    return _check_folder(download(name, half=half), half=half)


def is_present(name: str, *, half: Half) -> bool:
    """Whether ``find_model`` would find it without a network."""
    folder = Path(name).expanduser()
    if not folder.exists() and _HUB_NAME.fullmatch(name):
        return _cached(name, half=half) is not None
    try:
        return _check_folder(folder, half=half) == folder
    except ModelError:
        return False


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


def _check_folder(folder: Path, *, half: Half) -> Path:
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.exists() else "does not exist"
        raise ModelError(f"the {half} model {folder} {kind}. {ways_out(half, name=None)}")
    first, *_ = [*module_folders(folder), folder]
    for wanted in (first, first / "config.json"):
        if not wanted.exists():
            raise ModelError(f"the {half} model in {folder} is incomplete: {wanted} is missing. Fetch it again.")
    if not weight_files(first):
        raise ModelError(
            f"the {half} model in {folder} is incomplete: {first} has no weights "
            f"(model.safetensors or pytorch_model.bin). Fetch it again."
        )
    return folder


def _cached(name: str, *, half: Half) -> Path | None:
    """The hub cache's copy where it is whole; a half-finished download counts as none."""
    kept = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    try:
        commit = (kept / "refs" / "main").read_text(encoding="ascii").strip()
        return _check_folder(kept / "snapshots" / commit, half=half)
    except (OSError, ValueError, ModelError):
        return None


def ways_out(half: Half, *, name: str | None) -> str:
    """What a user can do where a model is not there; ``name`` is what the hub calls it."""
    fetch = f"Where there is a network, run `hf download {name}`; or set" if name else "Set"
    variable = variable_of(f"model.{half}_model")
    return f"{fetch} {variable}=/path/to/folder to use a copy; or use --space mini, which is bundled and works without."
