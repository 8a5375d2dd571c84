"""The linear layers of a decode loop: rows that do not depend on their number, and weights packed once.

MKL and oneDNN bring weights into the order their kernels want at every call, which for 16 rows takes as long as the
product itself. A decode loop meets the same weights hundreds of times, so here it is done once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, TypeGuard, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from t2icli.nn.blocks import ROWS, filled, in_blocks, one_thread, safe_size
from t2icli.nn.devices import has_bf16
from t2icli.nn.int8 import Int8Linear
from t2icli.nn.tied import Tied

Multiply = Callable[[Tensor], Tensor]
Linear = nn.Linear | Tied | Int8Linear
CPU = torch.device("cpu")
_sizes: dict[tuple[object, ...], int] = {}
"""What was tried in this process: how many rows a kind of layer may multiply at once."""
FEWER = (4, 8)
"""Rows that may do where a block of `ROWS` would be mostly filling."""
_alike: WeakKeyDictionary[object, dict[tuple[int, int], bool]] = WeakKeyDictionary()
"""What was tried in this process: whether a model's step gives so few rows, with so many threads, what a block does."""


def fewest(model: Any, state: Any, classes: int, length: int, rows: int, halves: int = 1) -> int:
    """Rows of each half that a CPU computes for `rows` sequences of `length` codes; with guidance there are two halves.

    Whole blocks, or fewer rows than one block where `model.step` after `state` gives the same to the bit. `state` has
    room for no step if there is a single code.
    """
    if length > 1:
        for few in FEWER:
            if rows * halves <= few and _is_alike(model, state, classes, few):
                return few // halves
    return filled(rows)


@torch.inference_mode()
def _is_alike(model: Any, state: Any, classes: int, few: int) -> bool:
    tried = _alike.setdefault(model, {})
    kind = (few, torch.get_num_threads())
    if kind not in tried:
        codes = torch.arange(ROWS) % classes
        block = _step(model, state, codes)
        first, last = (_step(model, state, part) for part in (codes[:few], codes[-few:]))
        tried[kind] = first.equal(block[:few]) and last.equal(block[-few:])
    return tried[kind]


def _step(model: Any, state: Any, codes: Tensor) -> Tensor:
    with packed(model, len(codes)):
        logits: Tensor = model.step(codes, state.select(torch.zeros_like(codes)))
    return logits


SMALL = 1 << 27
"""Multiplications of a step below which waking other threads takes longer than they save."""


@contextmanager
def alone_if_small(model: object, rows: int) -> Iterator[None]:
    """Within, this thread computes alone where a step of `rows` rows is little work."""
    linears = _linears(model)
    small = bool(linears) and rows * sum(math.prod(_kind(linear)[0]) for linear in linears) < SMALL
    with one_thread() if small else nullcontext():
        yield


@contextmanager
def packed(model: object, rows: int) -> Iterator[None]:
    """Within, the linear layers of `model` multiply `rows` rows on a CPU so that none depends on the others."""
    linears = _linears(model)
    before = [vars(linear).get("forward") for linear in linears]
    for linear in linears:
        linear.forward = partial(_first, linear, rows)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for linear, forward in zip(linears, before, strict=True):
            del linear.forward
            if forward is not None:  # this is a trial within a longer use
                linear.forward = forward  # type: ignore[method-assign]


def _first(linear: Linear, rows: int, x: Tensor) -> Tensor:
    """Only what is used is tried and packed: the output layer that a decode loop uses may be part of a larger one."""
    size = min(safe_rows(linear, max(rows, ROWS)), rows)
    linear.forward = partial(in_blocks, multiplier(linear, size), size=size)  # type: ignore[method-assign]
    return linear.forward(x)


def safe_rows(linear: Linear, rows: int) -> int:
    """`blocks.safe_size` of a layer, tried once for all of its kind."""
    shape, dtype = _kind(linear)
    kind = (type(linear), shape, dtype, linear.bias is None, rows, torch.get_num_threads())
    if kind not in _sizes:
        random = torch.Generator().manual_seed(0)
        sample = torch.randn(ROWS, 1, shape[1], generator=random).to(dtype)
        _sizes[kind] = safe_size(partial(multiplier, linear), sample, rows)
    return _sizes[kind]


def multiplier(linear: Linear, rows: int) -> Multiply:
    """What multiplies batches of `rows` rows by the layer's weights, which are packed for them where possible."""
    if not isinstance(linear, Int8Linear) and rows > 1:
        if linear.weight.dtype == torch.float32 and _has("mkl", "_mkl_linear"):
            weight = torch.ops.mkl._mkl_reorder_linear_weight(linear.weight.detach(), rows)
            return partial(_multiply_fp32, linear, weight, rows)
        if linear.weight.dtype == torch.bfloat16 and _has("mkldnn", "_linear_pointwise") and has_bf16(CPU):
            weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)
            return partial(_multiply_bf16, linear.bias, weight)
    return partial(cast(Callable[[Linear, Tensor], Tensor], type(linear).forward), linear)


def _linears(model: object) -> list[Linear]:
    """The linear layers of `model` on a CPU; none of what is no module."""
    return [module for module in model.modules() if _is_on_cpu(module)] if isinstance(model, nn.Module) else []


def _is_on_cpu(module: nn.Module) -> TypeGuard[Linear]:
    if type(module) is nn.Linear or type(module) is Tied:
        return module.weight.device.type == "cpu"
    return type(module) is Int8Linear


def _kind(linear: Linear) -> tuple[tuple[int, int], torch.dtype]:
    if isinstance(linear, Int8Linear):
        return linear.shape, torch.float32
    outputs, inputs = linear.weight.shape
    return (outputs, inputs), linear.weight.dtype


def _has(library: str, product: str) -> bool:
    """Not public: torch.compile uses them for the same purpose."""
    return bool(getattr(torch.backends, library).is_available()) and hasattr(getattr(torch.ops, library), product)


def _multiply_fp32(linear: nn.Linear | Tied, weight: Tensor, rows: int, x: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkl._mkl_linear(x, weight, linear.weight, linear.bias, rows)
    return product


def _multiply_bf16(bias: Tensor | None, weight: Tensor, x: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product
