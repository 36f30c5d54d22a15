"""What a text tower is made of, whichever layout it was published in: texts to tokens, tokens to vectors."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, XLMRobertaConfig, XLMRobertaModel

from connector.errors import ModelError
from connector.models.loading import BROKEN, first_line, load_model
from connector.models.weights import is_mclip, weight_files

HEAD = 64
"""Width of one attention head in every XLM-RoBERTa."""
_LAYER = re.compile(r"transformer\.encoder\.layer\.(\d+)\.")


class MeanOfTokens(torch.nn.Module):
    """Token ids and attention mask, each (n, tokens) int64 -> (n, dims) float32, not normalised."""

    def __init__(self, transformer: XLMRobertaModel, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.transformer = transformer
        self.linear = linear

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The mean over the tokens that are there, mapped into the space."""
        states = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        there = mask.unsqueeze(2).to(states.dtype)
        mean: torch.Tensor = self.linear((states * there).sum(dim=1) / there.sum(dim=1))
        return mean


def load_mclip(folder: Path) -> tuple[PreTrainedTokenizerBase, MeanOfTokens]:
    """Tokenizer and model on the CPU, in float32, ready to run; nothing is fetched.

    Raises KeyError, RuntimeError or OSError where tensors or files are missing.
    """
    tensors = _read(folder)
    transformer = XLMRobertaModel(_config(tensors), add_pooling_layer=False)
    dims, width = tensors["LinearTransformation.weight"].shape
    model = MeanOfTokens(transformer, torch.nn.Linear(width, dims))
    model.load_state_dict(_renamed(tensors), strict=True)
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    return tokenizer, model.eval().requires_grad_(False)


def _read(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for file in weight_files(folder):
        is_safe = file.suffix == ".safetensors"
        tensors |= load_file(file) if is_safe else torch.load(file, map_location="cpu", weights_only=True)
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def _config(tensors: Mapping[str, torch.Tensor]) -> Any:
    vocabulary, width = tensors["transformer.embeddings.word_embeddings.weight"].shape
    layers = {int(found.group(1)) for name in tensors if (found := _LAYER.match(name))}
    return XLMRobertaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=max(layers) + 1,
        num_attention_heads=width // HEAD,
        intermediate_size=len(tensors["transformer.encoder.layer.0.intermediate.dense.weight"]),
        max_position_embeddings=len(tensors["transformer.embeddings.position_embeddings.weight"]),
        type_vocab_size=len(tensors["transformer.embeddings.token_type_embeddings.weight"]),
        layer_norm_eps=1e-5,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )


def _renamed(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Our names for the weights; the pooler that was trained for another task, and old buffers, are left out."""
    unused = ("transformer.pooler.", "transformer.embeddings.position_ids")
    return {
        name.replace("LinearTransformation.", "linear."): tensor
        for name, tensor in tensors.items()
        if not name.startswith(unused)
    }


class Tokens(NamedTuple):
    """Texts as a model reads them: ids and attention mask, each (n, tokens) int64."""

    ids: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True, slots=True)
class TextModel:
    """A loaded model on the CPU, in float32. ``module`` maps ids and mask to (n, dims), not normalised.

    ``tokenizer`` is what ``tokenize`` calls, and ``max_length`` the tokens at which it cuts a text.
    """

    tokenize: Callable[[Sequence[str]], Tokens]
    module: torch.nn.Module
    tokenizer: PreTrainedTokenizerBase
    max_length: int


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

    return TextModel(tokenize, Sentences(model).eval(), model.tokenizer, int(model.tokenizer.model_max_length))


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

    return TextModel(tokenize, module, tokenizer, longest)


def _keep_text_half(model: SentenceTransformer) -> None:
    """Let go of CLIP's vision half, where the tower has one."""
    inner: Any = model[0].model
    for name in ("vision_model", "visual_projection"):
        if hasattr(inner, name):
            delattr(inner, name)
