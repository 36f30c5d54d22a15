"""Finding a model: a folder, or what the Hugging Face hub's cache holds or can download.

The rule: what is on this machine is found by its files alone; torch and the hub's client, which take seconds to
import, are for loading and for downloading (``connector.models.hub``).
"""

import re
from pathlib import Path

from huggingface_hub import constants

from connector.errors import ModelError
from connector.models.weights import Half, digest, module_folders, ways_out, weight_files

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


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


def weights_of(name: str, *, half: Half) -> str | None:
    """The digest of a model's weights, None where it is not on this machine; nothing is loaded or downloaded.

    Raises ModelError where its files cannot be read.
    """
    return digest(module_folders(find_model(name, half=half))[0]) if is_present(name, half=half) else None


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
