"""Muon in float32: steps of orthogonalised momentum for the towers' matrices.

torch.optim.Muon orthogonalises in bfloat16, which on a CPU without such instructions takes 17 times as long as this.
Source: Jordan et al. 2024, kellerjordan.github.io/posts/muon; size of a step: Liu et al. 2025, arXiv 2502.16982.
"""

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly: Newton-Schulz on (k, rows, columns)."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for two-dimensional parameters; matrices of one shape are orthogonalised together."""

    def __init__(self, params: Iterable[Tensor], *, lr: float, momentum: float = 0.95, decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 - torch's signature
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            moved = sorted((p for p in group["params"] if p.grad is not None), key=lambda p: tuple(p.shape))
            for shape, alike in itertools.groupby(moved, key=lambda p: tuple(p.shape)):
                self._move(list(alike), group, scale=0.2 * max(shape) ** 0.5)

    def _move(self, params: list[Tensor], group: dict[str, float], *, scale: float) -> None:
        updates = []
        for param in params:
            assert param.grad is not None
            speed = self.state[param].setdefault("momentum", torch.zeros_like(param))
            speed.lerp_(param.grad, 1 - group["momentum"])
            updates.append(param.grad.lerp(speed, group["momentum"]))
        for param, update in zip(params, orthogonal(torch.stack(updates)), strict=True):
            param.mul_(1 - group["lr"] * group["decay"]).add_(update, alpha=-group["lr"] * scale)
