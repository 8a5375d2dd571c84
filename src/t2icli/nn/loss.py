"""Cross entropy over many classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

TOGETHER = 1 << 18
"""Logits that are looked at together: they stay in the processor's cache."""


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Of each row: logits (n, classes) and targets (n,) to (n,).

    In training on a CPU nothing is kept but the gradient of the logits, in their own number format.
    """
    # Classes last: over another axis torch sums them one by one, which loses a small loss and takes twice as long.
    if not logits.requires_grad or logits.device.type != "cpu" or torch.compiler.is_compiling():
        return F.cross_entropy(logits, targets, reduction="none")
    losses: Tensor = _CrossEntropy.apply(logits, targets)
    return losses


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        losses, gradient = logits.new_empty(len(logits), dtype=torch.float32), torch.empty_like(logits)
        with torch.autocast("cpu", enabled=False):
            for rows in _pieces(logits):
                logs = logits[rows].float().log_softmax(dim=-1)
                losses[rows] = -logs.gather(1, targets[rows, None])[:, 0]
                # One is taken away before it is rounded, for the most probable class is what is left of one.
                gradient[rows] = logs.exp_().scatter_add_(1, targets[rows, None], -torch.ones(len(logs), 1))
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * weights[:, None].to(gradient.dtype), None


def _pieces(logits: Tensor) -> Iterator[slice]:
    some = max(1, TOGETHER // logits.shape[1])
    for first in range(0, len(logits), some):
        yield slice(first, first + some)
