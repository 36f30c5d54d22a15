"""A vision transformer, CLIP's or SigLIP's, rebuilt from its weights so that nothing is computed twice or thrown away.

Against transformers' own forward pass, which gives the same vectors: normalising and the patch embedding are one
matrix product on raw pixels, query, key and value another; QuickGELU is PyTorch's fused SiLU, its factor of 1.702
moved into the weights on both sides. CLIP's last layer computes the class token only, since nothing else is read;
SigLIP's head reads all tokens, and its query is a constant.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

_ACTIVATIONS: Mapping[str, tuple[float, Callable[[Tensor], Tensor]]] = MappingProxyType(
    {
        # x * sigmoid(1.702 x): CLIP's own, the sigmoid approximation of Hendrycks and Gimpel, 2016
        "quick_gelu": (1.702, partial(functional.silu, inplace=True)),
        "gelu": (1.0, functional.gelu),
        "gelu_pytorch_tanh": (1.0, partial(functional.gelu, approximate="tanh")),
    }
)
"""By their names in a configuration: ``activation(x)`` is the function at ``scale * x``, times ``scale``."""


class VisionParts(NamedTuple):
    """What ``Vision`` is rebuilt from: transformers' vision transformer, the map into the space, its configuration."""

    transformer: Any
    projection: nn.Linear | None
    config: Any


class Reference(nn.Module):
    """The forward pass as the model's own library runs it: the yardstick, and what runs where ``Vision`` cannot.

    ``run`` takes normalised images, (n, 3, size, size). ``parts`` is None for an architecture that we do not rebuild;
    ``final`` says that there is nothing to rebuild, as the forward pass is our own.
    """

    def __init__(
        self,
        run: nn.Module,
        *,
        parts: VisionParts | None,
        kind: str,
        image_size: int | None,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        final: bool = False,
    ) -> None:
        super().__init__()
        self.run = run
        self.final = final
        self.parts = parts
        self.kind = kind
        self.image_size = image_size
        self.mean, self.std = mean, std

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, size, size, 3) uint8 -> (n, dims)."""
        dtype = next(self.run.parameters()).dtype
        # (x / 255 - mean) / std == x * scale + shift, per channel
        scale = torch.tensor([1.0 / (255.0 * s) for s in self.std], device=pixels.device)
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)], device=pixels.device)
        normal = torch.addcmul(shift, pixels.float(), scale)
        vectors: Tensor = self.run(normal.to(dtype).permute(0, 3, 1, 2).contiguous())
        return vectors


class Vision(nn.Module):
    """Pixels to vectors: (n, size, size, 3) uint8 -> (n, dims) in the weights' type, not normalised."""

    def __init__(self, reference: Reference) -> None:
        """Take over the weights of a reference. Raises TypeError for an architecture that we do not know."""
        super().__init__()
        parts = reference.parts
        if parts is None or parts.config.hidden_act not in _ACTIVATIONS:
            raise TypeError(f"a {reference.kind} is no CLIP or SigLIP with one of {', '.join(_ACTIVATIONS)}")
        vision, config = parts.transformer, parts.config
        embeddings = vision.embeddings
        self._patch, self.image_size = int(config.patch_size), int(config.image_size)
        self.patches = _patches(embeddings.patch_embedding, mean=reference.mean, std=reference.std)
        positions = embeddings.position_embedding.weight
        has_class = hasattr(embeddings, "class_embedding")
        self.first = nn.Parameter((embeddings.class_embedding + positions[0])[None, None]) if has_class else None
        self.positions = nn.Parameter(positions[1 if has_class else 0 :].clone())  # (patches, width)
        self.norm_in = vision.pre_layrnorm if has_class else nn.Identity()
        self.blocks = nn.ModuleList(_Block(layer, config=config) for layer in vision.encoder.layers)
        self.norm_out = vision.post_layernorm
        self.pool = None if has_class else _AttentionPool(vision.head, config=config)
        self.projection = parts.projection or nn.Identity()
        self.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """The vectors of a batch."""
        return self.from_patches(self.cut(pixels))

    def cut(self, pixels: Tensor) -> Tensor:
        """Pixels as patches, from -128 to 127: whole numbers, which are exact in bfloat16 too.

        (n, size, size, 3) uint8 -> (n, patches, 3 * patch * patch). What is over at the right and below is left out,
        as a convolution does.
        """
        n, patch, grid = len(pixels), self._patch, pixels.shape[1] // self._patch
        pixels = pixels[:, : grid * patch, : grid * patch].contiguous()
        centred = pixels.bitwise_xor(128).view(torch.int8).view(n, grid, patch, grid, 3 * patch).transpose(2, 3)
        return centred.reshape(n, grid * grid, 3 * patch * patch).to(self.positions.dtype)

    def from_patches(self, patches: Tensor) -> Tensor:
        """The vectors of images that were ``cut``; the mean and the deviation of pixels stand in the weights."""
        x = self.patches(patches) + self.positions
        if self.first is not None:
            x = torch.cat([self.first.expand(len(patches), 1, -1), x], dim=1)
        x = self.norm_in(x)  # (n, tokens, width)
        for block in self.blocks[:-1]:
            x = block(x)
        last: Any = self.blocks[-1]
        pooled = self.norm_out(last.first_token(x)) if self.pool is None else self.pool(self.norm_out(last(x)))
        vectors: Tensor = self.projection(pooled)
        return vectors


class _AttentionPool(nn.Module):
    """SigLIP's head: one learned question to all tokens, whose queries are a constant, then two linear layers."""

    def __init__(self, head: Any, *, config: Any) -> None:
        super().__init__()
        attention, width = head.attention, config.hidden_size
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        self._heads = config.num_attention_heads
        self._activation = _ACTIVATIONS[config.hidden_act][1]
        scale = _ACTIVATIONS[config.hidden_act][0]
        self.query = nn.Parameter(functional.linear(head.probe, weight[:width], bias[:width]))  # (1, 1, width)
        self.inputs = _linear(weight[width:], bias[width:])
        self.output, self.norm = attention.out_proj, head.layernorm
        self.up = _scaled(head.mlp.fc1, weight=scale, bias=scale)
        self.down = _scaled(head.mlp.fc2, weight=1 / scale, bias=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, width) -> (n, width)."""
        keys, values = (_by_head(part, self._heads) for part in self.inputs(x).chunk(2, dim=-1))
        queries = _by_head(self.query.expand(len(x), 1, -1), self._heads)
        pooled = self.output(_attend(queries, keys, values))[:, 0]
        done: Tensor = pooled + self.down(self._activation(self.up(self.norm(pooled))))
        return done


class _Block(nn.Module):
    """One layer of the transformer: attention, then the two linear layers."""

    def __init__(self, layer: Any, *, config: Any) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        scale, self._activation = _ACTIVATIONS[config.hidden_act]
        self._heads = config.num_attention_heads
        self.norm1, self.norm2 = layer.layer_norm1, layer.layer_norm2
        self.inputs = _joined(attention.q_proj, attention.k_proj, attention.v_proj)
        self.output = attention.out_proj
        self.up = _scaled(mlp.fc1, weight=scale, bias=scale)
        self.down = _scaled(mlp.fc2, weight=1 / scale, bias=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """All tokens: (n, tokens, width) -> the same."""
        queries, keys, values = (_by_head(part, self._heads) for part in self.inputs(self.norm1(x)).chunk(3, dim=-1))
        x = x + self.output(_attend(queries, keys, values))
        done: Tensor = x + self._mlp(self.norm2(x))
        return done

    def first_token(self, x: Tensor) -> Tensor:
        """The class token alone: (n, tokens, width) -> (n, width)."""
        normal, width = self.norm1(x), x.shape[-1]
        weight, bias = self.inputs.weight, self.inputs.bias
        queries = _by_head(functional.linear(normal[:, 0], weight[:width], bias[:width])[:, None], self._heads)
        both = functional.linear(normal, weight[width:], bias[width:])
        keys, values = (_by_head(part, self._heads) for part in both.chunk(2, dim=-1))
        first = x[:, 0] + self.output(_attend(queries, keys, values))[:, 0]
        done: Tensor = first + self._mlp(self.norm2(first))
        return done

    def _mlp(self, x: Tensor) -> Tensor:
        down: Tensor = self.down(self._activation(self.up(x)))
        return down


def _by_head(part: Tensor, heads: int) -> Tensor:
    n, tokens, _ = part.shape
    return part.reshape(n, tokens, heads, -1).transpose(1, 2)  # (n, heads, tokens, width / heads)


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)


def _patches(embedding: nn.Conv2d, *, mean: tuple[float, ...], std: tuple[float, ...]) -> nn.Linear:
    """The patch embedding on pixels from -128 to 127: its kernel is (width, 3, patch, patch) on normalised ones."""
    kernel = embedding.weight.double()
    means, stds = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
    weight = kernel / (255 * stds)
    bias = (kernel * ((128 / 255 - means) / stds)).sum(dim=(1, 2, 3))
    if embedding.bias is not None:
        bias = bias + embedding.bias
    return _linear(weight.permute(0, 2, 3, 1).flatten(1).float(), bias.float())


def _joined(*parts: nn.Linear) -> nn.Linear:
    """Several linear layers of one input as one."""
    return _linear(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]))


def _scaled(layer: nn.Linear, *, weight: float, bias: float) -> nn.Linear:
    return _linear(layer.weight * weight, layer.bias * bias)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    made.weight, made.bias = nn.Parameter(weight.contiguous()), nn.Parameter(bias)
    return made
