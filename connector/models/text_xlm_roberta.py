"""XLM-RoBERTa with a map into an image tower's space behind it, as M-CLIP, open_clip and MEXMA publish it.

The rule: the transformer's shape is read from its tensors; what else differs between them (names, pooling, the map) the
space's declaration says.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import XLMRobertaConfig, XLMRobertaModel

from connector.models.declaration import TextSpec
from connector.models.image_families import filled, linear, read_tensors
from connector.models.weights import read_json

HEAD = 64
"""Width of one attention head in every XLM-RoBERTa."""
TABLE = "embeddings.word_embeddings.weight"
"""The tensor that has a row for every token."""
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")
_UNUSED = ("pooler.dense.weight", "pooler.dense.bias")
"""The pooler was trained for another task."""


class XlmRoberta(torch.nn.Module):
    """Token ids and attention mask, each (n, tokens) int64 -> (n, dims) float32, not normalised."""

    def __init__(
        self, transformer: XLMRobertaModel, projection: torch.nn.Module, *, pooling: Literal["mean", "first"]
    ) -> None:
        super().__init__()
        self.transformer, self.projection, self.pooling = transformer, projection, pooling

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The tokens that are there, pooled and mapped into the space."""
        states = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.pooling == "first":
            pooled = states[:, 0]
        else:
            there = mask.unsqueeze(2).to(states.dtype)
            pooled = (states * there).sum(dim=1) / there.sum(dim=1)
        mapped: torch.Tensor = self.projection(pooled)
        return mapped


def load_xlm_roberta(folder: Path, tower: TextSpec) -> XlmRoberta:
    """The model on the CPU, in float32, ready to run; nothing is fetched.

    Raises ValueError, KeyError or OSError where tensors or files are missing, or the base is another model.
    """
    base = str(read_json(folder / "config.json").get("modelBase", "xlm-roberta"))
    if "xlm-roberta" not in base.lower():
        raise ValueError(f"its base is {base}, no XLM-RoBERTa")
    tensors = read_tensors(folder, tower.weights, prefix=tower.prefix)
    own = {name: each for name, each in tensors.items() if name.startswith(("embeddings.", "encoder.", "pooler."))}
    if TABLE not in own:
        raise ValueError(f"it has no tensor {tower.prefix}{TABLE}: prefix is what the transformer's names begin with")
    transformer: Any = filled(partial(XLMRobertaModel, add_pooling_layer=False), _config(own), own, unused=_UNUSED)
    projection = _projection(
        read_tensors(folder, tower.weights, prefix=str(tower.projection)), bias=tower.projection_bias
    )
    return XlmRoberta(transformer, projection, pooling=tower.pooling).eval().requires_grad_(False)


def _projection(tensors: Mapping[str, torch.Tensor], *, bias: bool) -> torch.nn.Module:
    """One linear layer, or two with the exact GELU between them."""
    kinds = ("weight", "bias") if bias else ("weight",)
    if set(tensors) == set(kinds):
        return linear(tensors["weight"], tensors.get("bias"))
    if set(tensors) == {f"{layer}.{kind}" for layer in (0, 2) for kind in kinds}:
        up = linear(tensors["0.weight"], tensors.get("0.bias"))
        down = linear(tensors["2.weight"], tensors.get("2.bias"))
        return torch.nn.Sequential(up, torch.nn.GELU(), down)
    raise ValueError(
        f"its map into the space has {', '.join(sorted(tensors)[:5])}; one linear layer or two are wanted, "
        f"{'with' if bias else 'without'} biases"
    )


def _config(tensors: Mapping[str, torch.Tensor]) -> Any:
    vocabulary, width = tensors[TABLE].shape
    layers = {int(found.group(1)) for name in tensors if (found := _LAYER.match(name))}
    return XLMRobertaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=max(layers) + 1,
        num_attention_heads=width // HEAD,
        intermediate_size=len(tensors["encoder.layer.0.intermediate.dense.weight"]),
        max_position_embeddings=len(tensors["embeddings.position_embeddings.weight"]),
        type_vocab_size=len(tensors["embeddings.token_type_embeddings.weight"]),
        layer_norm_eps=1e-5,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
