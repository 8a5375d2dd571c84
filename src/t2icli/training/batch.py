"""`--batch-size auto`: the recipe's own batch, or the largest part of it that the data and the memory allow.

A step of a few samples is measured, what a larger one takes is estimated from that, and it is tried once where it comes
near to what there is. All of it on a recipe that is thrown away afterwards: nothing here moves a weight.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import torch

from t2icli.contract.recipes import Recipe
from t2icli.ground import memory
from t2icli.ground.errors import T2IError
from t2icli.training.devices import World
from t2icli.training.evaluate import to_device
from t2icli.training.order import SampleOrder, Seeded, collate
from t2icli.training.recompute import recompute
from t2icli.training.settings import LoopSettings
from t2icli.training.turns import only, running

SHARE = 0.7
"""Of the memory that is free, what a step may take by its estimate."""
DOUBT = 0.3
"""Of the memory that is free, from where on an estimate is tried before it is believed."""
FEW = (2, 4)
"""Samples of the steps that are measured. Not 1, which the norms over a batch refuse."""


@dataclass(frozen=True)
class Cost:
    """What a step of some samples took."""

    batch: int
    memory: int
    """Bytes, gradients among them."""
    seconds: float


@dataclass(frozen=True)
class Fitting:
    """A batch that fits."""

    batch: int
    bound: str = "the recipe"
    """What allows no more."""
    memory: int | None = None
    """Bytes that training will take, by estimate; None where it was not measured."""
    seconds: float | None = None
    """Of a step, by estimate."""


def fitting(
    recipe: Recipe, samples: Any, settings: LoopSettings, world: World, free: Callable[[], int | None] | None = None
) -> Fitting:
    """The batch to train with: at most the one in `settings`. Where several processes train, the data alone counts."""
    n = len(samples)
    if n == 0:
        raise T2IError("there is nothing to train on: the dataset is empty")
    parts = settings.grad_accum * world.size
    wish = max(parts, min(settings.batch_size, n) // parts * parts)
    known = Fitting(wish, "the data" if wish < settings.batch_size else "the recipe")
    left = (free or (lambda: free_memory(world.device)))()
    if world.size > 1 or left is None or wish > n:
        return known
    return _measured(Trial(recipe, samples, settings, world), known, left)


def free_memory(device: torch.device) -> int | None:
    """Bytes that tensors of this device may still take; None where that is unknown."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return memory.free() if device.type == "cpu" else None


def _measured(trial: Trial, wish: Fitting, left: int) -> Fitting:
    parts = trial.settings.grad_accum
    costs: list[Cost] = []
    for few in sorted({min(n, wish.batch // parts) for n in FEW}):
        cost = trial.cost(few, left)
        if cost is None:  # not even this: what is smaller may fit, and nothing more is tried
            return Fitting(max(1, few // 2) * parts, "the memory")
        costs.append(cost)
    n = wish.batch
    while n > parts and not _fits(trial, costs, n // parts, left):
        n = max(parts, n // 2 // parts * parts)
    in_all = _extrapolated(costs, n // parts) + trial.kept + trial.before
    seconds = costs[-1].seconds * n / costs[-1].batch
    return Fitting(n, wish.bound if n == wish.batch else "the memory", in_all, seconds)


def _fits(trial: Trial, costs: list[Cost], batch: int, left: int) -> bool:
    wanted = _extrapolated(costs, batch) + trial.kept
    return wanted <= SHARE * left and (wanted <= DOUBT * left or _works(trial, costs, batch, left))


def _extrapolated(costs: list[Cost], batch: int) -> int:
    """Bytes, on the line through the two smallest steps, and not below what any step has taken."""
    first, second = costs[0], costs[min(1, len(costs) - 1)]
    each = max(0, second.memory - first.memory) / max(1, second.batch - first.batch)
    return max(second.memory + round(each * (batch - second.batch)), first.memory)


def _works(trial: Trial, costs: list[Cost], batch: int, left: int) -> bool:
    """Whether a step of that size goes through; it is among the costs then."""
    if batch == costs[-1].batch:
        return True
    cost = trial.cost(batch, left)
    if cost is None or cost.memory + trial.kept > SHARE * left:
        return False
    costs.append(cost)
    return True


class Trial:
    """Steps without a step of the optimizer."""

    def __init__(self, recipe: Recipe, samples: Any, settings: LoopSettings, world: World) -> None:
        self.settings = msgspec.structs.replace(settings, compile=False)
        self.world = world
        model = recipe.model.to(world.device).train()
        if settings.grad_checkpointing:
            recompute(model)
        self.turns = running(recipe.turns(), self.settings, 1, World(world.device))
        trained = sum({id(p): p.numel() for turn in self.turns for p in turn.parameters}.values())
        averages = sum(p.numel() for p in model.parameters()) if settings.ema else 0
        self.kept = 4 * (2 * trained + averages)
        """Bytes that the optimizer and averaged weights will take from the first step on."""
        self.reader = Seeded(samples, settings.seed, skip=True)
        self.order = SampleOrder(settings.seed, len(samples), 1)
        total = settings.max_steps or math.ceil(settings.epochs * len(samples) / settings.batch_size)
        self.late = total - 1
        """The last step: what joins in later, an adversary say, takes memory too."""
        self.before = _in_use(world.device) or 0

    def cost(self, batch: int, left: int) -> Cost | None:
        """What a step of so many samples takes; None where there is not enough memory for it."""
        begun = time.monotonic()
        try:
            memory_used = peak_memory(self.world.device)
            with warnings.catch_warnings(), memory_used as peak, _refused_beyond(left, self.world.device):
                warnings.simplefilter("ignore")  # the run itself will say it
                self._step(batch)
        except (MemoryError, torch.OutOfMemoryError):
            return None
        except RuntimeError as error:
            if "allocate memory" not in str(error):
                raise
            return None
        finally:
            for turn in self.turns:
                turn.forget()
        return Cost(batch, max(0, peak.bytes - self.before), time.monotonic() - begun)

    def _step(self, batch: int) -> None:
        read = collate([self.reader[self.order.rows(step)[0]] for step in range(batch)])
        if read.batch is None:
            return  # no sample can be read, which the run itself will say
        pieces = [to_device(read.batch, self.world.device, self.settings)]
        for turn in self.turns:
            with only(turn, self.turns):
                turn.gradients(pieces, self.late)
                turn.forget()


@dataclass
class _Peak:
    bytes: int = 0
    over: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def peak_memory(device: torch.device) -> Iterator[_Peak]:
    """The most memory in use at a time while something runs."""
    peak = _Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        torch.cuda.synchronize(device)
        peak.bytes = torch.cuda.max_memory_allocated(device)
        return

    def watch() -> None:
        while not peak.over.wait(0.002):
            peak.bytes = max(peak.bytes, memory.in_use() or 0)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        peak.over.set()
        watcher.join()
        peak.bytes = max(peak.bytes, memory.in_use() or 0)


def _in_use(device: torch.device) -> int | None:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else memory.in_use()


def _refused_beyond(left: int, device: torch.device) -> contextlib.AbstractContextManager[None]:
    """A GPU refuses by itself; a system that is out of memory kills, so it is not let come to that."""
    return memory.at_most(left) if device.type == "cpu" else contextlib.nullcontext()
