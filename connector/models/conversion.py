"""A pickle of weights to safetensors, once and on purpose.

The rule: the pickle is read by PyTorch's restricted unpickler, which makes tensors and plain containers and refuses
everything else. The new file notes the digest of the old one: a collection that the pickle built stays valid.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

from connector.errors import ModelError
from connector.files import replacing
from connector.models.loading import BROKEN, first_line
from connector.models.weights import MADE_OF, module_folders, pickles, sha256, weight_files


def convert(folder: Path) -> list[Path]:
    """Write model.safetensors beside the pickles of a model's modules; returns the new files, none where none lack.

    Raises ModelError for a pickle that holds more than tensors, or cannot be read.
    """
    made = []
    for module in dict.fromkeys(module_folders(folder)):
        files = pickles(module)
        if files and not weight_files(module):
            made.append(_converted(files))
    return made


def _converted(files: list[Path]) -> Path:
    tensors: dict[str, torch.Tensor] = {}
    for file in files:
        try:
            found = torch.load(file, map_location="cpu", weights_only=True)
            tensors |= {name: tensor.detach().clone().contiguous() for name, tensor in _state(found).items()}
        except BROKEN as error:
            raise ModelError(
                f"{file} is not converted: it holds something else than tensors, or is damaged "
                f"({type(error).__name__}: {first_line(error)}). Nothing of it was run."
            ) from error
    stem = files[0].stem if len(files) == 1 else "model"
    out = files[0].with_name(f"{'model' if stem == 'pytorch_model' else stem}.safetensors")
    told = {"format": "pt", MADE_OF: sha256(files)}
    with replacing(out) as draft:
        save_file(tensors, draft, metadata=told)
    return out


def _state(found: object) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint; open_clip's training keeps them under ``state_dict``."""
    inner = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(inner, dict) or not all(isinstance(each, torch.Tensor) for each in inner.values()):
        raise ValueError("no mapping of names to tensors")
    return {str(name).removeprefix("module."): tensor for name, tensor in inner.items()}
