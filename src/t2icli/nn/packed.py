"""Products of few rows with large weights, faster on CPUs with MKL.

MKL brings weights into the order its kernels want at every call, which for 16 rows takes as long as the product
itself. A decode loop meets the same weights hundreds of times, so here it is done once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from t2icli.nn.tied import Tied


@contextmanager
def packed(model: object, rows: int) -> Iterator[None]:
    """Within, the fp32 linear layers of `model` multiply batches of `rows` rows by weights packed for them."""
    linears = [module for module in model.modules() if _can_be_packed(module)] if isinstance(model, nn.Module) else []
    for linear in linears:
        weight = torch.ops.mkl._mkl_reorder_linear_weight(linear.weight.detach(), rows)
        linear.forward = partial(_multiply, linear, weight, rows)
    try:
        yield
    finally:
        for linear in linears:
            del linear.forward


def _can_be_packed(module: nn.Module) -> bool:
    return (
        type(module) in (nn.Linear, Tied)
        and module.weight.device.type == "cpu"
        and module.weight.dtype == torch.float32
        and torch.backends.mkl.is_available()
        and hasattr(torch.ops.mkl, "_mkl_linear")  # not public: torch.compile uses it for the same purpose
    )


def _multiply(linear: nn.Linear | Tied, weight: Tensor, rows: int, x: Tensor) -> Tensor:
    return torch.ops.mkl._mkl_linear(x, weight, linear.weight, linear.bias, rows)
