"""What a text tower is made of, whichever layout it was published in: texts to tokens, tokens to vectors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from sentence_transformers import SentenceTransformer

from connector.errors import ModelError
from connector.spaces.loading import BROKEN, first_line, load_model
from connector.spaces.mclip import load_mclip
from connector.spaces.weights import is_mclip


class Tokens(NamedTuple):
    """Texts as a model reads them: ids and attention mask, each (n, tokens) int64."""

    ids: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True, slots=True)
class TextModel:
    """A loaded model on the CPU, in float32. ``module`` maps ids and mask to (n, dims), not normalised."""

    tokenize: Callable[[Sequence[str]], Tokens]
    module: torch.nn.Module


class Sentences(torch.nn.Module):
    """A sentence-transformers model as a function of ids and mask: what its ``encode`` calls."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(n, tokens), (n, tokens) -> (n, dims)."""
        found = self.model({"input_ids": ids, "attention_mask": mask, "modality": "text"})
        vectors: torch.Tensor = found["sentence_embedding"]
        return vectors


def load_text_model(folder: Path) -> TextModel:
    """The model in a folder of either layout. Raises ModelError where it is broken or of the wrong kind."""
    if is_mclip(folder):
        return _mclip(folder)
    model = load_model(folder, half="text")
    _keep_text_half(model)

    def tokenize(texts: Sequence[str]) -> Tokens:
        found = model.preprocess(list(texts))
        return Tokens(found["input_ids"], found["attention_mask"])

    return TextModel(tokenize, Sentences(model).eval())


def _mclip(folder: Path) -> TextModel:
    try:
        tokenizer, module = load_mclip(folder)
    except BROKEN as error:
        raise ModelError(
            f"the text model in {folder} cannot be loaded ({type(error).__name__}: {first_line(error)}). "
            "Its files are damaged or of another kind; fetch it again."
        ) from error
    longest = module.transformer.config.max_position_embeddings - 2

    def tokenize(texts: Sequence[str]) -> Tokens:
        found = tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        return Tokens(found["input_ids"], found["attention_mask"])

    return TextModel(tokenize, module)


def _keep_text_half(model: SentenceTransformer) -> None:
    """Let go of CLIP's vision half, where the tower has one."""
    inner: Any = model[0].model
    for name in ("vision_model", "visual_projection"):
        if hasattr(inner, name):
            delattr(inner, name)
