"""Downloading a model from the Hugging Face hub.

The rule: what cannot be had is known within seconds and said in one ModelError. The hub client alone retries for
minutes, so a short probe goes first. Its errors are translated here and nowhere else.
"""

import logging
from pathlib import Path

from huggingface_hub import HfApi, constants, is_offline_mode, snapshot_download
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # whichever HTTP library this hub client has

from connector.errors import ModelError
from connector.models.declaration import ImageSpec, TextSpec
from connector.models.weights import Half, module_folders, ways_out, weight_files

log = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 5.0
"""How long the hub may take to say that it knows a model."""
_UNUSED_FILES = ("onnx/*", "openvino/*", "*.onnx", "*.h5", "*.ot", "*.msgpack", "*.md", "*.py", ".gitattributes")


def download(tower: ImageSpec | TextSpec, *, half: Half, with_pickles: bool = False) -> Path:
    """A model's folder, fetched from the hub: no code, and no pickles but where they are to be converted.

    Raises ModelError that says where it was looked for and what to do.
    """
    name, revision = tower.model, tower.revision
    if is_offline_mode():
        raise ModelError(_missing(name, half=half, reason="the hub was not asked, because HF_HUB_OFFLINE is set"))
    try:
        HfApi().model_info(name, revision=revision, timeout=PROBE_TIMEOUT_S)
        log.info("downloading %s from %s", name, constants.ENDPOINT)
        unwanted = [*_UNUSED_FILES, *([] if with_pickles else ["*.bin"])]
        folder = Path(snapshot_download(name, revision=revision, ignore_patterns=unwanted))
    except RevisionNotFoundError as error:
        raise ModelError(_missing(name, half=half, reason=f"the hub has no revision {revision} of it")) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            _missing(name, half=half, reason="the hub knows no such model, or keeps it private")
        ) from error
    except (httpx.HTTPError, OSError, ValueError) as error:
        reason = f"the hub gave no answer ({type(error).__name__}: {error})"
        raise ModelError(_missing(name, half=half, reason=reason)) from error
    if not with_pickles and not weight_files(module_folders(folder)[0], name=tower.weights):
        raise ModelError(
            f"the hub has no safetensors of the {half} model {name}. Where it has a pickle, `polyglance space pull` "
            "fetches that and makes safetensors of it, without running any code."
        )
    return folder


def _missing(name: str, *, half: Half, reason: str) -> str:
    return (
        f"the {half} model {name} is not on this machine. Looked in the hub's cache {constants.HF_HUB_CACHE} "
        f"and for the hub's {constants.ENDPOINT}/{name}: {reason}. {ways_out(half, name=name)}"
    )
