"""What a training step costs, counted without taking it: operations and bytes, on tensors that have a shape alone.

`imagined` turns a module's parameters into such tensors, and `Tally` counts the storages that are alive meanwhile.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakIdKeyDictionary


@dataclass(frozen=True)
class Cost:
    flop: int
    """Of matrix products, convolutions and attention; a multiplication with its addition is two."""
    peak: int
    """Most bytes at a time of what came to be meanwhile: activations, gradients, what is soon dropped."""


class Tally(TorchDispatchMode):
    """Bytes of the tensors that operations make, while they are alive: `alive` now, `peak` at most."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self.known: Any = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):
                self.known.setdefault(leaf.untyped_storage(), 0)  # counted only if an operation has made it
        return tree_map_only(Tensor, self._made, func(*args, **(kwargs or {})))

    def _made(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage not in self.known:
            self.known[storage] = size = storage.nbytes()
            self.alive += size
            self.peak = max(self.peak, self.alive)
            weakref.finalize(storage, self._gone, size)
        return tensor

    def _gone(self, size: int) -> None:
        self.alive -= size


def cost(step: Callable[[], object]) -> Cost:
    """Of a step, which should keep its gradients until it returns."""
    with FlopCounterMode(display=False) as operations, Tally() as bytes_:
        kept = step()
    del kept
    return Cost(operations.get_total_flops(), bytes_.peak)


@contextlib.contextmanager
def imagination() -> Iterator[FakeTensorMode]:
    """Within, operations compute shapes alone; real tensors may take part and count as constants."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


def imagined(module: nn.Module, mode: FakeTensorMode) -> None:
    """Replace parameters and buffers by their shapes; those that are shared stay shared."""
    for each in module.modules():
        for table in (each._parameters, each._buffers):
            table.update({name: mode.from_tensor(tensor) for name, tensor in table.items() if tensor is not None})


def bytes_of(module: nn.Module) -> int:
    """Of parameters and buffers, each counted once."""
    tensors = {id(each): each for each in (*module.parameters(), *module.buffers())}
    return sum(each.numel() * each.element_size() for each in tensors.values())
