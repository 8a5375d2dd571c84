"""Muon: matrices of hidden layers move along the orthogonal matrix nearest to their mean gradient; the rest by AdamW.

Steps of a matrix are scaled to be as long as AdamW's, so that both take the same learning rate and weight decay
(Jordan et al. 2024; Liu et al. 2025, arXiv 2502.16982).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from t2icli.nn.devices import has_bf16

POLYNOMIAL = (3.4445, -4.7750, 2.0315)
"""Of the Newton-Schulz iteration: five rounds bring every singular value near 1."""
ROUNDS = 5
MOMENTUM = 0.95
LIKE_ADAMW = 0.2
"""Root mean square of a step's numbers, at learning rate 1; AdamW's are about as large."""


class Muon(torch.optim.Optimizer):
    """Groups with `hidden` hold matrices for Muon; the others' parameters are AdamW's."""

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0, "hidden": False})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # what it would call, the loop has done
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(self._way(p, p.grad, group), alpha=-group["lr"])

    def _way(self, p: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        return self._turned(p, gradient) if group["hidden"] else self._adam(p, gradient, group["betas"], group["eps"])

    def _turned(self, p: Tensor, gradient: Tensor) -> Tensor:
        mean: Tensor = self.state[p].setdefault("mean", torch.zeros_like(p))
        mean.lerp_(gradient, 1 - MOMENTUM)
        ahead = torch.lerp(gradient, mean, MOMENTUM)  # as Nesterov's momentum is
        matrix = ahead.flatten(1)  # a convolution's kernels are rows
        way = orthogonal(matrix, fast_dtype(p.device)) * (LIKE_ADAMW * math.sqrt(max(matrix.shape)))
        return way.view_as(p)

    def _adam(self, p: Tensor, gradient: Tensor, betas: tuple[float, float], eps: float) -> Tensor:
        (beta, gamma), state = betas, self.state[p]
        if not state:
            state |= {"taken": torch.zeros(()), "mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
        state["taken"] += 1
        state["mean"].lerp_(gradient, 1 - beta)
        state["square"].lerp_(gradient.square(), 1 - gamma)
        taken = float(state["taken"])
        size = (state["square"] / (1 - gamma**taken)).sqrt_().add_(eps)
        way: Tensor = state["mean"] / (1 - beta**taken)
        return way.div_(size)


def fast_dtype(device: torch.device) -> torch.dtype:
    """bf16 is exact enough, but a processor that only imitates it takes thirty times as long."""
    return torch.bfloat16 if has_bf16(device) else torch.float32


def orthogonal(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """About the nearest matrix whose singular values are all near 1, computed in `dtype`."""
    a, b, c = POLYNOMIAL
    wide = matrix.shape[0] <= matrix.shape[1]
    x: Tensor = (matrix if wide else matrix.T).to(dtype)
    x = x / (x.norm() + 1e-7)
    for _ in range(ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x if wide else x.T).to(matrix.dtype)
