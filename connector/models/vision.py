"""CLIP's vision half, rebuilt from its loaded weights so that nothing is computed twice or thrown away.

Against transformers' own forward pass, which gives the same vectors: normalising and the patch embedding are one
matrix product on raw pixels, query, key and value another; QuickGELU is PyTorch's fused SiLU, its factor of 1.702
moved into the weights on both sides; and the last layer computes the class token only, since nothing else is read.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from connector.models.catalog import Space

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_ACTIVATIONS: Mapping[str, tuple[float, Callable[[Tensor], Tensor]]] = MappingProxyType(
    {
        # x * sigmoid(1.702 x): CLIP's own, the sigmoid approximation of Hendrycks and Gimpel, 2016
        "quick_gelu": (1.702, partial(functional.silu, inplace=True)),
        "gelu": (1.0, functional.gelu),
    }
)
"""By their names in a configuration: ``activation(x)`` is the function at ``scale * x``, times ``scale``."""


class Reference(nn.Module):
    """The forward pass as sentence-transformers runs it: the yardstick, and what runs where ``Vision`` cannot.

    ``clip`` is the transformers model; ``mean`` and ``std`` are its own preprocessor's, or else the space's.
    """

    def __init__(self, model: "SentenceTransformer", *, space: Space) -> None:
        super().__init__()
        inner: Any = model[0]
        self.space = space
        self.model = model
        self.clip: Any = inner.model
        self.image_size = getattr(getattr(self.clip.config, "vision_config", None), "image_size", None)
        processor = getattr(inner.processor, "image_processor", None)
        self.mean = tuple(getattr(processor, "image_mean", None) or space.mean)
        self.std = tuple(getattr(processor, "image_std", None) or space.std)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, size, size, 3) uint8 -> (n, dims)."""
        dtype = next(self.model.parameters()).dtype
        # (x / 255 - mean) / std == x * scale + shift, per channel
        scale = torch.tensor([1.0 / (255.0 * s) for s in self.std], device=pixels.device)
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)], device=pixels.device)
        normal = torch.addcmul(shift, pixels.float(), scale)
        images = normal.to(dtype).permute(0, 3, 1, 2).contiguous()
        vectors: Tensor = self.model({"pixel_values": images, "modality": "image"})["sentence_embedding"]
        return vectors


class Vision(nn.Module):
    """Pixels to vectors: (n, size, size, 3) uint8 -> (n, dims) in the weights' type, not normalised."""

    def __init__(self, clip: Any, *, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Take over the weights of a transformers ``CLIPModel``. Raises TypeError where it is none that we know."""
        super().__init__()
        config = getattr(clip.config, "vision_config", None)
        if clip.config.model_type != "clip" or config is None or config.hidden_act not in _ACTIVATIONS:
            raise TypeError(f"a {clip.config.model_type} is no CLIP with one of {', '.join(_ACTIVATIONS)}")
        vision = clip.vision_model
        self._patch = int(config.patch_size)
        self.image_size = int(config.image_size)
        self.patches = _patches(vision.embeddings.patch_embedding.weight, mean=mean, std=std)
        positions = vision.embeddings.position_embedding.weight
        self.first = nn.Parameter((vision.embeddings.class_embedding + positions[0])[None, None])  # (1, 1, width)
        self.positions = nn.Parameter(positions[1:].clone())  # (patches, width)
        self.norm_in = vision.pre_layrnorm
        self.blocks = nn.ModuleList(_Block(layer, config=config) for layer in vision.encoder.layers)
        self.norm_out = vision.post_layernorm
        self.projection = clip.visual_projection
        self.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """The vectors of a batch."""
        return self.from_patches(self.cut(pixels))

    def cut(self, pixels: Tensor) -> Tensor:
        """Pixels as patches, from -128 to 127: whole numbers, which are exact in bfloat16 too.

        (n, size, size, 3) uint8 -> (n, patches, 3 * patch * patch).
        """
        n, patch, grid = len(pixels), self._patch, pixels.shape[1] // self._patch
        centred = pixels.bitwise_xor(128).view(torch.int8).view(n, grid, patch, grid, 3 * patch).transpose(2, 3)
        return centred.reshape(n, grid * grid, 3 * patch * patch).to(self.first.dtype)

    def from_patches(self, patches: Tensor) -> Tensor:
        """The vectors of images that were ``cut``; the mean and the deviation of pixels stand in the weights."""
        embedded = self.patches(patches) + self.positions
        x = torch.cat([self.first.expand(len(patches), 1, -1), embedded], dim=1)
        x = self.norm_in(x)  # (n, 1 + patches, width)
        for block in self.blocks[:-1]:
            x = block(x)
        last: Any = self.blocks[-1]
        vectors: Tensor = self.projection(self.norm_out(last.first_token(x)))
        return vectors


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
        queries, keys, values = (self._by_head(part) for part in self.inputs(self.norm1(x)).chunk(3, dim=-1))
        x = x + self.output(self._attend(queries, keys, values))
        done: Tensor = x + self._mlp(self.norm2(x))
        return done

    def first_token(self, x: Tensor) -> Tensor:
        """The class token alone: (n, tokens, width) -> (n, width)."""
        normal, width = self.norm1(x), x.shape[-1]
        weight, bias = self.inputs.weight, self.inputs.bias
        queries = self._by_head(functional.linear(normal[:, 0], weight[:width], bias[:width])[:, None])
        both = functional.linear(normal, weight[width:], bias[width:])
        keys, values = (self._by_head(part) for part in both.chunk(2, dim=-1))
        first = x[:, 0] + self.output(self._attend(queries, keys, values))[:, 0]
        done: Tensor = first + self._mlp(self.norm2(first))
        return done

    def _by_head(self, part: Tensor) -> Tensor:
        n, tokens, _ = part.shape
        return part.view(n, tokens, self._heads, -1).transpose(1, 2)  # (n, heads, tokens, width / heads)

    @staticmethod
    def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)

    def _mlp(self, x: Tensor) -> Tensor:
        down: Tensor = self.down(self._activation(self.up(x)))
        return down


def _patches(kernel: Tensor, *, mean: tuple[float, ...], std: tuple[float, ...]) -> nn.Linear:
    """The patch embedding on pixels from -128 to 127: ``kernel`` is (width, 3, patch, patch) on normalised ones."""
    means, stds = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
    weight = kernel.double() / (255 * stds)
    bias = (kernel.double() * ((128 / 255 - means) / stds)).sum(dim=(1, 2, 3))
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


def keep_vision_half(model: "SentenceTransformer") -> None:
    """Let go of CLIP's text half, which is 250 MB in ViT-B/32; the English text tower loads its own."""
    clip: Any = model[0].model
    for name in ("text_model", "text_projection"):
        if hasattr(clip, name):
            delattr(clip, name)
