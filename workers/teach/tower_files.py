"""The files of a text tower that is being taught: the text half of a model's folder, in a folder of its own.

The rule: tensors keep their names and their type; only the trained ones, and the table of tokens, get other values.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from connector.errors import ConfigError
from connector.models.declaration import TextSpec
from connector.models.weights import module_folders, weight_files
from workers.teach.tokens import add_tokens

TABLES = ("token_embedding.weight", "word_embeddings.weight")
"""What the names of the table of tokens end with, in every family."""
_TOKENIZER = "tokenizer.json"
_SKIPPED = (".safetensors", ".bin", ".onnx", ".py", ".md", ".h5", ".msgpack")
WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Part:
    """A file of weights and what of it is the text half: names that begin with ``prefix`` are ``module``'s behind it.

    ``folder`` is relative to the model's.
    """

    folder: str
    prefix: str
    module: str


def parts_of(folder: Path, spec: TextSpec) -> list[Part]:
    """Where the parameters of ``TextModel.module`` lie in a model's files. Raises ConfigError for a CLIP's own half."""
    if spec.family == "xlm-roberta":
        return [Part(".", spec.prefix, "transformer."), Part(".", str(spec.projection), "projection.")]
    if spec.family == "clip":
        return [Part(".", "text_model.", "text."), Part(".", "text_projection.", "projection.")]
    if spec.family == "siglip":
        return [Part(".", "text_model.", "text.")]
    first, *others = module_folders(folder)
    if first != folder:
        raise ConfigError(f"{spec.model} is the English half of a CLIP; teach a multilingual tower.")
    found = [Part(_relative(first, folder), "", "model.0.model.")]
    named = [(number, each) for number, each in enumerate(others, 1) if weight_files(each)]
    return [*found, *(Part(_relative(each, folder), "", f"model.{number}.") for number, each in named)]


def _relative(folder: Path, base: Path) -> str:
    return folder.relative_to(base).as_posix()


def copy_text_half(folder: Path, spec: TextSpec, out: Path, *, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write the text half of a model into a new folder: configuration, tokenizer, and the tensors that it has."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix not in _SKIPPED and "onnx" not in file.relative_to(folder).parts[:-1]:
            to = out / file.relative_to(folder)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, to)
    parts = parts_of(folder, spec)
    for where in dict.fromkeys(part.folder for part in parts):
        prefixes = tuple(part.prefix for part in parts if part.folder == where)
        tensors: dict[str, Tensor] = {}
        for file in weight_files(folder / where, name=spec.weights):
            with safe_open(file, framework="pt") as opened:
                tensors |= {
                    name: opened.get_tensor(name)
                    for name in opened.keys()  # noqa: SIM118  (it is no mapping)
                    if name.startswith(prefixes)
                }
        _save(tensors, out / where)
    if not (out / _TOKENIZER).exists():
        backend: Any = tokenizer
        backend.backend_tokenizer.save(str(out / _TOKENIZER))


def grow(folder: Path, spec: TextSpec, pieces: Sequence[str], words: Sequence[str]) -> int:
    """Give a copied half more tokens, each with a row of the table of tokens; how many came.

    The row of a piece is the mean of all that there are, that of a word the mean of those it was cut into before.
    """
    if not pieces and not words:
        return 0
    before = Tokenizer.from_file(str(folder / _TOKENIZER))
    numbers = add_tokens(folder / _TOKENIZER, pieces, words)
    where = next(part.folder for part in parts_of(folder, spec))
    tensors = _tensors(folder / where)
    name = next(each for each in tensors if each.endswith(TABLES))
    table = tensors[name]
    missing = max(numbers.values()) + 1 - len(table)
    rows = table.float().mean(dim=0, keepdim=True).expand(max(missing, 0), -1).to(table.dtype)
    grown = torch.cat([table, rows])
    for word in words:
        parts = before.encode(word, add_special_tokens=False).ids
        grown[numbers[word]] = table[parts].float().mean(dim=0).to(table.dtype)
    tensors[name] = grown
    _save(tensors, folder / where)
    _set_vocabulary(folder / where / "config.json", len(tensors[name]))
    return len(numbers)


def _set_vocabulary(file: Path, size: int) -> None:
    if not file.exists():
        return  # the shape is read from the tensors
    told = json.loads(file.read_text(encoding="utf-8"))
    told.get("text_config", told)["vocab_size"] = size
    file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def write_weights(folder: Path, spec: TextSpec, module: nn.Module) -> None:
    """Put a trained module's values into the files of its folder, in the type that they have there."""
    trained = dict(module.named_parameters())
    parts = parts_of(folder, spec)
    for where in dict.fromkeys(part.folder for part in parts):
        tensors = _tensors(folder / where)
        for name, value in tensors.items():
            if (found := _parameter(name, parts=parts, where=where, trained=trained)) is not None:
                tensors[name] = found.detach().to(value.dtype)
        _save(tensors, folder / where)


def _parameter(name: str, *, parts: Sequence[Part], where: str, trained: Mapping[str, Tensor]) -> Tensor | None:
    for part in parts:
        if part.folder == where and name.startswith(part.prefix):
            own = name.removeprefix(part.prefix)
            for each in (own, own.partition(".")[2]):  # some files keep the architecture's name in front: distilbert.
                if (found := trained.get(f"{part.module}{each}")) is not None:
                    return found
    return None


def _tensors(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as opened:
            found |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (it is no mapping)
    return found


def _save(tensors: Mapping[str, Tensor], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{WEIGHTS}"
    save_file({name: each.contiguous() for name, each in tensors.items()}, draft, metadata={"format": "pt"})
    draft.replace(folder / WEIGHTS)
