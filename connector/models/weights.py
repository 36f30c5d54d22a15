"""Finding a model's folder: a local one, or one the Hugging Face hub's cache holds or can download.

The rule: what cannot be had is known within seconds and said in one ModelError. The hub client alone retries for
minutes, so a short probe goes first. Errors of the hub client are translated here. Imports no torch.
"""

import hashlib
import json
import logging
import re
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import HfApi, constants, is_offline_mode, snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # whichever HTTP library this hub client has

from connector.errors import ModelError
from connector.settings_sources import variable_of

log = logging.getLogger(__name__)

Half = Literal["image", "text"]
"""Which tower a model is wanted for; also names the setting: model.image_model, model.text_model."""

PROBE_TIMEOUT_S = 5.0
"""How long the hub may take to say that it knows a model."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_UNUSED_FILES = ("onnx/*", "openvino/*", "*.onnx", "*.h5", "*.ot", "*.msgpack", "*.md", ".gitattributes")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def find_model(name: str, *, half: Half) -> Path:
    """The folder of a model: ``name`` itself where it is a folder, else the hub's copy, downloaded where need be.

    The folder is checked for what every sentence-transformers model has. Raises ModelError that says what is missing,
    where it was looked for, and how to get it.
    """
    folder = Path(name).expanduser()
    if folder.exists() or not _HUB_NAME.fullmatch(name):
        return _check_folder(folder, half=half)
    return _cached(name, half=half) or _check_folder(_download(name, half=half), half=half)


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
        raise ModelError(f"the {half} model {folder} {kind}. {_ways_out(half, name=None)}")
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
    try:
        folder = Path(snapshot_download(name, local_files_only=True, allow_patterns=["modules.json"]))
        return _check_folder(folder, half=half)
    except (LocalEntryNotFoundError, HFValidationError, ModelError):
        return None


def _download(name: str, *, half: Half) -> Path:
    if is_offline_mode():
        raise ModelError(_missing(name, half=half, reason="the hub was not asked, because HF_HUB_OFFLINE is set"))
    try:
        HfApi().model_info(name, timeout=PROBE_TIMEOUT_S)
        log.info("downloading %s from %s", name, constants.ENDPOINT)
        folder = Path(snapshot_download(name, ignore_patterns=[*_UNUSED_FILES, "*.bin"]))
        if not all(weight_files(module) for module in module_folders(folder)[:1]):  # an old model: pickles only
            folder = Path(snapshot_download(name, ignore_patterns=[*_UNUSED_FILES]))
    except RepositoryNotFoundError as error:
        raise ModelError(
            _missing(name, half=half, reason="the hub knows no such model, or keeps it private")
        ) from error
    except (httpx.HTTPError, OSError, ValueError) as error:
        reason = f"the hub gave no answer ({type(error).__name__}: {error})"
        raise ModelError(_missing(name, half=half, reason=reason)) from error
    return folder


def _missing(name: str, *, half: Half, reason: str) -> str:
    return (
        f"the {half} model {name} is not on this machine. Looked in the hub's cache {constants.HF_HUB_CACHE} "
        f"and for the hub's {constants.ENDPOINT}/{name}: {reason}. {_ways_out(half, name=name)}"
    )


def _ways_out(half: Half, *, name: str | None) -> str:
    fetch = f"Where there is a network, run `hf download {name}`; or set" if name else "Set"
    variable = variable_of(f"model.{half}_model")
    return f"{fetch} {variable}=/path/to/folder to use a copy; or use --space mini, which is bundled and works without."
