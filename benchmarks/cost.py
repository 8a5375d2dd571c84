"""What a training step costs, counted without taking it: operations and bytes, on tensors that have a shape alone.

`imagined` turns a module's parameters into such tensors, and `Tally` counts the storages that are alive meanwhile.
Whole numbers and masks that follow from the data keep their values: lengths of captions and sounds decide on shapes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, UntypedStorage, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

ASKS = torch.ops.prim.device.default
"""Most calls are this one, which makes nothing."""
KNOWN = 1 << 20
"""Whole numbers of a tensor whose values are worth computing."""


@dataclass(frozen=True)
class Cost:
    flop: int
    """Of matrix products, convolutions and attention; a multiplication with its addition is two."""
    peak: int
    """Most bytes at a time of what came to be meanwhile: activations, gradients, what is soon dropped."""


@dataclass(frozen=True)
class Counted:
    """A recipe's steps at some batches."""

    fixed: int
    """Bytes of weights, the optimizer's averages and averaged weights."""
    costs: Mapping[int, Cost]

    def memory(self, batch: int) -> float:
        """Bytes that a step of `batch` samples takes, by the lines through those that were counted."""
        xs, ys = list(self.costs), [cost.peak for cost in self.costs.values()]
        if batch > xs[-1]:
            return self.fixed + ys[-1] + (batch - xs[-1]) * self.each
        return self.fixed + float(np.interp(batch, xs, ys))

    @property
    def each(self) -> float:
        """Bytes of one more sample."""
        (a, x), (b, y) = [(batch, cost.peak) for batch, cost in self.costs.items()][-2:]
        return (y - x) / (b - a)

    @property
    def flop(self) -> float:
        """Of one sample."""
        batch, cost = list(self.costs.items())[-1]
        return cost.flop / batch

    def largest(self, room: float) -> int:
        """The largest batch that fits into so many bytes."""
        batch, step = 0, 1 << 16
        while step:
            batch += step if self.memory(batch + step) <= room else 0
            step //= 2
        return batch


class Tally(TorchDispatchMode):
    """Operations, and bytes of the tensors that they make while these are alive: `alive` now, `peak` at most."""

    def __init__(self) -> None:
        super().__init__()
        self.flop = self.alive = self.peak = 0
        self.known: Any = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is ASKS:
            return func(*args, **kwargs)
        for tensor in _tensors((args, kwargs)):
            self.known.setdefault(tensor.untyped_storage(), 0)  # counted only if an operation has made it
        made = func(*args, **kwargs)
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.flop += count(*args, **kwargs, out_val=made)
        for tensor in _tensors(made):
            self._add(tensor.untyped_storage())
        return made

    def _add(self, storage: UntypedStorage) -> None:
        if storage not in self.known:
            self.known[storage] = size = storage.nbytes()
            self.alive += size
            self.peak = max(self.peak, self.alive)
            weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.alive -= size


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def cost(step: Callable[[], object]) -> Cost:
    """Of a step, which should keep its gradients until it returns."""
    with Tally() as tally:
        kept = step()
    del kept
    return Cost(tally.flop, tally.peak)


class Imagination(FakeTensorMode):
    """Within, operations compute shapes alone, and values only of whole numbers that follow from known ones.

    Real tensors may take part and count as constants.
    """

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.values: Any = WeakIdKeyDictionary()

    def imagine(self, tensor: Tensor) -> Tensor:
        """A tensor of this shape, which is known if it is made of a few whole numbers."""
        fake = self.from_tensor(tensor)
        if not tensor.is_floating_point() and not tensor.is_complex() and tensor.numel() <= KNOWN:
            self.values[fake] = tensor
        return fake

    def dispatch(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is ASKS:
            return super().dispatch(func, types, args, kwargs)
        given = list(_tensors((args, kwargs)))
        known = all(each in self.values for each in given)
        if not known:
            if func._schema.is_mutable and isinstance(args[0], Tensor):
                self.values.pop(args[0], None)
            return super().dispatch(func, types, args, kwargs)
        if not given:
            made = super().dispatch(func, types, args, kwargs)
            if not isinstance(made, Tensor) or made.is_floating_point() or made.numel() > KNOWN:
                return made
        args, kwargs = tree_map_only(Tensor, self.values.__getitem__, (args, kwargs or {}))
        return tree_map_only(Tensor, self.imagine, func(*args, **kwargs))


def imagined(module: nn.Module, mode: Imagination) -> None:
    """Replace parameters and buffers by their shapes; those that are shared stay shared."""
    for each in module.modules():
        for table in (each._parameters, each._buffers):
            table.update({name: mode.imagine(tensor) for name, tensor in table.items() if tensor is not None})


def bytes_of(module: nn.Module) -> int:
    """Of parameters and buffers, each counted once."""
    tensors = {id(each): each for each in (*module.parameters(), *module.buffers())}
    return sum(each.numel() * each.element_size() for each in tensors.values())
