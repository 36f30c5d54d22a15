"""EfficientNet-Lite as an image tower: a convolutional network that knows ImageNet's classes, put into a text space.

What it sees becomes a vector in two ways, which are added. By name: each class has a vector of words, and the classes'
probabilities weigh them (ConSE: Norouzi et al., "Zero-shot learning by convex combination of semantic embeddings",
ICLR 2014). By looks: a linear map, L2-normalised, of the last features and of coarse grids of earlier ones, which say
where things are, as in a drawing. Batch normalisation stands in the weights.
"""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from torch.nn import functional

Count = Annotated[int, Field(ge=1)]
CELLS = 3
"""Cells along each side of a coarse grid; each is three sevenths of the side wide, so that neighbours overlap."""


class Stage(BaseModel):
    """One inverted residual block."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: Count
    outputs: Count
    expansion: Count
    kernel: Count
    stride: Annotated[int, Field(ge=1, le=2)]


class LiteConfig(BaseModel):
    """The ``config.json`` of such a tower. Raises ValueError for one that does not hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_type: str
    image_size: Annotated[int, Field(ge=32, multiple_of=32)]
    stem: Count
    blocks: Annotated[tuple[Stage, ...], Field(min_length=1)]
    features: Count
    classes: Count
    dims: Count
    grids: tuple[Annotated[int, Field(ge=0)], ...]
    """The blocks, counted from 0, whose output is read as a coarse grid."""
    looks_share: Annotated[float, Field(ge=0)]
    """What the vector by looks, of length 1, is multiplied by; the vector by name is at most 1 long."""


def read_config(told: Mapping[str, object]) -> LiteConfig:
    """The configuration of a folder. Raises ValueError for another model's, or one that does not hold."""
    if told.get("model_type") != "efficientnet-lite":
        raise ValueError(f"its config.json says model_type {told.get('model_type')}, not efficientnet-lite")
    try:
        config = LiteConfig.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"its config.json: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if any(number >= len(config.blocks) for number in config.grids):
        raise ValueError(f"grids names block {max(config.grids)} of {len(config.blocks)}, which count from 0")
    return config


class EfficientNetLite(nn.Module):
    """Normalised images to vectors: (n, 3, size, size) -> (n, dims), not normalised."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        seen = config.features + sum(config.blocks[number].outputs for number in config.grids) * CELLS * CELLS
        self.stem = _Same(3, config.stem, kernel=3, stride=2)
        self.blocks = nn.ModuleList(_Block(stage) for stage in config.blocks)
        self.top = _Same(config.blocks[-1].outputs, config.features, kernel=1)
        self.classifier = nn.Linear(config.features, config.classes)
        self.names = nn.Linear(config.classes, config.dims, bias=False)
        self.looks = nn.Linear(seen, config.dims)
        self._grids, self._share = config.grids, config.looks_share

    def forward(self, images: Tensor) -> Tensor:
        """The vectors of a batch."""
        features, grids = self.see(images)
        named: Tensor = self.names(self.classifier(features).softmax(dim=-1))
        looks = self.looks(torch.cat([features, grids], dim=1))
        return named + self._share * functional.normalize(looks, dim=-1)

    def see(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The last features, (n, features), and the coarse grids one behind the other, in the order of ``grids``."""
        x = functional.relu6(self.stem(images.contiguous(memory_format=torch.channels_last)))
        grids: dict[int, Tensor] = {}
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self._grids:
                grids[number] = _coarse(x)
        features = functional.relu6(self.top(x)).mean(dim=(2, 3))
        return features, torch.cat([features[:, :0], *(grids[number] for number in self._grids)], dim=1)


def _coarse(x: Tensor) -> Tensor:
    """(n, channels, side, side) -> (n, channels * cells * cells): means over cells that overlap."""
    side = x.shape[2]
    stride = 2 * side // 7
    return functional.avg_pool2d(x, side - (CELLS - 1) * stride, stride).flatten(1)


class _Same(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME pads: where a stride of 2 leaves a rest, below and at the right."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride=stride, padding=padding, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, height, width) of even sides -> (n, outputs, height / stride, width / stride)."""
        if self.stride[0] == 2:
            missing = self.kernel_size[0] - 2
            before = missing // 2
            x = functional.pad(x, (before, missing - before, before, missing - before))
        return super().forward(x)


class _Block(nn.Module):
    """Wider, along each channel, narrow again; what came in is added where the shapes allow."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        width = stage.inputs * stage.expansion
        self.expand = _Same(stage.inputs, width, kernel=1) if stage.expansion > 1 else None
        self.depthwise = _Same(width, width, kernel=stage.kernel, stride=stage.stride, groups=width)
        self.project = _Same(width, stage.outputs, kernel=1)
        self._adds = stage.stride == 1 and stage.inputs == stage.outputs

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.expand is None else functional.relu6(self.expand(x))
        narrow: Tensor = self.project(functional.relu6(self.depthwise(wide)))
        return x + narrow if self._adds else narrow
