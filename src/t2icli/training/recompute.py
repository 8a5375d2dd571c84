"""Gradient checkpointing: blocks keep their inputs alone, and are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from t2icli.ground.errors import T2IError


def recompute(model: nn.Module) -> None:
    """Let each block of the model's transformers, or of its levels, keep nothing but its inputs in training.

    Losses and gradients stay the same: random numbers, such as dropout's, are drawn the same way again.
    """
    checkpointed = list(blocks(model))
    if not checkpointed:
        raise T2IError("this model has no blocks to compute again", "leave out --grad-checkpointing")
    for block in checkpointed:
        block.forward = partial(_recomputed, block.forward)


def blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The innermost modules of module lists, if they are worth it: a single layer keeps about its inputs anyway.

    Those with batch norm are left out: a second pass would move its averages twice.
    """
    for module in model.modules():
        if isinstance(module, nn.ModuleList):
            yield from (each for each in module if _is_block(each))


def _is_block(module: nn.Module) -> bool:
    inside = list(module.modules())[1:]
    is_called = type(module).forward is not nn.Module.forward
    return is_called and bool(inside) and not any(isinstance(each, (nn.ModuleList, _BatchNorm)) for each in inside)


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
